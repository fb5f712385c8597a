"""`convert model.nir`: a file that holds neurons already becomes a spiking network as it is.

Nothing is calibrated: thresholds, resets and initial potentials are those of the file, and where it
is silent on them, those of NIR's definition. What is added is what the network is shown: a frame of
events at every step, or the same image at all of them. The "original" that a report compares with
is the same weights with ReLU in the neurons' place, shown the mean frame.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError, LoadError
from convsnn.load.nir import Given, load_nir
from convsnn.readouts import READOUTS
from convsnn.report.page.assemble import versions
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.subject.named_data import require_data, require_events
from zoo.data import DATASETS, Binning, Preprocessing, class_names
from zoo.data.base import Recordings

BATCH = 20


def neurons_given(
    path: str | Path,
    data: str | None = None,
    timesteps: int | None = None,
    *,
    preprocessing: Mapping[str, Any] | None = None,
    binning: Binning | None = None,
    seed: int = 0,
    samples: int | None = None,
    wanted: Wanted | None = None,
) -> Spiking:
    """The spiking network in the NIR file `path`, run for `timesteps` on `data` (a text as --data
    takes it; None: what the file names).

    `preprocessing` replaces what the file says where it is not None, `binning` how events become
    frames. Raises what `load_nir` raises, ConfigError without data or steps.
    """
    given = load_nir(path)
    spec = _shown(path, given, data)
    settings = _known_preprocessing(path, given).override(**(preprocessing or {}))
    if binning is not None:
        settings = settings.override(binning=binning)
    steps = timesteps
    if steps is None:
        steps = _number(given.metadata.get("timesteps"))
    if steps is None:
        raise ConfigError(
            f"'{path}' does not say for how many time steps it is meant", hint="give --timesteps"
        )
    graph = given.graph
    sites = {n: SitePlan(t, given.potentials[n]) for n, t in given.thresholds.items()}
    plan = Plan(sites, {}, ({"stage": "given", "file": Path(path).name},))
    train, test = DATASETS.get(spec.partition(":")[0])(spec.partition(":")[2])
    moving = isinstance(test, Recordings) or test.steps is not None
    encoder = ENCODERS.create(f"frames:steps={steps}" if moving else "direct")
    if binning is not None:
        require_events(spec)
    readout = given.metadata.get("readout", "mean")
    if READOUTS.create(readout).auto or READOUTS.create(readout).window:
        raise LoadError(f"'{path}': its readout '{readout}' cannot be used here")
    source = {"source": train.source, "split": train.split, "samples": 0}
    origin = {
        "command": "",
        "model": _model(Path(path), given),
        "data": spec,
        "labels": class_names(test) or _class_names(given),
        "preprocessing": settings.to_json(),
        "versions": versions(),
        "calibration": source,
        "method": {
            "calibration": "none: the file holds its neurons", "neuron": given.neuron,
            "encoder": encoder.spec(), "max_pool": "exact", "readout": readout,
        },
        "seed": seed,
        "timesteps": steps,
        "batch_size": BATCH,
        "engine": vars(wanted or Wanted()),
        "samples": samples,
    }  # fmt: skip
    return to_spiking(
        graph, plan, neuron=given.neuron, encoder=encoder, provenance=origin, readout=readout
    )


def _shown(path: str | Path, given: Given, data: str | None) -> str:
    """The data that was asked for or that the file names, which is no spikes of an input layer."""
    if data is None and given.metadata.get("input_layer") == "host":
        raise ConfigError(
            f"'{path}' begins behind its input layer: its input is {given.metadata.get('input')}",
            hint="give these spikes as --data npz:TRAIN.npz,TEST.npz, with x (N, steps, ...)",
        )
    return require_data(data or given.metadata.get("convsnn.data"), str(path))


def _model(path: Path, given: Given) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "name": path.stem,
        "source": str(path),
        "sha256": digest,
        "parameters": sum(tensor.numel() for tensor in given.graph.tensors.values()),
        "thresholds": 0,
        "input_shape": list(given.graph.input.attrs["shape"]),
    }


def _known_preprocessing(path: str | Path, given: Given) -> Preprocessing:
    text = given.metadata.get("convsnn.preprocessing")
    if given.metadata.get("input_layer") == "host":
        text = None  # that of the images, which the host is shown
    try:
        return Preprocessing.from_json(json.loads(text)) if text else Preprocessing()
    except (ValueError, ConfigError, RecursionError) as error:
        raise LoadError(f"'{path}': its preprocessing cannot be read: {error}") from None


def _class_names(given: Given) -> list[str] | None:
    """What the file calls the classes; whether they are so many is asked where they are used."""
    try:
        names = json.loads(given.metadata.get("convsnn.labels", "null"))
    except (ValueError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() and 0 < int(text) < 1 << 31 else None
