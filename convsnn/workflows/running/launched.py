"""Whether torchrun has started this process beside others; told without torch, which is slow."""

import os
import time

from convsnn.errors import ConfigError

_LAUNCHED = "TORCHELASTIC_RUN_ID"  # by it torch.distributed knows, too
_COURTESY = 10  # seconds; the first process ends, and torchrun the others, long before


class Dismissed(BaseException):
    """This process of several has nothing more to do; `code` is the exit code it ends with.

    No error, like SystemExit: nobody but the program itself catches it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def launched() -> int:
    """How many processes torchrun has started; 1 where it has not."""
    return int(os.environ["WORLD_SIZE"]) if _LAUNCHED in os.environ else 1


def beside(device_type: str) -> int:
    """How many of them share a device's memory: those on this machine; a GPU is one's own."""
    shared = launched() > 1 and device_type != "cuda"
    return int(os.environ["LOCAL_WORLD_SIZE"]) if shared else 1


def card() -> int | None:
    """The number of the GPU that is this process's own; None where it has the choice."""
    return int(os.environ["LOCAL_RANK"]) if launched() > 1 else None


def speaks() -> bool:
    """Whether this is the one process that prints an error that all meet alike, before they are a
    group: the first. Any other waits a little, for torchrun ends all when one ends."""
    first = launched() == 1 or int(os.environ["RANK"]) == 0
    if not first:
        time.sleep(_COURTESY)
    return first


def require_alone() -> None:
    """ConfigError, from one process, where torchrun has started several."""
    if launched() == 1:
        return
    if not speaks():
        raise Dismissed(2)
    raise ConfigError(
        f"this command runs in one process, not in {launched()}",
        hint="start it without torchrun; evaluate, convert and compare share their images",
    )
