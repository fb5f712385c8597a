"""Tables that come as TOML files: those of this project by name, a user's own as FILE.toml."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from convsnn.errors import ConfigError, LoadError


def shipped_names(folder: str) -> list[str]:
    """The tables that are known by name, in `folder` of this package."""
    found = files("convsnn.measure").joinpath(folder).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in found if file.name[-5:] == ".toml")


def read_table(text: str, folder: str, *, what: str, form: str) -> dict[str, Any]:
    """The table of a name in `folder`, or of a file `FILE.toml`: what it holds, unchecked.

    Raises ConfigError for an unknown name, which `what` says the kind of, and LoadError for a file
    that cannot be read or is no TOML; `form` says where its form is told.
    """
    if text.endswith(".toml"):
        try:
            return tomllib.loads(Path(text).read_text(encoding="utf-8"))
        except OSError as error:
            raise LoadError(f"'{text}' cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise LoadError(f"'{text}' is no TOML file: {error}", hint=form) from None
    names = shipped_names(folder)
    if text not in names:
        raise ConfigError(
            f"unknown {what} '{text}'", hint=f"known: {', '.join(names)}; or give FILE.toml"
        )
    file = files("convsnn.measure").joinpath(folder, f"{text}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))
