"""`convsnn list`: what is registered under each kind of name."""

import json
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from calibrate import CALIBRATORS
from calibrate.methods import LONGEST, methods
from convsnn.commands.options import Json
from convsnn.encoders import ENCODERS
from convsnn.neurons import NEURONS
from convsnn.readout import READOUTS
from convsnn.registry import Registry
from zoo.data import DATASETS
from zoo.models import describe
from zoo.recipes.spiking import RECIPES

_REGISTRIES: dict[str, Registry[Any]] = {
    "neurons": NEURONS,
    "calibrators": CALIBRATORS,
    "encoders": ENCODERS,
    "readouts": READOUTS,
    "datasets": DATASETS,
}
_Kind = Literal[
    "neurons",
    "calibrators",
    "encoders",
    "readouts",
    "datasets",
    "models",
    "methods",
    "recipes",
]

_RECIPE_COLUMNS = ("name", "source")
_METHOD_COLUMNS = ("name", "spikes", "calibrate", "neuron", "readout", "source")


def _rows(kind: str) -> list[dict[str, Any]]:
    if kind == "models":
        return describe()
    if kind == "recipes":
        return [{"name": name, **RECIPES[name].to_json()} for name in sorted(RECIPES)]
    if kind == "methods":
        keys = (
            "name",
            "title",
            "kind",
            "spikes",
            "calibrate",
            "neuron",
            "readout",
            "source",
            "note",
            "differs",
        )
        return [
            {
                **{key: getattr(method, key) for key in keys},
                "calibrate": method.stages(LONGEST),
                "readout": method.reading(LONGEST),
            }
            for method in methods()
        ]
    registry = _REGISTRIES[kind]
    return [
        {
            "name": name,
            "description": registry.describe(name),
            "options": {} if kind == "datasets" else _options(registry, name),
        }
        for name in registry.names()
    ]


def _options(registry: Registry[Any], name: str) -> dict[str, Any]:
    plain = registry.options(name).items()
    return {
        key: parameter.default
        for key, parameter in plain
        if parameter.default is not parameter.empty
        and isinstance(parameter.default, (str, int, float, bool, type(None)))
    }


def list_(
    kind: Annotated[_Kind, typer.Argument(help="What to list.")],
    *,
    as_json: Json = False,
) -> None:
    """List the known neurons, calibrators, encoders, datasets, models, methods or recipes."""
    rows = _rows(kind)
    if as_json:
        print(json.dumps({kind: rows}, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    if kind == "models":
        for title in ("name", "parameters", "thresholds", "input", "weights", "description"):
            number = title in ("parameters", "thresholds")
            table.add_column(title, justify="right" if number else "left", no_wrap=number)
        for row in rows:
            table.add_row(
                row["name"],
                f"{row['parameters']:,}",
                f"{row['thresholds']:,}",
                "x".join(map(str, row["input_shape"])),
                row["weights"] or "-",
                row["description"],
            )
    elif kind in ("methods", "recipes"):
        columns = _METHOD_COLUMNS if kind == "methods" else _RECIPE_COLUMNS
        for title in columns:
            whole = kind == "recipes" and title == "name"  # what the user has to type
            table.add_column(title, overflow="fold", no_wrap=whole)
        for row in rows:
            table.add_row(*(Text(row[key]) for key in columns))
    else:
        for title in ("name", "options", "description"):
            table.add_column(title)
        for row in rows:
            options = ", ".join(f"{k}={v}" for k, v in row["options"].items()) or "-"
            table.add_row(row["name"], options, row["description"])
    Console().print(table, markup=False)
