"""Numbers from runs: accuracy at every step, rates, SIN, synaptic operations, energy."""

from convsnn.measure.activity import Activity
from convsnn.measure.evaluate import Evaluation, evaluate, is_classifier, score_ann

__all__ = ["Activity", "Evaluation", "evaluate", "is_classifier", "score_ann"]
