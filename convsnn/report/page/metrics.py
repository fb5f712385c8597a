"""The scores of a report as people read them: the headline, those beside it, those in groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convsnn.report.document import Report
from convsnn.report.wording import percent, points, significant


@dataclass(frozen=True)
class Metric:
    """One score: of the ANN, and of the spiking network at every step; None where it has no
    value."""

    name: str
    label: str
    unit: str
    ann: float | None
    snn: Sequence[float | None]
    group: str = ""

    def text(self, value: float | None) -> str:
        """A value of it: a fraction in percent, a number in three digits, a dash for None."""
        if self.unit == "fraction":
            return percent(value)
        return "-" if value is None else significant(value)

    def drop(self, value: float | None) -> str:
        """A loss of it in hundredths, which for fractions are percentage points."""
        return points(value)


def metrics(report: Report) -> list[Metric]:
    """Every score of a report, the headline first; one that was written before there were tasks
    has its accuracy."""
    found: Mapping[str, Mapping[str, Any]] = report.get("metrics", {})
    known = [
        Metric(name, m["label"], m["unit"], m["ann"], m["snn"], m.get("group", ""))
        for name, m in found.items()
    ]
    accuracy = report["snn"]["accuracy"]
    if not known and accuracy is not None:
        known = [Metric("accuracy", "accuracy", "fraction", report["ann"]["accuracy"], accuracy)]
    first = report.get("headline")
    return sorted(known, key=lambda metric: metric.name != first)


def headline(report: Report) -> Metric | None:
    """The score that stands first; None where nothing is scored."""
    return next(iter(metrics(report)), None)


def beside(report: Report) -> list[Metric]:
    """The others that have a column of their own."""
    return [metric for metric in metrics(report)[1:] if not metric.group]


def grouped(report: Report) -> dict[str, list[Metric]]:
    """Those that are one of many, like the F1 of each label, by what they are one of."""
    found: dict[str, list[Metric]] = {}
    for metric in metrics(report):
        if metric.group:
            found.setdefault(metric.group, []).append(metric)
    return found


def not_scored(report: Report) -> str:
    """Why there is no score, in words."""
    return str(report.get("not_scored") or "no labels")
