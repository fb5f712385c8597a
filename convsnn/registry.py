"""Names to factories: `@NEURONS.register("if")`, then `NEURONS.create("if:reset=zero")`."""

import difflib
import importlib
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Generic, Literal, TypeVar

from convsnn.errors import ConfigError
from convsnn.ranges import SEED

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known names, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(known)}"


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,key=value` into the name and its options as text."""
    name, _, rest = spec.strip().partition(":")
    options: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise ConfigError(
                f"'{part}' in '{spec}' is not KEY=VALUE",
                hint="write options like name:q=99.9,potential=0",
            )
        options[key.strip()] = value.strip()
    return name.strip(), options


def _convert(text: str, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        choices = {str(c): c for c in typing.get_args(kind)}
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return choices[text]
    if origin in (typing.Union, types.UnionType):
        errors = []
        for member in typing.get_args(kind):
            try:
                return _convert(text, member)
            except (ValueError, TypeError) as error:
                errors.append(str(error))
        raise ValueError(" or ".join(errors))
    if kind is type(None):
        if text.lower() in ("none", "auto"):
            return None
        raise ValueError("none")
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError("true or false")
        return text.lower() in ("true", "1", "yes")
    if kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            raise ValueError("a whole number" if kind is int else "a number") from None
        if not math.isfinite(value) or (kind is int and abs(value) > SEED):
            raise ValueError(f"a whole number up to {SEED}" if kind is int else "a finite number")
        return value
    if kind is str:
        return text
    raise TypeError("not an option that can be written as text")


def _in_words(kind: Any) -> str:
    """A type of options for people: `whole number or none`, `soft or zero`."""
    origin = typing.get_origin(kind)
    if origin is Literal or origin in (typing.Union, types.UnionType):
        parts = typing.get_args(kind)
        words = [str(p) if origin is Literal else _in_words(p) for p in parts]
        return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    known = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return known.get(kind, "none")


def _text_of(hint: Any) -> str:
    """What `Annotated[T, "text"]` says; "" for a plain type."""
    if typing.get_origin(hint) is not Annotated:
        return ""
    return next((part for part in typing.get_args(hint)[1:] if isinstance(part, str)), "")


@dataclass(frozen=True)
class Option:
    """One option of an entry: its `kind` in words, the default (None where that is `none`, or where
    it is `required`), and what it is, with its unit; "" where nobody wrote that."""

    name: str
    kind: str
    default: Any
    text: str
    required: bool = False


_PLUGIN: ContextVar[str | None] = ContextVar("plugin", default=None)


@contextmanager
def enrolling_for(plugin: str) -> Iterator[None]:
    """What is enrolled inside the `with` comes from the module `plugin`."""
    before = _PLUGIN.set(plugin)
    try:
        yield
    finally:
        _PLUGIN.reset(before)


class Registry(Generic[T]):
    """The known implementations of one kind of thing; unknown names suggest the nearest."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Callable[..., T]] = {}
        self._plugins: dict[str, str] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator: enrol a class or factory under `name`."""

        def enrol(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = factory
            plugin = _PLUGIN.get()
            if plugin is not None:
                self._plugins[name] = plugin
            return factory

        return enrol

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._entries)

    def plugin(self, spec: str) -> str | None:
        """The plug-in that the entry of `spec` comes from; None for one of this project."""
        return self._plugins.get(split_spec(spec)[0])

    def get(self, name: str) -> Callable[..., T]:
        """The factory registered under `name`; ConfigError with the nearest names otherwise."""
        if name not in self._entries:
            raise ConfigError(f"unknown {self.kind} '{name}'", hint=nearest(name, self._entries))
        return self._entries[name]

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options of `name` that a spec may set: those with a default and a plain type."""
        factory = self.get(name)
        try:
            return dict(_options(factory))
        except TypeError:  # a plug-in's factory need not be one that can be a key
            return dict(_options.__wrapped__(factory))

    def explain(self, name: str) -> list[Option]:
        """The options of `name`, with the texts of `Annotated[T, "what it is, its unit"]`."""
        hints = typing.get_type_hints(_signed(self.get(name)), include_extras=True)
        return [
            Option(
                key,
                _in_words(parameter.annotation),
                None if (required := parameter.default is parameter.empty) else parameter.default,
                _text_of(hints.get(key)),
                required,
            )
            for key, parameter in self.options(name).items()
        ]

    def with_default(self, spec: str, key: str, value: object) -> str:
        """`spec` with `key=value` added, where the entry has that option and it is not set."""
        name, given = split_spec(spec)
        if key in given or key not in self.options(name):
            return spec
        return f"{spec}{',' if given else ':'}{key}={value}"

    def describe(self, name: str) -> str:
        """The first sentence of the entry's docstring, over as many lines as it has."""
        first = (inspect.getdoc(self.get(name)) or "").partition("\n\n")[0].replace("\n", " ")
        sentence, end, _ = first.partition(". ")
        return sentence + end.rstrip()

    def create(self, spec: str, **given: Any) -> T:
        """Build `name:key=value,...`; `given` are arguments that text cannot express."""
        name, texts = split_spec(spec)
        factory, options = self.get(name), self.options(name)
        values: dict[str, Any] = {}
        for key, text in texts.items():
            if key not in options:
                raise ConfigError(
                    f"{self.kind} '{name}' has no option '{key}'",
                    hint=nearest(key, options) if options else f"'{name}' takes no options",
                )
            try:
                values[key] = _convert(text, options[key].annotation)
            except (ValueError, TypeError) as error:
                raise ConfigError(
                    f"{self.kind} '{name}': {key}={text} is not usable; expected {error}"
                ) from None
        try:
            return factory(**{**values, **given})
        except ValueError as error:
            raise ConfigError(f"{self.kind} '{name}': {error}") from None


@cache  # asked anew for every recipe and spec, and a signature takes its time to read
def _options(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """See `Registry.options`."""
    hints = typing.get_type_hints(_signed(factory))
    found = {}
    for key, parameter in inspect.signature(factory).parameters.items():
        kind = hints.get(key, str)
        members = typing.get_args(kind) or (kind,)
        plain = typing.get_origin(kind) is Literal or all(
            m in (int, float, bool, str, type(None)) or typing.get_origin(m) is Literal
            for m in members
        )
        if plain:
            found[key] = parameter.replace(annotation=kind)
    return found


def _signed(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Where the types of a factory's parameters stand: of a class at its __init__."""
    return factory.__init__ if inspect.isclass(factory) else factory


def import_siblings(package: str, path: Iterable[str]) -> None:
    """Import every module of a plug-in folder, so that one new file enrols itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
