"""A comparison as tables for the terminal, one for each kind of method."""

from collections.abc import Sequence
from pathlib import PurePath

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.comparison.apart import best_row, close_in_words
from convsnn.report.comparison.document import (
    Comparison,
    ann_score,
    compared_steps,
    heading,
    in_words,
    remarks,
)
from convsnn.report.wording import COUNTED, counted, percent, significant

WIDTH, NAME, CELL = 100, 21, 7  # characters of the table, a method's name and a column


def render_comparison(comparison: Comparison, *, width: int = WIDTH) -> RenderableType:
    """A rich renderable of `width` characters, without colour.

    Below 100 it has fewer columns, never fewer than those of the steps, and says which are not
    there.
    """
    lines = [heading(comparison)]
    best = ann_score(comparison)
    if best is not None:
        lines.append(f"{comparison['measure']} of the ANN {percent(best)}")
    parts: list[RenderableType] = [Text("\n".join(lines))]
    if comparison["methods"]:
        parts += _methods(comparison, width)
    for one in comparison["failed"]:
        hint = f" ({one['hint']})" if one["hint"] else ""
        parts.append(Text(f"\nfailed: {one['title']}: {one['message']}{hint}", style="red"))
    for one in comparison["left_out"]:
        parts.append(Text(f"\nleft out: {one['title']}: {one['reason']}", style="yellow"))
    parts += [Text(f"\n{remark}") for remark in remarks(comparison)]
    return Group(*parts)


def _methods(comparison: Comparison, width: int) -> list[RenderableType]:
    """A table for each kind of method, all with the same widths, and what their columns mean."""
    title = f"\n{in_words(comparison)} after so many steps"
    parts: list[RenderableType] = [Text(title, style="bold")]
    fits = max(len(compared_steps(comparison["timesteps"])), (width - NAME) // CELL)
    longest = max(len(one["title"]) for one in comparison["methods"])
    hidden: list[str] = []
    for kind in dict.fromkeys(one["kind"] for one in comparison["methods"]):
        columns = list(_columns(comparison, kind).items())
        hidden += [column for column, _ in columns[fits:]]
        name = max(NAME, min(longest, width - 1 - CELL * len(columns[:fits])))
        parts += [Text(f"{kind}:", style="italic"), _table(comparison, kind, columns[:fits], name)]
    trained = any(one["trained"] for one in comparison["methods"])
    legend = (
        f"energy: {COUNTED}, after {comparison['timesteps']} steps; SIN: mean of the "
        "layers; rate: spikes per neuron and step; calib., "
        f"{'train., ' if trained else ''}simul.: seconds"
    )
    parts.append(Text(legend, style="dim"))
    best = best_row(comparison)
    if best is not None and best["network"] is not None:
        place = PurePath(comparison["folder"], best["network"])
        steps = counted(comparison["timesteps"], "step")
        close = close_in_words(comparison)
        text = f"best after {steps}: {best['title']}, kept in {place}{'; ' * bool(close)}{close}"
        parts.append(Text(text))
    if hidden:
        names = ", ".join(dict.fromkeys(hidden))
        parts.append(Text(f"not shown, for want of width: {names} (the page has them)"))
    return parts


def _columns(comparison: Comparison, kind: str) -> dict[str, list[str]]:
    """Columns behind the name, the most telling first, for the methods of one kind.

    What was trained has the seconds of its training where the others have those of calibration.
    """
    steps = list(map(str, compared_steps(comparison["timesteps"])))
    rows = [one for one in comparison["methods"] if one["kind"] == kind]
    made = "training" if rows[0]["trained"] else "calibration"
    return {
        **{step: [f"{100 * one['score'][step]:.2f}" for one in rows] for step in steps},
        "energy": [significant(one["energy"][steps[-1]]) for one in rows],
        "SIN %": [f"{100 * one['sin_ratio']:.2f}" for one in rows],
        "rate": [significant(one["firing_rate"], 2) for one in rows],
        f"{made[:5]}.": [seconds(one[f"{made}_seconds"]) for one in rows],
        "simul.": [seconds(one["simulation_seconds"]) for one in rows],
    }


def _table(
    comparison: Comparison, kind: str, columns: Sequence[tuple[str, Sequence[str]]], name: int
) -> Table:
    """The methods of one kind; `name` is the width of their names, which fold."""
    titles = [one["title"] for one in comparison["methods"] if one["kind"] == kind]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("method", width=name, overflow="fold")
    for column, _ in columns:
        table.add_column(column, justify="right", no_wrap=True, min_width=CELL - 1)
    for title, *cells in zip(titles, *(cells for _, cells in columns), strict=True):
        table.add_row(Text(title), *cells)
    return table


def seconds(value: float | None) -> str:
    """A time in seconds: one decimal below ten, none above; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
