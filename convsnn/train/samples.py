"""Labelled samples to train on, and how an image is changed every time it is seen."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional

from convsnn.errors import ConfigError

Augmentation = Literal["none", "shift", "shift-flip", "shift-flip-mix"]
SHIFT = 8  # an image is moved by up to an eighth of its side, as crops of CIFAR-10 padded by 4


@dataclass(frozen=True)
class Batch:
    """Some samples: `x` (B, ...), or sequences (T, B, ...), and `labels` int64 (B,), or boxes
    (B, M, 5).

    Where samples are `mixed`, labels are those of a part of each: only a teacher can judge them.
    """

    x: Tensor
    labels: Tensor
    mixed: bool = False

    def require_labels(self) -> None:
        """Raise ConfigError where the labels are not those of the samples."""
        if self.mixed:
            raise ConfigError(
                "mixed images have no labels to learn from, only a teacher's answers",
                hint="use --augment shift-flip, or fine-tune with a teacher and --labels 0, "
                "or --set augment=shift-flip",
            )

    def require_classes(self, classes: int) -> None:
        """Raise ConfigError for labels that a network of so many classes cannot give."""
        if int(self.labels.max()) >= classes or int(self.labels.min()) < 0:
            raise ConfigError(
                f"a label is {int(self.labels.max())}, but the network has {classes} classes",
                hint="use the data the network was trained on, with labels that count from 0",
            )


class Samples(Protocol):
    """What a network is trained on; samples are known by their numbers."""

    def __len__(self) -> int: ...

    @property
    def digest(self) -> str:
        """A text that differs where any sample or label does, or how they are changed."""

    def batch(self, numbers: Sequence[int], *, generator: torch.Generator | None) -> Batch:
        """The samples of these numbers; with a generator they may be changed at random."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Samples `x` (N, *shape) and `labels` (N,) that fit into memory.

    `augment` moves each image by up to an eighth of its side, and mirrors half of them ("shift-
    flip"); what a move uncovers is filled with the smallest value of each channel. "shift-flip-mix"
    then mixes half of them with another one each (see `mixed`), for a teacher to judge. Raises
    ConfigError for labels that do not fit, a single class, or an augmentation of what is no image.
    """

    x: Tensor
    labels: Tensor
    augment: Augmentation = "none"

    def __post_init__(self) -> None:
        if len(self.x) != len(self.labels) or not len(self.x):
            raise ConfigError(f"{len(self.x)} samples do not go with {len(self.labels)} labels")
        if not bool(self.x.isfinite().all()):
            raise ConfigError("a training sample is not finite")
        _check(self.labels, self.augment)
        if self.augment != "none" and (self.x.dim() != 4 or self.x.shape[1] > 4):
            raise ConfigError(
                f"samples of shape {tuple(self.x.shape[1:])} are no images (channels, height, "
                f"width) that could be moved",
                hint="use --augment none, or --set augment=none",
            )

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def digest(self) -> str:
        """See `Samples`."""
        found = hashlib.blake2b(self.augment.encode(), digest_size=16)
        for tensor in (self.x, self.labels):
            plain = tensor.detach().cpu().contiguous()
            found.update(f"{plain.dtype} {list(plain.shape)}".encode())
            found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()

    def batch(self, numbers: Sequence[int], *, generator: torch.Generator | None) -> Batch:
        """See `Samples`."""
        index = torch.as_tensor(numbers, dtype=torch.int64)
        x = self.x[index]
        if generator is not None and self.augment != "none":
            fill = self.x.amin((0, 2, 3)).reshape(-1, 1, 1)
            x = moved(x, fill=fill, flip="flip" in self.augment, generator=generator)
            if "mix" in self.augment:
                return Batch(mixed(x, generator=generator), self.labels[index], mixed=True)
        return Batch(x, self.labels[index])


@dataclass(frozen=True)
class Sequences:
    """Sequences that are read when they are needed: `read` gives those of some numbers, (B, T, C,
    H, W), of which `labels` (N,) are the classes; `known` differs where any of them does.

    `augment` is that of `InMemory`; all frames of a sequence are moved alike. Raises ConfigError
    for a single class, an unknown augmentation, or mixed sequences, which no teacher judges.
    """

    read: Callable[[Sequence[int]], Tensor]
    labels: Tensor
    augment: Augmentation = "none"
    known: str = ""

    def __post_init__(self) -> None:
        _check(self.labels, self.augment)
        if "mix" in self.augment:
            raise ConfigError(
                "sequences cannot be mixed, since no teacher judges them", hint="use shift-flip"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """See `Samples`."""
        return f"{self.known} {self.augment}"

    def batch(self, numbers: Sequence[int], *, generator: torch.Generator | None) -> Batch:
        """See `Samples`."""
        x = self.read(numbers)
        if generator is not None and self.augment != "none":
            fill = x.amin((0, 1, 3, 4)).repeat(x.shape[1]).reshape(-1, 1, 1)
            frames = moved(
                x.flatten(1, 2), fill=fill, flip="flip" in self.augment, generator=generator
            )
            x = frames.reshape(x.shape)
        return Batch(x.movedim(1, 0), self.labels[torch.as_tensor(numbers, dtype=torch.int64)])


def _check(labels: Tensor, augment: str) -> None:
    if labels.dim() > 1:
        if augment != "none":
            raise ConfigError(
                "boxes do not move with what is moved", hint="train with augment=none"
            )
    elif int(labels.min()) == int(labels.max()):
        raise ConfigError(
            f"all {len(labels)} training samples are of class {int(labels[0])}",
            hint="training needs samples of two classes at least",
        )
    if augment not in get_args(Augmentation):
        raise ConfigError(f"augmentation '{augment}' is none of {Augmentation}")


def moved(images: Tensor, *, fill: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    """Each of `images` (B, C, H, W) moved on its own, `fill` (C, 1, 1) where nothing was."""
    count, _, height, width = images.shape
    down, right = height // SHIFT, width // SHIFT
    padded = functional.pad(images - fill, (right, right, down, down)) + fill
    top = torch.randint(0, 2 * down + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * right + 1, (count, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    number = torch.arange(count)[:, None, None]
    return padded[number, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def mixed(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Half of `images` (B, C, H, W) as they are; of the others one half with a rectangle of another
    image in it (CutMix, Yun et al. 2019), one half blended with one (mixup, Zhang et al. 2018).
    The other's share is drawn between 0 and 1; a rectangle may reach over the edge.
    """
    count, _, height, width = images.shape
    others = images[torch.randperm(count, generator=generator)]
    draws = torch.rand(4, count, 1, 1, 1, generator=generator)
    kind, share, top, left = draws.to(images)
    side = share.sqrt() / 2
    rows = (torch.arange(height).to(images) + 0.5).reshape(1, 1, -1, 1) / height
    columns = (torch.arange(width).to(images) + 0.5) / width
    inside = ((rows - top).abs() < side) & ((columns - left).abs() < side)
    cut = torch.where(inside, others, images)
    blended = torch.lerp(images, others, share)
    return torch.where(kind < 0.5, images, torch.where(kind < 0.75, cut, blended))
