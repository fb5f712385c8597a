"""A converted network trained for few time steps, starting from what conversion gave it."""

from dataclasses import replace
from pathlib import Path

from convsnn.report.page.assemble import versions
from convsnn.spiking.network import Spiking
from convsnn.train.finetune import Tuned, finetune, require_trainable
from convsnn.workflows.finetune.asked import Asked
from convsnn.workflows.running.voice import command_line
from convsnn.workflows.train.lessons import show_epoch
from zoo.data import Part


def finetune_network(
    net: Spiking, train: Part, asked: Asked, *, checkpoints: Path | None = None
) -> Tuned:
    """`net` trained on the labelled images `train`; `net` itself is not changed.

    Raises what `convsnn.train.finetune.finetune` raises, and LoadError without labels.
    """
    require_trainable(net)
    images, settings = asked.images(train), asked.settings
    tuned = finetune(
        net,
        images,
        settings,
        asked.tuning,
        folder=checkpoints,
        device=asked.target,
        progress=lambda epoch: show_epoch(epoch, settings.epochs),
        compile=asked.compiles(net.graph, len(images)),
    )
    about = {"command": command_line(), "versions": versions()}
    trained = replace(tuned.net, provenance={**tuned.net.provenance, **about})
    return replace(tuned, net=trained)
