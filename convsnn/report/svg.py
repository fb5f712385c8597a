"""One matplotlib figure as SVG that can stand inside an HTML page, in the page's own colours."""

import io
import re
import warnings
from collections.abc import Callable
from html import escape

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure

from convsnn.report.readings import Cells, attribute, name_lines, readings

# matplotlib knows fixed colours only. These stand for the page's CSS variables, so that one
# drawing follows the light and the dark scheme.
INK = "#0a0b01"
AXIS = "#0a0b02"
GRID = "#0a0b03"
CARD = "#0a0b04"
FIRST = "#0a0b05"
SECOND = "#0a0b06"
THIRD = "#0a0b07"
VARIABLES = {
    INK: "--ink", AXIS: "--axis", GRID: "--line", CARD: "--card",
    FIRST: "--first", SECOND: "--second", THIRD: "--third",
}  # fmt: skip

STYLE = {
    "svg.fonttype": "none",  # real text: small, searchable, in the reader's font
    "text.parse_math": False,  # a layer name may hold a dollar sign
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.labelcolor": AXIS,
    "axes.edgecolor": AXIS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 4.5,
}


def draw(
    name: str,
    paint: Callable[[Figure], None],
    *,
    size: tuple[float, float],
    label: str,
    cells: Cells | None = None,
) -> str:
    """Let `paint` fill a figure of `size` (inches) and return it as an `<svg>` element.

    `name` keeps the ids of several drawings on one page apart; `label` is what a screen reader
    says. Labelled lines, bars, and a mesh with names for its `cells` can be read off point by point
    (see `convsnn.report.readings`). The same figure always gives the same text.
    """
    with matplotlib.rc_context(), matplotlib.style.context("default"):
        matplotlib.rcParams.update(STYLE | {"svg.hashsalt": name})
        # as SVG is written, so that places on the figure are those in the drawing
        figure = Figure(figsize=size, layout="constrained", dpi=72)
        figure.patch.set_alpha(0.0)
        paint(figure)
        name_lines(figure)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with warnings.catch_warnings():
            # the reader's browser draws the text, so a glyph that matplotlib lacks is no loss
            warnings.filterwarnings("ignore", message="Glyph")
            figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
        found = attribute(readings(figure, name, cells))
    return _inline(buffer.getvalue(), name, label, found)


def _inline(text: str, name: str, label: str, found: str) -> str:
    """Without prolog, with ids of its own, scalable, and with the page's colours."""

    def adapt(found: re.Match[str]) -> str:
        short = re.sub(r" ?\n", " ", re.sub(r"(\.\d\d)\d+", r"\1", found[0]))  # of a point
        tag = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", short)
        for colour, variable in VARIABLES.items():
            tag = tag.replace(colour, f"var({variable})")
        return tag

    opening, body = text[text.index("<svg") :].split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    opening = opening.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"{found}', 1)
    # only tags are touched: a layer may be named like a reference or a colour
    return f"{opening}>{re.sub(r'<[^<>]*>', adapt, body)}"
