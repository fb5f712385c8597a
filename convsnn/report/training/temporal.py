"""temporal.json of the temporal-coding task: its table and the page with the figure."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.errors import MissingExtraError
from convsnn.report.templating import template
from convsnn.report.wording import percent, significant

_COLUMNS = ("update", "threshold", "loss", "spikes at", "dead hidden neurons")
_MANY = 12  # spikes that are named


def lines(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line for every case and kept update: name, update, threshold, loss, spikes, dead."""
    found: list[tuple[str, ...]] = []
    for name, case in document["cases"].items():
        for trace in case["traces"]:
            loss = case["loss"][min(trace["update"], len(case["loss"]) - 1)]
            found.append(
                (
                    name, str(trace["update"]), significant(trace["threshold"]),
                    significant(loss), _named(trace["spikes"]), percent(trace["dead_hidden"]),
                )
            )  # fmt: skip
    return found


def _named(spikes: list[int]) -> str:
    if not spikes:
        return "none"
    if len(spikes) > _MANY:
        return f"{len(spikes)} steps from {spikes[0]} to {spikes[-1]}"
    return ", ".join(map(str, spikes))


def render_temporal(document: Mapping[str, Any]) -> RenderableType:
    """A rich renderable of the task."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for title in _COLUMNS:
        table.add_column(title, justify="right")
    before = ""
    for name, *rest in lines(document):
        table.add_row("" if name == before else name, *rest)
        before = name
    return Group(Text("one spike at step 75, from the potential's way there"), table)


def render_temporal_page(document: Mapping[str, Any]) -> str:
    """The document as one HTML page; MissingExtraError without jinja2 or matplotlib."""
    try:
        from convsnn.report.training import temporal_charts as charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    drawn = [(n, charts.potential_chart(n, case)) for n, case in document["cases"].items()]
    return template("temporal.html").render(
        d=document, columns=_COLUMNS, lines=lines(document), charts=drawn
    )
