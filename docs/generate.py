"""What of the documentation is made from the code: commands, options, the schema of report.json.

`python docs/generate.py` writes `report.schema.json` and `quickstart.ipynb` anew; the rest is made
while the site is built (see `conf.py`), so that nothing of it is copied by hand.
"""

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

sys.path.insert(0, str(Path(__file__).parent))

import as_notebook

from calibrate import CALIBRATORS
from convsnn.commands.app import app
from convsnn.encoders import ENCODERS
from convsnn.neurons import NEURONS
from convsnn.readouts import READOUTS
from convsnn.registry import Registry
from convsnn.report import checks, document

SCHEMA_FILE = Path(__file__).parent / "report.schema.json"
OPTIONAL = {
    "early_exit": "_EARLY_EXIT",
    "estimate": "_ESTIMATE",
    "expected": "_EXPECTED",
    "point": "_POINT",
    "classes": "_CLASSES",
    "examples": "_EXAMPLES",
    "fitted": "_FITTED",
}
KINDS: Mapping[str, Registry[Any]] = {
    "Neurons": NEURONS,
    "Calibration stages": CALIBRATORS,
    "Encoders": ENCODERS,
    "Readouts": READOUTS,
}


def commands() -> str:
    """Every command with its arguments and options, in Markdown."""
    root = typer.main.get_command(app)
    context = typer.Context(root, info_name="convsnn")
    text = get_docs_for_click(obj=root, ctx=context, name="convsnn")
    return "## " + text.partition("\n## ")[2]


def options() -> str:
    """Every neuron, stage, encoder and readout with all its options, in Markdown."""
    return "\n".join(line for kind, known in KINDS.items() for line in _kind(kind, known))


def _kind(kind: str, known: Registry[Any]) -> Iterator[str]:
    yield f"\n## {kind}\n"
    for name in known.names():
        yield f"\n### {name}\n"
        yield known.describe(name)
        rows = [
            f"| `{o.name}` | {o.kind} | {_default(o)} | {o.text or '-'} |"
            for o in known.explain(name)
        ]
        if rows:
            yield "\n| option | type | default | what it is |\n|---|---|---|---|"
            yield from rows


def _default(option: Any) -> str:
    return "required" if option.required else f"`{str(option.default).lower()}`"


def schema() -> dict[str, Any]:
    """Schema 1 of report.json as JSON Schema, from the checks that every report goes through."""
    made: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "report.json of convsnn, schema 1",
        **_form(document.SCHEMA),
    }
    found = made["properties"]
    found["layers"]["minItems"] = 1
    found["timesteps"]["minimum"] = 1
    known = {"schedule": "_SCHEDULE", **OPTIONAL}
    for key, name in known.items():
        if hasattr(document, name):
            found[key] = _form(getattr(document, name))
    found["metrics"] = {"type": "object", "additionalProperties": _form(document._METRIC)}
    found["headline"] = {"type": ["string", "null"]}
    return made


def _form(spec: Any) -> dict[str, Any]:
    if isinstance(spec, Mapping):
        return {
            "type": "object",
            "required": list(spec),
            "properties": {key: _form(inner) for key, inner in spec.items()},
        }
    if isinstance(spec, list):
        return {"type": "array", "items": _form(spec[0])}
    return _check(spec)


def _check(check: Any) -> dict[str, Any]:
    """One check: of a combined one by what it is made of, of a plain one by what it lets pass."""
    held = inspect.getclosurevars(check).nonlocals
    if "expected" in held:
        return {"const": held["expected"]}
    if "checks" in held:
        return {"anyOf": [_check(one) for one in held["checks"]]}
    if "check" in held:
        inner = _check(held["check"])
        per_step = check.__name__ == "series"  # which has nulls for steps that were not scored
        return {
            "type": "array",
            "items": {"anyOf": [inner, {"const": None}]} if per_step else inner,
        }
    if "low" in held:
        bounds = {"minimum": held["low"], "maximum": held["high"]}
        return {"type": "number"} | {k: v for k, v in bounds.items() if abs(v) < checks.LARGEST}
    scope = checks.Scope(1)
    if not check("text", scope):
        return {"type": "string"}
    if not check(3, scope) and check(0.5, scope) and check(-1, scope):
        return {"type": "integer", "minimum": 0}
    raise TypeError(f"no JSON Schema is known for the check {check.__qualname__}")


def schema_text() -> str:
    """What stands in `report.schema.json`."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    as_notebook.NOTEBOOK.write_text(as_notebook.notebook_text(), encoding="utf-8")
