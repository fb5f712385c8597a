"""What a workflow gives back: a document, which is the file and what --json prints, and a table."""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from convsnn.report.sheets import Sheet, write_sheets

NOTEBOOK = 110  # characters that a cell's output has room for


class Tabled(ABC):
    """What has tables that can be written as CSV."""

    @abstractmethod
    def sheets(self) -> Sequence[Sheet]:
        """The tables, the most wanted first."""

    def to_csv(self, place: str | Path) -> list[Path]:
        """Write the tables: all of them into a directory, each as NAME.csv, or the first to a place
        that ends in .csv. The files."""
        return write_sheets(self.sheets(), Path(place))


@dataclass(frozen=True, repr=False)
class Result(Tabled):
    """A `document` of plain JSON values, and how it is shown."""

    document: Mapping[str, Any]

    @abstractmethod
    def render(self, *, width: int) -> RenderableType:
        """The table, as a rich renderable of `width` characters."""

    @abstractmethod
    def about(self) -> str:
        """What it is about, in a few words."""

    def to_json(self) -> str:
        """The document as text."""
        return json.dumps(self.document, indent=2) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.about()})"

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=NOTEBOOK, highlight=False, color_system=None)
        with console.capture() as captured:
            console.print(self.render(width=NOTEBOOK))
        return captured.get()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
