"""A converted network trained for few time steps, starting from what conversion gave it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from convsnn.report.page.assemble import versions
from convsnn.spiking.network import Spiking
from convsnn.train.distillation import Tuning
from convsnn.train.finetune import finetune, require_trainable
from convsnn.train.samples import Augmentation
from convsnn.train.settings import Settings
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.voice import command_line
from convsnn.workflows.train.lessons import labelled_images, show_epoch, worth_compiling
from zoo.data import Part


def finetune_network(
    net: Spiking,
    train: Part,
    *,
    timesteps: int = 4,
    method: Any = "lt-snn",
    epochs: int = 20,
    folder: Path | None = None,
    augment: Augmentation = "none",
    training_samples: int | None = None,
    compile: bool | None = None,
    device: str = "auto",
    seed: int = 0,
    per: Any = "channel",
    decay: float = 1.0,
    reset: Any = "soft",
    teacher: bool = True,
    labels: float = 0.0,
    hints: float = 1.0,
    **settings: Any,
) -> Spiking:
    """`net` trained on the labelled images `train`; `net` itself is not changed.

    The options are those of `convsnn finetune`; `settings` are fields of
    `convsnn.train.settings.Settings`. `folder` is for checkpoints. Raises what
    `convsnn.train.finetune.finetune` raises.
    """
    require_trainable(net)
    made = Settings(steps=timesteps, epochs=epochs, seed=seed, **settings)
    tuning = Tuning(
        method=method, per=per, decay=decay, reset=reset, teacher=teacher, hints=hints,
        labels=labels,
    )  # fmt: skip
    images = labelled_images(train, training_samples, augment, seed=seed)
    tuned = finetune(
        net,
        images,
        made,
        tuning,
        folder=folder,
        device=pick_device(device),
        progress=lambda epoch: show_epoch(epoch, epochs),
        compile=worth_compiling(net.graph, len(images), made, wanted=compile),
    ).net
    about = {**tuned.provenance, "command": command_line(), "versions": versions()}
    return replace(tuned, provenance=about)
