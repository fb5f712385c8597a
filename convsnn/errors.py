"""Every error a user can meet: says what and where; `.hint` says what to do next."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ENDLESS = re.compile(r"(\S{200})\S{200,}(\S{20})")  # a name that some damaged file was given


class ConvsnnError(Exception):
    """Base of all errors this project raises on purpose; the command line exits 2 on it.

    A word of hundreds of characters is shortened: files can hold names of any length, and what
    other libraries say of them comes here as it is.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(_ENDLESS.sub(r"\1...\2", message))
        self.hint = hint


class ConvsnnWarning(UserWarning):
    """Something makes a result mean less than it seems to."""


class ConfigError(ConvsnnError):
    """An option, a name or a value that the user gave cannot be used."""


class TooFewStepsError(ConfigError):
    """What was asked for takes more time steps than there are."""


class LoadError(ConvsnnError):
    """A model, weights or data file is missing, damaged or does not fit."""


@dataclass(frozen=True)
class Blocker:
    """One place that stops a conversion: the layer in the user's own names, why, what to do."""

    layer: str
    op: str
    reason: str
    remedy: str = ""
    source: str = ""


class UnsupportedError(ConvsnnError):
    """The network holds something that would stay analog; `.items` lists all offenders."""

    def __init__(self, message: str, items: Sequence[Blocker] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.items = tuple(items)


class RewriteError(ConvsnnError):
    """A step that must be exact changed the output; names the pass, the layer and the gap."""


class CalibrationError(ConvsnnError):
    """Calibration cannot give a usable threshold; names the layer."""


class SimulationError(ConvsnnError):
    """The simulation cannot run as asked or left the finite numbers."""


class TrainingError(ConvsnnError):
    """Training left the finite numbers or lost what it had learned; says where."""


class ExportError(ConvsnnError):
    """A result cannot be written."""


class MissingExtraError(ConvsnnError):
    """An optional dependency is not installed; the hint names the extra, or is another `hint`."""

    def __init__(self, what: str, extra: str, *, hint: str = "") -> None:
        super().__init__(
            f"{what} is not installed",
            hint=hint or f"install it with: pip install 'convsnn[{extra}]'",
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: of the machine, not a fault of what was read.

    torch raises a RuntimeError for it on the CPU and one of its own type on a GPU.
    """
    text = f"{error}\n"
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY))
    )


_NO_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "could not create a primitive\n",  # oneDNN; what it does not know is "a primitive descriptor"
)
