"""A benchmark as CSV: the race, and what else was measured."""

from collections.abc import Mapping
from typing import Any

from convsnn.report.sheets import BYTES, FRACTION, SECONDS, Sheet, flat

_ENGINE = dict.fromkeys(("model", "engine", "precision", "batch_size"), "")
_RESULT = {
    **_ENGINE,
    "timesteps": "",
    "images_per_second": "images/s",
    "step_over_ann": "ANN pass = 1",
    "peak_memory_bytes": BYTES,
    "agreement": FRACTION,
    "mode": "",
    "counted": "",
    "seconds.median": SECONDS,
    "seconds.least": SECONDS,
    "seconds.most": SECONDS,
    "repeats": "",
    "warm_up_seconds": SECONDS,
}
_ANN = {
    "model": "",
    "timesteps": "",
    "batch_size": "",
    "seconds": SECONDS,
    "images_per_second": "images/s",
}
_NEURON = {
    "model": "",
    "neuron": "",
    "precision": "",
    "step_seconds": SECONDS,
    "over_if": "if = 1",
    "reason": "",
}
_STAGE = {"model": "", "what": "", "seconds": SECONDS, "passes": "ANN pass = 1"}


def bench_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """The race first; of what was not asked for there is no table."""
    memory = [flat(row) for row in document["memory"]]
    lengths = {key: BYTES for row in memory for key in row if key.startswith("bytes.")}
    more = [
        Sheet("ann", _ANN, document["ann"]),
        Sheet("neurons", _NEURON, document["neurons"]),
        Sheet("stages", _STAGE, document["stages"]),
        Sheet("memory", {**_ENGINE, **lengths, "growth": ""}, memory),
        Sheet(
            "failed",
            dict.fromkeys(("model", "engine", "precision", "reason"), ""),
            document["failed"],
        ),
    ]
    race = Sheet("results", _RESULT, [flat(row) for row in document["results"]])
    return [race, *(sheet for sheet in more if sheet.rows)]
