"""A population as one pass over memory: a pure step, unrolled over a chunk and compiled.

A neuron that can say its step as a function of plain tensors gives a `Fusable`. The simulator lays
every tensor out as (positions, neurons that differ), so that one compiled loop serves layers of any
shape; where there is no compiler the same function runs op by op, to the same bits.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from math import prod
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

Step = Callable[..., tuple[Tensor, ...]]
Result = TypeVar("Result")
_KINDS = 128  # of shapes and types for which one loop is compiled


@dataclass(frozen=True)
class Fusable:
    """A population as a pure function, step(current, time, *state, *parameters) -> (sent, *state).

    `time` is the number of the step, from 1, as a scalar. `state` is the state at rest; it and
    `parameters` broadcast to one sample's shape. What is sent counts in `unit` (None: as it is)
    and may be negative where `signed`. Where there is a unit, it is the first of the parameters.
    """

    step: Step
    state: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]
    unit: Tensor | None = None
    signed: bool = False


@runtime_checkable
class Compilable(Protocol):
    """A neuron model that can be run fused; those that cannot are run by their `scan`."""

    def fusable(self) -> Fusable | None:
        """The population as a pure step; None where it draws at random."""
        ...


@dataclass(frozen=True)
class Layout:
    """How a sample is laid out: (P, M), all that differs between neurons along M.

    `axis` is the one axis of the sample along which parameters differ, None where it is several.
    """

    shape: tuple[int, ...]
    axis: int | None

    @staticmethod
    def of(shape: Sequence[int], parameters: Sequence[Tensor]) -> "Layout":
        """The layout for samples of `shape` whose neurons differ as `parameters` do."""
        axes = {
            axis - p.dim() + len(shape)
            for p in parameters
            for axis in range(p.dim())
            if p.shape[axis] > 1
        }
        if len(axes) > 1:
            return Layout(tuple(shape), None)
        return Layout(tuple(shape), axes.pop() if axes else 0)

    @property
    def width(self) -> int:
        """M."""
        return prod(self.shape) if self.axis is None else self.shape[self.axis]

    @cached_property
    def _inward(self) -> tuple[int, ...]:
        """The axes of (Tc, B, *shape), that along which neurons differ last."""
        last = 2 + (self.axis or 0)
        others = range(2 + len(self.shape))
        return (*(axis for axis in others if axis != last), last)

    @cached_property
    def _outward(self) -> tuple[int, ...]:
        """Inverse of `_inward`."""
        return tuple(self._inward.index(axis) for axis in range(len(self._inward)))

    @cached_property
    def _moved(self) -> tuple[int, ...]:
        """A sample's shape in the order `_inward`."""
        return tuple(self.shape[axis - 2] for axis in self._inward[2:])

    def flat(self, x: Tensor) -> Tensor:
        """(Tc, B, *shape) as (Tc, B * P, M); free of copies where it was made by `back`."""
        moved = x.permute(self._inward) if self.shape else x
        return moved.reshape(x.shape[0], -1, self.width)

    def back(self, flat: Tensor, batch: int) -> Tensor:
        """Inverse of `flat`, without a copy."""
        moved = flat.reshape(flat.shape[0], batch, *self._moved)
        return moved.permute(self._outward) if self.shape else moved

    def parameter(self, value: Tensor) -> Tensor:
        """What broadcasts to a sample as (M,); a scalar stays one."""
        if value.dim() == 0:
            return value
        if self.axis is None:
            return self.flat(value.expand(1, 1, *self.shape)).reshape(-1).contiguous()
        return value.expand(self.shape).movedim(self.axis, -1).reshape(-1, self.width)[0]

    def start(self, value: Tensor, batch: int) -> Tensor:
        """A state at rest for `batch` samples, (B * P, M)."""
        return self.flat(value.expand(1, batch, *self.shape))[0].contiguous()


def scan(
    fusable: Fusable,
    terms: Sequence[Tensor],
    scales: Sequence[Tensor | None],
    shift: Tensor | None,
    state: Sequence[Tensor],
    *,
    first: int,
    parameters: Sequence[Tensor],
    dtype: torch.dtype,
    fused: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a chunk: the current is the sum of `terms` (Tc, R, M), each times its scale, plus shift,
    which is that of every step or has a row for each.

    `first` steps have gone before. Returns what was sent, (Tc, R, M) in `dtype`, and the state
    after.
    """
    run = _unrolled(fusable.step)
    time = _clock(first, state[0].dtype, state[0].device)
    sent, after = (compiled(run) if fused else run)(
        tuple(terms), tuple(scales), shift, time, tuple(state), tuple(parameters), dtype
    )
    return sent, after


@cache
def compiled(loop: Callable[..., Result]) -> Callable[..., Result]:
    """`loop` compiled, anew for more kinds of shapes than torch allows by itself."""
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        options: dict[str, Any] = {"recompile_limit": _KINDS}
        return torch.compile(loop, dynamic=True, fullgraph=True, **options)
    older = torch.compile(loop, dynamic=True, fullgraph=True)

    def run(*arguments: object) -> Result:
        with torch._dynamo.config.patch(recompile_limit=_KINDS):  # costs as much as a small layer
            return older(*arguments)

    return run


@lru_cache(maxsize=1024)
def _clock(steps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The number of steps that have gone before, as a scalar that is never written to."""
    return torch.tensor(float(steps), dtype=dtype, device=device)


@cache
def _unrolled(step: Step) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    def run(
        terms: tuple[Tensor, ...],
        scales: tuple[Tensor | None, ...],
        shift: Tensor | None,
        time: Tensor,
        state: tuple[Tensor, ...],
        parameters: tuple[Tensor, ...],
        dtype: torch.dtype,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        sent, work = [], time.dtype
        for t in range(terms[0].shape[0]):
            parts = [
                term[t].to(work) if scale is None else term[t].to(work) * scale
                for term, scale in zip(terms, scales, strict=True)
            ]
            current = parts[0]
            for part in parts[1:]:
                current = current + part
            if shift is not None:
                current = current + (shift if shift.dim() < 2 else shift[t])
            time = time + 1
            out, *after = step(current, time, *state, *parameters)
            state = tuple(after)
            sent.append(out.to(dtype))
        return torch.stack(sent), state

    return run


@cache
def compiler() -> str | None:
    """None where loops can be compiled here, else why not."""
    # it warns of a CUDA that is half installed, which loops on a CPU need not
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(3))
    except Exception as error:  # a missing or broken compiler shows itself in many types
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return None
