"""The whole path from a trained network to a calibrated spiking one; the file to open first."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from calibrate import CALIBRATORS
from calibrate.coding import CodingThresholds
from calibrate.fits import Fit, as_if_fitted, fitted, parse_fits, require_if
from convsnn.encoders import ENCODERS
from convsnn.graph import Graph
from convsnn.graph.fits import without_functions
from convsnn.load import load_module, load_onnx, onnx_reference
from convsnn.load.verify import module_reference, verify_import
from convsnn.neurons import NEURONS
from convsnn.passes import EXACT, apply_exact, pool_before_neuron
from convsnn.passes.coding import with_coding
from convsnn.readouts import READOUTS, delayed
from convsnn.spiking.kinds import require_spikes
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Context, Plan, Stage, run_stages, same_plan
from convsnn.spiking.population import site_neurons
from convsnn.spiking.schedule import default_schedule, require_schedule
from convsnn.spiking.sharing import ALONE, Share
from convsnn.spiking.stills import Stills
from convsnn.spiking.turns import fill_windows
from convsnn.workflows.convert.closest_readout import with_closest_readout
from convsnn.workflows.running.voice import note, progress

PARTS = 100  # that a bar of calibration counts: per cent of a stage


def convert(
    model: nn.Module | str | Path | Graph,
    example: Tensor,
    batches: Iterable[Tensor],
    stages: Sequence[Stage],
    *,
    steps: int = 32,
    neuron: str = "if",
    encoder: str = "direct",
    max_pool: Literal["exact", "current"] = "exact",
    readout: str = "mean",
    schedule: str | None = None,
    spikes: str = "any",
    fit: str | Sequence[str] | Sequence[Fit] = (),
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
    share: Share = ALONE,
) -> Spiking:
    """Turn `model` (a torch module, an ONNX file's path or a graph) into a spiking network.

    `example` (B, *input shape) is what every exact step is verified on; `batches`, training images
    of the same form that can be iterated more than once, are what `stages` calibrate on; where the
    encoder takes them, sequences (B, frames, *input shape). A module or file is verified against
    the original; a graph is taken as it is. `seed` is that of every random choice whose own spec
    names none. `max_pool="current"` pools the current before the neuron (cheaper, biased).
    `readout="rising"` lets later steps count more, "auto", which the command takes, chooses among
    such and the mean (see `convsnn.readouts`). `schedule="layers"` lets a layer fire once all its
    input has come, calibrated for `steps` (see `convsnn.spiking.schedule`); None takes it where the
    network has functions or products and the neurons can wait, and `steps` elsewhere. `spikes`
    bounds the kind of the network (see `convsnn.spiking.kinds`). `fit` puts sums of neurons in the
    place of smooth activations, as in "gelu=if:8" (see `calibrate.fits`). Of several processes each
    takes its `share` of the images, and all come to the same network. Raises UnsupportedError where
    anything would stay analog, or is not allowed, CalibrationError where no usable threshold is
    found.
    """
    if isinstance(model, Graph):
        graph = model
    elif isinstance(model, nn.Module):
        graph = load_module(model, example, note=note)
        graph.require_convertible()
        verify_import(graph, module_reference(model), example)
    else:
        graph = load_onnx(model)
        graph.require_convertible()
        verify_import(graph, onnx_reference(model), example)
    fits = parse_fits(fit)
    require_if(fits, neuron)
    require_spikes(as_if_fitted(graph, fits), spikes, neuron=neuron)
    encoder = ENCODERS.with_default(encoder, "steps", steps)
    moves = ENCODERS.create(encoder).steps is not None
    stills = Stills(batches, ENCODERS.create(encoder)) if moves else batches
    graph = fitted(apply_exact(graph, example, EXACT), stills, fits, seed=seed)
    if max_pool == "current":
        graph = apply_exact(graph, example, [pool_before_neuron])
    neuron = NEURONS.with_default(neuron, "seed", seed)
    coded = apply_exact(graph, example, [with_coding]) if graph.smooth else graph
    site_neurons(neuron, coded)  # what it cannot stand for is refused before any work
    schedule = schedule or default_schedule(neuron, smooth=bool(graph.smooth))
    neuron, encoder, readout = fill_windows(
        graph, steps, neuron=neuron, encoder=encoder, readout=readout
    )
    made = ENCODERS.create(ENCODERS.with_default(encoder, "seed", seed))
    choose = READOUTS.create(readout).auto
    if schedule == "layers" and choose:
        choose, readout = False, delayed("mean", READOUTS.create(readout).delay)
    known = require_schedule(
        schedule, graph=graph, neuron=neuron, encoder=made, readout="mean" if choose else readout
    )
    made = made.fit(stills)
    context = Context(
        without_functions(graph), stills, neuron, made, steps, seed, known, share,
        sequences=batches if moves else None,
    )  # fmt: skip
    plan = same_plan(_calibrated(context, coded, stages), share)
    start = delayed("mean", READOUTS.create(readout).delay) if choose else readout
    net = to_spiking(
        coded,
        plan,
        neuron=neuron,
        encoder=made,
        provenance=provenance,
        readout=start,
        schedule=known,
    )
    return with_closest_readout(net, batches, steps=steps, share=share) if choose else net


def _calibrated(context: Context, coded: Graph, stages: Sequence[Stage]) -> Plan:
    """The plan of the `coded` network: what the stages make of the neurons that stand for
    activations, as if nothing were coded, and then the thresholds of those that code."""
    coding = [stage for stage in stages if isinstance(stage, CodingThresholds)]
    others = [stage for stage in stages if not isinstance(stage, CodingThresholds)]
    plan = Plan()
    if context.graph.sites:
        plan = run_stages(context, others, shown=lambda n: _shown(others[n], n, len(others)))
    within = replace(context, graph=without_functions(coded))
    for number, stage in enumerate(coding[-1:] or [CodingThresholds()]):
        with _shown(stage, number, 1) if coded.smooth else nullcontext(context.heard) as heard:
            plan = stage(replace(within, heard=heard), plan)
    return plan


@contextmanager
def _shown(stage: Stage, number: int, count: int) -> Iterator[Callable[[float], None]]:
    """A bar for a stage, the `number`-th of `count` from 0; it is told the part that is done."""
    name = next((n for n in CALIBRATORS.names() if CALIBRATORS.get(n) is type(stage)), "")
    title = f"calibrating: {name or type(stage).__name__}, stage {number + 1} of {count}"
    with progress(title, PARTS) as advance:
        yield lambda done: advance(round(PARTS * done))
