"""The section `classes` of a report: accuracy by class, and which were taken for which.

The whole tables stand there for networks of few classes, the pairs that were confused most for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convsnn.measure.confusion import Confusion, most_confused, share_right
from convsnn.report.document import Report
from convsnn.report.wording import counted, percent

FEW = 20  # classes whose table can still be read as a picture on a phone
PAIRS = 20  # confused pairs in report.json
SHOWN = 12  # of them, and of classes that lost most, on a page
NAMED = 3  # classes that the terminal names


@dataclass(frozen=True)
class OfClass:
    """One class: its name, its samples, and the accuracy on them; `lost` in fractions."""

    name: str
    samples: int
    ann: float
    snn: float

    @property
    def lost(self) -> float:
        """The original's accuracy minus the spiking network's."""
        return self.ann - self.snn


def classes_section(found: Confusion, names: Sequence[str] | None) -> dict[str, Any]:
    """What stands under `classes`."""
    both = {"ann": found.ann, "snn": found.snn}
    few = found.ann.classes <= FEW
    return {
        "step": found.step,
        "names": None if names is None else list(names),
        "samples": found.ann.samples(),
        **{key: share_right(one) for key, one in both.items()},
        "confusion": {key: one.table().tolist() if few else None for key, one in both.items()},
        "confused": {
            key: [vars(pair) for pair in most_confused(one, PAIRS)] for key, one in both.items()
        },
    }


def class_name(section: Mapping[str, Any], number: int) -> str:
    """What a class is called, or its number."""
    names = section["names"]
    return str(number) if names is None else str(names[number])


def by_class(report: Report) -> list[OfClass]:
    """Every class of which there was a sample, those that lost most first; none without labels."""
    section = report.get("classes")
    if section is None:
        return []
    rows = zip(section["samples"], section["ann"], section["snn"], strict=True)
    known = [
        OfClass(class_name(section, number), samples, ann, snn)
        for number, (samples, ann, snn) in enumerate(rows)
        if ann is not None and snn is not None
    ]
    return sorted(known, key=lambda one: -one.lost)


def classes_in_words(report: Report) -> str:
    """The classes that lost most, in one sentence; empty where there are none."""
    lost = [one for one in by_class(report) if one.lost > 0][:NAMED]
    if not lost:
        return ""
    told = ", ".join(f"{one.name} with {percent(one.snn)} (ANN {percent(one.ann)})" for one in lost)
    which = "The class that lost most" if len(lost) == 1 else "Classes that lost most"
    return f"{which} after {counted(report['classes']['step'], 'step')}: {told}"
