"""One split as it is stored, and the checks that arrays must pass to become one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from convsnn.errors import LoadError
from zoo.data.digest import Array, of_arrays, of_texts
from zoo.data.targets import are_class_numbers, checked_targets

_CHUNK = 256  # samples that are read at once for a digest where nothing sooner gives one


@dataclass(frozen=True)
class Stored:
    """One split as it is stored.

    `read` yields the samples of the given numbers in order, in chunks of any size, each
    (b, C, H, W), (b, C, L) or (b, F) in the stored type; with `steps` each is a sequence of so many
    frames, (b, steps, C, ...). `labels` are int64 (count,). Values are divided by `scale` unless
    the preprocessing names another. `classes`: None without labels. `contents` gives a text that
    differs where any sample does, sooner than by reading all of them (see `zoo.data.digest`).
    `other` are targets that are no class numbers, (count, ...); `class_names` go with
    the class numbers, those of boxes too.
    """

    source: str
    split: str
    count: int
    read: Callable[[Sequence[int]], Iterator[Tensor]]
    labels: Tensor | None
    classes: int | None
    scale: float
    steps: int | None = None
    other: Tensor | None = None
    class_names: tuple[str, ...] | None = None
    contents: Callable[[], str] | None = None

    def digest(self) -> str:
        """A text that differs where any sample or label does."""
        held = self._samples() if self.contents is None else self.contents()
        asked = of_arrays([self.labels, self.other])
        return of_texts(held, self.count, self.scale, self.steps, asked)

    def _samples(self) -> str:
        starts = range(0, self.count, _CHUNK)
        chunks = (range(start, min(start + _CHUNK, self.count)) for start in starts)
        return of_texts(*(of_arrays([x]) for numbers in chunks for x in self.read(numbers)))

    @property
    def targets(self) -> Tensor | None:
        """What the samples are to be answered with: labels, or others; None where unknown."""
        return self.labels if self.other is None else self.other


def in_memory(
    x: Array,
    y: Array | None,
    *,
    source: str,
    split: str,
    classes: int | None = None,
    scale: float | None = None,
    sequences: bool = False,
) -> Stored:
    """A split held in one array: uint8 (N, H, W, C), (N, H, W) or (N, F), else float (N, C, ...).

    With `sequences` it is (N, T, C, H, W) of uint8, bool or float, and the scale defaults to 1.
    Labels are integers (N,); `classes` defaults to the largest plus one. Any other `y` (N, ...) is
    taken as targets of another kind. 8-bit values stay 8-bit, each batch copies only its
    rows. LoadError names `source` where the arrays cannot be used.
    """
    x = _checked_sequences(x, source) if sequences else _checked_samples(x, source)
    labelled = y is not None and are_class_numbers(y)
    labels = checked_labels(y, len(x), source) if y is not None and labelled else None
    other = checked_targets(y, len(x), source) if y is not None and not labelled else None
    if labels is None:
        classes = None
    elif classes is None:
        classes = int(labels.max()) + 1
    is_bytes = x.dtype == np.uint8 and not sequences

    def read(numbers: Sequence[int]) -> Iterator[Tensor]:
        rows = torch.from_numpy(x[list(numbers)])
        if is_bytes and rows.dim() == 3:
            rows = rows[:, None]
        elif is_bytes and rows.dim() == 4:
            rows = rows.movedim(-1, 1)
        yield rows

    return Stored(
        source=source,
        split=split,
        count=len(x),
        read=read,
        labels=labels,
        classes=classes,
        scale=scale if scale is not None else 255.0 if is_bytes else 1.0,
        steps=x.shape[1] if sequences else None,
        contents=partial(of_arrays, [x]),
        other=other,
    )


def _checked_samples(x: Array, source: str) -> Array:
    ranks = (2, 3, 4) if x.dtype == np.uint8 else (2, 3, 4, 5)
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise LoadError(
            f"{source}: x holds {x.dtype}",
            hint="x must be uint8 (N, H, W, C) or float (N, C, H, W)",
        )
    if x.ndim not in ranks:
        raise LoadError(
            f"{source}: x has {x.ndim} axes, shape {x.shape}",
            hint="x must be uint8 (N, H, W, C) or float (N, C, H, W)",
        )
    return _checked_values(x, source)


def _checked_sequences(x: Array, source: str) -> Array:
    form = "x must be (samples, time steps, polarities, height, width) of uint8, bool or float"
    if x.dtype not in (np.uint8, np.bool_) and x.dtype.kind != "f":
        raise LoadError(f"{source}: x holds {x.dtype}", hint=form)
    if x.ndim == 4:
        raise LoadError(
            f"{source}: x has 4 axes, shape {x.shape}: a sequence of frames has no time steps or "
            "no polarity",
            hint=f"{form}; insert the axis of length 1 with numpy.expand_dims",
        )
    if x.ndim != 5:
        raise LoadError(f"{source}: x has {x.ndim} axes, shape {x.shape}", hint=form)
    return _checked_values(x.view(np.uint8) if x.dtype == np.bool_ else x, source)


def _checked_values(x: Array, source: str) -> Array:
    if x.size == 0:
        raise LoadError(f"{source}: x is empty, shape {x.shape}")
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):  # what overflows is infinite and reported below
        x = x.astype(np.float32, copy=False)
    for number, sample in enumerate(x):  # by sample, so that no second array of this size is made
        if not np.isfinite(sample).all():
            raise LoadError(
                f"{source}: x holds NaN or infinite numbers (first in sample {number})",
                hint="leave such samples out or repair them",
            )
    return x


def checked_labels(y: Array, count: int, source: str) -> Tensor:
    """Class numbers int64 (count,); LoadError names `source` where `y` holds none."""
    if y.dtype.kind not in "iu":
        raise LoadError(
            f"{source}: labels are {y.dtype}, not integers", hint="store y with y.astype(int)"
        )
    if y.ndim != 1:
        raise LoadError(
            f"{source}: labels have shape {y.shape}, not (N,)",
            hint="store one class number per sample, as y.reshape(-1) or y.argmax(1) give",
        )
    if len(y) != count:
        raise LoadError(
            f"{source}: {count} samples but {len(y)} labels", hint="store one label per sample"
        )
    if int(y.min()) < 0 or int(y.max()) > torch.iinfo(torch.int64).max:
        raise LoadError(
            f"{source}: labels run from {int(y.min())} to {int(y.max())}",
            hint="labels count from 0",
        )
    return torch.from_numpy(y.astype(np.int64))
