"""Samples, masks and maps as small pictures that a page can hold: data URIs of PNG files."""

import colorsys
import io
from base64 import b64encode
from collections.abc import Sequence

import torch
from torch import Tensor

SIDE = 96  # pixels of the longer side at most
LEAST = 8  # pixels of the shorter side of what is taken for an image
LONGEST = 4  # times the shorter side
UNSCORED = (128, 128, 128)
BOXED = 192  # pixels of the longer side of what boxes are drawn on


def planes(value: Tensor) -> Tensor | None:
    """What may be an image as (channels, height, width) of 1 or 3 channels; None for all else."""
    if value.dim() == 2:
        value = value[None]
    if value.dim() == 3 and value.shape[0] not in (1, 3) and value.shape[2] in (1, 3):
        value = value.permute(2, 0, 1)
    if value.dim() != 3 or value.shape[0] not in (1, 3):
        return None
    short, long = sorted(value.shape[1:])
    return value.float() if short >= LEAST and long <= LONGEST * short else None


def visible(image: Tensor, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Tensor:
    """An image (C, H, W) in 0..1: with the normalising undone that it is known to have, and what
    is then not in that range stretched to it."""

    def channels(numbers: Sequence[float]) -> Tensor:
        return torch.tensor(list(numbers), dtype=image.dtype).reshape(-1, 1, 1)

    for numbers, undo in ((std, torch.mul), (mean, torch.add)):
        if len(numbers) in (1, len(image)):
            image = undo(image, channels(numbers))
    low, high = float(image.min()), float(image.max())
    if low < -0.02 or high > 1.02:
        return stretched(image, low, high)
    return image.clamp(0, 1)


def stretched(image: Tensor, low: float, high: float) -> Tensor:
    """`low` to `high` as 0..1."""
    return ((image - low) / max(high - low, 1e-12)).clamp(0, 1)


def events(x: Tensor) -> Tensor:
    """A frame of events (2, H, W) as a grey image (1, H, W) in 0..1: pixels that grew darker in a
    dark grey, those that grew brighter in a light one."""
    less, more = x.float().clamp(min=0)
    most = float(torch.maximum(less, more).max()) or 1.0
    return (0.15 + 0.4 * less / most + 0.85 * more / most).clamp(max=1)[None]


def boxed(image: Tensor, corners: Tensor, classes: Tensor) -> str:
    """An image (1 or 3, H, W) in 0..1 with boxes, their edges (n, 4) as parts of its sides, as a
    data URI; a colour for each class (n,)."""
    from torchvision.utils import draw_bounding_boxes

    height, width = image.shape[1:]
    scale = BOXED / max(height, width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    mode = "nearest" if scale > 1 else "area"
    large = torch.nn.functional.interpolate(image[None].float(), size, mode=mode)[0]
    values = (large * 255).round().to(torch.uint8).expand(3, -1, -1)
    if len(corners):
        places = corners.clamp(0, 1) * torch.tensor([size[1], size[0]] * 2)
        colours = [colour(number + 1) for number in classes.long().tolist()]
        values = draw_bounding_boxes(values, places, colors=colours, width=2)
    return _uri(values.permute(1, 2, 0), smooth=True, side=BOXED)


def picture(image: Tensor) -> str:
    """An image (C, H, W) in 0..1 as a data URI."""
    grey = len(image) == 1
    values = (image * 255).round().to(torch.uint8)
    return _uri(values[0] if grey else values.permute(1, 2, 0), smooth=True)


def mask(classes: Tensor, unscored: Tensor | None = None) -> str:
    """Class numbers (H, W) as a data URI, a colour for each; grey where `unscored`."""
    number = int(classes.max()) + 1
    colours = torch.tensor([colour(i) for i in range(number)], dtype=torch.uint8)
    values = colours[classes.clamp_min(0).long()]
    if unscored is not None:
        values[unscored] = torch.tensor(UNSCORED, dtype=torch.uint8)
    return _uri(values, smooth=False)


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a class in masks: neighbours far apart, the first dark."""
    if number == 0:
        return (32, 38, 48)
    hue = (0.58 + 0.618034 * (number - 1)) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.55 if number % 2 else 0.42, 0.62)
    return round(255 * red), round(255 * green), round(255 * blue)


def _uri(values: Tensor, *, smooth: bool, side: int = SIDE) -> str:
    from PIL import Image

    image = Image.fromarray(values.contiguous().cpu().numpy())
    way = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    longest = max(image.size)
    if longest > side:
        size = [max(1, round(each * side / longest)) for each in image.size]
        image = image.resize((size[0], size[1]), way)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(data.getvalue()).decode()}"
