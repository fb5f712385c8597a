"""A page of the documentation as a Jupyter notebook: prose stays, code and commands become cells.

`python docs/generate.py` writes `quickstart.ipynb` from `quickstart.md`; a test keeps them in step.
Commands begin with `!`, as notebooks take them; what they print is left to the reader's own run.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGE, NOTEBOOK = DOCS / "quickstart.md", DOCS / "quickstart.ipynb"
_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)
_KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_text(page: Path = PAGE) -> str:
    """The notebook of a page, in format 4.5."""
    text = page.read_text(encoding="utf-8")
    parts = _BLOCK.split(text)
    cells = [{"cell_type": "markdown", **_source(f"Made from `docs/{page.name}`.")}]
    cells += [_markdown(prose) for prose in parts[:1] if prose.strip()]
    for language, code, prose in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        cells += [_code(language, code)]
        cells += [_markdown(prose)] if prose.strip() else []
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    made = {"cells": cells, "metadata": _KERNEL, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _markdown(prose: str) -> dict[str, Any]:
    return {"cell_type": "markdown", **_source(prose.strip())}


def _code(language: str, code: str) -> dict[str, Any]:
    lines = code if language == "python" else "\n".join(_typed(code))
    return {"cell_type": "code", "execution_count": None, "outputs": [], **_source(lines.strip())}


def _typed(block: str) -> Iterator[str]:
    """The commands of a block without what they print; one over several lines stays so."""
    more = False
    for line in block.splitlines():
        if more or line.startswith("$ "):
            yield line if more else f"!{line.removeprefix('$ ')}"
            more = line.endswith("\\")


def _source(text: str) -> dict[str, Any]:
    return {"metadata": {}, "source": text.splitlines(keepends=True)}
