"""The neurons of one site as a fused loop, and the layers that feed them.

With 8-bit weights everything a plain neuron holds counts in steps of the weights' grid: with
w = step * q (per output channel), V / step, threshold / step and shift / step are rounded once to
whole numbers, and from then on all arithmetic is exact, as on a chip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.neurons.fused import Fusable, Layout
from convsnn.simulate import weighted
from convsnn.simulate.dense import Kernel
from convsnn.simulate.engine import Engine
from convsnn.spiking.plan import SitePlan


@dataclass(frozen=True)
class Current:
    """One part of the current of a site: the value of a node, and what it is computed in.

    `layer` is set where it is the result of a layer that nobody else reads: (weight with the unit
    of its input taken in, bias, whether that input is uint8). `unit` is set where it is passed as
    numbers of spikes.
    """

    node: Node
    engine: Engine
    layer: tuple[Tensor, Tensor | None, bool] | None = None
    unit: Tensor | None = None


@dataclass(frozen=True)
class SiteProgram:
    """How the neurons of one site run fused: see `convsnn.neurons.fused.scan`.

    The current is the sum of the values `terms`, each times its scale, plus the shift: (M,), or of
    as many steps as it differs in, and of those that follow, (n + 1, M). `unit` is what one spike
    is worth, None for neurons that send real values.
    """

    fusable: Fusable
    layout: Layout
    terms: tuple[str, ...]
    scales: tuple[Tensor | None, ...]
    shift: Tensor | None
    parameters: tuple[Tensor, ...]
    dtype: torch.dtype
    unit: Tensor | None

    def shift_at(self, steps: range) -> Tensor | None:
        """The shift of these steps, (len(steps), M), or (M,) where it is the same at all."""
        if self.shift is None or self.shift.dim() < 2:
            return self.shift
        return self.shift[[min(step, len(self.shift) - 1) for step in steps]]


def build_site(
    graph: Graph,
    node: Node,
    fusable: Fusable,
    currents: Sequence[Current],
    *,
    planned: SitePlan,
    engine: Engine,
    most: int,
) -> tuple[SiteProgram, dict[str, Kernel]]:
    """The program of the site `node` and the kernels of the layers among its `currents`.

    `most` is the largest number of spikes of a step.
    """
    shape = graph.shapes[node.name]
    step = _grid(fusable, currents, engine, shape)
    kernels: dict[str, Kernel] = {}
    offsets = [] if planned.shift is None else [planned.shift]
    for current in currents:
        if current.layer is None:
            continue
        weight, bias, is_bytes = current.layer
        source = graph.shapes[graph.data_inputs(current.node)[0]]
        if step is not None and bias is not None:
            offsets.append(_along(bias, current.node, shape))
            bias = None
        if step is None:
            kernels[current.node.name] = weighted.kernel(
                current.node, weight, bias, engine=current.engine, is_bytes=is_bytes, shape=source
            )
            continue
        whole = weighted.on_grid(weight, step.flatten().expand(len(weight)), engine.bits or 8)
        kernels[current.node.name] = _whole_kernel(current.node, whole, is_bytes, source)
    scales = [current.unit for current in currents]
    added = [sum(offsets[1:], offsets[0])] if offsets else []
    if planned.timed_bias is not None:
        rows = [*planned.timed_bias, torch.zeros_like(planned.timed_bias[0])]
        added = [row + added[0] for row in rows] if added else rows
    if step is not None:
        fusable = _in_steps(fusable, step)
        scales = [None if s is None else torch.round(s / step) for s in scales]
        added = [torch.round(row / step) for row in added]
    given = [p for p in (*fusable.parameters, *scales, *added) if p is not None]
    layout = Layout.of(shape, given)
    unit = fusable.unit if step is None or fusable.unit is None else fusable.unit * step
    low = {"bfloat16": torch.bfloat16, "int8": torch.uint8}.get(engine.precision)
    whole_numbers = unit is not None and not fusable.signed
    if low is torch.uint8 and not (whole_numbers and most <= weighted.most_spikes()):
        low = None
    made = SiteProgram(
        fusable,
        layout,
        tuple(current.node.name for current in currents),
        tuple(None if s is None else layout.parameter(s) for s in scales),
        _stacked([layout.parameter(row) for row in added]),
        tuple(layout.parameter(p) for p in fusable.parameters),
        low or fusable.parameters[0].dtype,
        unit,
    )
    return made, kernels


def _whole_kernel(node: Node, whole: Tensor, is_bytes: bool, shape: Sequence[int]) -> Kernel:
    """A layer with whole-number weights, its result a whole number."""
    if is_bytes and weighted.takes_int8(node, whole):
        return weighted.integer_kernel(node, whole, shape)
    run = weighted.float_kernel(node, whole, None, whole.dtype, shape)
    return run if is_bytes else lambda x: torch.round(run(x))


def _grid(
    fusable: Fusable,
    currents: Sequence[Current],
    engine: Engine,
    shape: Sequence[int],
) -> Tensor | None:
    """The step of the site's whole numbers, broadcasting to a sample; None where it has none."""
    layers = [c for c in currents if c.layer is not None]
    known = all(c.layer is not None or c.unit is not None for c in currents)
    plain = fusable.unit is not None and len(fusable.state) == 1
    if engine.precision != "int8" or engine.bits is None or not (layers and known and plain):
        return None
    if any(c.node.op not in ("conv", "linear") for c in layers):
        return None
    steps = [
        _along(weighted.grid(c.layer[0], engine.bits), c.node, shape) for c in layers if c.layer
    ]
    largest = steps[0]
    for other in steps[1:]:
        largest = torch.maximum(largest, other)
    return largest


def _along(values: Tensor, node: Node, shape: Sequence[int]) -> Tensor:
    """Per output channel (out,) so that it broadcasts to a sample."""
    return values if node.op == "linear" else values.reshape(-1, *[1] * (len(shape) - 1))


def _in_steps(fusable: Fusable, step: Tensor) -> Fusable:
    """Threshold and potential of a plain neuron as whole numbers of steps."""
    assert fusable.unit is not None  # by `_grid`
    threshold = torch.round(fusable.unit / step).clamp(min=1)
    start = torch.round(fusable.state[0] / step)
    return replace(
        fusable, state=(start,), parameters=(threshold, *fusable.parameters[1:]), unit=threshold
    )


def _stacked(rows: Sequence[Tensor]) -> Tensor | None:
    """The one row as it is; of several a matrix."""
    if len(rows) < 2:
        return rows[0] if rows else None
    return torch.stack([row.reshape(-1) for row in rows])
