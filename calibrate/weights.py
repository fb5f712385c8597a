"""Weights refitted in closed form, so that a layer answers its spiking inputs as it should
(layer-wise weight calibration of Li et al. 2021, section 4.3, as least squares without training).

For a layer with weights W, bias b and mean spiking input x(t) over the first t steps, z(t) the
mean current that results and z the original network's:

    min over D of  sum over t, images and positions of  t^p |z - z(t) - D [x(t), 1]|^2  + r |D|^2

and [W, b] += D. What the neurons before a layer get wrong is in part a linear function of what
they send (clipping, late and uneven spikes), and that part is undone here. The error of a rate
falls as 1/t, so p = 2 lets early and late steps count alike and a larger `power` stays closer to
the original at late steps. r is `ridge` times the mean square of
an input, so that inputs that hardly vary keep their weights. No labels, no gradient descent.

What early spikes get wrong fades with t, but a changed weight acts for ever, and so turns into an
error at late steps. The network therefore takes on `strength` D, after all layers were fitted in
full. On a ResNet-20 the error of the logits at steps 16, 32 and 64 was .34, .20, .21 at strength
1, and .36, .19, .13 at 0.65. Networks that are made for few steps have no late ones, and take on
all of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Annotated

import torch

from calibrate.base import CALIBRATORS, Context
from calibrate.correction import check_options, correct_potential
from calibrate.held import bytes_held
from calibrate.least_squares import (
    WIDEST,
    apply_change,
    by_group,
    features,
    fitted,
    passes_on,
    unknowns_of,
)
from calibrate.quantised import Fit, images_held, refit_quantised
from calibrate.replay import Replay
from calibrate.rows import Normal, Places
from calibrate.stops import Layer
from convsnn.graph import Graph, Node
from convsnn.spiking.plan import Plan

SAMPLES = 256
MOST = 1000  # where layers fire one after another: a value a neuron is kept, whatever T is
STRENGTH, STRENGTH_IN_LAYERS = 0.5, 0.7
EARLY = 8  # networks made for no more steps have nothing to lose at late ones
FEWEST = 8
HELD = 3 << 27  # bytes of what neurons sent in all steps, and of the original's values
WORK = 1 << 35  # multiply-accumulates that the matrix of one layer may cost
FIRST = 8  # before it too little has arrived in deep layers to fit anything to


@CALIBRATORS.register("weights")
@dataclass(frozen=True)
class Weights:
    """Refits weights by least squares to the spikes that arrive, layer by layer, without labels.

    Follows a stage that sets thresholds. Fits the means over 8, 16, 32... up to `steps` (default:
    those of the conversion, 16 to 32) on the first `samples` images (default: 256, or as many as
    memory holds, 8 at least), in large layers to every n-th place of each along both axes (on
    record as `every`); `strength` of the change is kept: less errs more at early steps and less at
    late ones. After each fit the layer's initial potentials are corrected as the stage `potential`
    does, for the mean of 8, 16... up to `potential` steps; 0 leaves them alone.

    Where layers fire one after another, every layer is fitted to `steps` (default: those of the
    conversion) in `rounds` on as many of the images as memory holds, and `power`, `potential`
    and `sweeps` say nothing.
    """

    steps: Annotated[
        int | None,
        "time steps up to which means are fitted; none: those of the conversion, 16 to 32",
    ] = None
    samples: Annotated[
        int | None,
        "calibration images to simulate, the first; none: 256, fewer in large networks",
    ] = None
    ridge: Annotated[float, "how firmly weights are held: multiple of an input's mean square"] = (
        0.03
    )
    power: Annotated[
        float, "exponent of the step that its error is weighted by; more favours late steps"
    ] = 2.0
    strength: Annotated[
        float | None,
        "share of the change that is kept, up to 1; none: 0.5, for up to 8 steps 1, layer by layer "
        "0.7",
    ] = None
    potential: Annotated[
        int, "time steps for which initial potentials are corrected too; 0: not at all"
    ] = 32
    sweeps: Annotated[int, "corrections that are tried for each layer"] = 2
    rounds: Annotated[int, "fits of each layer, where layers fire one after another"] = 4

    def __post_init__(self) -> None:
        check_options(
            at=self.steps,
            samples=SAMPLES if self.samples is None else self.samples,
            sweeps=self.sweeps,
        )
        if not 0 < self.ridge < float("inf"):
            raise ValueError(f"ridge must be positive, not {self.ridge}")
        if not 0 <= self.power <= 8:
            raise ValueError(f"power must be between 0 and 8, not {self.power}")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ValueError(f"strength must be above 0 and at most 1, not {self.strength}")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {self.rounds}")
        if self.potential < 0:
            raise ValueError(f"potential is a number of steps, not {self.potential}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        if context.schedule == "layers":
            return self._in_layers(context, plan)
        steps = self.steps or context.lasting(min(max(context.steps, 16), 32))
        potential = context.lasting(self.potential)
        simulated = max(steps, potential)
        samples = self.samples or affordable(context, simulated)
        replay = Replay(context, plan, simulated, samples)
        at, every = fitted_steps(steps), 1
        with torch.no_grad():
            for layer in replay.layers():
                for node in fitted(context.graph, layer):
                    used = _refit(replay, layer, node, at=at, ridge=self.ridge, power=self.power)
                    every = max(every, used)
                if potential:
                    late = fitted_steps(potential)
                    correct_potential(replay, layer, at=late, per="neuron", sweeps=self.sweeps)
        usual = 1.0 if context.steps <= EARLY else STRENGTH
        strength = usual if self.strength is None else self.strength
        kept = _blended(context.graph, plan, replay.plan, strength)
        record = {
            "stage": "weights",
            **asdict(self),
            "steps": steps,
            "samples": samples,
            "strength": strength,
            "potential": potential,
            "every": every,
        }
        return kept.with_sites({}, record)

    def _in_layers(self, context: Context, plan: Plan) -> Plan:
        steps = self.steps or context.steps
        samples = images_held(context.graph, self.samples or MOST)
        fit = Fit(
            self.ridge, STRENGTH_IN_LAYERS if self.strength is None else self.strength, self.rounds
        )
        replay = Replay(context, plan, steps, samples)
        with torch.no_grad():
            refit_quantised(replay, fit)
        record = {"stage": "weights", "steps": steps, "samples": samples, **asdict(fit)}
        return replay.plan.with_sites({}, record)


def affordable(context: Context, steps: int) -> int:
    """Images that are simulated at once: what a replay holds of them takes `HELD` bytes at most."""
    return max(FEWEST, min(SAMPLES, HELD // bytes_held(context, steps)))


def _blended(graph: Graph, before: Plan, after: Plan, strength: float) -> Plan:
    """`after`, with its weights moved back towards those of `before`, or of the graph."""
    known = {**graph.tensors, **before.weights}
    weights = {name: known[name].lerp(w, strength) for name, w in after.weights.items()}
    return replace(after, weights=weights)


def fitted_steps(steps: int) -> list[int]:
    """8, 16, 32... below `steps`, and `steps`."""
    found = []
    step = FIRST
    while step < steps:
        found.append(step)
        step *= 2
    return [*found, steps]


def _refit(
    replay: Replay, layer: Layer, node: Node, *, at: Sequence[int], ridge: float, power: float
) -> int:
    """Add the ridge solution to the weight and the bias of `node`. Returns n where every n-th of
    its places along both axes was looked at."""
    weight = replay.context.graph.weight(node)
    wide = weight[0].numel() > WIDEST
    biased = len(node.inputs) > 2
    place = layer.end if passes_on(layer, node) else node.name
    if node.inputs[0] not in replay.moving or (wide and not biased):
        return 1  # driven by the input itself, nothing is lost on the way; or nothing to change
    unknowns = unknowns_of(weight, wide, biased)
    found = Normal.nothing(node, weight, unknowns)
    count = replay.images * len(at) * prod(replay.context.graph.shapes[node.name]) // len(weight)
    work = max(1, count * unknowns**2 * len(found.gram))
    places = Places.some(replay, node, WORK / work, seed=replay.context.seed)
    for number, (spiking, original) in zip(
        replay.numbers(), replay.averages(layer, at), strict=True
    ):
        for x, z, step in zip(spiking[node.inputs[0]], spiking[place], at, strict=True):
            part, given, (z, wanted) = places.of(number, node, x, z, original[place][0])
            rows = features(part, weight, given, wide=wide, biased=biased)
            scale = (step / FIRST) ** (power / 2)
            found.add(number, rows.mul_(scale), by_group(node, wanted - z).mul_(scale))
    found = found.of_all(replay.context.share)
    change = found.solve(ridge, biased=biased).to(weight).mT  # (groups, outputs, features)
    apply_change(replay, node, change.flatten(0, 1), wide=wide, biased=biased)
    return places.every
