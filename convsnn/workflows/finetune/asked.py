"""How a network is to be fine-tuned, and the one set of keywords that says it in Python."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from convsnn.graph import Graph
from convsnn.train.distillation import Tuning
from convsnn.train.samples import Augmentation, Samples
from convsnn.train.settings import Settings
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.keywords import require_known
from convsnn.workflows.train.lessons import labelled_images, worth_compiling
from zoo.data import Part

EPOCHS = 20
_SPELLINGS = {"learning_rate_schedule": "schedule"}  # as the command has it
WRITING = ("samples", "resume", "force")  # what only a result that is written asks


@dataclass(frozen=True)
class Asked:
    """`settings` of the loop, `tuning` of the network, and of the images how many (None: all) and
    how they are changed; `compile` None compiles where that takes less time than it saves."""

    settings: Settings = field(default_factory=lambda: Settings(epochs=EPOCHS))
    tuning: Tuning = field(default_factory=Tuning)
    augment: Augmentation = "none"
    training_samples: int | None = None
    compile: bool | None = None
    device: str = "auto"

    @property
    def target(self) -> torch.device:
        """The device that is meant; ConfigError for one that is not here."""
        return pick_device(self.device)

    def images(self, part: Part) -> Samples:
        """Those to train on; LoadError without labels."""
        seed = self.settings.seed
        return labelled_images(part, self.training_samples, self.augment, seed=seed)

    def compiles(self, graph: Graph, samples: int) -> bool:
        """Whether loops are compiled; says where they should and cannot be."""
        return worth_compiling(graph, samples, self.settings, wanted=self.compile)


def asked_for(timesteps: int, options: Mapping[str, Any], *, writes: bool) -> Asked:
    """What the keywords of `SNN.finetune` ask for: those of `convsnn finetune`, with underscores.

    TypeError for an unknown one (and, unless a result is written, for one of `WRITING`),
    ConfigError for a value that cannot be.
    """
    known = [name for kind in (Settings, Tuning, Asked) for name in _names(kind)]
    known = [name for name in known if name not in ("steps", "settings", "tuning")]
    require_known("finetune", options, [*known, *_SPELLINGS, *(WRITING if writes else ())])
    given = {_SPELLINGS.get(name, name): value for name, value in options.items()}
    if given.get("reset") == "zero":
        given["reset"] = "hard"
    settings = Settings(**{"steps": timesteps, "epochs": EPOCHS, **_of(Settings, given)})
    return Asked(settings, Tuning(**_of(Tuning, given)), **_of(Asked, given))


def _names(kind: Any) -> list[str]:
    return [entry.name for entry in fields(kind)]


def _of(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in _names(kind)}
