"""What a report holds beside its scores: which classes were confused, and some samples looked at.

`CLASSES` and `EXAMPLES` say what stands there, `misfit` what of it does not fit together.
"""

from collections.abc import Mapping
from typing import Any

from convsnn.report.checks import count, each, either, fraction, null, text

_PAIR = {"label": count, "answer": count, "samples": count}
_TABLE = either(null, each(each(count)))  # rows are classes, columns answers; null: too many

CLASSES: Mapping[str, Any] = {  # of classifiers with labels
    "step": count,
    "names": either(null, each(text)),
    "samples": each(count),
    "ann": each(either(null, fraction)),
    "snn": each(either(null, fraction)),
    "confusion": {"ann": _TABLE, "snn": _TABLE},
    "confused": {"ann": [_PAIR], "snn": [_PAIR]},
}


def misfit(report: Mapping[str, Any]) -> str:
    """What of these sections does not fit together; "" where all does."""
    classes = report.get("classes")
    return "" if classes is None else _classes(classes)


def _classes(section: Mapping[str, Any]) -> str:
    number = len(section["samples"])
    named = section["names"] is not None
    for key in ("ann", "snn", *(["names"] if named else [])):
        if len(section[key]) != number:
            return f"classes.{key} has {len(section[key])} entries for {number} classes"
    for key, table in section["confusion"].items():
        if table is not None and {len(table), *map(len, table)} != {number}:
            return f"classes.confusion.{key} is no table of {number} classes"
    for key, pairs in section["confused"].items():
        if any(max(pair["label"], pair["answer"]) >= number for pair in pairs):
            return f"classes.confused.{key} names a class that there is not"
    return ""
