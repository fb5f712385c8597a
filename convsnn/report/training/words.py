"""What the numbers of a training are called, by what it trains for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """`score` heads the columns of the test's score, `column` the same in CSV; `verdict` goes on
    from its value; `watched` is what is seen of the training samples over the epochs."""

    score: str = "accuracy"
    column: str = "accuracy"
    verdict: str = "of the test images right"
    watched: str = "accuracy"


_WORDS = {
    "classify": Words(),
    "detect": Words("mAP at 0.5", "map50", "mAP at overlap 0.5 on the test images", "overlap"),
}


def words(document: Mapping[str, Any]) -> Words:
    """Those of a training's document; one that says no task is of classes."""
    return _WORDS[document.get("task", "classify")]


def watched(task: str) -> str:
    """What is seen of the training samples over the epochs."""
    return _WORDS[task].watched
