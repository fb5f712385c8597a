"""report.json, schema 1: what it must hold, and how it is written as text."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from convsnn.errors import ExportError

Report: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Scope:
    """How many time steps a report is about, and those, counted from 1, that were not scored."""

    steps: int
    left_out: frozenset[int] = frozenset()


Check: TypeAlias = Callable[[object, Scope], str]  # -> what is wrong, or ""

LARGEST = 1e300  # beyond it arithmetic on a report could overflow


def _text(value: object, _: Scope) -> str:
    return "" if isinstance(value, str) else "is not text"


def _between(low: float, high: float, wrong: str) -> Check:
    def check(value: object, _: Scope) -> str:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return "is not a number"
        if not abs(value) <= LARGEST:  # NaN compares false
            return "is not a finite number"
        return "" if low <= value <= high else wrong

    return check


_number = _between(-LARGEST, LARGEST, "")
_amount = _between(0, LARGEST, "is negative")
_fraction = _between(0, 1, "is not within 0..1")


def _count(value: object, scope: Scope) -> str:
    return _amount(value, scope) or ("" if isinstance(value, int) else "is not a whole number")


def _is(expected: object) -> Check:
    return lambda value, _: "" if value == expected else f"is not {expected!r}"


def _list(value: object) -> Sequence[object] | None:
    return value if isinstance(value, list | tuple) else None


def _each(check: Check) -> Check:
    def every(value: object, scope: Scope) -> str:
        if (items := _list(value)) is None:
            return "is not a list"
        found = ((i, check(item, scope)) for i, item in enumerate(items))
        return next((f"[{i}] {wrong}" for i, wrong in found if wrong), "")

    return every


def _per_step(check: Check) -> Check:
    def series(value: object, scope: Scope) -> str:
        if (items := _list(value)) is None:
            return "is not a list"
        if len(items) != scope.steps:
            return f"has {len(items)} values for {scope.steps} time steps"
        for step, item in enumerate(items, start=1):
            wrong = (_null if step in scope.left_out else check)(item, scope)
            if wrong:
                return f"[{step - 1}] {wrong}"
        return ""

    return series


def _either(*checks: Check) -> Check:
    def some(value: object, scope: Scope) -> str:
        wrong = [check(value, scope) for check in checks]
        return "" if "" in wrong else wrong[-1]

    return some


_null = _is(None)
_origin = {"source": _text, "split": _text, "samples": _count}

SCHEMA: Mapping[str, Any] = {
    "schema": _is(1),
    "convsnn": _text,
    "command": _text,
    "seed": _count,
    "timesteps": _count,
    "precision": _text,
    "model": {
        "name": _text,
        "source": _text,
        "sha256": _text,
        "parameters": _count,
        "thresholds": _count,
        "input_shape": _each(_count),
    },
    "data": {"calibration": _origin, "evaluation": _origin},
    "method": {"calibration": _text, "neuron": _text, "encoder": _text, "max_pool": _text},
    "ann": {"accuracy": _either(_null, _fraction), "energy_joules": _amount, "macs": _count},
    "snn": {
        "accuracy": _either(_null, _per_step(_fraction)),
        "agreement": _per_step(_number),  # not classes: 1 minus a distance, which may exceed 1
        "seconds": _amount,
    },
    "energy": {
        "paper": _per_step(_amount),
        "counted": _per_step(_amount),
        "cached": _per_step(_amount),
    },
    "layers": [
        {
            "name": _text,
            "kind": _text,
            "neurons": _count,
            "threshold": {"min": _number, "mean": _number, "max": _number},
            "firing_rate": _per_step(_amount),
            "sin_ratio": _per_step(_fraction),
            "synaptic_operations": _per_step(_amount),
            "dead_fraction": _either(_fraction, _per_step(_fraction)),
        }
    ],
    "sources": [
        {
            "name": _text,
            "kind": _text,
            "events": _per_step(_amount),
            "synaptic_operations": _per_step(_amount),
        }
    ],
    "not_counted": _each(_text),
    "versions": {"python": _text, "torch": _text},
}

_SCHEDULE: Mapping[str, Any] = {  # absent from reports written before there were two
    "name": _either(_is("steps"), _is("layers")),
    "scored": _each(_count),
    "first_answer": _count,
    "steps_per_answer": _count,
    "calibrated_for": _either(_null, _count),
}

_EARLY_EXIT: Mapping[str, Any] = {  # there where it was asked for
    "promised": _fraction,
    "reached": _fraction,
    "confidence": _fraction,
    "mean_steps": _amount,
    "accuracy": _either(_null, _fraction),
    "accuracy_full": _either(_null, _fraction),
    "energy": {"counted": _amount, "cached": _amount},
    "seconds": _amount,
    "exits": _per_step(_fraction),
    "margins": _per_step(_either(_null, _amount)),
    "fit": {**_origin, "changed": _count, "bound": _fraction, "mean_steps": _amount},
}

_METRIC: Mapping[str, Any] = {  # of a report with scores, under the name of each
    "label": _text,
    "unit": _either(_is("fraction"), _is("number")),
    "ann": _either(_null, _number),
    "snn": _per_step(_either(_null, _number)),
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
    if "early_exit" in report:
        _examine(report["early_exit"], _EARLY_EXIT, "early_exit", scope)
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
        if (items := _list(value)) is None:
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
    if (items := _list(value)) is not None:
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
