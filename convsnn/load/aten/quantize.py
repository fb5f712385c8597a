"""Fake quantisation, as networks trained for whole numbers hold it.

    q = clip(round(x / scale) + zero point, lowest, highest)        y = (q - zero point) * scale

Behind a ReLU that is a staircase which a pass makes into neurons (`convsnn.passes.clip_floor`), as
for quantised ONNX files. What `prepare_qat` puts in may be switched off, and may follow the data.
"""

from typing import Any

import torch

from convsnn.load.aten.base import Blocked, Constant, Data, Lowering, aten
from convsnn.load.aten.parts import plus, times

_PLAIN = (
    "call module.apply(torch.ao.quantization.disable_fake_quant) first: the network without the "
    "rounding; spikes bring their own"
)
_FROZEN = f"call module.apply(torch.ao.quantization.disable_observer) first, or {_PLAIN}"


@aten("_fused_moving_avg_obs_fq_helper_functional")
def fused_fake_quantize(
    lowering: Lowering, *, observer_on: Any, fake_quant_on: Any, scale: Any, zero_point: Any,
    quant_min: int, quant_max: int, ch_axis: int, per_row_fake_quant: bool, **rest: Any,
) -> Data:  # fmt: skip
    """What `prepare_qat` puts behind a layer; nothing where it is switched off."""
    x: Data = rest["self"]
    if not _is_set(fake_quant_on):
        return x
    if _is_set(observer_on):
        raise Blocked("its rounding follows the data that it is shown", _FROZEN)
    axis = ch_axis if per_row_fake_quant else None
    return _staircase(lowering, x, scale, zero_point, quant_min, quant_max, axis)


@aten("fake_quantize_per_tensor_affine", "fake_quantize_per_tensor_affine_cachemask")
def fake_quantize(
    lowering: Lowering, *, scale: Any, zero_point: Any, quant_min: int, quant_max: int, **rest: Any
) -> Data:
    """One scale and zero point for all values."""
    return _staircase(lowering, rest["self"], scale, zero_point, quant_min, quant_max, None)


@aten("fake_quantize_per_channel_affine", "fake_quantize_per_channel_affine_cachemask")
def fake_quantize_channels(
    lowering: Lowering, *, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int,
    **rest: Any,
) -> Data:  # fmt: skip
    """A scale and a zero point for each place of `axis`."""
    return _staircase(lowering, rest["self"], scale, zero_point, quant_min, quant_max, axis)


def _is_set(flag: Any) -> bool:
    return bool(flag.value.any()) if isinstance(flag, Constant) else bool(flag)


def _staircase(
    lowering: Lowering, x: Data, scale: Any, zero_point: Any, low: int, high: int, axis: int | None
) -> Data:
    steps, zero = (_along(value, axis, len(x.shape) + 1) for value in (scale, zero_point))
    if not bool((steps > 0).all()):
        raise Blocked("it has a scale that is not above zero", _PLAIN)
    place = times(lowering, x, Constant(1 / steps, f"{lowering.builder.layer}.steps"))
    build = lowering.builder
    rounded = build.piece("rounding", place.name, kind="round", how="round", remedy=_PLAIN)
    moved = _moved(lowering, Data(rounded, x.shape), zero)
    detail = f"clamp to [{low}, {high}]"
    said: dict[str, Any] = {"kind": "clamp", "detail": detail, "low": low, "high": high}
    kept = Data(build.piece("clamp", moved.name, **said), x.shape)
    return times(lowering, _moved(lowering, kept, -zero), Constant(steps, f"{build.layer}.scale"))


def _along(value: Any, axis: int | None, rank: int) -> torch.Tensor:
    """Scales or zero points so that they broadcast to a value of `rank` axes."""
    plain = value.value if isinstance(value, Constant) else value
    found = torch.as_tensor(plain, dtype=torch.float32).detach()
    if axis is None:
        return found.reshape(())
    return found.reshape([-1 if place == axis % rank else 1 for place in range(rank)])


def _moved(lowering: Lowering, x: Data, zero: torch.Tensor) -> Data:
    if not bool(zero.any()):
        return x
    moved: Data = plus(lowering, x, Constant(zero, f"{lowering.builder.layer}.zero_point"))
    return moved
