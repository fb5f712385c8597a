"""Bring stored samples to the network's input: resize, scale, normalise, order the axes.

Stored samples are (B, C, H, W), or (B, C, L) and (B, F) where they are no images. Resizing works
on the stored values, as the usual evaluation pipelines do: 8-bit images stay 8-bit until after.
"""

import math

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from zoo.data.preprocessing import Layout, Preprocessing

Shape = tuple[int, ...]


def prepare(raw: Tensor, *, scale: float, settings: Preprocessing, input_shape: Shape) -> Tensor:
    """Stored samples (B, ...) to float32 (B, *input_shape).

    `scale` is the data set's own and counts where the settings name none. ConfigError where the
    samples cannot be brought to that shape, or leave the finite numbers.
    """
    if settings.resize is not None:
        raw = _resize(raw, settings.resize, input_shape, settings.layout)
    x = raw.to(torch.float32) / (scale if settings.scale is None else settings.scale)
    if settings.mean:
        x = x - _per_channel("mean", settings.mean, x)
    if settings.std:
        x = x / _per_channel("std", settings.std, x)
    if not bool(x.isfinite().all()):
        raise ConfigError("preprocessing leaves the finite numbers", hint="check scale and std")
    if _order(tuple(x.shape[1:]), input_shape, settings.layout) == "nhwc":
        x = x.movedim(1, -1)
    return x.reshape(len(x), *input_shape)


def _per_channel(name: str, values: tuple[float, ...], x: Tensor) -> Tensor:
    channels = x.shape[1]
    if len(values) not in (1, channels):
        raise ConfigError(
            f"preprocessing: {len(values)} values of {name} for data of {channels} channel(s)",
            hint=f"give one value, or {channels}",
        )
    return torch.tensor(values).reshape(1, -1, *[1] * (x.dim() - 2))


def _core(shape: Shape) -> Shape:
    """`shape` without axes of length 1 at its ends: (1, 28, 28), (28, 28, 1) -> (28, 28)."""
    start, stop = 0, len(shape)
    while start < stop and shape[start] == 1:
        start += 1
    while stop > start and shape[stop - 1] == 1:
        stop -= 1
    return shape[start:stop]


def _order(data: Shape, wanted: Shape, layout: Layout) -> Layout:
    """Which order of axes brings samples of shape `data` to `wanted`; ConfigError if none does."""
    channels_last = (*data[1:], data[0])
    fits = {
        "nchw": _core(data) == _core(wanted),
        "nhwc": _core(channels_last) == _core(wanted),
        "flat": math.prod(data) == math.prod(wanted),
    }
    if layout != "auto":
        if not fits[layout]:
            raise _misfit(data, wanted, layout)
        return layout
    if fits["nchw"] and fits["nhwc"] and len(data) == 3 and data[0] > 1 and max(data[1:]) > 1:
        raise _ambiguous(data, wanted)
    if fits["nchw"]:
        return "nchw"
    if fits["nhwc"]:
        return "nhwc"
    if fits["flat"] and len(_core(wanted)) <= 1:
        return "flat"
    raise _misfit(data, wanted, layout)


def _ambiguous(data: Shape, wanted: Shape) -> ConfigError:
    return ConfigError(
        f"samples of shape {data} (channels, height, width) fit the network's input {wanted} "
        "with channels first and with channels last",
        hint="say which with --input-layout nchw or --input-layout nhwc",
    )


def _misfit(data: Shape, wanted: Shape, layout: Layout) -> ConfigError:
    order = "" if layout == "auto" else f" as {layout}"
    return ConfigError(
        f"samples of shape {data} do not fit the network's input {wanted}{order}",
        hint=_remedy(data, wanted, layout),
    )


def _remedy(data: Shape, wanted: Shape, layout: Layout) -> str:
    if data[1:] == wanted:
        return "if the first axis is that of time, read the file as frames:TRAIN.npz,TEST.npz"
    if len(data) == 3 and len(wanted) == 3:
        likely = {"nchw": wanted[0], "nhwc": wanted[-1]}.get(layout, min(wanted[0], wanted[-1]))
        if data[0] != likely:
            return (
                f"the data has {data[0]} channel(s) and the network seems to take {likely}: "
                "use data with the channels the network was trained on, "
                "or name the order of its axes with --input-layout"
            )
    if math.prod(data) == math.prod(wanted):
        return (
            "name the order of the network's axes with --input-layout nchw, nhwc or flat "
            "(flat: the values in channel, row, column order), or use data of the network's shape"
        )
    if len(data) == 3:
        return "change the size of the images with --resize H,W, or use data of the network's size"
    return "use data of the network's shape"


def _resize(raw: Tensor, size: tuple[int, ...], wanted: Shape, layout: Layout) -> Tensor:
    from torchvision.transforms.v2 import functional as images  # costs a second to import

    if raw.dim() != 4:
        raise ConfigError(
            f"samples of shape {tuple(raw.shape[1:])} are no images and cannot be resized",
            hint="leave out --resize",
        )
    resized = images.resize(raw, list(size), images.InterpolationMode.BILINEAR, antialias=True)
    if len(size) == 2:
        return resized
    height, width = _plane(tuple(raw.shape[1:]), wanted, layout)
    if resized.shape[2] < height or resized.shape[3] < width:
        raise ConfigError(
            f"--resize {size[0]} makes an image of {resized.shape[2]} x {resized.shape[3]}, too "
            f"small to cut the network's {height} x {width} from",
            hint=f"use at least --resize {max(height, width)}",
        )
    return images.center_crop(resized, [height, width])


def _plane(data: Shape, wanted: Shape, layout: Layout) -> Shape:
    """Height and width in the network's input shape; ConfigError where they cannot be told."""
    found = set()
    if layout in ("auto", "nchw") and len(wanted) == 3 and wanted[0] == data[0]:
        found.add(wanted[1:])
    if layout in ("auto", "nhwc") and len(wanted) == 3 and wanted[-1] == data[0]:
        found.add(wanted[:-1])
    if data[0] == 1 and len(wanted) == 2 and 1 not in wanted and layout != "flat":
        found.add(wanted)
    if len(found) > 1:
        raise _ambiguous(data, wanted)
    if not found:
        if layout == "flat" or len(_core(wanted)) <= 1:
            raise ConfigError(
                f"the network's input {wanted} does not tell the size to cut images to",
                hint="pass --resize H,W, or use data of the network's shape",
            )
        raise _misfit(data, wanted, layout)
    return found.pop()
