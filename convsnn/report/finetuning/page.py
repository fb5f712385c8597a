"""Fine-tuning as one HTML file: what it gained, over which epochs, on what it learned."""

from collections.abc import Mapping
from typing import Any

from convsnn.errors import MissingExtraError
from convsnn.report.finetuning.document import scored_steps
from convsnn.report.page.summary import shown_steps
from convsnn.report.templating import template
from convsnn.report.wording import COUNTED, counted, percent, points, significant

# the settings of a training that have a place of their own on the page
_SHOWN = ("method", "epochs", "updates", "seconds", "samples", "timesteps", "learned_thresholds")
_LEFT_OUT = ("changes",)


def render_finetuning_page(document: Mapping[str, Any]) -> str:
    """The document as the text of one page, the same for the same document; MissingExtraError
    without jinja2 or matplotlib."""
    try:
        from convsnn.report.finetuning import charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    training, score = document["training"], document["score"]
    known = set(scored_steps(document))
    steps = [step for step in shown_steps(document["timesteps"]) if step in known]
    fraction = score["unit"] == "fraction"
    return template("finetuning.html").render(
        d=document,
        counted=counted,
        of_energy=COUNTED,
        said=percent if fraction else significant,
        unit="percentage points" if fraction else "hundredths",
        gained=_gained(document, -1),
        rows=[
            {
                "step": step,
                "before": document["before"]["score"][step - 1],
                "after": document["after"]["score"][step - 1],
                "gained": _gained(document, step - 1),
                "energy": [document[time]["energy"][step - 1] for time in ("before", "after")],
            }
            for step in steps
        ],
        settings={
            key.replace("_", " "): _shown(value)
            for key, value in training.items()
            if key not in (*_SHOWN, *_LEFT_OUT)
        },
        changes=training.get("changes", ()),
        score_chart=charts.score_chart(document),
        loss_chart=charts.loss_chart(document),
        accuracy_chart=charts.accuracy_chart(document),
        threshold_chart=charts.threshold_chart(document),
        rate_chart=charts.rate_chart(document),
    )


def _gained(document: Mapping[str, Any], place: int) -> str:
    """How much better it is after a step, in hundredths; a dash where a score has no value."""
    before, after = (document[time]["score"][place] for time in ("before", "after"))
    return "-" if before is None or after is None else points(after - before)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
