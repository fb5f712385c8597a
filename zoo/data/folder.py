"""Image files in one folder per class, decoded as they are needed: `folder:DIR`, `imagenet:ROOT`.

ImageNet is read in this form as well: its class numbers are the order of its folders' names, so
neither its development kit nor its archives are needed.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from convsnn.errors import LoadError
from zoo.data.base import DATASETS, Stored
from zoo.data.digest import of_files
from zoo.data.listing import Listing, list_images
from zoo.data.picture import decode, is_gray, pixels
from zoo.data.places import local_path

_FOLDER_FORM = "write folder:DIR with images as DIR/train/CLASS/*.png and DIR/test/CLASS/*.png"
_IMAGENET_FORM = (
    "write imagenet:ROOT with images as ROOT/train/n01440764/*.JPEG and ROOT/val/n01440764/*.JPEG"
)


@DATASETS.register("folder")
def folder(place: str) -> tuple[Stored, Stored]:
    """Images as DIR/train/CLASS/... and DIR/test/CLASS/... (or val).

    All images are read in colour, as torchvision does, unless the first one is grayscale: then all
    must be.
    """
    root = local_path(place, what="folder", hint=_FOLDER_FORM)
    test = root / ("test" if (root / "test").is_dir() else "val")
    found = [list_images(path, hint=_FOLDER_FORM) for path in (root / "train", test)]
    if found[0].classes != found[1].classes:
        differing = sorted(set(found[0].classes) ^ set(found[1].classes))
        raise LoadError(
            f"folder: {root / 'train'} and {test} do not hold the same classes; "
            f"only in one of them: {', '.join(differing[:5])}",
            hint="give both the same class folders, so that class numbers mean the same",
        )
    gray = is_gray(decode(found[0].paths[0]))
    return _stored(found, source=f"folder:{place}", gray=gray)


@DATASETS.register("imagenet")
def imagenet(place: str) -> tuple[Stored, Stored]:
    """ImageNet-1k: ROOT/train and ROOT/val with 1,000 class folders each; scored on val."""
    root = local_path(place, what="imagenet", hint=_IMAGENET_FORM)
    found = [list_images(root / name, hint=_IMAGENET_FORM) for name in ("train", "val")]
    for name, images in zip(("train", "val"), found, strict=True):
        if len(images.classes) != 1000:
            raise LoadError(
                f"imagenet: {root / name} holds {len(images.classes)} class folders, not 1000, "
                "so class numbers would be wrong",
                hint=f"{_IMAGENET_FORM}; for other classes use folder:DIR",
            )
    return _stored(found, source=f"imagenet:{place}", gray=False)


def _stored(found: Sequence[Listing], *, source: str, gray: bool) -> tuple[Stored, Stored]:
    train, test = (
        Stored(
            source=source,
            split=split,
            count=len(images.paths),
            read=_Reader(images.paths, gray),
            labels=torch.tensor(images.numbers),
            classes=len(images.classes),
            scale=255.0,
            class_names=tuple(images.classes),
            contents=partial(of_files, images.root, images.paths),
        )
        for images, split in zip(found, ("train", "test"), strict=True)
    )
    return train, test


class _Reader:
    """Decodes the images of the given numbers, each uint8 (1, C, H, W); errors name the file."""

    def __init__(self, paths: tuple[Path, ...], gray: bool) -> None:
        self.paths = paths
        self.gray = gray

    def __call__(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        for number in numbers:
            image = decode(self.paths[number])
            if self.gray and not is_gray(image):
                raise LoadError(
                    f"{self.paths[number]} is in colour, but the folder's first image is grayscale",
                    hint="give all images the same number of channels",
                )
            yield pixels(image, gray=self.gray)
