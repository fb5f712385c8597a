"""Padding of sliding windows, written out: what convolution and pooling share."""

from collections.abc import Sequence


def explicit_pads(
    auto_pad: str,
    pads: Sequence[int] | None,
    spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """[begins..., ends...] from ONNX's `auto_pad` or `pads`, per spatial axis."""
    if auto_pad in ("NOTSET", ""):
        return list(pads) if pads else [0] * (2 * len(spatial))
    if auto_pad == "VALID":
        return [0] * (2 * len(spatial))
    totals = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(spatial, kernel, stride, dilation, strict=True)
    ]
    return halved(totals, more_at_end=auto_pad == "SAME_UPPER")


def halved(totals: Sequence[int], *, more_at_end: bool) -> list[int]:
    """Total padding of each axis as [begins..., ends...], an odd one at the side asked for."""
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return small + large if more_at_end else large + small
