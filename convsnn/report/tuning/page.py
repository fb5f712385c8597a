"""A search for a neuron's constants as one HTML file: what was found, by which trials, on what."""

from collections.abc import Mapping
from typing import Any

from convsnn.errors import MissingExtraError
from convsnn.report.templating import template
from convsnn.report.wording import counted


def render_tuning_page(document: Mapping[str, Any], options: str) -> str:
    """The document as the text of one page, the same for the same document; `options` are those of
    `convsnn convert` that use what was found. MissingExtraError without jinja2 or matplotlib."""
    try:
        from convsnn.report.tuning import charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    rows = document["rows"]
    fixed = [row for row in rows if row["neuron"] == "if"]
    last = list(rows[0]["error"])[-1]
    return template("tuning.html").render(
        d=document,
        options=options,
        counted=counted,
        steps=list(rows[0]["error"]),
        last=last,
        rival=min(fixed, key=lambda row: row["error"][last]),
        trials_chart=charts.trials_chart(document),
        rivals_chart=charts.rivals_chart(document),
    )
