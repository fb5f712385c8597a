"""Why a module cannot be traced, said in words of the user's own code, not of torch's."""

import inspect
import re
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from convsnn.errors import UnsupportedError
from convsnn.load.wrappers import own_copy, unwrap

_BATCHES = (1, 2, 3, 4, 8, 10, 16, 20, 32, 50, 64, 100, 128, 256)
_SYMBOLS = re.compile(r"\b[suz]\d+\b|SymInt|FakeTensor|fake tensor|torch\._|dynamo|guard", re.I)
_FREE = "write x.flatten(1) or x.view(x.size(0), -1), so that the first axis may have any size"
_BY_VALUE = (
    "let torch.where choose between values, or a setting of the module between ways; what depends "
    "on the values of the data cannot be traced"
)


def explained(module: nn.Module, example: Tensor, error: Exception) -> UnsupportedError:
    """The error to raise where tracing `module` on `example` raised `error`."""
    name, shape = type(module).__name__, tuple(example.shape[1:])
    if isinstance(module, torch.jit.ScriptModule):
        return UnsupportedError(
            f"{name} is a TorchScript program, which cannot be traced",
            hint="load its weights into the Python module that it was made from",
        )
    for path, part in module.named_modules():
        home = type(part).__module__
        if home.startswith("torch.ao.nn.") and ".quantized" in home:
            return UnsupportedError(
                f"{name} was quantised by torch: '{path}' ({type(part).__name__}) computes with "
                "whole numbers",
                hint="give the network as it was before torch.ao.quantization.convert",
            )
    failed = _run(module, example)
    if failed is None:
        return _untraceable(name, shape, error)
    size = next((n for n in _BATCHES if n != len(example) and _runs(module, example, n)), None)
    where = _where(module, failed)
    if size is not None:
        return UnsupportedError(
            f"{name} fixes its batch size{where}: it runs on a batch of {size}, and not on one "
            f"of {len(example)}",
            hint=_FREE,
        )
    if _takes_another_number(module, failed):
        return UnsupportedError(
            f"{name} does not take one input: {_first_line(failed)}",
            hint="a network of one input, a batch of samples, is what is converted: give a module "
            "whose forward takes them as one tensor, and has a default for all else",
        )
    return UnsupportedError(
        f"{name} fails on an input of {shape}{where}: {_first_line(failed)}",
        hint="check that the input shape is the one that the network was built for",
    )


def _untraceable(name: str, shape: Sequence[int], error: Exception) -> UnsupportedError:
    line = _line(error)
    at = f" at {line}" if line else ""
    text = _first_line(error)
    by_value = "data-dependent" in str(error) or "DataDependent" in type(error).__name__
    if by_value or "aten._local_scalar_dense" in str(error):
        what = f"{name} cannot be traced{at}: which way it takes depends on the values of the data"
        return UnsupportedError(what, hint=_BY_VALUE)
    said = f": {text}" if not _SYMBOLS.search(text) else ""
    return UnsupportedError(
        f"{name} runs on an input of {tuple(shape)}, but torch.export cannot trace it{at}{said}",
        hint=_BY_VALUE,
    )


def _run(module: nn.Module, example: Tensor) -> Exception | None:
    """What running the module itself raises."""
    try:
        with own_copy(module) as call, torch.no_grad():
            call(example)
    except Exception as error:  # user code can raise anything
        return error
    return None


def _takes_another_number(module: nn.Module, error: Exception) -> bool:
    """Whether it is the module's own `forward`, not one of its layers, that cannot be called with
    one argument."""
    if not isinstance(error, TypeError):
        return False
    try:
        inspect.signature(unwrap(module).forward).bind(None)
    except TypeError:
        return True
    return False


def _runs(module: nn.Module, example: Tensor, size: int) -> bool:
    """Whether the module gives `size` answers to a batch of that size."""
    rows = torch.arange(size, device=example.device) % len(example)
    out: Any = None
    try:
        with own_copy(module) as call, torch.no_grad():
            out = call(example[rows])
    except Exception:  # user code can raise anything
        return False
    leaves = [v for v in torch.utils._pytree.tree_leaves(out) if isinstance(v, Tensor)]
    return bool(leaves) and all(leaf.shape[:1] == (size,) for leaf in leaves)


def _where(module: nn.Module, error: Exception) -> str:
    """The innermost layer and the user's own line, as far as they are known."""
    names = {part: name for name, part in module.named_modules()}
    layer = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        part = frame.f_locals.get("self")
        if isinstance(part, nn.Module) and names.get(part):
            layer = f" in layer '{names[part]}' ({type(part).__name__})"
    line = _line(error)
    return f"{layer} at {line}" if line else layer


def _line(error: BaseException) -> str:
    """`file.py:12` of the innermost frame of the user's own code."""
    libraries = [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    here = str(PurePath(__file__).parent)
    outside = (*libraries, str(PurePath(torch.__file__).parent), here, "<")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(outside)]
    return f"{PurePath(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
