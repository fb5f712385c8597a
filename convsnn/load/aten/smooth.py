"""Functions without state: GELU and its like, norms, powers, quotients."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from convsnn.load.aten.base import Blocked, Constant, Data, Lowering, aten
from convsnn.load.aten.parts import affine, grouped, plus, times
from convsnn.load.aten.weighted import matmul


@aten("gelu")
def gelu(lowering: Lowering, *, approximate: str = "none", **arguments: Any) -> str:
    """GELU in both forms."""
    return lowering.builder.emit("gelu", arguments["self"].name, approximate=approximate)


@aten("silu", "mish", "tanh", "hardswish", "hardsigmoid", "log_sigmoid")
def plain(lowering: Lowering, **arguments: Any) -> str:
    """Functions without options."""
    known = {"hardswish": "hard_swish", "hardsigmoid": "hard_sigmoid"}
    kind = lowering.op.rstrip("_")
    return lowering.builder.emit(known.get(kind, kind), arguments["self"].name)


@aten("erf", "exp", "log", "cos", "sin")
def elementary(lowering: Lowering, **arguments: Any) -> str:
    """What longer formulas are made of."""
    kind = lowering.op.rstrip("_")
    return lowering.builder.emit("elementary", arguments["self"].name, kind=kind)


@aten("elu")
def elu(lowering: Lowering, *, alpha: float, scale: float, input_scale: float, **rest: Any) -> str:
    """ELU; SELU and CELU arrive as this too."""
    numbers = {"alpha": float(alpha), "scale": float(scale), "inner": float(input_scale)}
    return lowering.builder.emit("elu", rest["self"].name, **numbers)


@aten("selu")
def selu(lowering: Lowering, **arguments: Any) -> str:
    """ELU with fixed numbers."""
    numbers = {"alpha": 1.6732632423543772, "scale": 1.0507009873554805, "inner": 1.0}
    return lowering.builder.emit("elu", arguments["self"].name, **numbers)


@aten("celu")
def celu(lowering: Lowering, *, alpha: float = 1.0, **arguments: Any) -> str:
    """ELU whose slope is 1 on both sides of zero."""
    numbers = {"alpha": float(alpha), "scale": 1.0, "inner": 1 / float(alpha)}
    return lowering.builder.emit("elu", arguments["self"].name, **numbers)


@aten("softplus")
def softplus(lowering: Lowering, *, beta: float = 1, threshold: float = 20, **rest: Any) -> str:
    """Smooth ReLU."""
    numbers = {"beta": float(beta), "threshold": float(threshold)}
    return lowering.builder.emit("softplus", rest["self"].name, **numbers)


@aten("glu")
def glu(lowering: Lowering, *, dim: int = -1, **arguments: Any) -> str:
    """The first half times the sigmoid of the second."""
    x: Data = arguments["self"]
    axis = dim % (len(x.shape) + 1)
    if axis == 0:
        raise Blocked("it splits the batch")
    half, emit = x.shape[axis - 1] // 2, lowering.builder.emit
    first = emit("slice", x.name, dim=axis, start=0, stop=half, step=1)
    second = emit("slice", x.name, dim=axis, start=half, stop=2 * half, step=1)
    return emit("multiply", first, emit("sigmoid_inside", second))


@aten("sqrt", "rsqrt", "reciprocal", "square")
def fixed_power(lowering: Lowering, **arguments: Any) -> str:
    """Powers that have a name."""
    kind = lowering.op.rstrip("_")
    exponent = {"sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0, "square": 2.0}[kind]
    return lowering.builder.emit("power", arguments["self"].name, exponent=exponent)


@aten("linalg_vector_norm", "norm")
def vector_norm(lowering: Lowering, *, dim: Any = None, keepdim: bool = False, **rest: Any) -> str:
    """Lengths of vectors along axes other than the batch."""
    x: Data = rest["self"]
    order = rest.get("ord", rest.get("p", 2))
    dims = _dims(x, dim)
    name = lowering.builder.emit(
        "vector_norm", x.name, dims=dims, order=2.0 if order is None else float(order)
    )
    return name if keepdim else lowering.builder.emit("reshape", name, shape=list(lowering.shape))


def _dims(x: Data, dim: Any) -> list[int]:
    dims = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    found = [d % (len(x.shape) + 1) for d in dims]
    if not found or 0 in found:
        raise Blocked("it runs over the samples of a batch")
    return found


@aten("var", "std")
def variance(
    lowering: Lowering, *, dim: Any = None, correction: Any = None, keepdim: bool = False,
    unbiased: bool = True, **arguments: Any,
) -> str:  # fmt: skip
    """Variance and its root: the mean square of what differs from the mean."""
    x: Data = arguments["self"]
    dims, emit = _dims(x, dim), lowering.builder.emit
    correction = int(unbiased) if correction is None else correction
    centred = emit("sub", x.name, emit("mean", x.name, dims=dims, keepdim=True))
    mean = emit("mean", emit("power", centred, exponent=2.0), dims=dims, keepdim=keepdim)
    count = math.prod(x.shape[d - 1] for d in dims)
    found = Data(mean, lowering.shape)
    if count != correction:
        found = times(lowering, found, count / (count - correction))
    if not lowering.op.startswith("std"):
        return found.name
    return emit("power", found.name, exponent=0.5)


@aten("var_mean", "std_mean")
def variance_and_mean(
    lowering: Lowering, *, dim: Any = None, keepdim: bool = False, **arguments: Any
) -> tuple[str, ...]:
    """Both at once."""
    name = variance(lowering, dim=dim, keepdim=keepdim, **arguments)
    x: Data = arguments["self"]
    return name, lowering.builder.emit("mean", x.name, dims=_dims(x, dim), keepdim=keepdim)


@aten("layer_norm", "native_layer_norm")
def layer_norm(
    lowering: Lowering, *, input: Data, normalized_shape: Sequence[int], weight: Any = None,
    bias: Any = None, eps: float = 1e-5, **rest: Any,
) -> str:  # fmt: skip
    """Layer norm; its weight and bias go into the weights behind it."""
    del rest
    rank, own = len(input.shape) + 1, [int(n) for n in normalized_shape]
    dims = list(range(rank - len(own), rank))
    name = lowering.builder.emit("layer_norm", input.name, dims=dims, epsilon=float(eps))
    return affine(lowering, name, weight, bias, [1] * (rank - 1 - len(own)) + own)


@aten("rms_norm", "_fused_rms_norm")
def rms_norm(
    lowering: Lowering, *, input: Data, normalized_shape: Sequence[int], weight: Any = None,
    eps: float | None = None, **rest: Any,
) -> str:  # fmt: skip
    """RMS norm."""
    del rest
    rank, own = len(input.shape) + 1, [int(n) for n in normalized_shape]
    dims = list(range(rank - len(own), rank))
    epsilon = torch.finfo(torch.float32).eps if eps is None else float(eps)
    name = lowering.builder.emit("rms_norm", input.name, dims=dims, epsilon=epsilon)
    return affine(lowering, name, weight, None, [1] * (rank - 1 - len(own)) + own)


@aten("group_norm", "native_group_norm")
def group_norm(
    lowering: Lowering, *, input: Data, weight: Any = None, bias: Any = None, **rest: Any
) -> str:
    """Layer norm over the channels of a group and all places."""
    groups = int(rest.get("num_groups", rest.get("group", 1)))
    return grouped(lowering, input, groups, weight, bias, float(rest.get("eps", 1e-5)))


@aten("scaled_dot_product_attention")
def attention(
    lowering: Lowering, *, query: Any, key: Any, value: Any, attn_mask: Any = None,
    is_causal: bool = False, scale: float | None = None, **rest: Any,
) -> str:  # fmt: skip
    """softmax(q k' * scale + mask) v."""
    if rest.get("dropout_p"):
        raise Blocked("it drops shares at random", "export the network in evaluation mode")
    if rest.get("enable_gqa"):
        key, value = (_for_every_head(lowering, part, query) for part in (key, value))
    factor = scale or 1 / math.sqrt(_sizes(query)[-1])
    q = times(lowering, query, factor) if isinstance(query, Data) else _scaled(query, factor)
    last, emit = len(_sizes(key)), lowering.builder.emit
    if isinstance(key, Data):
        swap = [*range(last - 1), last, last - 1]
        turned = emit("permute", key.name, dims=swap)
        k: Data | Constant = Data(turned, (*key.shape[:-2], *key.shape[:-3:-1]))
    else:
        k = Constant(key.value.mT, key.name)
    shape = (*_sizes(value)[:-2], _sizes(query)[-2], _sizes(key)[-2])
    if not isinstance(q, Data) and not isinstance(k, Data):
        raise Blocked("neither its queries nor its keys depend on the input")
    scores = Data(matmul(lowering, self=q, other=k), shape)
    if is_causal:
        attn_mask = Constant(torch.ones(shape[-2:], dtype=torch.bool).tril(), "")
    if attn_mask is not None:
        scores = _masked(lowering, scores, attn_mask)
    shares = emit("softmax_inside", scores.name, dim=len(shape))
    return matmul(lowering, self=Data(shares, shape), other=value)


def _for_every_head(lowering: Lowering, shared: Any, query: Any) -> Any:
    """Keys or values that several heads in a row share, once for each of them."""
    own, wanted = _sizes(shared)[-3], _sizes(query)[-3]
    if own == wanted:
        return shared
    if not isinstance(shared, Data):
        return Constant(shared.value.repeat_interleave(wanted // own, -3), f"{shared.name}.shared")
    *before, heads, tokens, channels = shared.shape
    emit, count = lowering.builder.emit, wanted // own
    name = emit("reshape", shared.name, shape=[*before, heads, 1, tokens, channels])
    ones = torch.ones(*[1] * (len(before) + 2), count, 1, 1)
    name = emit("scale", name, lowering.filled(ones, "factor"))
    shape = (*before, wanted, tokens, channels)
    return Data(emit("reshape", name, shape=list(shape)), shape)


def _sizes(value: Data | Constant) -> tuple[int, ...]:
    """The shape of one sample."""
    return value.shape if isinstance(value, Data) else tuple(value.value.shape[1:])


def _scaled(constant: Constant, factor: float) -> Constant:
    return Constant(constant.value * factor, f"{constant.name}.scaled")


def _masked(lowering: Lowering, scores: Data, mask: Any) -> Data:
    given = mask
    if isinstance(mask, Constant):
        added = mask.value
        if added.dtype is torch.bool:
            added = torch.zeros(added.shape).masked_fill(~added, -math.inf)
        given = Constant(added, f"{lowering.builder.layer}.mask")
    before, lowering.shape = lowering.shape, scores.shape
    done: Data = plus(lowering, scores, given)
    lowering.shape = before
    return done
