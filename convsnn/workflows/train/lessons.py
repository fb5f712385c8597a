"""What `finetune` and `train` share: the images, the checkpoints of a stopped run, the progress."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph
from convsnn.measure.fitting import USUAL_BATCH
from convsnn.measure.tasks.base import described
from convsnn.neurons.fused import compiler
from convsnn.report.files import require_writable
from convsnn.train.devices import is_main
from convsnn.train.samples import Augmentation, InMemory, Samples, Sequences
from convsnn.train.settings import Epoch, Settings
from convsnn.workflows.running.precision import compiling_pays
from convsnn.workflows.running.resume import fingerprint
from convsnn.workflows.running.voice import note, warn
from zoo.data import Part, choose

LINE = 6  # layers whose dead neurons fit on a line of progress


def missing_labels(part: Part) -> str:
    """What a split without classes lacks, in words: it may have targets of another kind."""
    if part.targets is None:
        return "labels"
    return f"class numbers but targets ({described(part.targets)})"


def require_labels(part: Part) -> None:
    """Raise LoadError unless `part` has the labels that training needs."""
    if part.classes is None:
        raise LoadError(
            f"{part.source} ({part.split}) has no {missing_labels(part)}, which training needs",
            hint="give labelled data with --data",
        )


def labelled_images(
    part: Part, count: int | None, augment: Augmentation, *, seed: int, boxes: bool = False
) -> Samples:
    """Training images and their labels, `count` of them (None: all), or the `boxes` in them;
    LoadError without.

    Sequences are read when they are needed: lists of events take far less memory than frames.
    """
    if not boxes:
        require_labels(part)
    numbers = choose(part, count, seed=seed)
    targets = part.targets if boxes else part.labels
    assert targets is not None  # as whoever asks for boxes has seen, or of what has classes
    labels = targets[numbers]
    if part.steps is None:
        batches = part.batches(USUAL_BATCH, indices=numbers)
        return InMemory(torch.cat([x for x, _ in batches]), labels, augment)

    def read(places: Sequence[int]) -> torch.Tensor:
        wanted = [numbers[place] for place in places]
        return next(part.batches(len(wanted), indices=wanted))[0]

    known = fingerprint(part.digest, numbers)
    return Sequences(read, labels, augment, known)


def checkpoints_of(folder: Path) -> Path:
    """Where a run that writes its result to `folder` keeps its checkpoints: beside it.

    ExportError where no files can be written there.
    """
    real = Path(os.path.realpath(folder))
    if not real.name:
        raise ConfigError(f"'{folder}' can hold no result", hint="name a directory of its own")
    require_writable(real.parent)
    return real.with_name(f"{real.name}.training")


def claim(checkpoints: Path, *, resume: bool, force: bool) -> None:
    """Refuse to start over where an earlier run left its checkpoints, unless asked to."""
    left = sorted(checkpoints.rglob("*.safetensors"))
    if left and not resume:
        if not force:
            raise ConfigError(
                f"'{checkpoints}' holds a training run that was stopped",
                hint="go on with it with --resume, or start over with --force",
            )
        for path in left:
            path.unlink()
    if resume and not left:
        raise ConfigError(
            f"there is no training run in '{checkpoints}' to go on with",
            hint="leave out --resume, or name the same --output as before",
        )


def worth_compiling(graph: Graph, samples: int, settings: Settings, *, wanted: bool | None) -> bool:
    """Whether neurons' loops should be compiled: as `wanted`, or where training is long enough.

    Says on stderr where they should and cannot be.
    """
    if wanted is None:
        wanted = compiling_pays(graph, settings.steps * samples * settings.epochs)
    missing = compiler() if wanted else None
    if missing is not None:
        warn(f"not compiled: {missing}")
    return wanted and missing is None


def show_epoch(epoch: Epoch, epochs: int, *, watched: str = "accuracy") -> None:
    """How an epoch went, on one line; of several processes one says it."""
    if not is_main():
        return
    held = "" if epoch.held_out is None else f", held out {epoch.held_out:.1%}"
    note(
        f"epoch {epoch.number}/{epochs}: loss {epoch.loss:.4f}, {watched} {epoch.accuracy:.1%}"
        f"{held}, thresholds {_mean(epoch.thresholds):.3f}, "
        f"firing rate {_mean(epoch.rates):.3f}, {_dead(epoch.dead)}{epoch.seconds:.0f} s"
    )


def _dead(shares: Mapping[str, float]) -> str:
    """Dead neurons of every layer, or of all together where these are many."""
    if not shares:
        return ""
    told = shares.values() if len(shares) <= LINE else [_mean(shares)]
    return f"dead neurons {'/'.join(f'{share:.1%}' for share in told)}, "


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / max(1, len(values))
