"""Numbers from runs: accuracy at every step, rates, SIN, synaptic operations, energy."""

from convsnn.measure.activity import Activity
from convsnn.measure.evaluate import (
    Evaluation,
    answers_classes,
    evaluate,
    is_classifier,
    score_ann,
)

__all__ = ["Activity", "Evaluation", "answers_classes", "evaluate", "is_classifier", "score_ann"]
