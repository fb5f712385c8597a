"""A diagnosis as one HTML file: what was found and what to try, then where the error arises."""

from collections.abc import Mapping
from typing import Any

from convsnn.errors import MissingExtraError
from convsnn.measure.decomposition import MADE_HERE, PARTS
from convsnn.report.diagnosis.document import LOST, NAMES, hundredths
from convsnn.report.templating import template
from convsnn.report.wording import counted, neurons_named, significant

ABOUT = {
    "clipping": "activations lie above what a neuron can send",
    "quantisation": "in few steps the levels that can be sent lie far apart",
    "sin": "neurons fire that the original keeps silent",
    "inherited": "the mean input is already wrong",
    "uneven": "the right input comes at the wrong times",
}


def render_diagnosis_page(document: Mapping[str, Any]) -> str:
    """The document as the text of one page, the same for the same document; MissingExtraError
    without jinja2 or matplotlib."""
    try:
        from convsnn.report.diagnosis import charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    return template("diagnosis.html", hundredths=hundredths).render(
        d=document,
        counted=counted,
        parts=PARTS,
        names=NAMES,
        about=ABOUT,
        made_here=MADE_HERE,
        lost=LOST,
        neurons=neurons_named(document),
        layers={layer["name"]: layer for layer in document["layers"]},
        threshold=_threshold,
        error_chart=charts.error_chart(document),
        bias_chart=charts.bias_chart(document),
        neurons_chart=charts.neurons_chart(document),
    )


def _threshold(layer: Mapping[str, Any]) -> str:
    low, high = (significant(layer["threshold"][end]) for end in ("min", "max"))
    return low if low == high else f"{low} .. {high}"
