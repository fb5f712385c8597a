"""Which model on which data: what `compare`, `tune` and `figures` are asked about, to be opened.

Opening takes its time, and what a directory holds from an earlier run is checked before; so a
workflow is handed an `Opening` and opens it when it is ready, or a `Job`, which is open.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch

from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.subject.job import Job, open_job
from convsnn.workflows.subject.source import Source, find_source


@dataclass(frozen=True)
class Opening:
    """A model as the user names it, and all that says how it and its data are read.

    `preprocessing` replaces the model's own where a value is not None; `batch_size` None is one
    that fits this machine. Nothing is read before `source` or `open` is asked for.
    """

    model: str
    data: str | None = None
    weights: Path | None = None
    input_shape: tuple[int, ...] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    calibration_samples: int = 1000
    batch_size: int | None = None
    seed: int = 0
    device: str = "auto"
    wanted: Wanted = field(default_factory=Wanted)
    verify: bool = True

    @cached_property
    def target(self) -> torch.device:
        """The device that is meant; ConfigError for one that is not here."""
        return scoring.pick_device(self.device)

    @cached_property
    def source(self) -> Source:
        """The model, found but not yet read; see `find_source` for what is raised."""
        assert self.target is not None  # a device that is not here is said first
        return find_source(self.model, weights=self.weights, input_shape=self.input_shape)

    def open(self) -> Job:
        """Read data and network; see `open_job` for what is raised."""
        return open_job(
            self.source,
            data=self.data,
            preprocessing=self.preprocessing,
            calibration_samples=self.calibration_samples,
            batch_size=self.batch_size,
            seed=self.seed,
            device=self.target,
            verify=self.verify,
            wanted=self.wanted,
        )


Subject: TypeAlias = Job | Opening | str | Path


def as_opening(subject: Subject) -> Job | Opening:
    """A name or a file's path as an `Opening` with all defaults; what is one or open as it is."""
    return subject if isinstance(subject, Job | Opening) else Opening(str(subject))


def opened(subject: Job | Opening) -> Job:
    """The job, opened where it is not."""
    return subject if isinstance(subject, Job) else subject.open()
