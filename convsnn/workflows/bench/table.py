"""The result of a benchmark as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.wording import percent, significant
from convsnn.workflows.bench.subject import CALIBRATION

WIDTH = 110
_LEAST = ("warm-up", "runs")  # left out where there is no room for all


def render_bench(document: Mapping[str, Any], *, width: int = WIDTH) -> RenderableType:
    """A rich renderable, without colour; below 110 characters it leaves some columns out."""
    parts: list[RenderableType] = [Text(_heading(document))]
    cases: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in document["results"]:
        key = row["model"], row["timesteps"], row["batch_size"]
        cases.setdefault(key, []).append(row)
    for key, rows in cases.items():
        parts += [Text(f"\n{_case(document, *key)}", style="bold"), _results(rows, width)]
    if width < WIDTH:
        parts.append(Text(f"not shown, for want of width: {', '.join(_LEAST)} (--json has them)"))
    ratio = {k: v for k, v in document["ratio"].items() if v is not None}
    if ratio:
        words = ", ".join(f"{name} {significant(value)}" for name, value in ratio.items())
        text = f"\nImages per second, ours in the fastest precision over theirs, least: {words}"
        parts.append(Text(text, style="bold"))
    for title, entries, columns in _more(document):
        if entries:
            parts += [Text(f"\n{title}", style="bold"), _plain(entries, columns)]
    for failure in document["failed"]:
        text = f"\nfailed: {failure['model']}, {failure['engine']}: {failure['reason']}"
        parts.append(Text(text, style="red"))
    parts += [Text(f"\nnote: {note}", style="yellow") for note in document["notes"]]
    return Group(*parts)


def _heading(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    where = machine["gpu"] or f"{machine['processor']} with {', '.join(machine['has']) or 'none'}"
    load = document["load"]
    busy = "" if load[0] is None else f"; load {load[0]:.1f} before, {load[1]:.1f} after"
    return f"{where}, {document['threads']} threads, medians of repeats in turns{busy}"


def _case(document: Mapping[str, Any], model: str, steps: int, batch: int) -> str:
    about = next(m for m in document["models"] if m["name"] == model)
    ann = next(
        a
        for a in document["ann"]
        if (a["model"], a["timesteps"], a["batch_size"]) == (model, steps, batch)
    )
    random = "" if about["trained"] else " (random weights, batch norm set on random images)"
    return (
        f"{model}{random}, {steps} steps, batch {batch}; "
        f"an ANN pass takes {1000 * ann['seconds']:.1f} ms"
    )


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, title in enumerate(titles):
        longest = max(map(len, title.split()), default=0)  # no word of a title is broken
        table.add_column(
            title, justify="left" if number == 0 else "right", overflow="fold", min_width=longest
        )
    return table


def _results(rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    cells = [
        {
            "engine": row["engine"],
            "precision": row["precision"],
            "images/s": significant(row["images_per_second"]),
            "step / ANN pass": significant(row["step_over_ann"]),
            "memory": _bytes(row["peak_memory_bytes"]),
            "same answer": percent(row["agreement"]),
            "warm-up": f"{row['warm_up_seconds']:.1f} s",
            "runs": str(row["repeats"]),
            "mode": row["mode"],
        }
        for row in rows
    ]
    titles = [title for title in cells[0] if width >= WIDTH or title not in _LEAST]
    table = _table(*titles)
    table.columns[-1].justify = "left"
    for one in cells:
        table.add_row(*(Text(one[title]) for title in titles))
    return table


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 2**20:.0f} MiB"


def _more(
    document: Mapping[str, Any],
) -> list[tuple[str, Sequence[Mapping[str, Any]], dict[str, str]]]:
    """Title, rows and columns (title: key) of the tables that only some runs have."""
    neurons = [
        {
            **row,
            "step": "-" if row["step_seconds"] is None else f"{1000 * row['step_seconds']:.2f} ms",
            "over": row["reason"] if row["over_if"] is None else significant(row["over_if"]),
        }
        for row in document["neurons"]
    ]
    stages = [
        {
            **row,
            "time": f"{row['seconds']:.2f} s",
            "passes": "" if row["passes"] is None else significant(row["passes"]),
        }
        for row in document["stages"]
    ]
    memory = [
        {
            **row,
            **{f"T={steps}": _bytes(peak) for steps, peak in row["bytes"].items()},
            "ratio": "-" if row["growth"] is None else significant(row["growth"]),
        }
        for row in document["memory"]
    ]
    lengths = [key for row in memory[:1] for key in row if key.startswith("T=")]
    engine = {"model": "model", "engine": "engine", "precision": "precision"}
    return [
        (
            "A step of each neuron",
            neurons,
            {"model": "model", "neuron": "neuron", "precision": "precision", "step": "step",
             "times that of if": "over"},
        ),
        (
            f"Seconds before the first step; calibration on {CALIBRATION} images",
            stages,
            {"model": "model", "": "what", "time": "time", "ANN passes over them": "passes"},
        ),
        (
            "Peak memory over time steps",
            memory,
            {**engine, **{key: key for key in lengths}, "ratio": "ratio"},
        ),
    ]  # fmt: skip


def _plain(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Table:
    table = _table(*columns)
    for row in rows:
        table.add_row(*(Text(str(row[key])) for key in columns.values()))
    return table
