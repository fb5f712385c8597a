"""What samples are to be answered with where that is no class number: numbers, masks, labels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from convsnn.errors import LoadError


def are_class_numbers(y: np.ndarray[Any, Any]) -> bool:
    """Whether `y` is stored as class numbers are: one whole number a sample."""
    return y.ndim == 1 and y.dtype.kind in "iu"


def checked_targets(y: np.ndarray[Any, Any], count: int, source: str) -> Tensor:
    """Targets (count, ...) of float32, float64, or the whole numbers they are stored in; LoadError
    names `source` where they cannot be used."""
    if y.dtype.kind not in "biuf":
        raise LoadError(
            f"{source}: y holds {y.dtype}, no numbers",
            hint="y is class numbers (N,), numbers of the outputs' shape (N, ...), masks (N, H, W) "
            "or 0 and 1 for each label (N, K)",
        )
    if y.ndim == 0 or len(y) != count:
        found = "one number" if y.ndim == 0 else f"{len(y)} targets"
        raise LoadError(f"{source}: {count} samples but {found}", hint="store one y per sample")
    if not y.size:
        raise LoadError(f"{source}: y is empty, shape {y.shape}")
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise LoadError(
                f"{source}: y holds NaN or infinite numbers",
                hint="leave such samples out or repair them",
            )
        return torch.from_numpy(y.astype(np.float64 if y.dtype.itemsize == 8 else np.float32))
    if y.dtype.kind == "u" and int(y.max()) > torch.iinfo(torch.int64).max:
        raise LoadError(f"{source}: y reaches {int(y.max())}", hint="store it as int64")
    narrow = y.dtype in (np.uint8, np.bool_)
    return torch.from_numpy(y.astype(np.uint8 if narrow else np.int64))
