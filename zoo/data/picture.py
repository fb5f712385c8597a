"""Image files, decoded one at a time to 8 bits per value, in colour or in grey."""

from pathlib import Path
from typing import Any

from torch import Tensor

from convsnn.errors import LoadError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_GRAY_MODES = ("1", "L", "LA")
_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def decode(path: str | Path) -> Any:
    """The image in `path`, of Pillow; LoadError names a file that is none or has wider values."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise LoadError(
            f"{path} cannot be read as an image: {error}", hint="replace or remove the file"
        ) from None
    if image.mode in _WIDE_MODES:
        raise LoadError(
            f"{path} has more than 8 bits per value (mode {image.mode})",
            hint="convert it to 8 bits, or store the data as npz:TRAIN.npz,TEST.npz in float",
        )
    return image


def is_gray(image: Any) -> bool:
    """Whether a decoded image has no colours."""
    return image.mode in _GRAY_MODES


def pixels(image: Any, *, gray: bool) -> Tensor:
    """A decoded image as uint8 (1, 1, H, W), or in colour (1, 3, H, W)."""
    from torchvision.transforms.v2.functional import pil_to_tensor  # costs a second to import

    return pil_to_tensor(image.convert("L" if gray else "RGB"))[None]
