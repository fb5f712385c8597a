"""The outcome of a search for a neuron's constants: the table for the terminal, and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.sheets import FRACTION, Sheet, flat
from convsnn.report.wording import counted, percent, significant

Row: TypeAlias = Mapping[str, Any]


def verdict(rows: Sequence[Row]) -> dict[str, Any]:
    """Whether the first row, the tuned neuron, is at least as good as the best fixed threshold.

    `at_least_as_good` is so by the error at each step, `text` says it in words.
    """
    tuned, fixed = rows[0]["error"], [row for row in rows if row["neuron"] == "if"]
    lost, good = [], {}
    for step, error in tuned.items():
        best = min(fixed, key=lambda row, at=step: row["error"][at])  # type: ignore[misc]
        good[step] = error <= best["error"][step]
        if not good[step]:
            lost.append(
                f"after {step} steps its error is {significant(error)}, that of a threshold "
                f"{best['name'].removeprefix('fixed, ')} {significant(best['error'][step])}"
            )
    steps = ", ".join(tuned)
    if lost:
        text = f"The tuned neuron is NOT at least as good as fixed thresholds: {'; '.join(lost)}."
    else:
        text = (
            f"The tuned neuron's outputs are at least as close to the original's as those of the "
            f"best fixed threshold after {steps} steps."
        )
    return {"at_least_as_good": good, "text": text}


def tuned_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """The rivals as CSV; every trial stands in history.csv."""
    steps = list(document["rows"][0]["error"])
    columns = dict.fromkeys(("name", "calibrate", "neuron"), "")
    columns |= {f"error.{step}": "of the outputs" for step in steps}
    if document["rows"][0]["agreement"] is not None:
        columns |= {f"agreement.{step}": FRACTION for step in steps}
    return [Sheet("rows", columns, [flat(row) for row in document["rows"]])]


def render_tuned(document: Mapping[str, Any]) -> RenderableType:
    """A rich renderable of what `convsnn tune` found; it needs 80 columns and no colour."""
    data = document["data"]
    lines = (
        f"{document['model']['name']}: best of {counted(document['trials'], 'trial')}, thresholds "
        f"from {counted(data['calibration']['samples'], 'training image')}, chosen by "
        f"{data['trials']['samples']} others, judged here by {data['check']['samples']} more"
    )
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    steps = list(document["rows"][0]["error"])
    for step in steps:
        table.add_column(f"error {step}", justify="right", no_wrap=True)
    agreeing = document["rows"][0]["agreement"] is not None
    for step in steps if agreeing else ():
        table.add_column(f"agree {step}", justify="right", no_wrap=True)
    same_answers = ", and answers equal to the ANN's" if agreeing else ""
    for row in document["rows"]:
        errors = (significant(row["error"][step]) for step in steps)
        same = (percent(row["agreement"][step]) for step in steps) if agreeing else ()
        table.add_row(Text(row["name"]), *errors, *same)
    return Group(
        Text(lines),
        Text(f"\nRelative error of the outputs{same_answers}", style="bold"),
        table,
        Text(f"\n{document['verdict']['text']}"),
    )
