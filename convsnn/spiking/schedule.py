"""When the neurons of a layer fire: while their current comes, or once all of it has come.

    steps     every neuron fires in the step in which its potential reaches the threshold
    layers    a layer takes in all T steps of what the layers before it send, and then fires: in
              the T steps that follow, sorted, its

                  count = clip(floor((sum of I + V(0)) / threshold), 0, T n)

              spikes, n being the most that a neuron sends in a step. Signed spikes reach down to
              -T, or to 0 where the activation has no negative side.

In `layers` nothing is sent too early and no spike is too many: the network is its own quantiser
with T levels (PSC, "parallel spike calculation", fires so). Only counts matter, so that one pass
of each layer simulates all T steps. It is another network for every T: what is read out before T
is no answer. The first answer comes after T steps for each layer, the readout included; images
that follow each other are answered every T steps.

A train that is sorted is given by its count: step s has clip(count - n s, 0, n) spikes, negative
ones come at the end. The larger count has the larger train at every step, so that the maximum over
a window of trains of equal threshold is one of them: for single spikes, the OR.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import Blocker, ConfigError, UnsupportedError
from convsnn.graph import Graph
from convsnn.neurons import NEURONS
from convsnn.neurons.base import Patient, sends_changes
from convsnn.readouts import READOUTS, Readout
from convsnn.registry import split_spec
from convsnn.spiking.plan import Plan
from convsnn.spiking.turns import turns

Schedule = Literal["steps", "layers"]
SCHEDULES: tuple[Schedule, ...] = ("steps", "layers")
DENSE = 8  # up to here a network is scored at every T

_REASONS = {
    "msat": "its threshold moves with every step, and spikes that wait are no longer those it sets",
    "cuba": "it forgets while it waits",
    "lif": "it forgets while it waits",
    "tsc": "its layers take turns already, and what they send is no count",
}


@dataclass(frozen=True)
class Latency:
    """Time steps until the first answer, and from one answer to the next when images follow."""

    first: int
    every: int


def as_schedule(text: str) -> Schedule:
    """`text` as the name of a schedule; ConfigError where it is none."""
    for known in SCHEDULES:
        if text == known:
            return known
    raise ConfigError(f"there is no schedule '{text}'", hint=f"known: {', '.join(SCHEDULES)}")


def default_schedule(neuron: str, *, smooth: bool) -> Schedule:
    """Where none is asked for; `smooth` says that the network has functions or products, which are
    computed once where layers wait. Neurons that send changes cannot wait."""
    waits = smooth and not sends_changes(NEURONS.create(neuron, threshold=1.0))
    return "layers" if waits else "steps"


def require_schedule(
    schedule: str, *, graph: Graph, neuron: str, encoder: Encoder, readout: str
) -> Schedule:
    """`schedule`, where such a network can have it.

    Raises ConfigError for neurons, inputs and readouts that cannot wait, UnsupportedError for
    max-pooling that looks at every step.
    """
    known = as_schedule(schedule)
    if known == "steps":
        return known
    require_patient(neuron)
    if not encoder.constant:
        raise ConfigError(
            f"the schedule 'layers' shows the image itself, not '{encoder.spec()}' input",
            hint="use --encoder direct, which shows the mean frame of a sequence, or "
            "--schedule steps",
        )
    if READOUTS.create(readout) != Readout():
        raise ConfigError(
            f"in the schedule 'layers' all steps together are one answer: it has no '{readout}'",
            hint="use --readout mean, or leave it out",
        )
    looks = [node for node in graph.nodes if node.attrs.get("each_step")]
    if looks:
        reason = "it pools the current of each step, and a layer that waits has only their sum"
        remedy = "use --max-pool exact, which sends binary spikes in this schedule"
        raise UnsupportedError(
            f"max-pooling before the neuron ({', '.join(n.name for n in looks)}) does not go with "
            "the schedule 'layers'",
            [Blocker(n.name, n.op, reason, remedy, n.source) for n in looks],
            hint=remedy,
        )
    return known


def require_patient(neuron: str) -> None:
    """ConfigError unless neurons such as `if` or `burst:gamma=3` can wait for all their input."""
    made = NEURONS.create(neuron, threshold=1.0)
    name, options = split_spec(neuron)
    reason = _REASONS.get(name, "it does not say what it sends once all has come")
    hint = "use --neuron if, burst or signed, or --schedule steps"
    if sends_changes(made):
        reason = "it sends changes of what it sent before, and a layer that waits sends only once"
        hint = "leave differential out, or use --schedule steps"
    elif isinstance(made, Patient):
        if options.get("reset", "soft") == "soft":
            return
        reason = "a reset to zero throws away what the spikes behind it would have been made of"
    raise ConfigError(
        f"the neuron '{neuron}' cannot fire layer by layer: {reason}",
        hint=hint,
    )


def scored_steps(schedule: str, steps: int) -> list[int]:
    """The numbers of steps whose answers are given: all of them in `steps`; in `layers`, where
    each is a network of its own, all up to 8, else 1, 2, 4... and the last."""
    if schedule == "steps" or steps <= DENSE:
        return list(range(1, steps + 1))
    return [1 << power for power in range((steps - 1).bit_length())] + [steps]


def latency(graph: Graph, schedule: str, steps: int) -> Latency:
    """Of an answer after `steps` time steps."""
    if schedule == "steps":
        return Latency(steps, steps)
    found = turns(graph)
    return Latency((max(found[name] for name in graph.outputs) + 1) * steps, steps)


def calibrated_for(plan: Plan) -> int | None:
    """The T that thresholds were made for; None where no stage says."""
    known = [record.get("steps", record.get("timesteps")) for record in plan.record]
    numbers = [number for number in known if isinstance(number, int)]
    return numbers[-1] if numbers else None


def sorted_train(counts: Tensor, steps: range, *, total: int, most: int = 1) -> Tensor:
    """Spikes at `steps` of the `total`, (len(steps), B, ...), of neurons that send `counts` in all
    and at most `most` a step."""
    place = torch.arange(steps.start, steps.stop, dtype=counts.dtype, device=counts.device)
    place = place.reshape(-1, *[1] * counts.dim())
    up = (counts - most * place).clamp(0, most)
    down = (counts + most * (total - 1 - place)).clamp(-most, 0)
    return up + down
