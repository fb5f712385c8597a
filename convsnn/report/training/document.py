"""training.json of `convsnn train`: its numbers, the table for the terminal and the HTML page.

The interval is Student's at 95 %: mean +- t s / sqrt(n) over the seeds, s their deviation.
"""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.errors import MissingExtraError
from convsnn.measure.paired import WIDE
from convsnn.report.page.assemble import packages, versions
from convsnn.report.templating import template
from convsnn.report.training.words import words
from convsnn.report.wording import counted, percent, significant

Run: TypeAlias = Mapping[str, Any]
# Student's t at 97.5 % for 1, 2, ... degrees of freedom
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
LAYERS = 24  # whose histograms find room on a page


def half_interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean; None for a single value or none."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    if freedom <= len(_STUDENT):
        t = _STUDENT[freedom - 1]
    else:  # Cornish and Fisher's series, right to four digits from here on
        z = WIDE
        t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return t * stdev(values) / len(values) ** 0.5


def summarise(
    runs: Sequence[Run],
    *,
    command: str,
    name: str,
    recipe: Mapping[str, Any],
    data: Mapping[str, Any],
    task: str = "classify",
) -> dict[str, Any]:
    """The document: the runs as they are, and their accuracy together, up to each step; of the
    `task` detect that is the mean average precision, which a run scored on samples without a box
    has not: the mean is that of the others, None without any."""
    columns = zip(*(run["accuracy"] for run in runs), strict=True)
    steps = [[value for value in column if value is not None] for column in columns]
    return {
        "schema": 1,
        "convsnn": versions()["convsnn"],
        "command": command,
        "name": name,
        "task": task,
        "recipe": dict(recipe),
        "data": dict(data),
        "timesteps": len(steps),
        "accuracy": {
            "mean": [mean(values) if values else None for values in steps],
            "half_interval": [half_interval(values) for values in steps],
            "level": 0.95,
        },
        "runs": [dict(run) for run in runs],
        "versions": packages(),
    }


def verdict(document: Mapping[str, Any]) -> str:
    """The accuracy after the last step in words."""
    accuracy, runs = document["accuracy"], document["runs"]
    half = accuracy["half_interval"][-1]
    steps = counted(document["timesteps"], "step")
    text = f"{percent(accuracy['mean'][-1])} {words(document).verdict} after {steps}"
    known = sum(run["accuracy"][-1] is not None for run in runs)
    if not known:
        return f"{text}: none of the scored samples holds a box"
    left = counted(len(runs) - known, "run")
    others = f"; {left} scored on samples without a box" if known < len(runs) else ""
    if half is None:
        return f"{text}, one run{others}"
    return f"{text}, mean of {known} seeds, +- {100 * half:.2f} points (95 % interval){others}"


def render_training(document: Mapping[str, Any]) -> RenderableType:
    """A rich renderable of a training: a row for each seed, and the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in (
        "seed",
        words(document).score,
        "loss",
        "thresholds",
        "firing rate",
        "dead %",
        "epochs",
        "seconds",
    ):
        table.add_column(title, justify="right")
    for run in document["runs"]:
        last = run["epochs"][-1]
        table.add_row(
            str(run["seed"]),
            percent(run["accuracy"][-1]),
            significant(last["loss"]),
            significant(_mean(last["thresholds"])),
            significant(_mean(last["rates"])),
            dead(run),
            str(len(run["epochs"])),
            f"{run['seconds']:.0f}",
        )
    heading = Text(f"{document['name']}: {document['recipe']['model']}")
    held = memory(document["runs"][0])
    said = [Text(f"\n{verdict(document)}"), *([Text(held)] if held else [])]
    return Group(heading, table, *said)


def render_training_page(document: Mapping[str, Any]) -> str:
    """The document as one HTML page; MissingExtraError without jinja2 or matplotlib."""
    try:
        from convsnn.report.training import charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    return template("training.html").render(
        d=document,
        verdict=verdict(document),
        threshold_chart=charts.layers_chart(document, "thresholds"),
        rate_chart=charts.layers_chart(document, "rates"),
        progress_chart=charts.progress_chart(document),
        words=words(document),
        dead_chart=_drawn(charts, document, "dead"),
        silent_chart=_drawn(charts, document, "silent"),
        moved_chart=_drawn(charts, document, "moved"),
        settled_chart=_drawn(charts, document, "settled"),
        histogram_chart=_histograms(charts, document),
        memory=memory(document["runs"][0]),
    )


def _drawn(charts: Any, document: Mapping[str, Any], what: str) -> str:
    """The chart of what not all runs have, as those of earlier versions; "" for these."""
    known = all(epoch.get(what) for run in document["runs"] for epoch in run["epochs"])
    drawing: str = charts.layers_chart(document, what) if known else ""
    return drawing


def _histograms(charts: Any, document: Mapping[str, Any]) -> str:
    """The charts of the first run's spikes; "" where these are unknown or too many layers'."""
    found = document["runs"][0].get("histograms", {})
    drawing: str = charts.histogram_chart(document) if 0 < len(found) <= LAYERS else ""
    return drawing


def memory(run: Run) -> str:
    """What a run's learned values take, in words; "" where all are of full precision."""
    found = run.get("memory")
    if not found or found["bits"] == 32:
        return ""
    return (
        f"{found['weights']:,} weights of {counted(found['bits'], 'bit')} and {found['others']:,} "
        f"other values of 32 are {found['total']:,} bits; the files here hold every value in 32 "
        f"bits, {found['stored']:,}"
    )


def dead(run: Run) -> str:
    """The dead neurons at the end of a run in per cent, layer by layer where these are few."""
    found = run["epochs"][-1].get("dead", {})
    if not found:
        return "-"
    shown = list(found.values()) if len(found) < 4 else [_mean(found)]
    return "/".join(f"{100 * value:.2f}" for value in shown)


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / max(1, len(values))
