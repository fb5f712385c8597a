"""Samples as pictures: what went in, what came out where that is an image or a mask, and where
layers sent their spikes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convsnn.graph import Graph
from convsnn.measure.boxes import NO_BOX, corners
from convsnn.measure.tasks import Task
from convsnn.measure.tasks.detect import LIKELY, Detect
from convsnn.measure.tasks.segment import IGNORED
from convsnn.report.pictures import (
    LEAST,
    boxed,
    events,
    mask,
    picture,
    planes,
    stretched,
    visible,
)
from convsnn.simulate import Glimpse
from convsnn.workflows.evaluate.watched import spread
from zoo.data import Preprocessing

MAPS = 3  # layers of which is shown where they fired


def mapped_layers(graph: Graph) -> list[str]:
    """Layers of neurons that stand in a plane large enough to be looked at."""
    if planes(torch.zeros(graph.input.attrs["shape"])) is None:
        return []
    flat = [
        name
        for name in graph.sites
        if len(shape := graph.shapes[name]) == 3 and min(shape[1:]) >= LEAST // 2
    ]
    return spread(flat, MAPS)


@dataclass(frozen=True)
class Depicted:
    """What can be shown of samples of a network for a task."""

    graph: Graph
    task: Task
    preprocessing: Preprocessing | None

    def pictures(
        self, x: Tensor, seen: Glimpse, originals: Sequence[Tensor], row: int, target: Tensor | None
    ) -> dict[str, Any]:
        """`picture` of the input, `pictures` of outputs, `maps` of layers; null where none is."""
        return {
            "picture": self._input(x),
            "pictures": self._boxes(x, seen.outputs[0][-1, row], originals[0][row], target)
            if isinstance(self.task, Detect)
            else self._outputs(seen.outputs[0][-1, row], originals[0][row], target),
            "maps": [
                {"layer": name, "picture": picture(stretched(found[row][None].float(), 0.0, high))}
                for name, found in seen.maps.items()
                if (high := float(found[row].max())) > 0
            ],
        }

    def _input(self, x: Tensor) -> str | None:
        image = self._image(x)
        return None if image is None else picture(image)

    def _image(self, x: Tensor) -> Tensor | None:
        """The input as an image (C, H, W) in 0..1; None for what is none."""
        image = planes(x) if tuple(x.shape) == tuple(self.graph.input.attrs["shape"]) else None
        if image is None:
            return None
        known = self.preprocessing
        mean, std = ((), ()) if known is None else (known.mean, known.std)
        return visible(image, mean, std)

    def _boxes(
        self, x: Tensor, snn: Tensor, ann: Tensor, target: Tensor | None
    ) -> dict[str, str] | None:
        """The sample with the boxes that were found in it, and those it has."""
        assert isinstance(self.task, Detect)
        one = x.mean(0) if x.dim() > len(self.graph.input.attrs["shape"]) else x
        image = events(one) if one.shape[0] == 2 else self._image(one)
        if image is None:
            return None
        pictures = {}
        if target is not None:
            there = target[target[:, 4] != NO_BOX]
            pictures["target"] = boxed(image, corners(there), there[:, 4])
        for name, outputs in (("ann", ann), ("snn", snn)):
            told = self.task.find(outputs[None], least=LIKELY)
            pictures[name] = boxed(image, told.corners.cpu(), told.label.cpu())
        return pictures

    def _outputs(self, snn: Tensor, ann: Tensor, target: Tensor | None) -> dict[str, str] | None:
        """Of outputs that are masks or images, beside the target."""
        if self.task.name == "segment":
            found = {"ann": mask(ann.argmax(0)), "snn": mask(snn.argmax(0))}
            if target is not None:
                unscored = (target < 0) | (target == IGNORED if len(snn) <= IGNORED else False)
                classes = torch.where(unscored, 0, target)
                found = {"target": mask(classes, unscored), **found}
            return found
        images = {"ann": planes(ann), "snn": planes(snn)}
        if target is not None:
            images = {"target": planes(target) if target.shape == snn.shape else None, **images}
        known = {key: image for key, image in images.items() if image is not None}
        if "snn" not in known:
            return None
        low, high = float(known["ann"].min()), float(known["ann"].max())
        return {key: picture(stretched(image, low, high)) for key, image in known.items()}
