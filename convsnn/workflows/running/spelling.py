"""Messages in the words of whoever asked.

They name options as the command line has them; a verb that is called from Python says each as the
keyword that it takes: `--batch-size` is `batch_size`, `--force` is `force=True`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from inspect import Parameter, isfunction, signature
from typing import ParamSpec, TypeVar

from convsnn.errors import ConvsnnError, UnsupportedError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")

_HINT = "hint: "
# what follows the name of a command is to be typed as it is
_OPTION = re.compile(r"convsnn [a-z][^,;)]*|(?<![\w-])--(no-)?([a-z]+(?:-[a-z]+)*)")
OTHERWISE: Mapping[str, tuple[str, ...]] = {  # options that have other names in some verbs
    "batch_size": ("batch_sizes",),
    "precision": ("precisions",),
    "output": ("folder",),
    "data": ("test", "train"),
}
PREPROCESSING: Mapping[str, str] = {  # options that are entries of one keyword
    "scale": "scale",
    "mean": "mean",
    "std": "std",
    "resize": "resize",
    "input_layout": "layout",
    "frames_by": "binning",
    "frame_value": "binning",
}
SWITCHES = frozenset(("compile", "force", "resume", "verify"))  # where no default says it


class Keywords:
    """The keywords of a verb that runs, and which of them are switches."""

    def __init__(self, names: Iterable[str], switches: Iterable[str]) -> None:
        self.names, self.switches = set(names), set(switches)

    def spelled(self, text: str) -> str:
        """`text` with every option that is a keyword here said as one."""
        return _OPTION.sub(lambda found: self._keyword(found[2], bool(found[1])) or found[0], text)

    def _keyword(self, option: str | None, negated: bool) -> str | None:
        name = (option or "").replace("-", "_")
        if name not in self.names:
            name = next((n for n in OTHERWISE.get(name, ()) if n in self.names), name)
        if name in self.names:
            return f"{name}={not negated}" if name in self.switches else name
        if name in PREPROCESSING and "preprocessing" in self.names:
            return f'preprocessing["{PREPROCESSING[name]}"]'
        return None


_HERE: ContextVar[Keywords | None] = ContextVar("keywords", default=None)


def spelled(text: str) -> str:
    """`text` as the verb that runs says it; as it is where none was called from Python."""
    here = _HERE.get()
    return text if here is None else here.spelled(text)


def takes_too(names: Iterable[str]) -> None:
    """The verb that runs takes these keywords beside those of its signature."""
    if (here := _HERE.get()) is not None:
        new = set(names) - here.names
        here.names |= new
        here.switches |= new & SWITCHES


def in_keywords(verb: Callable[_P, _R], *, also: Iterable[str] = ()) -> Callable[_P, _R]:
    """`verb`, whose errors and warnings name its keywords, and those of `also`; what to do about an
    error then stands below it in a traceback."""

    @wraps(verb)
    def called(*args: _P.args, **given: _P.kwargs) -> _R:
        before = _HERE.set(_keywords_of(verb, also))
        try:
            return verb(*args, **given)
        except ConvsnnError as error:
            _respell(error)
            raise
        finally:
            _HERE.reset(before)

    return called


def methods_in_keywords(*, also: Iterable[str] = ()) -> Callable[[type[_T]], type[_T]]:
    """A class all of whose public methods are `in_keywords`."""

    def respelled(kind: type[_T]) -> type[_T]:
        for name, method in list(vars(kind).items()):
            if isfunction(method) and (not name.startswith("_") or name == "__call__"):
                setattr(kind, name, in_keywords(method, also=also))
        return kind

    return respelled


def _keywords_of(verb: Callable[..., object], also: Iterable[str]) -> Keywords:
    taken = {
        name: parameter.default
        for name, parameter in signature(verb).parameters.items()
        if parameter.kind is not Parameter.VAR_KEYWORD
    }
    switches = {name for name, default in taken.items() if isinstance(default, bool)}
    names = {*taken, *also}
    return Keywords(names, switches | (SWITCHES & names))


def _respell(error: ConvsnnError) -> None:
    error.args = (spelled(str(error)), *error.args[1:])
    error.hint = spelled(error.hint)
    if isinstance(error, UnsupportedError):
        error.items = tuple(replace(item, remedy=spelled(item.remedy)) for item in error.items)
    if error.hint:
        said = [note for note in getattr(error, "__notes__", ()) if not note.startswith(_HINT)]
        error.__notes__ = [*said, _HINT + error.hint]  # instead of that of a verb inside
