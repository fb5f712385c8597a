"""What is known under each kind of name: neurons, stages, data sets, models and so on.

One entry is explained whole: every option with its type, its default, and what it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from calibrate import CALIBRATORS
from calibrate.methods import methods
from calibrate.named import LONGEST
from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError
from convsnn.neurons import NEURONS
from convsnn.readouts import READOUTS
from convsnn.registry import Registry, nearest
from convsnn.report.sheets import Sheet
from convsnn.workflows.running.result import Result
from zoo.data import DATASETS
from zoo.models import describe
from zoo.recipes.spiking import RECIPES
from zoo.recipes.studies import STUDIES

Kind = Literal[
    "neurons",
    "calibrators",
    "encoders",
    "readouts",
    "datasets",
    "models",
    "methods",
    "recipes",
    "studies",
]
Row = Mapping[str, Any]

# Each registry, and the option of the commands that takes its names.
_REGISTRIES: dict[str, tuple[Registry[Any], str]] = {
    "neurons": (NEURONS, "--neuron"),
    "calibrators": (CALIBRATORS, "--calibrate"),
    "encoders": (ENCODERS, "--encoder"),
    "readouts": (READOUTS, "--readout"),
    "datasets": (DATASETS, "--data"),
}
_METHOD_KEYS = ("name", "title", "kind", "spikes", "neuron", "encoder", "source", "note", "differs")
_METHOD_OPTIONS = {"calibrate": "", "neuron": "if", "encoder": "direct", "readout": "auto"}
_LINE = 78  # characters of a command that are copied from a terminal in one piece


@dataclass(frozen=True, repr=False)
class Catalogue(Result):
    """The rows of one `kind`, or the one that was asked for (`whole`).

    Entries of registries are {name, description, plugin, options}, `plugin` the module outside this
    project that they come from or None, `options` {name: {kind, default, text, required}}.
    """

    kind: Kind = "neurons"
    whole: bool = False

    @property
    def rows(self) -> Sequence[Row]:
        """The rows as the document has them."""
        rows: Sequence[Row] = self.document[self.kind]
        return rows

    @property
    def names(self) -> list[str]:
        """Their names, as options take them."""
        return [row["name"] for row in self.rows]

    def about(self) -> str:
        """What was asked for."""
        return f"{self.kind}: {', '.join(self.names)}"

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return [_sheet(self.kind, self.rows)]

    def render(self, *, width: int) -> RenderableType:
        """A table of all, or all that is known of one."""
        del width  # it folds
        if self.whole:
            return Group(*_explained(self.kind, self.rows[0]))
        return Group(*_OVERVIEWS.get(self.kind, _entries)(self.rows))


def catalogue(kind: Kind, name: str | None = None) -> Catalogue:
    """All of `kind`, or the one of this `name` with all that is known of it.

    Raises ConfigError for a kind or a name that is not known.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"there is no list of '{kind}'", hint=nearest(kind, get_args(Kind)))
    rows = _rows(kind)
    if name is not None:
        known = [row["name"] for row in rows]
        if name not in known:
            raise ConfigError(f"'{name}' is none of the {kind}", hint=nearest(name, known))
        rows = [row for row in rows if row["name"] == name]
    return Catalogue({kind: rows}, kind, name is not None)


def _rows(kind: Kind) -> list[dict[str, Any]]:
    if kind == "models":
        return describe()
    if kind == "recipes":
        return [{"name": name, **RECIPES[name].to_json()} for name in sorted(RECIPES)]
    if kind == "studies":
        return [
            {"name": name, "source": study.source, "recipes": list(study.rows.values())}
            for name, study in sorted(STUDIES.items())
        ]
    if kind == "methods":
        return [
            {
                **{key: getattr(method, key) for key in _METHOD_KEYS},
                "calibrate": method.stages(LONGEST),
                "readout": method.reading(LONGEST),
            }
            for method in methods()
        ]
    registry, _ = _REGISTRIES[kind]
    return [
        {
            "name": name,
            "description": registry.describe(name),
            "plugin": registry.plugin(name),
            "options": {} if kind == "datasets" else _options(registry, name),
        }
        for name in registry.names()
    ]


def _sheet(kind: Kind, rows: Sequence[Row]) -> Sheet:
    """Every field of every row; of what holds several values, those as JSON."""
    columns = {name: "" for row in rows for name in row}
    return Sheet(kind, columns, rows)


def _options(registry: Registry[Any], name: str) -> dict[str, Any]:
    found = {}
    for option in registry.explain(name):
        facts = asdict(option)
        if not isinstance(option.default, (str, int, float, bool, type(None))):
            facts["default"] = str(option.default)  # a plug-in's may be anything
        found[facts.pop("name")] = facts
    return found


def _explained(kind: Kind, row: Row) -> Iterator[RenderableType]:
    """One entry: its options where it is made from a text, else every field."""
    yield Text(row["name"], style="bold")
    if kind not in _REGISTRIES:
        table = Table(box=None, pad_edge=False, show_header=False)
        for key, value in row.items():
            if key != "name" and value not in (None, "", [], {}):
                table.add_row(Text(key), Text(_shown(value)))
        yield table
        if kind == "methods":
            yield Text(f"\nconvert:  --method {row['name']}, or\n{_typed(row)}")
        return
    yield Text(_described(row))
    options, typed = row["options"], _REGISTRIES[kind][1]
    if not options:
        if kind != "datasets":
            yield Text(f"\nno options: {typed} {row['name']}")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("option", "type", "default", "what it is"):
        table.add_column(title, no_wrap=title == "option")
    for name, facts in options.items():
        default = "required" if facts["required"] else _shown(facts["default"])
        table.add_row(*map(Text, (name, facts["kind"], default, facts["text"])))
    yield Text()
    yield table
    first = next(iter(options.items()))
    yield Text(f"\nlike {typed} {row['name']}:{first[0]}={_example(first[1])}")


def _example(facts: Row) -> str:
    """A value that an option takes: its default, or one of its kind where that is none."""
    if facts["default"] is not None:
        return _shown(facts["default"])
    first = facts["kind"].replace(",", " or").split(" or ")[0]
    return {"whole number": "8", "number": "0.5", "text": "NAME"}.get(first, first)


def _shown(value: Any) -> str:
    """A value as a person types it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(part)}" for key, part in value.items())
    return str(value)


def _described(row: Row) -> str:
    plugin = row["plugin"]
    return row["description"] + (f" (plug-in {plugin})" if plugin else "")


def _entries(rows: Sequence[Row]) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False)
    for title in ("name", "options", "description"):
        table.add_column(title)
    for row in rows:
        options = ", ".join(f"{k}={_shown(v['default'])}" for k, v in row["options"].items())
        table.add_row(*map(Text, (row["name"], options or "-", _described(row))))
    yield table


def _models(rows: Sequence[Row]) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False)
    for title in ("name", "parameters", "thresholds", "input", "weights", "description"):
        number = title in ("parameters", "thresholds")
        table.add_column(
            title, justify="right" if number else "left", no_wrap=number or title == "name"
        )
    for row in rows:
        counts = (f"{row['parameters']:,}", f"{row['thresholds']:,}")
        shape = "x".join(map(str, row["input_shape"]))
        cells = (row["name"], *counts, shape, row["weights"] or "-", row["description"])
        table.add_row(*map(Text, cells))
    yield table


def _recipes(rows: Sequence[Row]) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False)
    for title in ("name", "data", "source"):
        table.add_column(title, overflow="fold", no_wrap=title != "source")  # to be typed
    for row in rows:
        table.add_row(*(Text(row[key] or "--data") for key in ("name", "data", "source")))
    yield table


def _studies(rows: Sequence[Row]) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False)
    for title in ("name", "trainings", "source"):
        table.add_column(title, no_wrap=title == "name")
    for row in rows:
        table.add_row(*map(Text, (row["name"], str(len(row["recipes"])), row["source"])))
    yield table


def _methods(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Each with the options of `convsnn convert` that stand for it, in lines that are short enough
    not to be broken: they are there to be copied."""
    longest = max(len(row["name"]) for row in rows)
    for row in rows:
        yield Text.assemble((f"{row['name']:<{longest}}  ", "bold"), row["kind"])
        yield Text(f"{_typed(row)}\n  {row['source']}")


def _typed(row: Row) -> str:
    """What stands for a method on a command line, in one line where that is short enough."""
    given = {k: row[k] for k, usual in _METHOD_OPTIONS.items() if row[k] != usual}
    typed = [f"--{option} {value}" for option, value in given.items()]
    line = "  " + " ".join(typed)
    return line if len(line) <= _LINE + 2 else "  " + "\n  ".join(typed)


_OVERVIEWS: Mapping[str, Callable[[Sequence[Row]], Iterator[RenderableType]]] = {
    "models": _models,
    "recipes": _recipes,
    "studies": _studies,
    "methods": _methods,
}
