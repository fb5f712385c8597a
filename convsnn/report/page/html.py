"""The report as one HTML file that needs nothing else: no scripts, links or fonts."""

from convsnn.errors import MissingExtraError
from convsnn.report.document import Report, validate
from convsnn.report.page import costs
from convsnn.report.page.early_exit import early_exit_text
from convsnn.report.page.metrics import beside, grouped, headline, not_scored
from convsnn.report.page.summary import (
    SETTLED,
    dead_fraction,
    expected_in_words,
    latency_in_words,
    row,
    rows,
    settled_step,
    shown_steps,
    steps_below_ann,
)
from convsnn.report.templating import template
from convsnn.report.wording import neurons_named

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
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    settled = settled_step(report)
    return template("page.html").render(
        report=report,
        first=headline(report),
        beside=beside(report),
        grouped=grouped(report),
        not_scored=not_scored(report),
        doubt=report.get("doubt"),
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
        dead=dead_fraction,
        neurons=neurons_named(report),
        options={k: v for k, v in report["method"].items() if k not in ("neuron", "encoder")},
        accuracy_chart=charts.accuracy_chart(report),
        energy_chart=charts.energy_chart(report),
        rate_chart=charts.rate_chart(report),
        sin_chart=charts.sin_chart(report),
    )
