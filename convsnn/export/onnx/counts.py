"""Neurons that fire once all their current has come, in ONNX: what `Patient.count` computes, in
the same order (see `convsnn.spiking.schedule`)."""

from collections.abc import Callable
from functools import singledispatch

import torch
from torch import Tensor

from convsnn.errors import ExportError
from convsnn.export.onnx.emitter import Emitter
from convsnn.export.onnx.neurons import levels, target_of
from convsnn.neurons.burst import Burst
from convsnn.neurons.integrate import IntegrateAndFire
from convsnn.neurons.signed import Signed

# emit, current of all steps, number of steps -> numbers of spikes with their sign
Count = Callable[[Emitter, str, str], str]


@singledispatch
def count(neuron: object) -> Count:
    """The neurons of a site as ONNX; ExportError, without a place, where they have no form."""
    raise ExportError(
        f"neurons of the kind {type(neuron).__name__} that fire layer by layer have no form in "
        "ONNX here",
        hint="convert the network with --neuron if, signed or burst",
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
