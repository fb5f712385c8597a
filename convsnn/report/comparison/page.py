"""A comparison as one HTML file without links or fonts, and no script but its own."""

from functools import partial

from convsnn.errors import ExportError, MissingExtraError
from convsnn.report.comparison.apart import best_row, close_in_words
from convsnn.report.comparison.document import (
    Comparison,
    ann_score,
    compared_steps,
    family,
    heading,
    in_words,
    named,
    remarks,
    scored,
)
from convsnn.report.comparison.table import seconds
from convsnn.report.templating import template
from convsnn.report.wording import COUNTED


def render_comparison_page(comparison: Comparison) -> str:
    """`comparison`, as `compare_reports` made it, as the text of one HTML page.

    The same comparison always gives the same text. Raises MissingExtraError where jinja2 or
    matplotlib is not installed, ExportError where no key or value of the document is as expected.
    """
    try:
        import jinja2

        from convsnn.report.comparison import charts, scale
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    page = template("comparison.html", seconds=seconds)
    rows, steps = comparison["methods"], compared_steps(comparison["timesteps"])
    families = list(dict.fromkeys(family(row) for row in rows))
    best = {
        str(step): {
            name: max(row["score"][str(step)] for row in rows if family(row) == name)
            for name in families
        }
        for step in steps
    }
    try:
        return page.render(
            c=comparison,
            heading=heading(comparison),
            measure=named(comparison),
            in_words=in_words(comparison),
            ann_score=ann_score(comparison),
            scored=partial(scored, comparison),
            remarks=remarks(comparison),
            steps=[str(step) for step in steps],
            best=best,
            family=family,
            of_energy=COUNTED,
            trained=any(row["trained"] for row in rows),
            anew=any(row.get("each") for row in rows),
            leader=best_row(comparison),
            close=close_in_words(comparison, most=None),
            fronts={name: charts.front(rows, name) for name in families},
            switches=[
                {
                    "name": name,
                    "colour": charts.colour(comparison, name),
                    "parts": charts.family_parts(comparison, name),
                    "methods": [
                        {"number": n, "title": row["title"], "parts": charts.parts(n)}
                        for n, row in enumerate(rows, start=1)
                        if family(row) == name
                    ],
                }
                for name in families
            ],
            axis=scale.in_words(comparison) if rows else "",
            steps_chart=charts.steps_chart(comparison) if rows else "",
            cost_chart=charts.cost_chart(comparison) if rows else "",
        )
    except jinja2.UndefinedError as error:
        raise ExportError(f"the comparison cannot be drawn: {error}") from error
