"""What a pointer or a key can read off a drawn figure: the points of its lines, its bars and cells.

`readings` gives it as plain data in the coordinates of the drawing, `attribute` as the text of
`data-readings`, which the script of all pages (templates/page.js) shows beside the pointer. It is
made from what is drawn: every line with a label, every bar, and the cells of a mesh whose rows and
columns are named.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.collections import QuadMesh
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from convsnn.report.wording import percent, significant

_COLORBAR = "<colorbar>"  # what matplotlib calls the axes of one, whose colours are a mesh too
APART = 1.5  # points of one line that stand closer, in drawn units, are not told apart


@dataclass(frozen=True)
class Cells:
    """What the rows and columns of a mesh are called."""

    rows: Sequence[str]
    columns: Sequence[str]


def name_lines(figure: Figure) -> None:
    """Give every line with a label an id of its own, under which it can be hidden."""
    for number, line in enumerate(_labelled(figure)):
        line.set_gid(f"line-{number}")


def readings(figure: Figure, name: str, cells: Cells | None = None) -> list[dict[str, Any]]:
    """One entry for each axes of the drawn `figure` off which something can be read."""
    height = float(figure.bbox.height)

    def place(points: Any) -> Any:
        """From matplotlib's pixels to the drawing's, in which y grows downwards."""
        return np.column_stack([points[:, 0], height - points[:, 1]])

    found = [_panel(axes, name, cells, place) for axes in figure.axes if axes.get_visible()]
    return [panel for panel in found if any(panel[kind] for kind in ("lines", "marks", "grid"))]


def attribute(found: Sequence[dict[str, Any]]) -> str:
    """The readings as an attribute of an element; nothing where there are none."""
    if not found:
        return ""
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    for sign, written in (("&", "&amp;"), ("'", "&#39;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, written)
    return f" data-readings='{text}'"


def _labelled(figure: Figure) -> Iterator[Any]:
    for axes in figure.axes:
        for line in axes.get_lines():
            if not str(line.get_label()).startswith("_"):
                yield line


def _panel(
    axes: Any, name: str, cells: Cells | None, place: Callable[[Any], Any]
) -> dict[str, Any]:
    (left, bottom), (right, top) = place(axes.get_window_extent().get_points())
    panel: dict[str, Any] = {
        "box": _rounded([left, top, right, bottom]),
        "title": str(axes.get_title("left") or axes.get_title()),
        "x": _across(axes),
        "limits": [float(value) for value in axes.get_xlim()],
        "log": axes.get_xscale() == "log",
        "lines": [],
        "levels": [],
        "marks": [],
        "grid": None,
    }
    for line in axes.get_lines():
        _add_line(panel, axes, line, name, place)
    for container in axes.containers:
        if isinstance(container, BarContainer):
            panel["marks"] += _bars(axes, container, place)
    for mesh in axes.collections:
        if isinstance(mesh, QuadMesh) and cells is not None and axes.get_label() != _COLORBAR:
            panel["grid"] = _grid(mesh, cells, place)
    return panel


def _across(axes: Any) -> str:
    """What is on the x axis, which of axes below one another only the last may say."""
    shared = axes.get_shared_x_axes().get_siblings(axes)
    return next((str(label) for one in [axes, *shared] if (label := one.get_xlabel())), "")


def _add_line(
    panel: dict[str, Any], axes: Any, line: Any, name: str, place: Callable[[Any], Any]
) -> None:
    label = str(line.get_label())
    across, up = line.get_transform().contains_branch_seperately(axes.transData)
    if label.startswith("_") or not up:  # a line straight up tells nothing of its own
        return
    points = np.asarray(line.get_xydata(), dtype=float)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return
    drawn, word = (
        place(line.get_transform().transform(points)),
        axes.fmt_ydata or _worded(axes.yaxis),
    )
    if not across:
        panel["levels"].append(
            {"name": label, "y": _rounded(drawn[:1, 1])[0], "is": word(points[0, 1])}
        )
        return
    dots = line.get_linestyle() in ("None", "", " ")
    kept = list(range(len(drawn))) if dots else _apart(drawn[:, 0])
    panel["lines"].append(
        {
            "id": f"{name}-{line.get_gid()}",
            "name": label,
            "x": _rounded(drawn[kept, 0]),
            "y": _rounded(drawn[kept, 1]),
            "at": [_worded(axes.xaxis)(value) for value in points[kept, 0]],
            "is": [word(value) for value in points[kept, 1]],
        }
    )


def _bars(
    axes: Any, container: BarContainer, place: Callable[[Any], Any]
) -> Iterator[dict[str, Any]]:
    """A mark for every bar: where it is drawn, what it stands for, and its value."""
    lying = container.orientation == "horizontal"
    named, valued = (axes.yaxis, axes.xaxis) if lying else (axes.xaxis, axes.yaxis)
    texts = [label.get_text() for label in named.get_ticklabels()]
    ticks, word = list(named.get_ticklocs()), _worded(valued)
    series = str(container.get_label())
    for patch in container:
        middle = patch.get_y() + patch.get_height() / 2 if lying else None
        middle = patch.get_x() + patch.get_width() / 2 if middle is None else middle
        near = min(range(len(ticks)), key=lambda i: abs(ticks[i] - middle), default=None)
        corners = place(np.asarray(patch.get_window_extent().get_points()))
        yield {
            "box": _rounded([*corners.min(axis=0), *corners.max(axis=0)]),
            "name": texts[near] if near is not None and texts[near] else "",
            "of": "" if series.startswith("_") else series,
            "is": word(patch.get_width() if lying else patch.get_height()),
        }


def _grid(mesh: QuadMesh, cells: Cells, place: Callable[[Any], Any]) -> dict[str, Any]:
    corners = np.asarray(mesh._coordinates)  # type: ignore[attr-defined]
    drawn = place(mesh.get_transform().transform(corners.reshape(-1, 2))).reshape(corners.shape)
    values = np.ma.filled(np.ma.asarray(mesh.get_array()).astype(float), np.nan)
    values = values.reshape(len(corners) - 1, -1)
    return {
        "xs": _rounded(drawn[0, :, 0]),
        "ys": _rounded(drawn[:, 0, 1]),
        "rows": list(cells.rows),
        "columns": list(cells.columns),
        "is": [["-" if v != v else percent(float(v)) for v in row] for row in values],
    }


def _worded(axis: Any) -> Callable[[float], str]:
    """How a value on an axis is said: as its ticks are, in more digits."""
    ticks = axis.get_major_formatter()
    if isinstance(ticks, PercentFormatter):
        return lambda value: percent(float(value) / ticks.xmax)
    return lambda value: (
        f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else significant(float(value))
    )


def _apart(across: Any) -> list[int]:
    """Which points are kept: the first, the last, and those in between that can be told apart."""
    kept = [0]
    for place in range(1, len(across) - 1):
        if abs(across[place] - across[kept[-1]]) >= APART:
            kept.append(place)
    return [*kept, len(across) - 1] if len(across) > 1 else kept


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 1) for value in values]
