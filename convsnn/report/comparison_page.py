"""A comparison as one HTML file that needs nothing else: no scripts, links or fonts."""

from convsnn.errors import ExportError, MissingExtraError
from convsnn.report.comparison import Comparison, compared_steps, heading, remarks, seconds
from convsnn.report.html import template


def render_comparison_page(comparison: Comparison) -> str:
    """`comparison`, as `compare_reports` made it, as the text of one HTML page.

    The same comparison always gives the same text. Raises MissingExtraError where jinja2 or
    matplotlib is not installed, ExportError where no key or value of the document is as expected.
    """
    try:
        import jinja2

        from convsnn.report import comparison_charts as charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    page = template("comparison.html", seconds=seconds)
    rows, steps = comparison["methods"], compared_steps(comparison["timesteps"])
    best = {
        str(step): {
            kind: max(row["score"][str(step)] for row in rows if row["spikes"] == kind)
            for kind in {row["spikes"] for row in rows}
        }
        for step in steps
    }
    kinds = list(dict.fromkeys(row["spikes"] for row in rows))
    try:
        return page.render(
            c=comparison,
            heading=heading(comparison),
            remarks=remarks(comparison),
            steps=[str(step) for step in steps],
            best=best,
            fronts={kind: charts.front(rows, kind) for kind in kinds},
            steps_chart=charts.steps_chart(comparison) if rows else "",
            cost_chart=charts.cost_chart(comparison) if rows else "",
        )
    except jinja2.UndefinedError as error:
        raise ExportError(f"the comparison cannot be drawn: {error}") from error
