"""What a Markdown page shows, in its order: code that runs, files, commands with their output.

```python     runs, in one namespace a page; with a first line `# NAME.py` it is a file
```console    `$ convsnn ...` runs; each line of output that is shown must be printed
```sh         commands that are only parsed, for they need what a test does not have
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT

DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\S+\.py)\n")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Block:
    """One block of a page: its `language` and what stands in it."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is; None for code that runs."""
        found = _FILE.match(self.text) if self.language == "python" else None
        return found[1] if found else None


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands(block: Block) -> Iterator[tuple[list[str], list[str]]]:
    """The arguments of every `convsnn` in a block of commands, and the lines shown behind it."""
    lines = iter(block.text.replace("\\\n", " ").splitlines())
    found: list[tuple[list[str], list[str]]] = []
    for line in lines:
        prompt = line.startswith("$ ")
        if prompt or block.language == "sh":
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if "convsnn" in words:
                found.append((words[words.index("convsnn") + 1 :], []))
        elif found and line.strip() not in ("", "..."):
            found[-1][1].append(line)
    yield from found


def follow(page: Path, main: Callable[[list[str]], int], printed: Callable[[], str]) -> None:
    """Do in the current directory what the page says, from top to bottom."""
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.file is not None:
            Path(block.file).parent.mkdir(exist_ok=True)
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
        elif block.language == "console":
            for arguments, shown in commands(block):
                code = main(list(arguments))
                _compare(arguments, shown, code, printed())


def _compare(arguments: list[str], shown: list[str], code: int, out: str) -> None:
    """A command ends well, or with the exit code that is shown, and prints what is shown."""
    wanted = 0
    if shown and (ended := re.fullmatch(r"\(exit code (\d+)\)", shown[-1])):
        wanted, shown = int(ended[1]), shown[:-1]
    assert code == wanted, f"convsnn {shlex.join(arguments)}: exit code {code}\n{out}"
    there = _words("\n".join(out.splitlines()))
    for line in shown:
        assert _words(line) in there, f"convsnn {shlex.join(arguments)} does not print: {line}"


def _words(text: str) -> str:
    """Without numbers, which differ in rounding, and without how lines are broken."""
    return " ".join(_NUMBER.sub("#", text).split())
