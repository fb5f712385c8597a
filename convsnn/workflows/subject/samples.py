"""The samples that a network is shown: named or given in Python, images or sequences of frames."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from convsnn.errors import ConfigError
from convsnn.workflows.running.voice import warn
from convsnn.workflows.subject.given import Given, require_shape, shape_of
from convsnn.workflows.subject.named_data import (
    named_in,
    natural_shape,
    require_data,
    require_events,
)
from convsnn.workflows.subject.source import Source
from zoo.data import DataSet, Part, Preprocessing, open_data, stills


def open_samples(
    source: Source,
    data: str | Part | None,
    test: str | Part | None,
    preprocessing: Mapping[str, Any],
    *,
    frames: int | None = None,
    still: bool | None = None,
) -> tuple[str | None, Preprocessing, DataSet]:
    """The text that names the data, its preprocessing, and the data set; see `open_job`."""
    settings = source.preprocessing.override(**preprocessing)
    if not (data is None or isinstance(data, str)):
        said = any(value is not None for value in preprocessing.values())
        if said and not isinstance(test, str):
            raise ConfigError(
                "preprocessing is for data that is named, not for images given in Python",
                hint="give the images as the network takes them",
            )
        data = moving(data, source.input_shape, sequences=still is False)
        require_shape(data, source.input_shape)
        shape = source.input_shape or shape_of(data)
        return None, settings, prepared(data, test, shape, settings, frames=frames, still=still)
    spec = require_data(source.data if data is None else data, source.text)
    with named_in(source.described_in if data is None else ""):
        if preprocessing.get("binning") is not None:
            require_events(spec)
        shape = source.input_shape or natural_shape(spec, settings.resize)
        opened = prepared(spec, test, shape, settings, frames=frames, still=still)
    return spec, opened.preprocessing or settings, opened


def prepared(
    data: str | Part,
    test: str | Part | None,
    shape: tuple[int, ...],
    settings: Preprocessing,
    *,
    frames: int | None,
    still: bool | None,
) -> DataSet:
    """Both parts, for a network that takes samples of `shape`, or sequences of `frames` of them;
    `still` shows the mean of a sequence instead."""
    opened = _opened(data, shape, settings, frames=frames, still=still)
    if test is None:
        return opened
    scored = _opened(test, shape, settings, frames=frames, still=still)
    if scored.test.steps != opened.train.steps:
        raise ConfigError(
            f"{opened.train.source} is {_kind(opened.train)}, {scored.test.source} "
            f"{_kind(scored.test)}",
            hint="score what the network is calibrated for",
        )
    if isinstance(test, str):
        return replace(scored, train=opened.train)
    return DataSet(opened.name, opened.train, scored.test, opened.spec, opened.preprocessing)


def _opened(
    data: str | Part,
    shape: tuple[int, ...],
    settings: Preprocessing,
    *,
    frames: int | None,
    still: bool | None,
) -> DataSet:
    if isinstance(data, str):
        found = open_data(
            data, input_shape=shape, preprocessing=settings, steps=frames, still=bool(still)
        )
        _remark(found, settings)
        return found
    part = moving(data, shape, sequences=still is False)
    require_shape(part, shape)
    part = stills(part) if still else part
    return DataSet("given", part, part)


def _remark(found: DataSet, settings: Preprocessing) -> None:
    """Say what of the preprocessing does nothing here, and what differs from the training."""
    frames, known = found.test.steps, settings.frames
    if frames is not None and known not in (None, frames):
        warn(
            f"the original learnt from the mean of {known} frames, and is shown that of {frames}: "
            f"--timesteps {known} shows all of them"
        )


def moving(part: Part, shape: tuple[int, ...] | None, *, sequences: bool = False) -> Part:
    """What was given in Python as sequences, where it is: `sequences` says so, or each sample is a
    row of what the network takes, of `shape`."""
    if not isinstance(part, Given) or part.steps is not None:
        return part
    found = shape_of(part)
    if sequences or (shape is not None and len(found) == len(shape) + 1 and found[1:] == shape):
        return replace(part, steps=found[0])
    return part


def _kind(part: Part) -> str:
    return "images" if part.steps is None else f"sequences of {part.steps} frames"
