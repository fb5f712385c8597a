"""Data sets on disk in the form torchvision keeps them: `mnist:ROOT`, `cifar10:ROOT` and so on.

Nothing is downloaded. CIFAR's official files are pickles; torchvision opens one only if its MD5
sum is that of the published file.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convsnn.errors import LoadError
from zoo.data.base import DATASETS, Stored, in_memory
from zoo.data.places import local_path

_LARGEST = 1 << 30  # bytes; the official files have a fifth of it at most


@DATASETS.register("mnist")
def mnist(place: str) -> tuple[Stored, Stored]:
    """MNIST as torchvision keeps it: ROOT/MNIST/raw/train-images-idx3-ubyte and so on."""
    return _open("mnist", "MNIST", place, contents="MNIST/raw/", classes=10)


@DATASETS.register("fashion-mnist")
def fashion_mnist(place: str) -> tuple[Stored, Stored]:
    """Fashion-MNIST as torchvision keeps it: ROOT/FashionMNIST/raw/train-images-idx3-ubyte."""
    return _open("fashion-mnist", "FashionMNIST", place, contents="FashionMNIST/raw/", classes=10)


@DATASETS.register("cifar10")
def cifar10(place: str) -> tuple[Stored, Stored]:
    """CIFAR-10 as torchvision keeps it: ROOT/cifar-10-batches-py/data_batch_1 and so on."""
    return _open("cifar10", "CIFAR10", place, contents="cifar-10-batches-py/", classes=10)


@DATASETS.register("cifar100")
def cifar100(place: str) -> tuple[Stored, Stored]:
    """CIFAR-100 as torchvision keeps it: ROOT/cifar-100-python/train and test."""
    return _open("cifar100", "CIFAR100", place, contents="cifar-100-python/", classes=100)


def _open(
    name: str, kind: str, place: str, *, contents: str, classes: int
) -> tuple[Stored, Stored]:
    hint = (
        f"write {name}:ROOT, where ROOT/{contents} holds the unpacked official files; "
        f"torchvision.datasets.{kind}('ROOT', download=True) puts them there"
    )
    root = local_path(place, what=name, hint=hint)
    _check_sizes(root / contents, hint=hint)
    from torchvision import datasets  # costs a second to import

    splits: list[Stored] = []
    for split in ("train", "test"):
        try:
            found: Any = getattr(datasets, kind)(root, train=split == "train", download=False)
            x, y = np.asarray(found.data), np.asarray(found.targets)
        except MemoryError:
            raise  # nothing is wrong with the files
        except Exception as error:  # its readers raise many kinds on damaged files
            raise LoadError(
                f"{name}: the {split} files in {root / contents} are missing or damaged: {error}",
                hint=hint,
            ) from None
        stored = in_memory(x, y, source=f"{name}:{place}", split=split, classes=classes)
        splits.append(replace(stored, class_names=tuple(found.classes)))
    train, test = splits
    return train, test


def _check_sizes(folder: Path, *, hint: str) -> None:
    """LoadError for a file that is too large to be one of the official ones: all are read whole."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and path.stat().st_size > _LARGEST:
            size = path.stat().st_size
            raise LoadError(f"{path} is no official file: it has {size} bytes", hint=hint)
