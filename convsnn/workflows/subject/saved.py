"""A saved spiking network opened with the data it was made for, or with other data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from convsnn.errors import ConfigError, LoadError
from convsnn.export import load_artifact
from convsnn.export.provenance import missing_from
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.voice import note
from convsnn.workflows.subject.class_names import stored_names
from convsnn.workflows.subject.given import Images, as_part, require_shape
from convsnn.workflows.subject.images import Chosen
from convsnn.workflows.subject.named_data import named_in, require_data
from convsnn.workflows.subject.samples import moving
from zoo.data import DataSet, Preprocessing, absolute, draw, is_there, open_data, stills

_MOVED = "name the data with --data; the network was made with {0}, which is not there any more"


@dataclass(frozen=True)
class Saved:
    """The network, how it was made (the header of its conversion) and its data."""

    net: Spiking
    origin: Mapping[str, Any]
    data: DataSet
    preprocessing: Mapping[str, Any]

    def calibration_images(self, batch_size: int, device: torch.device) -> Chosen:
        """The training images that it was calibrated on, where the data is still the same;
        ConfigError where there were none."""
        count, seed = self.origin["calibration"]["samples"], self.origin["seed"]
        if not count:  # it came with its neurons
            raise ConfigError(
                "the network was not calibrated, so it has no images to fit anything on",
                hint="leave --early-exit and --best out, or name images with --exit-data",
            )
        part = self.data.train
        return Chosen(part, draw(part, count, seed=seed), batch_size, device)


def load_saved(artifact: Path) -> Spiking:
    """The network of a network.safetensors that says how it was made, or of the folder it is in.

    Raises LoadError for a file that is none or does not say so.
    """
    if artifact.is_file() and artifact.suffix != ".safetensors":
        raise LoadError(
            f"'{artifact}' is no saved spiking network",
            hint="give a result directory of convsnn convert, or its network.safetensors",
        )
    net = load_artifact(artifact / "network.safetensors" if artifact.is_dir() else artifact)
    missing = missing_from(net.provenance)
    if missing:
        raise LoadError(
            f"'{artifact}' does not say how it was made: {', '.join(missing)} is missing",
            hint="give a network that convsnn convert wrote",
        )
    return net


def data_of(
    net: Spiking,
    data: Images | str | None,
    preprocessing: Mapping[str, Any],
    *,
    place: str = "",
) -> tuple[DataSet, Preprocessing]:
    """The data that `net` was made for, or `data`: another spec, or images given in Python.

    Those values of `preprocessing` that are not None replace what the network says; `place` is
    where it came from, for messages. Raises ConfigError for data that does not fit.
    """
    try:
        known = Preprocessing.from_json(net.provenance.get("preprocessing") or {})
    except ConfigError as error:
        raise LoadError(f"{place or _name(net)}: {error}", hint=error.hint) from None
    settings = known.override(**preprocessing)
    if data is not None and not isinstance(data, str):
        return _given(net, data, place), settings
    named = net.provenance.get("data") if data is None else data
    spec = require_data(named, place or _name(net))
    if data is None:
        spec = _found(spec, net.provenance.get("data_place", {}))
    with named_in(place if data is None else "", hint=_MOVED.format(absolute(spec))):
        opened = open_data(
            spec,
            input_shape=tuple(net.graph.input.attrs["shape"]),
            preprocessing=settings,
            steps=net.encoder.steps,
        )
    if net.encoder.steps is not None and opened.test.steps is None:
        raise _still(net, place, spec)
    return opened, settings


def _given(net: Spiking, data: Images, place: str) -> DataSet:
    """Samples given in Python, as `net` is shown them."""
    shape, frames = tuple(net.graph.input.attrs["shape"]), net.encoder.steps
    part = moving(as_part(data), shape)
    require_shape(part, shape)
    if frames is None:
        part = stills(part)
    elif part.steps is None:
        raise _still(net, place, part.source)
    elif part.steps != frames:
        raise ConfigError(
            f"{place or _name(net)} is shown sequences of {frames} frames, not {part.steps}",
            hint=f"give samples of {frames} frames",
        )
    return DataSet("given", part, part)


def _still(net: Spiking, place: str, given: str) -> ConfigError:
    return ConfigError(
        f"{place or _name(net)} is shown sequences of {net.encoder.steps} frames, but {given} "
        "holds images",
        hint="give events or frames with --data, as the network was made for",
    )


def _found(given: str, place: Mapping[str, str]) -> str:
    """The data that the network was made with, where it lies now: `given` counts from the directory
    of that time, `place` says what it was."""
    made_with = place.get("absolute", given) if place.get("given") == given else given
    here = absolute(given)
    if made_with == given or here == made_with or not is_there(made_with):
        return given if is_there(given) else made_with
    if is_there(given):
        note(f"scoring on {made_with}, as when the network was made; for {here} give it as --data")
    return made_with


def _name(net: Spiking) -> str:
    return str(net.provenance["model"]["name"])


def open_saved(
    artifact: Path,
    *,
    data: str | None,
    preprocessing: Mapping[str, Any],
    gate: float | None = None,
    task: str | None = None,
) -> Saved:
    """Open a network.safetensors of `convsnn convert`, or the folder it is in, and its data.

    `data` and those values of `preprocessing` that are not None replace what the file says;
    `gate` is the user's bound on the loss of accuracy, refused where nothing could be scored;
    `task` is what the network is for (None: as it says itself, or as the targets decide it).
    Raises what `load_saved` and `data_of` raise.
    """
    net = load_saved(artifact)
    opened, settings = data_of(net, data, preprocessing, place=str(artifact))
    scoring.require_scores(
        gate,
        opened,
        net.graph,
        task=task or net.provenance.get("task"),
        names=stored_names(net.provenance),
    )
    return Saved(net, net.provenance, opened, settings.to_json())
