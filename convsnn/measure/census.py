"""Counts a network's activations, norms and products by watching it run; knows nothing of `load`.

This is what an import is checked against: the module runs once on tensors without storage, and
every ATen call that gets a value depending on the input is sorted by what it does to that value.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_NO_ARGUMENTS: tuple[Any, ...] = ()
_OTHER_ACTIVATIONS = {
    "gelu": "gelu", "silu": "silu", "mish": "mish", "elu": "elu", "celu": "celu",
    "selu": "selu", "hardswish": "hardswish", "hardsigmoid": "hardsigmoid",
    "sigmoid": "sigmoid", "tanh": "tanh", "softplus": "softplus", "glu": "glu",
    "log_sigmoid_forward": "logsigmoid", "erf": "erf", "_softmax": "softmax",
    "_safe_softmax": "softmax", "_log_softmax": "log_softmax",
    "_native_multi_head_attention": "softmax", "_transformer_encoder_layer_fwd": "softmax",
    "_scaled_dot_product_flash_attention_for_cpu": "softmax",
}  # fmt: skip
_READOUTS = {"softmax", "log_softmax", "sigmoid"}  # what may stand at the very end, as it is
_NORMS = {
    "native_layer_norm": "layer norm",
    "native_group_norm": "group norm",
    "_fused_rms_norm": "RMS norm",
    "linalg_vector_norm": "vector norm",
    "var": "variance",
    "var_mean": "variance",
    "std": "variance",
    "std_mean": "variance",
}
_PRODUCTS = {
    "mul", "div", "mm", "bmm", "addmm", "baddbmm", "convolution", "addcmul", "addcdiv", "dot",
}  # fmt: skip
_NONLINEAR = {
    "abs", "pow", "sqrt", "rsqrt", "reciprocal", "exp", "log", "sin", "cos", "floor", "round",
    "sign", "maximum", "minimum", "where", "sort", "topk", "argmax", "gather", "cumprod",
    "logsumexp", "masked_fill",
}  # fmt: skip
_FACTORIES = {
    "new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like", "empty_like",
    "full_like",
}  # fmt: skip
_ZEROS = {"zeros", "zeros_like", "new_zeros"}
_FILLED = {"full": 1, "full_like": 1, "new_full": 2, "scalar_tensor": 0}  # where the value stands
_ROUNDINGS = {"floor", "round"}


@dataclass(frozen=True)
class Census:
    """How often each kind of thing is done to a value that depends on the input.

    `rectifiers` are ReLU in every spelling, clipped and leaky ones among them; `activations` all
    others, but for a softmax or sigmoid that nothing reads, which is a readout; `norms` are batch
    norm with fixed statistics and every other; `products` have two factors that depend on the
    input; `others` are what else is not linear, but for max pooling.
    """

    rectifiers: Mapping[str, int] = field(default_factory=dict)
    activations: Mapping[str, int] = field(default_factory=dict)
    norms: Mapping[str, int] = field(default_factory=dict)
    products: int = 0
    others: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(found: Mapping[str, Mapping[str, int]]) -> "Census":
        """From counts by group, a field's name each, and kind."""
        groups = {name: dict(kinds) for name, kinds in found.items() if name != "products"}
        return Census(products=sum(found.get("products", {}).values()), **groups)

    @property
    def sites(self) -> int:
        """How many populations of neurons a full conversion must have."""
        return sum(self.rectifiers.values())

    @property
    def pieces(self) -> int:
        """How many more rectifiers there may be, written out as `x * (x > 0)` and the like."""
        return self.products + sum(self.others.values())

    def allows(self, sites: int) -> bool:
        """Whether `sites` may be right: each piece may be one more rectifier, or part of one.

        Bounds around a rounding are one staircase together, so that there may also be fewer.
        """
        staircase = _ROUNDINGS & {kind.lower() for kind in self.others}
        return (1 if staircase else self.sites) <= sites <= self.sites + self.pieces

    @property
    def rectified(self) -> bool:
        """Whether all its activations are rectifiers, and there is one."""
        return self.sites > 0 and not self.activations

    @property
    def batch_normed(self) -> bool:
        """Whether it has no norm but batch norm with fixed statistics, if any."""
        return set(self.norms) <= {"batch norm"}


def _bounds(low: Any, high: Any) -> str:
    """The name of a clamp: of a rectifier where it begins at 0."""
    if low == 0:
        if high is None or high == float("inf"):
            return "relu"
        return f"clip {high}" if isinstance(high, str) else f"clip {high:g}"
    return f"clamp [{low}, {high}]"


def _hardtanh(x: Tensor, low: float = -1, high: float = 1) -> str:
    del x
    return _bounds(low, high)


def _clamp(x: Tensor, min: Any = None, max: Any = None) -> str:
    del x
    return _bounds(min, max)


def _threshold(x: Tensor, threshold: Any, value: Any) -> str:
    del x
    return "relu" if threshold == 0 and value == 0 else f"threshold ({threshold}, {value})"


_CLAMPS: dict[str, Callable[..., str]] = {
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "threshold": _threshold,
}
_RECTIFIERS = {
    "relu": "relu",
    "relu6": "clip 6",
    "leaky_relu": "leaky relu",
    "prelu": "prelu",
    "_prelu_kernel": "prelu",
}


class _Watch(TorchDispatchMode):
    """Sorts the calls that get a value depending on the input."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By storage, so that a view depends on the input as soon as its base does, and the other
        # way round. Held, so that no address is used twice.
        self._held = {x.untyped_storage()._cdata: x.untyped_storage()}
        self._zeros: dict[
            int, UntypedStorage
        ] = {}  # all 0: on the meta device nothing else says so
        self._ends: dict[int, str] = {}  # softmax and the like, until something reads them
        self.found: dict[str, Counter[str]] = {}

    def _depends(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.untyped_storage()._cdata in self._held

    def _is_zero(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.untyped_storage()._cdata in self._zeros

    def _note_zeros(self, func: Any, args: tuple[Any, ...], given: Any, result: Any) -> None:
        op = func._opname
        if func._schema.is_mutable:  # to forget what is only read there costs a count, no more
            for value in tree_leaves([args, given]):
                if isinstance(value, Tensor):
                    self._zeros.pop(value.untyped_storage()._cdata, None)
        place = _FILLED.get(op)
        filled = place is not None and len(args) > place and args[place] == 0
        if (op in _ZEROS or filled) and isinstance(result, Tensor):
            storage = result.untyped_storage()
            self._zeros[storage._cdata] = storage

    def _note(self, group: str, kind: str) -> None:
        self.found.setdefault(group, Counter())[kind] += 1

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = _NO_ARGUMENTS,
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        moving = [value for value in tree_leaves([args, given]) if self._depends(value)]
        result = func(*args, **given)
        for value in moving:
            kind = self._ends.pop(value.untyped_storage()._cdata, "")
            if kind:
                self._note("activations", kind)
        op = func._opname.removesuffix("_")
        if moving:
            if _OTHER_ACTIVATIONS.get(op) in _READOUTS and isinstance(result, Tensor):
                self._ends[result.untyped_storage()._cdata] = _OTHER_ACTIVATIONS[op]
            else:
                self._sort(op, args, given, len(moving))
            for value in tree_leaves([result, args[:1] if func._schema.is_mutable else ()]):
                if isinstance(value, Tensor) and op not in _FACTORIES:  # these take a size only
                    storage = value.untyped_storage()
                    self._held[storage._cdata] = storage
        self._note_zeros(func, args, given, result)
        return result

    def _number(self, bound: Any) -> Any:
        """A bound as it can be told: of a tensor without storage only whether it is made of 0."""
        if not isinstance(bound, Tensor):
            return bound
        return 0 if self._is_zero(bound) else "?"

    def _sort(self, op: str, args: tuple[Any, ...], given: dict[str, Any], moving: int) -> None:
        if op in _RECTIFIERS:
            self._note("rectifiers", _RECTIFIERS[op])
        elif op in _CLAMPS:
            bounds = {name: self._number(value) for name, value in given.items()}
            kind = _CLAMPS[op](*map(self._number, args), **bounds)
            self._note("rectifiers" if kind.startswith(("relu", "clip")) else "others", kind)
        elif op == "maximum" and any(self._is_zero(value) for value in args):
            self._note("rectifiers", "relu")
        elif op in _OTHER_ACTIVATIONS:
            self._note("activations", _OTHER_ACTIVATIONS[op])
        elif op == "native_batch_norm":
            self._note("norms", "instance norm" if args[5] else "batch norm")
        elif op in _NORMS:
            self._note("norms", _NORMS[op])
        elif op in _PRODUCTS and moving > 1:
            self._note("products", op)
        elif op in _NONLINEAR:
            self._note("others", op)


def count(module: nn.Module, input_shape: Sequence[int]) -> Census:
    """Run `module`, whose parameters are on the meta device, on one batch of `input_shape`.

    Raises what the module's own forward raises.
    """
    with torch.device("meta"), torch.no_grad():
        x = torch.empty(2, *input_shape)
        watch = _Watch(x)
        with watch:
            module.eval()(x)
    return Census.of(watch.found)
