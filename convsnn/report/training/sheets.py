"""Trainings as CSV: a row for every run, one for every epoch, and there one for the neurons of each
layer and one for its weights, which have names of their own."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convsnn.report.sheets import ACTIVATION, FRACTION, RATE, SECONDS, Sheet
from convsnn.report.training.words import words

_EPOCH = {
    "loss": "",
    "accuracy": FRACTION,
    "held_out": FRACTION,
    "learning_rate": "",
    "seconds": SECONDS,
}
_BY_LAYER = {
    "thresholds": ACTIVATION,
    "rates": RATE,
    "dead": FRACTION,
    "silent": FRACTION,
}
_BY_WEIGHTS = {"moved": "of the first weights", "settled": "of the last weights"}
_TRACE = {
    "case": "",
    "update": "",
    "threshold": "",
    "loss": "",
    "spikes": "",
    "dead_hidden": FRACTION,
}


def training_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """Of `convsnn train RECIPE`."""
    return _sheets({"": document})


def study_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """Of `convsnn train STUDY`, whose rows are trainings."""
    return _sheets(document["rows"])


def _sheets(rows: Mapping[str, Mapping[str, Any]]) -> list[Sheet]:
    steps = max(row["timesteps"] for row in rows.values())
    score = words(next(iter(rows.values()))).column
    first = {"training": ""} if list(rows) != [""] else {}
    runs = [
        (row, one)
        for name, document in rows.items()
        for one in document["runs"]
        for row in [{"training": name, "seed": one["seed"]}]
    ]
    return [
        Sheet(
            "runs",
            {
                **first,
                "seed": "",
                **{f"{score}.{step}": FRACTION for step in range(1, steps + 1)},
                "loss": "",
                "epochs": "",
                "seconds": SECONDS,
            },
            [row | _run(one, score) for row, one in runs],
        ),
        epoch_sheet([(row, one["epochs"]) for row, one in runs], {**first, "seed": ""}),
        layer_sheet([(row, one["epochs"]) for row, one in runs], {**first, "seed": ""}),
        weight_sheet([(row, one["epochs"]) for row, one in runs], {**first, "seed": ""}),
    ]


def _run(one: Mapping[str, Any], score: str) -> dict[str, Any]:
    accuracy = {f"{score}.{step}": value for step, value in enumerate(one["accuracy"], start=1)}
    last = one["epochs"][-1]
    about = {"loss": last["loss"], "epochs": len(one["epochs"]), "seconds": one["seconds"]}
    return accuracy | about


Epochs = Sequence[Mapping[str, Any]]


def epoch_sheet(
    runs: Sequence[tuple[Mapping[str, Any], Epochs]], columns: Mapping[str, str]
) -> Sheet:
    """A row for every epoch of `runs`, whose own `columns` stand first."""
    rows = [
        {**about, **epoch, "epoch": epoch["number"]} for about, epochs in runs for epoch in epochs
    ]
    return Sheet("epochs", {**columns, "epoch": "", **_EPOCH}, rows)


def layer_sheet(
    runs: Sequence[tuple[Mapping[str, Any], Epochs]], columns: Mapping[str, str]
) -> Sheet:
    """A row for every layer of neurons in every epoch."""
    rows = _by_name(runs, "layer", "thresholds", _BY_LAYER)
    return Sheet("epoch-layers", {**columns, "epoch": "", "layer": "", **_BY_LAYER}, rows)


def weight_sheet(
    runs: Sequence[tuple[Mapping[str, Any], Epochs]], columns: Mapping[str, str]
) -> Sheet:
    """A row for the weights of every layer in every epoch."""
    rows = _by_name(runs, "weights", "moved", _BY_WEIGHTS)
    return Sheet("epoch-weights", {**columns, "epoch": "", "weights": "", **_BY_WEIGHTS}, rows)


def _by_name(
    runs: Sequence[tuple[Mapping[str, Any], Epochs]], called: str, first: str, kept: Iterable[str]
) -> list[dict[str, Any]]:
    """A row for all that `first` names in every epoch, with what is `kept` of it."""
    return [
        {
            **about,
            "epoch": epoch["number"],
            called: name,
            **{what: epoch.get(what, {}).get(name) for what in kept},
        }
        for about, epochs in runs
        for epoch in epochs
        for name in epoch.get(first, {})
    ]


def temporal_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """Of the temporal-coding task: a row for every kept update of every case."""
    rows = [
        {
            **trace,
            "case": name,
            "loss": case["loss"][min(trace["update"], len(case["loss"]) - 1)],
        }
        for name, case in document["cases"].items()
        for trace in case["traces"]
    ]
    return [Sheet("traces", _TRACE, rows)]
