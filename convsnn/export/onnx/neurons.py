"""One time step of every neuron model in ONNX: what `scan` computes, in the same order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from convsnn.errors import ExportError
from convsnn.export.onnx.doubles import softplus
from convsnn.export.onnx.emitter import Emitter
from convsnn.neurons.burst import Burst
from convsnn.neurons.cuba import CurrentBased
from convsnn.neurons.integrate import IntegrateAndFire
from convsnn.neurons.levels import Levels
from convsnn.neurons.lif import LeakyIntegrateAndFire
from convsnn.neurons.msat import Msat
from convsnn.neurons.signed import Signed

State = dict[str, str]
Step = Callable[[Emitter, str, State, str], tuple[str, State]]


@dataclass(frozen=True)
class Population:
    """Neurons as `step(emit, current, state, number of the step from 0) -> (sent, state)`.

    `rest` is the state before the first step; every value broadcasts to one sample's shape.
    """

    rest: Mapping[str, Tensor]
    step: Step


@singledispatch
def population(neuron: object) -> Population:
    """The neurons of a site as ONNX; ExportError, without a place, where they have no form."""
    raise ExportError(f"neurons of the kind {type(neuron).__name__} have no form in ONNX here")


def _tensor(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value)


def _fired(emit: Emitter, potential: str, threshold: str) -> str:
    return emit.op("GreaterOrEqual", potential, threshold)


@population.register
def _integrate(neuron: IntegrateAndFire) -> Population:
    def step(emit: Emitter, current: str, state: State, time: str) -> tuple[str, State]:
        del time
        threshold = emit.constant(_tensor(neuron.threshold), "threshold")
        potential = emit.op("Add", state["potential"], current)
        fired = _fired(emit, potential, threshold)
        sent = emit.op("Mul", emit.cast(fired), threshold)
        if neuron.reset == "soft":
            return sent, {"potential": emit.op("Sub", potential, sent)}
        return sent, {"potential": emit.op("Where", fired, emit.number(0), potential)}

    return Population({"potential": _tensor(neuron.potential)}, step)


@population.register
def _leaky(neuron: LeakyIntegrateAndFire) -> Population:
    def step(emit: Emitter, current: str, state: State, time: str) -> tuple[str, State]:
        del time
        threshold = emit.constant(_tensor(neuron.threshold), "threshold")
        potential = emit.op("Add", state["potential"], current)
        asked = "Greater" if neuron.strict else "GreaterOrEqual"
        fired = emit.op(asked, potential, threshold)
        spikes = emit.cast(fired)
        kept = emit.op("Mul", potential, emit.number(neuron.decay))
        amount = emit.op("Mul", spikes, threshold)
        sent = amount if neuron.sends == "threshold" else spikes
        if neuron.reset == "soft":
            return sent, {"potential": emit.op("Sub", kept, amount)}
        return sent, {"potential": emit.op("Where", fired, emit.number(0), kept)}

    return Population({"potential": _tensor(neuron.potential)}, step)


@population.register
def _current_based(neuron: CurrentBased) -> Population:
    def step(emit: Emitter, current: str, state: State, time: str) -> tuple[str, State]:
        del time
        threshold = emit.constant(_tensor(neuron.threshold), "threshold")
        left = emit.op("Mul", state["current"], emit.number(neuron.current))
        after = emit.op("Add", left, state["waiting"] if neuron.delay else current)
        potential = emit.op("Add", state["potential"], state["current"] if neuron.delay else after)
        fired = emit.op("Greater" if neuron.strict else "GreaterOrEqual", potential, threshold)
        kept = emit.op("Mul", potential, emit.number(neuron.decay))
        spikes = emit.cast(fired)
        amount = emit.op("Mul", spikes, threshold)
        soft = neuron.reset == "soft"
        emptied = emit.op("Sub", kept, threshold) if soft else emit.number(0)
        sent = amount if neuron.sends == "threshold" else spikes
        now = {"potential": emit.op("Where", fired, emptied, kept), "current": after}
        return sent, now | ({"waiting": current} if neuron.delay else {})

    rest = {"potential": _tensor(neuron.potential), "current": torch.zeros(())}
    return Population(rest | ({"waiting": torch.zeros(())} if neuron.delay else {}), step)


@population.register
def _burst(neuron: Burst) -> Population:
    def step(emit: Emitter, current: str, state: State, time: str) -> tuple[str, State]:
        del time
        threshold = emit.constant(_tensor(neuron.threshold), "threshold")
        potential = emit.op("Add", state["potential"], current)
        whole = levels(emit, potential, threshold)
        spikes = emit.op("Clip", whole, emit.number(0), emit.number(neuron.gamma))
        sent = emit.op("Mul", spikes, threshold)
        return sent, {"potential": emit.op("Sub", potential, sent)}

    return Population({"potential": _tensor(neuron.potential)}, step)


@population.register
def _signed(neuron: Signed) -> Population:
    def step(emit: Emitter, current: str, state: State, time: str) -> tuple[str, State]:
        threshold = emit.constant(_tensor(neuron.threshold), "threshold")
        start = emit.constant(_tensor(neuron.potential), "start")
        total = emit.op("Add", state["total"], current)
        steps = "" if neuron.ceiling is None else emit.op("Add", time, emit.number(1))
        target = emit.op("Add", target_of(emit, neuron, total, steps), start)
        potential = emit.op("Sub", target, state["sent"])
        below = emit.op("Less", potential, emit.number(0))
        if neuron.slope is None:
            below = emit.op("And", below, emit.op("Greater", state["sent"], emit.number(0)))
        signs = emit.op("Sub", emit.cast(_fired(emit, potential, threshold)), emit.cast(below))
        sent = emit.op("Mul", signs, threshold)
        return sent, {"total": total, "sent": emit.op("Add", state["sent"], sent)}

    return Population({"total": torch.zeros(()), "sent": torch.zeros(())}, step)


def levels(emit: Emitter, charge: str, threshold: str) -> str:
    """How many whole thresholds a charge covers; see `convsnn.neurons.base.levels`."""
    whole = emit.op("Floor", emit.op("Div", charge, threshold))
    # a quotient that was rounded up would send a spike that the charge does not cover
    over = emit.op("Greater", emit.op("Mul", whole, threshold), charge)
    return emit.op("Sub", whole, emit.cast(over))


def target_of(emit: Emitter, neuron: Signed | Levels, total: str, steps: str) -> str:
    """f_t of the current accumulated over `steps`."""
    if neuron.slope is None:
        value = emit.op("Relu", total)
    else:
        slope = emit.constant(neuron.slope, "slope")
        above = emit.op("Greater", total, emit.number(0))
        value = emit.op("Where", above, total, emit.op("Mul", total, slope))
    if neuron.ceiling is not None:
        most = emit.op("Mul", emit.constant(neuron.ceiling, "ceiling"), steps)
        value = emit.op("Min", value, most)
    return value


@population.register
def _msat(neuron: Msat) -> Population:
    if neuron.fusable() is None:
        raise ExportError(
            "MSAT's spike confidence drops spikes at random, which no exported graph repeats",
            hint="convert the network with --neuron msat:confidence=1 and without a stage that "
            "sets confidences",
        )

    def step(emit: Emitter, current: str, state: State, time: str) -> tuple[str, State]:
        threshold = _adaptive(emit, neuron, current, state, time)
        potential = emit.op("Add", state["potential"], current)
        fired = emit.cast(_fired(emit, potential, threshold))
        sent = emit.op("Mul", fired, threshold)
        after = emit.op("Sub", potential, sent)
        return sent, {"potential": after, "total": emit.op("Add", state["total"], after)}

    rest = {"potential": _tensor(neuron.potential), "total": torch.zeros(())}
    return Population(rest, step)


def _adaptive(emit: Emitter, neuron: Msat, current: str, state: State, time: str) -> str:
    """The threshold of the step, equations (15) to (17)."""
    k, top = neuron.constants, _tensor(neuron.threshold)
    first = emit.constant(top, "threshold")
    scale = None
    if neuron.reference is not None:
        scale = emit.constant(neuron.reference / top, "scale")
    drives = []
    if neuron.dtt:
        offset = top if neuron.reference is None else torch.full_like(top, neuron.reference)
        count = emit.op("Max", time, emit.number(1))
        mean = emit.op("Mul", state["total"], emit.op("Div", emit.number(1), count))
        away = emit.op("Sub", state["potential"], mean)
        away = away if scale is None else emit.op("Mul", away, scale)
        bent = emit.op("Mul", away, emit.number(1 / k.ki))
        soft = softplus(emit, bent)
        slope = emit.op("Mul", away, emit.number(k.tau_mp * k.alpha))
        knee = emit.op("Mul", soft, emit.number(k.tau_mp * k.ka))
        whole = emit.op("Add", slope, knee)
        drives.append(emit.op("Sub", whole, emit.constant(k.tau_mp * offset, "offset")))
    if neuron.det:
        driven = current if scale is None else emit.op("Mul", current, scale)
        power = emit.op("Mul", driven, emit.number(-1 / k.c))
        evoked = emit.op("Exp", emit.op("Min", power, emit.number(80)))
        drives.append(emit.op("Mul", evoked, emit.number(k.tau_rd)))
    drive = drives[0] if len(drives) == 1 else emit.op("Add", drives[0], drives[1])
    share = emit.op("Exp", emit.op("Neg", drive))
    later = emit.op("Div", first, emit.op("Add", share, emit.number(1)))
    is_first = emit.op("Equal", time, emit.number(0))
    return emit.op("Where", is_first, first, later)
