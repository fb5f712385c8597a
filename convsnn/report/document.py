"""report.json, schema 1: what it must hold, and how it is written as text."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from convsnn.errors import ExportError
from convsnn.report.checks import (
    Scope,
    amount,
    as_list,
    count,
    each,
    either,
    equals,
    fraction,
    null,
    number,
    per_step,
    text,
)
from convsnn.report.evidence import CLASSES as _CLASSES
from convsnn.report.evidence import EXAMPLES as _EXAMPLES
from convsnn.report.evidence import misfit

Report: TypeAlias = Mapping[str, Any]


_origin = {"source": text, "split": text, "samples": count}

SCHEMA: Mapping[str, Any] = {
    "schema": equals(1),
    "convsnn": text,
    "command": text,
    "seed": count,
    "timesteps": count,
    "precision": text,
    "model": {
        "name": text,
        "source": text,
        "sha256": text,
        "parameters": count,
        "thresholds": count,
        "input_shape": each(count),
    },
    "data": {"calibration": _origin, "evaluation": _origin},
    "method": {"calibration": text, "neuron": text, "encoder": text, "max_pool": text},
    "ann": {"accuracy": either(null, fraction), "energy_joules": amount, "macs": count},
    "snn": {
        "accuracy": either(null, per_step(fraction)),
        "agreement": per_step(number),  # not classes: 1 minus a distance, which may exceed 1
        "seconds": amount,
    },
    "energy": {
        "paper": per_step(amount),
        "counted": per_step(amount),
        "cached": per_step(amount),
    },
    "layers": [
        {
            "name": text,
            "kind": text,
            "neurons": count,
            "threshold": {"min": number, "mean": number, "max": number},
            "firing_rate": per_step(amount),
            "sin_ratio": per_step(fraction),
            "synaptic_operations": per_step(amount),
            "dead_fraction": either(fraction, per_step(fraction)),
        }
    ],
    "sources": [
        {
            "name": text,
            "kind": text,
            "events": per_step(amount),
            "synaptic_operations": per_step(amount),
        }
    ],
    "not_counted": each(text),
    "versions": {"python": text, "torch": text},
}

_SCHEDULE: Mapping[str, Any] = {  # absent from reports written before there were two
    "name": either(equals("steps"), equals("layers")),
    "scored": each(count),
    "first_answer": count,
    "steps_per_answer": count,
    "calibrated_for": either(null, count),
}

_EARLY_EXIT: Mapping[str, Any] = {  # there where it was asked for
    "promised": fraction,
    "reached": fraction,
    "confidence": fraction,
    "mean_steps": amount,
    "accuracy": either(null, fraction),
    "accuracy_full": either(null, fraction),
    "energy": {"counted": amount, "cached": amount},
    "seconds": amount,
    "exits": per_step(fraction),
    "margins": per_step(either(null, amount)),
    "fit": {**_origin, "changed": count, "bound": fraction, "mean_steps": amount},
}

_BASELINES = ("original", "zeros_skipped", "int8", "bit_matched")
_KNOWN = either(null, per_step(amount))  # null: the set has no price for it

_ESTIMATE: Mapping[str, Any] = {  # absent from reports written before there was one
    "kind": text,
    "weight_bits": count,
    "floats": either(equals(True), equals(False)),
    "footprint_bytes": {
        "spiking": amount,
        "original": amount,
        "int8": amount,
        "bit_matched": per_step(amount),
    },
    "sets": [
        {
            "name": text,
            "about": text,
            "weight_bits": count,
            "floats": either(equals(True), equals(False)),
            "left_out": each(text),
            "joules": {"spiking": per_step(amount), **dict.fromkeys(_BASELINES, _KNOWN)},
        }
    ],
    "left_out": each(text),
    "layers": [{"name": text, "rate": amount}],
    "neurobench": {
        "Footprint": amount,
        "ConnectionSparsity": fraction,
        "ActivationSparsity": number,  # below zero where a neuron sends several spikes a step
        "SynapticOperations": {
            "Effective_MACs": amount,
            "Effective_ACs": amount,
            "Dense": amount,
        },
        "MembraneUpdates": amount,
    },
}

_POINT: Mapping[str, Any] = {  # there where it was asked for
    "best": text,
    "max_drop": number,
    "step": either(null, count),
    "held_out": {**_origin, "ann": either(null, number), "snn": per_step(either(null, number))},
}

_EXPECTED: Mapping[str, Any] = {  # there where training images were held out; 95 % intervals
    **_origin,
    **dict.fromkeys(("drop", "low", "high"), per_step(either(null, number))),
    "bound": number,
    "from": either(null, count),
}

_FITTED = [{"name": text, "function": text, "neurons": count, "error": amount}]

_SECTIONS = {
    "early_exit": _EARLY_EXIT,
    "estimate": _ESTIMATE,
    "expected": _EXPECTED,
    "point": _POINT,
    "classes": _CLASSES,
    "examples": _EXAMPLES,
    "fitted": _FITTED,
}

_METRIC: Mapping[str, Any] = {  # of a report with scores, under the name of each
    "label": text,
    "unit": either(equals("fraction"), equals("number")),
    "ann": either(null, number),
    "snn": per_step(either(null, number)),
}


def validate(report: Report) -> None:
    """Raise ExportError, naming the key, unless `report` has all of schema 1 in the right form.

    Keys beside those of the schema are allowed everywhere.
    """
    steps = report.get("timesteps") if isinstance(report, Mapping) else None
    if isinstance(report, Mapping) and (not isinstance(steps, int) or steps < 1):
        raise ExportError("report: timesteps is missing or not a whole number of at least 1")
    scope = _scope(report, steps if isinstance(steps, int) else 1)
    _examine(report, SCHEMA, "", scope)
    for key, spec in _SECTIONS.items():
        if key in report:
            _examine(report[key], spec, key, scope)
    if wrong := misfit(report):
        raise ExportError(f"report: {wrong}")
    metrics, headline = report.get("metrics", {}), report.get("headline")
    for name, metric in metrics.items():
        _examine(metric, _METRIC, f"metrics.{name}", scope)
    if headline is not None and headline not in metrics:
        raise ExportError(f"report: headline '{headline}' is none of the metrics")
    if not report["layers"]:
        raise ExportError("report: layers is empty; a spiking network has at least one")
    if (report["ann"]["accuracy"] is None) != (report["snn"]["accuracy"] is None):
        raise ExportError(
            "report: ann.accuracy and snn.accuracy must both be given or both be null"
        )


def _scope(report: Report, steps: int) -> Scope:
    """A network that fires layer by layer is another one for every T, and not each is scored."""
    known = report.get("schedule") if isinstance(report, Mapping) else None
    if known is None:  # before there was another schedule
        return Scope(steps)
    _examine(known, _SCHEDULE, "schedule", Scope(steps))
    scored = set(known["scored"])
    if steps not in scored or (known["name"] == "steps" and len(scored) != steps):
        raise ExportError("report: schedule.scored does not hold every step that must be scored")
    return Scope(steps, frozenset(range(1, steps + 1)) - scored)


def _examine(value: object, spec: Any, where: str, scope: Scope) -> None:
    if isinstance(spec, list):
        if (items := as_list(value)) is None:
            raise ExportError(f"report: {where} is not a list")
        for number, item in enumerate(items):
            _examine(item, spec[0], f"{where}[{number}]", scope)
    elif isinstance(spec, Mapping):
        if not isinstance(value, Mapping):
            raise ExportError(f"report: {where or 'the document'} is not an object with keys")
        for key, inner in spec.items():
            path = f"{where}.{key}" if where else key
            if key not in value:
                raise ExportError(f"report: {path} is missing")
            _examine(value[key], inner, path, scope)
    elif wrong := spec(value, scope):
        raise ExportError(f"report: {where}{'' if wrong.startswith('[') else ' '}{wrong}")


def to_json(report: Report) -> str:
    """`report` as indented JSON, one line per list of plain values, with a line end.

    Raises ExportError, naming the key, for NaN, infinity and whatever JSON has no word for.
    """
    return _write(report, "", "") + "\n"


def _write(value: object, where: str, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ExportError(f"report: {where} has the key {key!r}, which is not text")
        parts = [
            f"{json.dumps(key)}: {_write(item, f'{where}.{key}' if where else key, deeper)}"
            for key, item in value.items()
        ]
        return _block("{", parts, "}", indent)
    if (items := as_list(value)) is not None:
        parts = [_write(item, f"{where}[{i}]", deeper) for i, item in enumerate(items)]
        if any(isinstance(item, Mapping | list | tuple) for item in items):
            return _block("[", parts, "]", indent)
        return f"[{', '.join(parts)}]"
    if value is None or isinstance(value, str | bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExportError(f"report: {where} is {value}, which JSON cannot hold")
        return json.dumps(value)
    raise ExportError(f"report: {where} is a {type(value).__name__}, which JSON cannot hold")


def _block(opening: str, parts: Sequence[str], closing: str, indent: str) -> str:
    if not parts:
        return opening + closing
    return opening + ",".join(f"\n{indent}  {part}" for part in parts) + f"\n{indent}{closing}"
