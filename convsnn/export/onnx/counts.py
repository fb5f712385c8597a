"""Neurons that fire once all their current has come, in ONNX: what `Patient.count` computes, in
the same order (see `convsnn.spiking.schedule`)."""

from collections.abc import Callable
from functools import singledispatch

import torch
from onnx import TensorProto
from torch import Tensor

from convsnn.errors import ExportError
from convsnn.export.onnx.emitter import Emitter
from convsnn.export.onnx.neurons import levels, target_of
from convsnn.neurons.burst import Burst
from convsnn.neurons.integrate import IntegrateAndFire
from convsnn.neurons.levels import BETWEEN, TABLED, Levels, table_of_codes
from convsnn.neurons.signed import Signed

# emit, current of all steps, number of steps -> numbers of spikes with their sign
Count = Callable[[Emitter, str, str], str]


@singledispatch
def count(neuron: object) -> Count:
    """The neurons of a site as ONNX; ExportError, without a place, where they have no form."""
    raise ExportError(
        f"neurons of the kind {type(neuron).__name__} that fire layer by layer have no form in "
        "ONNX here",
        hint="convert the network with --neuron if, signed, burst or levels",
    )


@count.register
def _integrate(neuron: IntegrateAndFire) -> Count:
    return _rectified(neuron.threshold, neuron.potential, 1)


@count.register
def _burst(neuron: Burst) -> Count:
    return _rectified(neuron.threshold, neuron.potential, neuron.gamma)


def _rectified(threshold: Tensor | float, potential: Tensor | float, most: int) -> Count:
    def write(emit: Emitter, total: str, steps: str) -> str:
        charge = emit.op("Add", total, emit.constant(torch.as_tensor(potential), "start"))
        whole = levels(emit, charge, emit.constant(torch.as_tensor(threshold), "threshold"))
        top = steps if most == 1 else emit.op("Mul", steps, emit.number(most))
        return emit.op("Clip", whole, emit.number(0), top)

    return write


@count.register
def _signed(neuron: Signed) -> Count:
    def write(emit: Emitter, total: str, steps: str) -> str:
        target = target_of(emit, neuron, total, steps)
        charge = emit.op("Add", target, emit.constant(torch.as_tensor(neuron.potential), "start"))
        whole = levels(emit, charge, emit.constant(torch.as_tensor(neuron.threshold), "threshold"))
        fewest = emit.number(0) if neuron.slope is None else emit.op("Neg", steps)
        return emit.op("Clip", whole, fewest, steps)

    return write


@count.register
def _levels(neuron: Levels) -> Count:
    """See `convsnn.neurons.levels`: whole thresholds, and from a table what smaller spikes send."""
    if neuron.n > TABLED:
        raise ExportError(
            f"spikes of {neuron.n} sizes have no form in ONNX here",
            hint=f"convert the network with levels:n={TABLED} or fewer",
        )
    codes, _ = table_of_codes(neuron.n)
    budgets, places = codes.shape

    def write(emit: Emitter, total: str, steps: str) -> str:
        target = target_of(emit, neuron, total, steps)
        charge = emit.op("Add", target, emit.constant(torch.as_tensor(neuron.potential), "start"))
        threshold = emit.constant(torch.as_tensor(neuron.threshold), "threshold")
        charge = emit.op("Div", charge, threshold)
        size = emit.op("Add", emit.op("Abs", charge), emit.number(1 - BETWEEN))
        whole = emit.op("Clip", emit.op("Floor", size), emit.number(0), steps)
        sent = emit.op("Mul", whole, emit.op("Sign", charge))
        left = emit.op("Sub", charge, sent)
        halves = emit.op("Mul", emit.op("Abs", left), emit.number(2.0**neuron.n))
        place = emit.op("Add", emit.op("Floor", halves), emit.op("Ceil", halves))
        place = emit.op("Min", place, emit.number(places - 1))
        budget = emit.op("Min", emit.op("Sub", steps, whole), emit.number(budgets - 1))
        index = emit.op("Add", place, emit.op("Mul", budget, emit.number(places)))
        index = emit.op("Where", emit.op("IsNaN", index), emit.number(0), index)
        index = emit.op("Cast", index, to=TensorProto.INT64)
        table = emit.shared(codes.flatten(), f"codes.{neuron.n}")
        more = emit.op("Gather", table, index)
        return emit.op("Add", sent, emit.op("Mul", more, emit.op("Sign", left)))

    return write
