"""Whether what a file declares fits into memory, asked before any of it is taken."""

import torch

from convsnn.errors import LoadError
from convsnn.measure.fitting import free_memory


def require_room(declared: int, what: str) -> None:
    """LoadError where `what` declares more bytes than can be had on this machine."""
    free = free_memory(torch.device("cpu"))
    if declared > free:
        raise LoadError(
            f"{what} declares {_size(declared)}, but {_size(free)} of memory are free",
            hint="use smaller data, a machine with more memory, or folder:DIR, whose images are "
            "read when they are needed; a file of another size than it declares is damaged",
        )


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
