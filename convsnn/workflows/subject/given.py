"""Images that a Python user hands in, as one split of a data set: see `zoo.data.Part`.

Taken are what networks are trained on in torch: a tensor or array (N, ...), a pair of images and
labels, a map-style data set, a DataLoader, or any iterable of batches that can be read again. They
are what the network takes, so they are floats; nothing is scaled or normalised here.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from convsnn.errors import ConfigError, LoadError
from zoo.data import Part
from zoo.data.digest import of_arrays, of_texts

Images: TypeAlias = Part | Tensor | np.ndarray[Any, Any] | Iterable[Any]
_FORMS = (
    "give float images as the network takes them: a tensor (N, ...), (images, labels), a "
    "DataLoader, or a list of batches"
)
_RAW = (
    "scale and normalise them as in training, or name the files, as in "
    "data='npz:train.npz,test.npz' with preprocessing={'mean': [0.5]}"
)
Batch: TypeAlias = tuple[Tensor, Tensor | None]
_AHEAD = 100  # samples of a data set that are read at once where nobody said how many


@dataclass(frozen=True, eq=False)
class Given:
    """Images given in Python: `read` gives the samples of some numbers, and where `stream` is set
    all of them come faster in its own order. `steps` where they are sequences of so many frames."""

    source: str
    split: str
    count: int
    read: Callable[[Sequence[int]], Batch]
    stream: Callable[[], Iterator[Batch]] | None = None
    known: Tensor | None = None
    steps: int | None = None

    def __len__(self) -> int:
        return self.count

    @cached_property
    def labels(self) -> Tensor | None:
        """Of all samples (N, ...), read from them where the first has one."""
        if self.known is not None or self.stream is not None or self.read([0])[1] is None:
            return self.known
        return torch.cat([y for _, y in self.batches(_AHEAD) if y is not None])

    @property
    def targets(self) -> Tensor | None:
        """What the samples are to be answered with: class numbers, or whatever else."""
        return self.labels

    @cached_property
    def classes(self) -> int | None:
        """Number of classes: the largest label plus one; None where labels are no class numbers."""
        y = self.labels
        return None if y is None or y.is_floating_point() or y.dim() != 1 else int(y.max()) + 1

    @cached_property
    def digest(self) -> str:
        """See `zoo.data.Part`; all samples are read."""
        return of_texts(*(of_arrays(batch) for batch in self.batches(_AHEAD)))

    def batches(self, batch_size: int, *, indices: Sequence[int] | None = None) -> Iterator[Batch]:
        """See `zoo.data.Part`."""
        numbers = range(self.count) if indices is None else indices
        if self.stream is None:
            for start in range(0, len(numbers), batch_size):
                yield self.read(numbers[start : start + batch_size])
            return
        for x, y in self.stream() if indices is None else [self.read(numbers)]:
            labels = [None] * len(x) if y is None else y.split(batch_size)
            yield from zip(x.split(batch_size), labels, strict=False)


def as_part(images: Images, *, split: str = "given") -> Part:
    """`images` as a split; a `Part` is taken as it is.

    Raises ConfigError for what holds no float images or can be read only once.
    """
    kind = f"{type(images).__module__.partition('.')[0]}.{type(images).__name__}"
    if all(hasattr(images, name) for name in ("batches", "classes", "labels", "steps")):
        return images  # type: ignore[return-value]
    pair = isinstance(images, tuple) and len(images) == 2 and _is_array(images[0])
    if pair or _is_array(images):
        return _in_memory(_batch(images), split)
    if isinstance(images, DataLoader) and isinstance(images.dataset, Sized):
        return _from_dataset(images.dataset, images.collate_fn, split)
    if isinstance(images, Dataset) and isinstance(images, Sized):
        return _from_dataset(images, default_collate, split)
    if not isinstance(images, Iterable):
        raise ConfigError(f"images cannot be read from {kind}", hint=_FORMS)
    if isinstance(images, Iterator):
        raise ConfigError(
            f"{kind} can be read only once, and calibration reads images again",
            hint="give a list of its batches",
        )
    return _from_batches(images, kind, split)


def shape_of(part: Part) -> tuple[int, ...]:
    """Shape of one sample, read from the first; of a sequence that of a frame."""
    shape = tuple(next(part.batches(1, indices=[0]))[0].shape[1:])
    return shape if part.steps is None else shape[1:]


def require_shape(part: Part, shape: tuple[int, ...] | None) -> None:
    """ConfigError unless samples of `part` are of the `shape` that a network takes, if known."""
    found = shape_of(part)
    if shape is not None and found != tuple(shape):
        raise ConfigError(
            f"images of shape {found} are not what the network takes, {tuple(shape)}", hint=_FORMS
        )


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _batch(value: Any) -> Batch:
    """What one batch holds: images, and the labels behind them where there are any."""
    parts = list(value) if isinstance(value, tuple | list) else [value]
    if not parts or not _is_array(parts[0]):
        raise ConfigError(
            f"a batch is {type(value).__name__}, not images or (images, labels)", hint=_FORMS
        )
    x = torch.as_tensor(parts[0]).detach()
    if not x.is_floating_point():
        raise ConfigError(f"images of {str(x.dtype).removeprefix('torch.')} are raw", hint=_RAW)
    if x.dim() < 2 or not len(x):
        raise ConfigError(f"images of shape {tuple(x.shape)} are no batch", hint=_FORMS)
    x = x.to(torch.float32)
    if not bool(x.isfinite().all()):
        raise LoadError("images hold NaN or infinite numbers", hint="leave such samples out")
    if len(parts) < 2 or parts[1] is None:
        return x, None
    try:
        y = torch.as_tensor(parts[1]).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"labels given as {type(parts[1]).__name__} are no numbers",
            hint="give class numbers, or whatever else the outputs are held against, as a tensor",
        ) from None
    if y.dim() < 1 or len(y) != len(x):
        raise LoadError(f"{len(x)} images have labels of shape {tuple(y.shape)}")
    return x, y if y.is_floating_point() else y.to(torch.int64)


def _in_memory(whole: Batch, split: str) -> Given:
    x, y = whole

    def read(numbers: Sequence[int]) -> Batch:
        rows = torch.as_tensor(list(numbers))
        return x[rows], None if y is None else y[rows]

    source = f"tensor {tuple(x.shape)} {_mark(x)} given in Python"
    return Given(source, split, len(x), read, known=y)


def _from_dataset(dataset: Any, collate: Callable[[list[Any]], Any], split: str) -> Given:
    def read(numbers: Sequence[int]) -> Batch:
        return _batch(collate([dataset[number] for number in numbers]))

    if not len(dataset):
        raise ConfigError(f"{type(dataset).__name__} holds no images", hint=_FORMS)
    source = f"{type(dataset).__name__} {_mark(read([0])[0])} given in Python"
    return Given(source, split, len(dataset), read)


def _from_batches(batches: Iterable[Any], kind: str, split: str) -> Given:
    """Read through once, for their number and labels."""

    def stream() -> Iterator[Batch]:
        return map(_batch, batches)

    def read(numbers: Sequence[int]) -> Batch:
        rows: dict[int, Batch] = {}
        wanted, first = set(numbers), 0
        for x, y in stream():
            for number in wanted.intersection(range(first, first + len(x))):
                one = slice(number - first, number - first + 1)
                rows[number] = x[one], None if y is None else y[one]
            first += len(x)
        labels = [y for number in numbers if (y := rows[number][1]) is not None]
        x = torch.cat([rows[number][0] for number in numbers])
        return x, torch.cat(labels) if labels else None

    sizes, labels, mark = [], [], ""
    for x, y in stream():
        mark = mark or _mark(x)
        sizes.append(len(x))
        labels += [] if y is None else [y]
    if not sizes:
        raise ConfigError(f"{kind} holds no images", hint=_FORMS)
    if labels and len(labels) < len(sizes):
        raise ConfigError(
            f"{len(labels)} of {len(sizes)} batches have labels", hint="give all of them labels"
        )
    known = torch.cat(labels) if labels else None
    source = f"{kind} {mark} given in Python"
    return Given(source, split, sum(sizes), read, stream, known)


def _mark(x: Tensor) -> str:
    """A few letters of the first sample's digest, which tell images of one shape apart."""
    first = x[0].to(torch.float32).cpu().contiguous().reshape(-1)
    return hashlib.sha256(first.view(torch.uint8).numpy().data).hexdigest()[:8]
