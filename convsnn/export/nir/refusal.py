"""What of a network NIR can say: its neurons, what is written, and what is refused by name."""

from dataclasses import dataclass, field
from typing import Any

from convsnn.errors import ExportError
from convsnn.neurons.integrate import IntegrateAndFire
from convsnn.neurons.lif import LeakyIntegrateAndFire
from convsnn.spiking.kinds import require_neurons_only
from convsnn.spiking.network import Spiking

CHANNEL = "calibrate with one threshold a layer or a channel, like channel:q=99.9"


@dataclass(frozen=True)
class Refusal:
    """A layer that NIR cannot say, and the nearest thing that it can."""

    layer: str
    reason: str
    remedy: str


class Unsayable(Exception):
    """Raised while one layer is written; the others go on being looked at."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


@dataclass
class Written:
    """Nodes by name, each a type of NIR and its fields; edges; what was refused and remarked; what
    the input carries at every step."""

    nodes: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    shown: str = ""


def require_steps(net: Spiking) -> None:
    """ExportError for a network whose layers wait for all steps: a runner that passes spikes on at
    every step would give other answers."""
    require_neurons_only(net.graph, "NIR")
    if net.schedule != "steps":
        raise ExportError(
            f"a network of the schedule '{net.schedule}' has no form in NIR: its layers take in "
            "all time steps before they fire",
            hint="write it as ONNX, whose form 'layers' can say it (--to onnx), or convert the "
            "network with --schedule steps",
        )


def reset_of(neuron: object) -> str:
    """How its neurons reset: subtract or zero; Unsayable for neurons that NIR has no word for."""
    if isinstance(neuron, LeakyIntegrateAndFire) and neuron.decay == 1:
        return "subtract" if neuron.reset == "soft" else "zero"
    if isinstance(neuron, IntegrateAndFire):
        return "subtract" if neuron.reset == "soft" else "zero"
    what = {
        "Burst": "they send several spikes a step",
        "Signed": "they send spikes of both signs",
        "Msat": "their thresholds change from step to step",
        "LeakyIntegrateAndFire": "their leak counts in steps, which NIR's time constants do not",
        "CurrentBased": "their leaks count in steps, which NIR's time constants do not",
    }.get(type(neuron).__name__, "NIR has no such neurons")
    raise Unsayable(what, "convert the network with --neuron if or if:reset=zero")


def fires_of(neuron: object) -> str:
    """Whether they fire `at` the threshold or only `above` it."""
    return "above" if getattr(neuron, "strict", False) else "at"
