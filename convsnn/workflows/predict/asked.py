"""What `predict` was asked: the network, how its outputs are read, the images, the promise."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.early_exit import Exiting, plan_exits
from convsnn.workflows.evaluate.score import require_answer
from convsnn.workflows.predict.answers import Answering
from convsnn.workflows.predict.pictures import Pictures, are_files, as_places, in_batches
from convsnn.workflows.running.voice import note, warn
from convsnn.workflows.subject.class_names import Names, class_names_of, task_of
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.saved import Saved, data_of, load_saved
from zoo.data import Preprocessing


class Held(Protocol):
    """The object that Python users hold; see `convsnn.SNN`."""

    @property
    def network(self) -> Spiking:
        """What runs."""
        ...


@dataclass(frozen=True)
class Shown:
    """The images: their names, and how they are read, so many (B, *input shape) at once."""

    names: list[str]
    batches: Callable[[int], Iterator[tuple[Tensor, None]]]


def opened(network: Spiking | Held | str | Path) -> tuple[Spiking, str]:
    """The network, and where it came from, for messages."""
    place = str(network) if isinstance(network, str | Path) else ""
    if isinstance(network, Spiking):
        net = network
    elif isinstance(network, str | Path):
        net = load_saved(Path(network))
    else:
        net = network.network
    return net, place


def steps_of(net: Spiking, timesteps: int | None) -> int:
    """How many are run: those asked for, or those that the network was made for."""
    steps = net.provenance.get("timesteps") if timesteps is None else timesteps
    if not isinstance(steps, int):
        raise ConfigError("the network does not say for how many steps", hint="give timesteps")
    require_answer(net, steps)
    return steps


def answering_of(net: Spiking, task: str | None, labels: Names | None, top: int) -> Answering:
    """How outputs are read, what classes are called, how many of them are wanted."""
    read_as = task_of(net, task, labels=labels)
    return Answering(read_as, class_names_of(net, labels, task=read_as), top)


def images_of(net: Spiking, images: Any, changes: Mapping[str, Any]) -> Shown:
    """The images that are shown, in order: those of files as the network's data was prepared, with
    `changes`, others as they are. Raises ConfigError and LoadError for what cannot be shown."""
    shape = tuple(net.graph.input.attrs["shape"])
    if not are_files(images):
        part = data_of(net, images, {})[0].test
        names = [str(number) for number in range(len(part))]
        return Shown(names, lambda size: ((x, None) for x, _ in part.batches(size)))
    if net.encoder.steps is not None:
        raise ConfigError(
            f"the network is shown sequences of {net.encoder.steps} frames, and a file holds an "
            "image",
            hint="score it on recordings with convsnn evaluate, or give predict() in Python a "
            "tensor (N, frames, ...)",
        )
    changed = any(value is not None for value in changes.values())
    if net.provenance.get("data") is None and not changed:
        warn(
            "the network was made from images given in Python, so nobody knows how files become "
            "its input: 8-bit values are divided by 255 (say it with --scale, --mean and --std)"
        )
    settings = Preprocessing.from_json(net.provenance.get("preprocessing", {})).override(**changes)
    pictures = Pictures(shape, settings)
    samples = pictures.samples(as_places(images))

    def batches(size: int) -> Iterator[tuple[Tensor, None]]:
        yield from in_batches(samples, size)
        if pictures.grayed:
            number = len(pictures.grayed)
            note(f"{number} image(s) in colour were shown in grey, which the network takes")

    return Shown([sample.name for sample in samples], batches)


def promise_of(
    net: Spiking,
    place: str,
    data: Images | str | None,
    changes: Mapping[str, Any],
    *,
    steps: int,
    percent: float | None,
    exit_data: str | None,
    task: str,
    size: int,
    device: torch.device,
) -> Exiting | None:
    """What early exit promises and where its margins come from; None where nobody asked."""
    if percent is None:
        if exit_data is not None or data is not None:
            name = "--data" if exit_data is None else "--exit-data"
            raise ConfigError(
                f"{name} is for the margins of early exit, and needs --early-exit",
                hint="like --early-exit 99.5",
            )
        return None
    if "calibration" not in net.provenance:
        raise ConfigError(
            "the network does not say what it was calibrated on, so early exit has no images to "
            "fit its margins on",
            hint="leave --early-exit out",
        )
    opened, settings = data_of(net, data, changes, place=place)
    saved = Saved(net, net.provenance, opened, settings.to_json())
    return plan_exits(
        percent,
        exit_data,
        graph=net.graph,
        steps=steps,
        data=opened,
        preprocessing=saved.preprocessing,
        calibration=lambda: saved.calibration_images(size, device),
        task=task,
        schedule=net.schedule,
    )
