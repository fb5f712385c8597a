"""What a report holds beside its scores: which classes were confused, and some samples looked at.

`CLASSES` and `EXAMPLES` say what stands there, `misfit` what of it does not fit together.
"""

import re
from collections.abc import Mapping
from typing import Any

from convsnn.report.checks import Scope, amount, count, each, either, fraction, null, number, text

KINDS = {  # what a sample is an example of
    "lost": "lost by the conversion",
    "right": "right in both",
    "wrong": "wrong in both",
    "gained": "right in the spiking network alone",
    "other": "answered differently",
    "same": "answered alike",
    "any": "drawn at random",
}
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]*={0,2}")

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

_NUMBER = either(null, count)
_PICTURE = either(null, text)  # a data URI

EXAMPLES: Mapping[str, Any] = {  # of samples that were looked at closely
    "precision": text,
    "steps": each(count),
    "samples": [
        {
            "sample": count,
            "kind": text,
            "label": _NUMBER,
            "ann": _NUMBER,
            "snn": _NUMBER,
            "answers": each(count),
            "outputs": [{"output": count, "ann": number, "snn": each(number)}],
            "activity": each(amount),
            "picture": _PICTURE,
            "maps": [{"layer": text, "picture": text}],
        }
    ],
    "watched": {
        "sample": count,
        "steps": count,
        "layers": [
            {
                "name": text,
                "drawn": count,
                "fired": count,
                "neurons": each(count),
                "spikes": each(each(count)),
            }
        ],
    },
}


def misfit(report: Mapping[str, Any]) -> str:
    """What of these sections does not fit together; "" where all does."""
    classes, examples = report.get("classes"), report.get("examples")
    wrong = "" if classes is None else _classes(classes)
    return wrong or ("" if examples is None else _examples(examples, report))


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


def _examples(section: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    steps, layers = len(section["steps"]), len(report["layers"])
    outputs = len(report["classes"]["samples"]) if "classes" in report else None
    for place, sample in enumerate(section["samples"]):
        where = f"examples.samples[{place}]"
        if not isinstance(sample.get("pictures"), Mapping | None):
            return f"{where}.pictures is not an object with keys"
        if sample["kind"] not in KINDS:
            return f"{where}.kind is none of {', '.join(KINDS)}"
        if len(sample["activity"]) != layers:
            return f"{where}.activity is not of {layers} layers"
        if len(sample["answers"]) not in (0, steps):
            return f"{where}.answers are not of {steps} steps"
        if any(len(one["snn"]) != steps for one in sample["outputs"]):
            return f"{where}.outputs are not of {steps} steps"
        named = [sample[key] for key in ("label", "ann", "snn") if sample[key] is not None]
        named += [one["output"] for one in sample["outputs"]]
        if outputs is not None and max(named, default=0) >= outputs:
            return f"{where} names a class that there is not"
        for picture in _pictures(sample):
            if not PICTURE.fullmatch(picture):
                return f"{where} holds a picture that is no data URI of a PNG file"
    return _watched(section["watched"], len(section["samples"]))


def _pictures(sample: Mapping[str, Any]) -> list[str]:
    found = [] if sample["picture"] is None else [sample["picture"]]
    found += [one["picture"] for one in sample["maps"]]
    return found + [str(one) for one in (sample.get("pictures") or {}).values()]


def _watched(watched: Mapping[str, Any], samples: int) -> str:
    if watched["layers"] and watched["sample"] >= samples:
        return "examples.watched.sample is none of the samples"
    for layer in watched["layers"]:
        if len(layer["spikes"]) != len(layer["neurons"]):
            return f"examples.watched: {layer['name']} has not a train for each neuron"
        if max((step for train in layer["spikes"] for step in train), default=0) > watched["steps"]:
            return f"examples.watched: {layer['name']} fires after the last step"
        if wrong := _trace(layer.get("trace"), watched["steps"]):
            return f"examples.watched: the trace of {layer['name']} {wrong}"
    return ""


def _trace(trace: object, steps: int) -> str:
    """What is wrong with the potential and threshold of a neuron, which need not be there."""
    if trace is None:
        return ""
    if not isinstance(trace, Mapping):
        return "is not an object with keys"
    for key in ("potential", "threshold"):
        if wrong := each(number)(trace.get(key), Scope(steps)):
            return f"{key} {wrong}"
        if len(trace[key]) != steps:
            return f"has not a {key} for each step"
    return ""
