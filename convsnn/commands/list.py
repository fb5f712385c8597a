"""`convsnn list`: what is registered under each kind of name."""

import json
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from calibrate import CALIBRATORS
from calibrate.methods import methods
from calibrate.named import LONGEST
from convsnn.commands.options import Json
from convsnn.encoders import ENCODERS
from convsnn.neurons import NEURONS
from convsnn.readouts import READOUTS
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

_RECIPE_COLUMNS = ("name", "data", "source")
_LINE = 78
_METHOD_OPTIONS = {"calibrate": "", "neuron": "if", "encoder": "direct", "readout": "auto"}


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
            "encoder",
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
    """List the known names of a kind, as options take them."""
    rows = _rows(kind)
    if as_json:
        print(json.dumps({kind: rows}, indent=2))
        return
    if kind == "methods":
        _print_methods(rows)
        return
    table = Table(box=None, pad_edge=False)
    if kind == "models":
        for title in ("name", "parameters", "thresholds", "input", "weights", "description"):
            number = title in ("parameters", "thresholds")
            table.add_column(
                title, justify="right" if number else "left", no_wrap=number or title == "name"
            )
        for row in rows:
            table.add_row(
                row["name"],
                f"{row['parameters']:,}",
                f"{row['thresholds']:,}",
                "x".join(map(str, row["input_shape"])),
                row["weights"] or "-",
                row["description"],
            )
    elif kind == "recipes":
        for title in _RECIPE_COLUMNS:
            table.add_column(title, overflow="fold", no_wrap=title != "source")  # to be typed
        for row in rows:
            table.add_row(*(Text(row[key] or "--data") for key in _RECIPE_COLUMNS))
    else:
        for title in ("name", "options", "description"):
            table.add_column(title)
        for row in rows:
            options = ", ".join(f"{k}={v}" for k, v in row["options"].items()) or "-"
            table.add_row(row["name"], options, row["description"])
    Console().print(table, markup=False)


def _print_methods(rows: list[dict[str, Any]]) -> None:
    """Each method with the options of `convsnn convert` that stand for it, in lines that are not
    broken: they are there to be copied."""
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        given = {k: row[k] for k, usual in _METHOD_OPTIONS.items() if row[k] != usual}
        typed = [f"--{option} {value}" for option, value in given.items()]
        options = " ".join(typed)
        if len(options) > _LINE:
            options = "\n  ".join(typed)
        console.print(Text(f"{row['name']:<{width}}  ", style="bold"), end="")
        console.print(Text(row["kind"]))
        console.print(Text(f"  {options}\n  {row['source']}"))
