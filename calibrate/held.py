"""What a replay holds of an image: known beforehand, to simulate as many as memory takes."""

from collections.abc import Iterator
from math import prod

import torch

from calibrate.base import Context
from calibrate.sent import Sent
from calibrate.stops import reads_of, stops_of
from convsnn.neurons import NEURONS
from convsnn.spiking.population import site_neurons

_FLOAT = 4  # bytes


def bytes_held(context: Context, steps: int) -> int:
    """The most that is held at once of one image: what neurons that are still read sent in `steps`,
    as it is packed, and the original's values in their place."""
    return max(1, *_held(context, steps))


def _held(context: Context, steps: int) -> Iterator[int]:
    """The bytes at every stop, when what its neurons sent is added and nothing let go yet."""
    graph = context.graph
    specs = {} if context.schedule == "layers" else site_neurons(context.neuron, graph)
    sizes = {n: _FLOAT + (_of_neuron(specs[n], steps) if specs else 1) for n in graph.sites}
    still = {graph.input.name: _FLOAT * (1 if context.encoder.constant else steps + 1)}
    stops = stops_of(context)
    made = {name: size * prod(graph.shapes[name]) for name, size in (still | sizes).items()}
    present = {graph.input.name}
    for index, stop in enumerate(stops):
        if stop.site is not None:
            present.add(stop.site.name)
        yield sum(made[name] for name in present)
        later = {name for s in stops[index + 1 :] for name in reads_of(s)}
        present &= later


def _of_neuron(spec: str, steps: int) -> int:
    """Bytes of what a neuron sends in `steps`: bits, two where they have a sign, or floats."""
    neuron = NEURONS.create(spec, threshold=1.0)
    rising = torch.linspace(-3.0, 3.0, 64)
    currents = torch.stack([rising, -rising]).repeat(-(-steps // 2), 1)[:steps, None]
    sent = Sent.pack(neuron.scan(currents)[0], torch.ones(()))
    if not sent.bits:
        return _FLOAT * steps
    return -(-steps // 8) * (1 if sent.negative is None else 2)
