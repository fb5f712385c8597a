"""What stands around a user's module: wrappers, its mode, buffers it writes, what it prints.

A module is only ever looked at here: its buffers, its mode and what it is given stay as they were.
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

from convsnn.errors import LoadError

_SHOWN = 5
_WEIGHTS = (
    "give trained weights with --weights FILE, which such layers take their sizes from, or "
    "--input-shape where the weights do not matter; in Python, load them or run the module once"
)


def inside(module: nn.Module) -> nn.Module | None:
    """The module that `module` only wraps, None where it is no wrapper that is known.

    Known are DataParallel and DistributedDataParallel, torch.compile, and AveragedModel.
    """
    if isinstance(module, (DataParallel, DistributedDataParallel, AveragedModel)):
        held = module.module
    elif type(module).__name__ == "OptimizedModule":
        held = module._orig_mod
    else:
        return None
    return held if isinstance(held, nn.Module) else None


def unwrap(module: nn.Module) -> nn.Module:
    """`module` without the wrappers around it."""
    while (held := inside(module)) is not None:
        module = held
    return module


@contextlib.contextmanager
def unwrapped(module: nn.Module) -> Iterator[nn.Module]:
    """`module` without wrappers, those inside of it taken off as long as the `with` lasts."""
    module = unwrap(module)
    found = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent._modules.items()
        if child is not None and inside(child) is not None
    ]
    try:
        for parent, name, child in found:
            parent._modules[name] = unwrap(child)
        yield module
    finally:
        for parent, name, child in found:
            parent._modules[name] = child


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """`module` in eval mode as long as the `with` lasts, then every part in its mode before."""
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, flag in training.items():
            part.training = flag


@contextlib.contextmanager
def own_copy(module: nn.Module) -> Iterator[Callable[[Tensor], Any]]:
    """A function that runs `module` in eval mode on copies of its buffers and of the input.

    The input is brought to the module's type and device. What user code prints goes to stderr.
    """
    buffers = {name: value.clone() for name, value in module.named_buffers()}

    def call(x: Tensor) -> Any:
        return torch.func.functional_call(module, buffers, (as_its_input(module, x),))

    with evaluating(module), contextlib.redirect_stdout(sys.stderr):
        yield call


def as_its_input(module: nn.Module, x: Tensor) -> Tensor:
    """A copy of `x` in the type and on the device of the module's parameters."""
    parameter = next((p for p in module.parameters() if p.is_floating_point()), x)
    return x.to(device=parameter.device, dtype=parameter.dtype, copy=True)


def float_type(module: nn.Module) -> torch.dtype:
    """The type of the module's parameters; float32 where it has none."""
    kinds = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(kinds, torch.float32)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is printed, logged or warned: while torch traces, all that speaks of its symbols."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _is_bare(part: nn.Module) -> bool:
    held = (*part._parameters.values(), *part._buffers.values())
    return any(p is not None and is_lazy(p) for p in held)


def require_weights(module: nn.Module) -> None:
    """LoadError where lazy layers have no weights yet, which names them."""
    bare = [
        f"'{name}' ({type(part).__name__})"
        for name, part in module.named_modules()
        if _is_bare(part)
    ]
    if bare:
        more = f" and {len(bare) - _SHOWN} more" if len(bare) > _SHOWN else ""
        raise LoadError(
            f"{len(bare)} layer(s) have neither sizes nor weights yet: "
            f"{', '.join(bare[:_SHOWN])}{more}",
            hint=_WEIGHTS,
        )


def settle_lazy(module: nn.Module, example: Tensor) -> None:
    """Let lazy layers that have their weights become the plain ones they stand for."""
    require_weights(module)
    if any(isinstance(part, LazyModuleMixin) for part in module.modules()):
        with own_copy(module), torch.no_grad():
            module(as_its_input(module, example))


def size_lazy(module: nn.Module, shape: Sequence[int]) -> None:
    """Give lazy layers the sizes that an input (B, *shape) asks for, and weights at random."""
    if not any(_is_bare(part) for part in module.modules()):
        return
    try:
        with evaluating(module), contextlib.redirect_stdout(sys.stderr), torch.no_grad():
            module(torch.zeros(2, *shape))
    except Exception as error:  # user code can raise anything
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LoadError(
            f"{type(module).__name__} fails on an input of {tuple(shape)}: {text}",
            hint="check the input shape",
        ) from None
