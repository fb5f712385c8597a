"""Functions without state: GELU and its like, what longer formulas are made of, lengths."""

import numpy as np

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Constant, Data, Ints, Value, as_data, as_ints


@ONNX_OPS.register("Gelu")
def gelu(net: Net, x: Value, *, approximate: str = "none") -> Data:
    """x Phi(x), in both forms."""
    return net.emit("gelu", as_data(x), approximate=approximate)


@ONNX_OPS.register("Swish")
def swish(net: Net, x: Value, *, alpha: float = 1.0) -> Data:
    """x sigmoid(alpha x)."""
    return net.emit("silu", as_data(x), alpha=alpha)


@ONNX_OPS.register("HardSwish")
def hard_swish(net: Net, x: Value) -> Data:
    """x times its hard sigmoid with a slope of 1/6."""
    return net.emit("hard_swish", as_data(x))


@ONNX_OPS.register("HardSigmoid")
def hard_sigmoid(net: Net, x: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Data:
    """min(max(alpha x + beta, 0), 1)."""
    return net.emit("hard_sigmoid", as_data(x), alpha=alpha, beta=beta)


@ONNX_OPS.register("Elu")
def elu(net: Net, x: Value, *, alpha: float = 1.0) -> Data:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return net.emit("elu", as_data(x), alpha=alpha, scale=1.0, inner=1.0)


@ONNX_OPS.register("Selu")
def selu(
    net: Net, x: Value, *, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323
) -> Data:
    """gamma times an Elu."""
    return net.emit("elu", as_data(x), alpha=alpha, scale=gamma, inner=1.0)


@ONNX_OPS.register("Celu")
def celu(net: Net, x: Value, *, alpha: float = 1.0) -> Data:
    """x where x > 0, else alpha (exp(x / alpha) - 1)."""
    if alpha == 0:
        raise net.error("divides by zero")
    return net.emit("elu", as_data(x), alpha=alpha, scale=1.0, inner=1.0 / alpha)


@ONNX_OPS.register("Softplus")
def softplus(net: Net, x: Value) -> Data:
    """log(1 + exp(x))."""
    return net.emit("softplus", as_data(x))


@ONNX_OPS.register("Softsign")
def softsign(net: Net, x: Value) -> Data:
    """x / (1 + |x|)."""
    return net.emit("softsign", as_data(x))


@ONNX_OPS.register("Mish")
def mish(net: Net, x: Value) -> Data:
    """x tanh(softplus(x))."""
    return net.emit("mish", as_data(x))


@ONNX_OPS.register("Tanh")
def tanh(net: Net, x: Value) -> Data:
    """Hyperbolic tangent."""
    return net.emit("tanh", as_data(x))


@ONNX_OPS.register("Erf")
def erf(net: Net, x: Value) -> Data:
    """Error function, the core of GELU as older files write it."""
    return net.emit("elementary", as_data(x), kind="erf")


@ONNX_OPS.register("Exp")
def exp(net: Net, x: Value) -> Data:
    """Exponential."""
    return net.emit("elementary", as_data(x), kind="exp")


@ONNX_OPS.register("Log")
def log(net: Net, x: Value) -> Data:
    """Natural logarithm."""
    return net.emit("elementary", as_data(x), kind="log")


@ONNX_OPS.register("Cos")
def cos(net: Net, x: Value) -> Data:
    """Cosine."""
    return net.emit("elementary", as_data(x), kind="cos")


@ONNX_OPS.register("Sin")
def sin(net: Net, x: Value) -> Data:
    """Sine."""
    return net.emit("elementary", as_data(x), kind="sin")


@ONNX_OPS.register("Sqrt")
def sqrt(net: Net, x: Value) -> Data:
    """Square root."""
    return net.emit("power", as_data(x), exponent=0.5)


@ONNX_OPS.register("Reciprocal")
def reciprocal(net: Net, x: Value) -> Data:
    """1 / x."""
    return net.emit("power", as_data(x), exponent=-1.0)


@ONNX_OPS.register("Pow")
def power(net: Net, x: Value, exponent: Value) -> Data:
    """x to a power that is one number."""
    if not isinstance(x, Data) or not isinstance(exponent, Constant):
        raise Blocked("a power whose exponent depends on the data is not read")
    number = exponent.number("exponent")
    if np.broadcast_shapes(net.file_shape(x), exponent.array.shape) != net.file_shape(x):
        raise Blocked("its exponent repeats the data along an axis")
    return x if number == 1 else net.emit("power", x, exponent=number)


@ONNX_OPS.register("IsNaN")
def is_nan(net: Net, x: Value) -> Constant:
    """Nothing is: what would make such numbers is refused, and simulation stops at them."""
    return net.made(np.zeros((1,) * (len(as_data(x).shape) + 1), dtype=bool), "nan")


def _length(net: Net, x: Value, axes: Ints, keepdims: int, order: float) -> Data:
    data = as_data(x)
    given = as_ints(axes, "axes")
    dims = sorted(net.sample_axis(a, data) for a in given or [])
    if not dims:
        raise net.mixed("it runs over the samples of a batch")
    made = net.emit("vector_norm", data, dims=dims, order=order)
    if keepdims:
        return made
    shape = net.file_shape(made)
    return net.reshape(made, [n for i, n in enumerate(shape) if i not in dims])


@ONNX_OPS.register("ReduceL2")
def reduce_l2(
    net: Net, x: Value, axes: Ints = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """Length of vectors."""
    del noop_with_empty_axes  # without axes it would run over the batch either way
    return _length(net, x, axes, keepdims, 2.0)


@ONNX_OPS.register("ReduceL1")
def reduce_l1(
    net: Net, x: Value, axes: Ints = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """Sum of absolute values."""
    del noop_with_empty_axes
    return _length(net, x, axes, keepdims, 1.0)


@ONNX_OPS.register("LpNormalization")
def lp_normalization(net: Net, x: Value, *, axis: int = -1, p: int = 2) -> Data:
    """x over its length along an axis."""
    data = as_data(x)
    length = _length(net, data, [axis], 1, float(p))
    return net.emit("quotient", data, length)
