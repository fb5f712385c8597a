"""`torch.export` asked for a user's module: with a free batch, or with one that stands for it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from convsnn.errors import UnsupportedError, out_of_memory
from convsnn.load.attention import batch_first
from convsnn.load.tracing_errors import explained
from convsnn.load.wrappers import as_its_input, evaluating, silence

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


@dataclass(frozen=True)
class Traced:
    """A traced program; `batch` is the size that stands for the batch, "" where it is free."""

    program: ExportedProgram
    batch: str = ""


def trace(module: nn.Module, example: Tensor) -> Traced:
    """Trace `module` on `example` (B, *input shape) with a free batch.

    Where torch cannot trace it with a free batch, it is traced with a fixed one. Raises
    UnsupportedError in words of the user's own code where that fails too.
    """
    try:
        return Traced(_export(module, example, free=True))
    except Exception as error:  # torch.export raises many types for what it cannot trace
        if out_of_memory(error):
            raise
        first = error
    try:
        return trace_fixed(module, example)
    except UnsupportedError:
        raise explained(module, example, first) from None


def trace_fixed(module: nn.Module, example: Tensor) -> Traced:
    """Trace with a batch of a size that is found nowhere else in the network."""
    used = {n for p in (*module.parameters(), *module.buffers()) for n in p.shape}
    size = next(p for p in (*_PRIMES, 9973) if p not in {*used, *example.shape})
    rows = torch.arange(size, device=example.device) % max(len(example), 1)
    many = example[rows]
    try:
        return Traced(_export(module, many, free=False), str(size))
    except Exception as error:  # as above
        if out_of_memory(error):
            raise
        raise explained(module, example, error) from None


def _export(module: nn.Module, example: Tensor, *, free: bool) -> ExportedProgram:
    example = as_its_input(module, example)
    if len(example) < 2:  # a batch of one would be taken for a constant
        example = example.repeat(2, *[1] * (example.dim() - 1))
    shapes = None
    if free:
        collected = ShapesCollection()
        collected[example] = {0: Dim.AUTO}
        shapes = collected.dynamic_shapes(module, (example,))
    with evaluating(module), silence(), torch.no_grad(), batch_first():
        program = torch.export.export(module, (example,), dynamic_shapes=shapes)
        return program.run_decompositions({})
