"""The figures 2 to 5 of MSAT for any network, as one HTML page and as SVG files.

Each figure is drawn from reports (report.json, schema 1) of several conversions of one network:
`fixed` threshold V, the largest activation; `lower`, 0.7 V; `evoked`, with DET only; `dynamic`,
with DTT and DET; `confidence`, `dynamic` with spike confidence.
"""

import importlib.resources
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from convsnn.errors import MissingExtraError
from convsnn.report.comparison.document import measured
from convsnn.report.document import Report, validate
from convsnn.report.page.summary import shown_steps
from convsnn.report.templating import template

RUNS = ("fixed", "lower", "evoked", "dynamic", "confidence")
RATES_AT = (16, 64)  # figure 5 says the one, the text beside it the other


def rate_steps(total: int) -> list[int]:
    """The steps that firing rates are shown at: those of the paper, as far as the runs go."""
    known = [step for step in RATES_AT if step <= total]
    return known if len(known) == len(RATES_AT) else sorted({*known, total})


def draw_figures(reports: Mapping[str, Report]) -> dict[str, str]:
    """Every figure as an inline `<svg>` element, by name, from the reports of all `RUNS`.

    Raises ExportError where a report does not fit its schema, MissingExtraError where matplotlib
    is not installed.
    """
    for name in RUNS:
        validate(reports[name])
    try:
        from convsnn.report.figures import charts
        from convsnn.report.page.charts import sin_chart
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    top = max(_largest_sin(reports[name]) for name in ("fixed", "dynamic", "confidence"))
    return {
        "figure-2": sin_chart(reports["fixed"], name="figure-2", top=top),
        "figure-3": charts.accuracy_lines(reports, name="figure-3"),
        "figure-4-dynamic": sin_chart(reports["dynamic"], name="figure-4-dynamic", top=top),
        "figure-4-confidence": sin_chart(
            reports["confidence"], name="figure-4-confidence", top=top
        ),
        "figure-5": charts.rate_bars(
            reports["confidence"], name="figure-5", at=rate_steps(reports["fixed"]["timesteps"])
        ),
    }


def _largest_sin(report: Report) -> float:
    return float(np.max([layer["sin_ratio"] for layer in report["layers"]]))


def render_figures(
    reports: Mapping[str, Report], drawings: Mapping[str, str], settings: Mapping[str, Any]
) -> str:
    """The HTML page around the drawings; MissingExtraError where jinja2 is not installed."""
    first = reports["fixed"]
    return template("figures.html").render(
        settings=settings,
        reports=reports,
        drawings=drawings,
        model=first["model"],
        data=first["data"],
        ann=first["ann"]["accuracy"],
        T=first["timesteps"],
        steps=shown_steps(first["timesteps"]),
        rate_steps=rate_steps(first["timesteps"]),
        wrong=_wrong_firing(reports, min(16, first["timesteps"])),
        quality=measured(first).label,
        scores={name: measured(report).snn for name, report in reports.items()},
    )


def _wrong_firing(reports: Mapping[str, Report], step: int) -> list[dict[str, Any]]:
    """The SIN ratio at `step` of each run that figures 2 and 4 show: last layer and mean."""
    rows = []
    for name in ("fixed", "dynamic", "confidence"):
        ratios = [layer["sin_ratio"][step - 1] for layer in reports[name]["layers"]]
        rows.append({"run": name, "step": step, "mean": sum(ratios) / len(ratios)})
        rows[-1]["last"] = ratios[-1]
    return rows


def standalone(drawing: str) -> str:
    """An inline `<svg>` element as a file of its own, with the page's colours, light or dark."""
    css = (
        importlib.resources.files("convsnn.report")
        .joinpath("templates/page.css")
        .read_text("utf-8")
    )
    colours = css[: css.index("* {")]
    background = "svg { background: var(--card); font-family: system-ui, sans-serif }"
    opening, body = drawing.split(">", 1)
    style = re.sub(r"\s+", " ", f"{colours}{background}")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{opening}><style>{style}</style>{body}\n'
