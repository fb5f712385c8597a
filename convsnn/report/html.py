"""The report as one HTML file that needs nothing else: no scripts, links or fonts."""

from collections.abc import Callable
from typing import Any

from convsnn.errors import MissingExtraError
from convsnn.report.document import Report, validate
from convsnn.report.early_exit import early_exit_text
from convsnn.report.summary import (
    SETTLED,
    dead_fraction,
    row,
    rows,
    settled_step,
    steps_below_ann,
)
from convsnn.report.wording import amount, joules, neurons_named, percent, points, significant

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
NO_BREAK = "\N{NO-BREAK SPACE}"


def _unbroken(wording: Callable[[Any], str]) -> Callable[[Any], str]:
    """The same words, which no line end may part: a number stays with its unit."""
    return lambda value: wording(value).replace(" ", NO_BREAK)


FILTERS = {
    function.__name__: _unbroken(function)
    for function in (percent, points, significant, joules, amount)
}


def template(name: str, **filters: Any) -> Any:
    """The page `name` of this folder, with the filters of all pages and `filters`.

    MissingExtraError where jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convsnn", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS, **filters)
    return environment.get_template(name)


def render_html(report: Report) -> str:
    """`report` as the text of one HTML page.

    The same report always gives the same text. Raises ExportError where the report does not fit
    its schema, MissingExtraError where jinja2 or matplotlib is not installed.
    """
    validate(report)
    try:
        from convsnn.report import charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    settled = settled_step(report)
    return template("page.html").render(
        report=report,
        labelled=report["ann"]["accuracy"] is not None,
        last=row(report, report["timesteps"]),
        rows=rows(report),
        settled=row(report, settled),
        tolerance=SETTLED,
        below={form: steps_below_ann(report, form) for form in FORMS},
        forms=FORMS,
        early_exit=early_exit_text(report),
        dead=dead_fraction,
        neurons=neurons_named(report),
        options={k: v for k, v in report["method"].items() if k not in ("neuron", "encoder")},
        accuracy_chart=charts.accuracy_chart(report),
        energy_chart=charts.energy_chart(report),
        rate_chart=charts.rate_chart(report),
        sin_chart=charts.sin_chart(report),
    )
