"""Keywords that a verb passes on to others: a wrong one is said in the verb's own name."""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any

from convsnn.registry import nearest
from convsnn.workflows.running.spelling import takes_too


def require_known(verb: str, given: Iterable[str], known: Iterable[str]) -> None:
    """TypeError, as Python raises it for any function, unless all names `given` are `known`; it
    names the nearest, and all there are."""
    options = sorted(known)
    for name in given:
        if name not in options:
            close = nearest(name, options)
            said = f"{close} " if close.startswith("did") else ""
            raise TypeError(
                f"{verb}() has no option '{name}': {said}its options are {', '.join(options)}"
            )
    takes_too(options)


def options_of(function: Callable[..., Any], *, without: Iterable[str] = ()) -> list[str]:
    """The names of a function's keyword-only parameters."""
    return [
        name
        for name, parameter in signature(function).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY and name not in set(without)
    ]
