"""How Sphinx builds the site: `make docs`."""

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import generate

import convsnn

project = "convsnn"
version = release = convsnn.__version__
copyright = "the authors of convsnn, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"convsnn {version}"
html_extra_path = ["report.schema.json"]
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

MADE = {"commands": generate.commands, "options": generate.options}


def _append(_: Any, page: str, source: list[str]) -> None:
    """Put what is made from the code behind what was written by hand."""
    if page in MADE:
        source[0] += "\n" + MADE[page]()


def _plain(_: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code` in single backticks: nothing else is markup."""
    del what, name, thing, options
    for number, line in enumerate(lines):
        parts = line.split("`")
        plain = [re.sub(r"([*_|\\])", r"\\\1", part) for part in parts[::2]]
        if len(parts) % 2:
            code = [f"``{part}``" for part in parts[1::2]]
            mixed = [text for pair in zip(plain, [*code, ""], strict=True) for text in pair]
            lines[number] = "".join(mixed)


def setup(app: Any) -> None:
    """Tell Sphinx of both."""
    app.connect("source-read", _append)
    app.connect("autodoc-process-docstring", _plain)
