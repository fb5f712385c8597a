"""Resize and Upsample: torch's interpolation where it looks at the same places, else a product
with a constant matrix along each axis."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Data, Value, as_constant, as_data, as_ints

_FORMS = {
    ("linear", 1): "linear",
    ("linear", 2): "bilinear",
    ("linear", 3): "trilinear",
    ("cubic", 2): "bicubic",
}
Points = NDArray[Any]  # float32, as ONNX Runtime computes them, which decides ties


@ONNX_OPS.register("Upsample")
def upsample(
    net: Net, x: Value, scales: Value | Sequence[float] = None, *, mode: str = "nearest"
) -> Data:
    """Resize of opset 9 and before: coordinates are divided by the scale."""
    return _resize(net, as_data(x), _factors(scales), None, mode, "asymmetric", "floor")


@ONNX_OPS.register("Resize")
def resize(
    net: Net,
    x: Value,
    roi: Value = None,
    scales: Value = None,
    sizes: Value = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str | None = None,
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str | None = None,
) -> Data:
    """Interpolation of the spatial axes; opset 10 knows scales only, as Upsample."""
    del extrapolation_value  # belongs to a form that is refused below
    data = as_data(x)
    if net.opset < 11:
        return _resize(net, data, _factors(roi), None, mode, "asymmetric", "floor")
    if antialias or exclude_outside or keep_aspect_ratio_policy != "stretch":
        raise Blocked("its kind of interpolation (antialias and the like) is not known here")
    rank = len(data.shape) + 1
    places = list(range(rank)) if axes is None else [net.axis(a, rank) for a in axes]
    factors, wanted = [1.0] * rank, list(net.file_shape(data))
    for place, factor in zip(places, _factors(scales) or [], strict=False):
        factors[place] = factor
    given = as_ints(_given(sizes), "size")
    if given is None and not _factors(scales):
        raise net.error("gives neither scales nor sizes")
    for place, size in zip(places, given or [], strict=False):
        wanted[place] = size
    return _resize(
        net,
        data,
        factors,
        wanted if given else None,
        mode,
        coordinate_transformation_mode or "half_pixel",
        nearest_mode or "round_prefer_floor",
        cubic_coeff_a,
    )


def _given(value: Value) -> Any:
    """None for an optional input that is absent or, as older exporters write it, empty."""
    if value is None:
        return None
    constant = as_constant(value, "size")
    return constant if constant.array.size else None


def _factors(value: Value | Sequence[float]) -> list[float] | None:
    if value is None or isinstance(value, Sequence):
        return None if value is None else [float(v) for v in value]
    array = as_constant(value, "scale").array
    return [float(v) for v in array.reshape(-1)] if array.size else None


def _resize(
    net: Net,
    x: Data,
    factors: list[float] | None,
    sizes: list[int] | None,
    mode: str,
    transform: str,
    rounding: str,
    cubic: float = -0.75,
) -> Data:
    before = net.file_shape(x)
    if sizes is None:
        sizes = [
            int(np.float32(n) * np.float32(f)) for n, f in zip(before, factors or [], strict=True)
        ]
    else:
        factors = [s / n for s, n in zip(sizes, before, strict=True)]
    if sizes[0] != before[0]:
        raise net.mixed("it resizes axis 0")
    spatial = len(before) - 2
    if sizes[1] != before[1] or spatial not in (1, 2, 3) or min(sizes) < 1:
        raise Blocked("it resizes other than 1 to 3 spatial axes behind the channels")
    net.check_size(sizes[1:])
    if mode not in ("nearest", "linear", "cubic"):
        raise Blocked(f"{mode} interpolation is not known here")
    points = [
        _points(n, s, f, transform)
        for n, s, f in zip(before[2:], sizes[2:], (factors or [])[2:], strict=True)
    ]
    return _interpolated(net, x, points, sizes[2:], mode, rounding, cubic)


def _points(length: int, size: int, factor: float, transform: str) -> Points:
    """Where ONNX looks in the input for each element of the output."""
    out, scale = np.arange(size, dtype=np.float32), np.float32(factor)
    if transform == "asymmetric":
        return out / scale
    if transform == "align_corners":
        return out * (length - 1) / (size - 1) if size > 1 else out * 0.0
    if transform == "half_pixel":
        return (out + 0.5) / scale - 0.5
    if transform == "pytorch_half_pixel":
        return (out + 0.5) / scale - 0.5 if size > 1 else out * 0.0
    raise Blocked(f"its coordinates ({transform}) are not known here")


def _interpolated(
    net: Net,
    x: Data,
    points: list[Points],
    size: list[int],
    mode: str,
    rounding: str,
    cubic: float,
) -> Data:
    """The form of torch's interpolation that looks at the same places, or else matrices."""
    lengths = x.shape[1:]
    if mode == "nearest":
        chosen = [
            _rounded(p, rounding).clip(0, n - 1).astype(int)
            for p, n in zip(points, lengths, strict=True)
        ]
        for form, shift in (("nearest", 0.0), ("nearest-exact", 0.5)):
            places = [
                np.floor((np.arange(s) + shift) * (n / s)).clip(0, n - 1)
                for s, n in zip(size, lengths, strict=True)
            ]
            if all(np.array_equal(a, b) for a, b in zip(chosen, places, strict=True)):
                return net.emit("upsample", x, size=size, mode=form)
        return _by_matrix(net, x, [np.eye(n)[p] for p, n in zip(chosen, lengths, strict=True)])
    for corners, transform in ((True, "align_corners"), (False, "half_pixel")):
        places = [_points(n, s, s / n, transform) for s, n in zip(size, lengths, strict=True)]
        if all(
            np.allclose(a.clip(0, n - 1), b.clip(0, n - 1), rtol=0, atol=1e-6)
            for a, b, n in zip(points, places, lengths, strict=True)
        ):
            kind = _FORMS.get((mode, len(size)))
            if kind is not None and (mode == "linear" or cubic == -0.75):  # torch's own constant
                return net.emit("upsample", x, size=size, mode=kind, align_corners=corners)
    weigh = _linear_rows if mode == "linear" else partial(_cubic_rows, a=cubic)
    return _by_matrix(net, x, [weigh(p, n) for p, n in zip(points, lengths, strict=True)])


def _linear_rows(points: Points, length: int) -> Points:
    """Weights of the two neighbours of each point, a matrix (points, length)."""
    places = points.clip(0, length - 1)
    low = np.floor(places).astype(int)
    high, share = np.minimum(low + 1, length - 1), (places - low)[:, None]
    eye = np.eye(length)
    return eye[low] * (1 - share) + eye[high] * share


def _cubic_rows(points: Points, length: int, *, a: float) -> Points:
    """Weights of the four neighbours of each point (Keys 1981); the border is repeated."""
    low = np.floor(points)
    t, eye = (points - low)[:, None], np.eye(length)
    rows = np.zeros((len(points), length))
    for shift in (-1, 0, 1, 2):
        d = np.abs(t - shift)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        rows += eye[(low + shift).clip(0, length - 1).astype(int)] * np.where(d <= 1, near, far)
    return rows


def _by_matrix(net: Net, x: Data, rows: list[Points]) -> Data:
    """Each spatial axis multiplied by its matrix (size, length)."""
    rank = len(x.shape) + 1
    for axis, matrix in enumerate(rows, start=2):
        if np.array_equal(matrix, np.eye(matrix.shape[1])):
            continue
        last = [i for i in range(rank) if i != axis] + [axis]
        weight = net.made(matrix.astype(np.float32), f"axis{axis}")
        x = net.permute(x, last, part="moved")
        x = net.emit("linear", x, weight, part=f"axis{axis}")
        x = net.permute(x, [last.index(i) for i in range(rank)], part="back")
    return x


def _rounded(points: Points, rounding: str) -> Points:
    if rounding == "floor":
        return np.floor(points)
    if rounding == "ceil":
        return np.ceil(points)
    if rounding == "round_prefer_floor":
        return np.ceil(points - np.float32(0.5))
    if rounding == "round_prefer_ceil":
        return np.floor(points + np.float32(0.5))
    raise Blocked(f"its rounding ({rounding}) is not known here")
