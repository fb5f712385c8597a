"""The table of predictions: one image a line."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.sheets import Sheet
from convsnn.report.wording import counted

_COLUMNS = {"image": "", "answer": "", "label": "", "score": "", "settled": "step", "steps": ""}
MOST = 6  # numbers of an answer that are shown


def prediction_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """The answers as CSV, and where there are classes, the largest scores of every image."""
    rows = document["predictions"]
    first = [{**row, "score": row["top"][0]["score"] if "top" in row else None} for row in rows]
    found = [Sheet("predictions", _COLUMNS, first)]
    largest = [
        {"image": row["image"], "place": place, **one}
        for row in rows
        for place, one in enumerate(row.get("top", ()), start=1)
    ]
    columns = dict.fromkeys(("image", "place", "class", "label", "score"), "")
    return [*found, Sheet("top", columns, largest)] if largest else found


def table(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The rows, and what early exit saved."""
    classes = document["task"] == "classify"
    titles = ["image", "answer", *(["score", "next"] if classes else []), "settled at"]
    shown = Table(box=None, pad_edge=False)
    for title in titles:
        right = title in ("score", "settled at")
        shown.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in document["predictions"]:
        cells = [row["image"], _answer(row)]
        if classes:
            cells += [f"{row['top'][0]['score']:.4g}", ", ".join(map(_other, row["top"][1:]))]
        at = "-" if row["settled"] is None else str(row["settled"])
        shown.add_row(*map(Text, (*cells, at)))
    yield shown
    steps = document["timesteps"]
    early = document["early_exit"]
    if early is None:
        yield Text(f"\nafter {counted(steps, 'time step')}")
        return
    on = early["fitted_on"]
    yield Text(
        f"\nafter {early['mean_steps']:.1f} of {steps} time steps on average; margins fitted on "
        f"{on['samples']} images of {on['source']} for {100 * early['promised']:g} % equal answers"
    )


def _answer(row: Mapping[str, Any]) -> str:
    answer, label = row["answer"], row["label"]
    if isinstance(label, list):
        return ", ".join(label) or "none"
    if label is not None:
        return f"{label} ({answer})"
    return _short(answer)


def _other(best: Mapping[str, Any]) -> str:
    return f"{best['label'] if best['label'] is not None else best['class']} {best['score']:.4g}"


def _short(answer: Any) -> str:
    """The first numbers of whatever was answered."""
    if isinstance(answer, dict):
        return "; ".join(f"{name}: {_short(value)}" for name, value in answer.items())
    numbers = list(_flat(answer))
    text = ", ".join(f"{number:.4g}" for number in numbers[:MOST]) or "none"
    return text if len(numbers) <= MOST else f"{text}, ... ({len(numbers)} in all)"


def _flat(values: Any) -> Iterator[float]:
    if not isinstance(values, list):
        yield values
        return
    for value in values:
        yield from _flat(value)
