"""Runs a few samples once more, and says what they did: answers, outputs, activity of layers.

It is the float32 reference that runs, whatever was scored in.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from convsnn.graph import run
from convsnn.measure import Evaluation
from convsnn.measure.fitting import Batches, in_pieces
from convsnn.measure.tasks.classify import class_numbers
from convsnn.report.page.examples import rounded
from convsnn.report.page.stepping import spaced
from convsnn.simulate import Glimpse, glimpse
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.depicted import mapped_layers
from convsnn.workflows.evaluate.watched import WINDOW, draw_neurons

LEADING = 5  # outputs shown of a sample


class Look:
    """Runs samples once more, and says what they did."""

    def __init__(self, net: Spiking, evaluation: Evaluation, seed: int) -> None:
        self._net, self._evaluation, self._task = net, evaluation, evaluation.task.name
        self._steps = evaluation.activity.steps
        vector = len(net.graph.shapes[net.graph.outputs[0]]) == 1
        known = evaluation.activity.at
        self.at = spaced(known, self._steps) if vector else [self._steps]
        self.window = min(WINDOW, self._steps)
        self.neurons = draw_neurons(net.graph, seed)

    def all(
        self, batches: Batches, ids: Tensor
    ) -> Iterator[tuple[Tensor, Glimpse, tuple[Tensor, ...]]]:
        """The samples, piece by piece, what was seen of them, and the original's outputs."""
        net, done = self._net, 0

        def look(x: Tensor, _: Tensor | None) -> tuple[Tensor, Glimpse, tuple[Tensor, ...]]:
            x = x.to(next(iter(net.graph.tensors.values())).device)
            seen = glimpse(
                net,
                x,
                steps=self._steps,
                at=self.at,
                neurons=self.neurons,
                window=self.window,
                mapped=mapped_layers(net.graph),
                ids=ids[done : done + len(x)],
            )
            with torch.no_grad():
                found = run(net.graph, net.encoder.still(x))
            return x.cpu(), seen, tuple(found[name].cpu() for name in net.graph.outputs)

        for piece in in_pieces(batches, look):
            yield piece
            done += len(piece[0])

    def series(
        self, seen: Glimpse, originals: Sequence[Tensor], row: int, target: Tensor | None
    ) -> dict[str, Any]:
        """Answers and some outputs of a sample over time, and how active its layers were."""
        graph = self._net.graph
        activity = [
            float(seen.events[name][row]) / (torch.Size(graph.shapes[name]).numel() * self._steps)
            for name in graph.sites
        ]
        outputs, wanted = seen.outputs[0][:, row], originals[0][row]
        found: dict[str, Any] = {"answers": [], "outputs": [], "activity": rounded(activity)}
        if outputs.dim() != 2:
            return found
        decided = self._evaluation.task.decided(outputs[:, None])
        if self._evaluation.predictions is not None and decided is not None:
            found["answers"] = decided[:, 0].tolist()
        values = self._values(target, wanted)
        found["outputs"] = [
            {
                "output": place,
                "target": None if values is None else values[place],
                "ann": rounded([float(wanted[place])])[0],
                "snn": rounded(outputs[:, place].tolist()),
            }
            for place in self._shown(outputs[-1], wanted, target)
        ]
        return found

    def _values(self, target: Tensor | None, wanted: Tensor) -> list[float] | None:
        """What a regression was to answer, an entry for each output."""
        if self._task != "regress" or target is None or target.numel() != len(wanted):
            return None
        return rounded(target.flatten().tolist())

    def _shown(self, last: Tensor, wanted: Tensor, target: Tensor | None) -> list[int]:
        """Which outputs: the first of a regression, else the leading ones and that of the label."""
        if self._task == "regress":
            return list(range(min(LEADING, len(last))))
        leading = last.argsort(descending=True).tolist()
        first = [leading[0], int(wanted.argmax())]
        if target is not None and self._task == "classify":
            first.append(int(class_numbers(target[None])))
        return list(dict.fromkeys([*first, *leading]))[:LEADING]
