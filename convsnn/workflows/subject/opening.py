"""Which model on which data: what `compare`, `tune` and `figures` are asked about, to be opened.

Opening takes its time, and what a directory holds from an earlier run is checked before; so a
workflow is handed an `Opening` and opens it when it is ready, or a `Job`, which is open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from convsnn.graph import Graph
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.running.processes import Group
from convsnn.workflows.subject.given import Images, as_part
from convsnn.workflows.subject.job import Job, open_job
from convsnn.workflows.subject.source import Source, source_of
from zoo.data import Part


@dataclass(frozen=True)
class Opening:
    """A model, as `source_of` takes it, and all that says how it and its data are read.

    `data` names a data set, or is images given in Python (see `given`); None is what the model
    names. `test`, likewise, is what is scored; None is the test part of `data`, and of images that
    have none the same images, which the reports then warn of. `preprocessing` replaces the model's
    own where a value is not None; `batch_size` None is one that fits this machine. Of several
    outputs `answer` names the one to take, `task` says what it is for, `gate` is the bound on the
    loss of score; a `group` of processes shares the work. Nothing is read before `source` or `open`
    is asked for.
    """

    model: nn.Module | Graph | str | Path
    data: Images | str | None = None
    weights: str | Path | None = None
    input_shape: Sequence[int] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    calibration_samples: int = 1000
    batch_size: int | None = None
    seed: int = 0
    device: str = "auto"
    wanted: Wanted = field(default_factory=Wanted)
    verify: bool = True
    answer: str | None = None
    task: str | None = None
    gate: float | None = None
    test: Images | str | None = None
    group: Group | None = None

    @cached_property
    def target(self) -> torch.device:
        """The device that is meant; ConfigError for one that is not here."""
        return pick_device(self.device)

    @cached_property
    def source(self) -> Source:
        """The model, found but not yet read; see `source_of` for what is raised."""
        assert self.target is not None  # a device that is not here is said first
        weights, shape = self.weights, self.input_shape
        return source_of(
            self.model,
            weights=None if weights is None else Path(weights),
            input_shape=None if shape is None else tuple(shape),
            answer=self.answer,
        )

    def open(self, *, frames: int | None = None, still: bool | None = None) -> Job:
        """Read data and network; see `open_job` for `frames` and `still`, and what is raised."""
        data = _part(self.data)
        return open_job(
            self.source,
            data=data,
            test=data if self.test is self.data else _part(self.test),
            preprocessing=self.preprocessing,
            calibration_samples=self.calibration_samples,
            batch_size=self.batch_size,
            seed=self.seed,
            device=self.target,
            verify=self.verify,
            wanted=self.wanted,
            task=self.task,
            gate=self.gate,
            group=self.group,
            frames=frames,
            still=still,
        )


def _part(given: Images | str | None) -> Part | str | None:
    return given if given is None or isinstance(given, str) else as_part(given)


Subject: TypeAlias = Job | Opening | nn.Module | Graph | str | Path


def opened(subject: Job | Opening, *, frames: int | None = None) -> Job:
    """The job, opened where it is not; sequences in it are of so many `frames`."""
    return subject if isinstance(subject, Job) else subject.open(frames=frames)
