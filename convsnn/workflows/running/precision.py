"""What a scoring run is computed in: the precision asked for, and what this machine makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph
from convsnn.neurons.fused import compiler
from convsnn.simulate import PRECISIONS, Engine, Precision, fastest
from convsnn.workflows.running.processes import Group
from convsnn.workflows.running.voice import note, warn

Asked = Precision | Literal["auto"]
COMPILED_FROM = 2e10  # updates of a neuron; below it the compiler takes longer than it saves


def compiling_pays(graph: Graph, times: int) -> bool:
    """Whether compiled loops save more than they cost where every neuron is updated so often."""
    return float(graph.neurons) * times >= COMPILED_FROM


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; `compile` None leaves it to the size of the work."""

    precision: Asked = "float32"
    weight_bits: int | None = None
    compile: bool | None = None

    def settle(self, device: torch.device) -> Precision:
        """The precision, the fastest of this machine in the place of `auto`."""
        return fastest(device) if self.precision == "auto" else self.precision

    def settled(self, device: torch.device) -> "Wanted":
        """The same with a precision that has been settled."""
        return replace(self, precision=self.settle(device))

    def describe(self) -> str:
        """The precision as a report names it; `auto` must have been settled."""
        assert self.precision != "auto"
        return Engine(self.precision, self.weight_bits).describe()

    def engine(
        self,
        graph: Graph,
        *,
        steps: int,
        samples: int,
        device: torch.device,
        group: Group | None = None,
    ) -> Engine:
        """The engine for a run of so many steps and images; says on stderr what it is.

        All processes of a `group` get that of the first.
        """
        group, precision = group or Group(), self.settle(device)
        (number,) = group.agree([PRECISIONS.index(precision)])
        fused = self.compile
        if fused is None:
            fused = compiling_pays(graph, steps * samples)
        missing = compiler() if fused else None
        works = -int(group.least(torch.tensor(-int(missing is not None)))) == 0
        engine = Engine(PRECISIONS[number], self.weight_bits, fused and works)
        if missing is not None:
            warn(f"not compiled: {missing}")
        if engine != Engine():
            loops = "compiled" if engine.fused else "not compiled"
            note(f"simulating in {engine.describe()}, {loops}")
        return engine


def as_before(
    origin: Mapping[str, Any],
    *,
    precision: Asked | None,
    weight_bits: int | None,
    compile: bool | None,
) -> Wanted:
    """What is given, and for the rest what the network was scored in when it was made.

    LoadError where `origin`, as it was read from a file, holds no such thing.
    """
    if precision is not None or weight_bits is not None:
        return Wanted(precision or "float32", weight_bits, compile)
    known = origin.get("engine", {})
    try:
        engine = Engine(known.get("precision", "float32"), known.get("weight_bits"))
    except (AttributeError, TypeError, ConfigError):
        raise LoadError(
            f"the file says that it was simulated in {known!r}, which is nothing this program has",
            hint="name a --precision",
        ) from None
    return Wanted(engine.precision, engine.weight_bits, compile)
