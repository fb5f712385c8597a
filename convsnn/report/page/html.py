"""The report as one HTML file without links or fonts, and no script but its own."""

from typing import Any

from convsnn.errors import MissingExtraError
from convsnn.report.document import Report, validate
from convsnn.report.page import costs
from convsnn.report.page.classes import FEW, SHOWN, by_class, class_name
from convsnn.report.page.early_exit import early_exit_text
from convsnn.report.page.examples import convinced, told, watched_in_words
from convsnn.report.page.metrics import beside, grouped, headline, not_scored
from convsnn.report.page.stepping import rate_scale, stepping
from convsnn.report.page.summary import (
    SETTLED,
    dead_fraction,
    expected_in_words,
    fits_in_words,
    latency_in_words,
    row,
    rows,
    settled_step,
    shown_steps,
    steps_below_ann,
)
from convsnn.report.templating import template
from convsnn.report.wording import distinct, neurons_named, shortened

NAME = 23  # characters of a layer's name beside its bar
FORMS = {
    "paper": (
        "The formula common in papers: every multiply-accumulate of a layer becomes one addition "
        "per time step and spike, at the mean firing rate of what feeds the layer."
    ),
    "counted": (
        "What really happened: each spike costs one addition for every connection it has, and "
        "graded values, such as the input image, are charged as multiply-accumulates."
    ),
    "cached": (
        "As counted, with the first layer charged once: where its input is the same at every "
        "step, its result can be kept."
    ),
}


def render_html(report: Report) -> str:
    """`report` as the text of one HTML page.

    The same report always gives the same text. Raises ExportError where the report does not fit
    its schema, MissingExtraError where jinja2 or matplotlib is not installed.
    """
    validate(report)
    try:
        from convsnn.report.page import charts
        from convsnn.report.page.confusion import confusion_charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    settled, layers = settled_step(report), [layer["name"] for layer in report["layers"]]
    return template("page.html").render(
        report=report,
        first=headline(report),
        beside=beside(report),
        grouped=grouped(report),
        not_scored=not_scored(report),
        warned=_warnings(report),
        shown=shown_steps(report["timesteps"]),
        last=row(report, report["timesteps"]),
        rows=rows(report),
        settled=row(report, settled),
        tolerance=SETTLED,
        below={form: steps_below_ann(report, form) for form in FORMS},
        forms=FORMS,
        estimate=costs.estimate_of(report),
        spends=costs.energy_in_words(report, report["timesteps"]),
        point=costs.point_in_words(report),
        expected=expected_in_words(report),
        others=costs.beside(report, shown_steps(report["timesteps"])),
        columns=costs.COLUMNS,
        cheaper=costs.cheaper_in_words(report),
        even=costs.break_even(report, "bit_matched"),
        priced=costs.notes(report),
        early_exit=early_exit_text(report),
        late=latency_in_words(report),
        fits=fits_in_words(report),
        dead=dead_fraction,
        neurons=neurons_named(report),
        options={k: v for k, v in report["method"].items() if k not in ("neuron", "encoder")},
        classes=report.get("classes"),
        by_class=by_class(report),
        most=FEW if len(by_class(report)) <= FEW else SHOWN,
        class_name=class_name,
        tables=confusion_charts(report),
        **_looked_at(report),
        accuracy_chart=charts.accuracy_chart(report),
        energy_chart=charts.energy_chart(report),
        names=[shortened(name, NAME) for name in distinct(layers)],
        rate_scale=rate_scale(report),
        stepping=stepping(report),
        sin_chart=charts.sin_chart(report),
    )


def _warnings(report: Report) -> list[str]:
    """What makes the numbers mean less than they seem to, what matters most first."""
    found = [report.get("doubt"), *report.get("warnings", ())]
    return list(dict.fromkeys(text for text in found if text))


def _looked_at(report: Report) -> dict[str, Any]:
    """What stands in the section of the samples that were looked at."""
    section = report.get("examples")
    if section is None or not section["samples"]:
        return {"examples": None}
    from convsnn.report.page import example_charts as charts

    samples = section["samples"]
    return {
        "examples": section,
        "told": list(told(report)),
        "convinced": convinced(report),
        "watched": watched_in_words(report),
        "output_charts": [charts.outputs_chart(report, s, n) for n, s in enumerate(samples)],
        "activity_chart": charts.activity_chart(report),
        "raster_chart": charts.raster_chart(report),
        "potentials_chart": charts.potentials_chart(report),
    }
