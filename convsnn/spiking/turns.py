"""Networks whose layers take turns: which layer sends when, and what has to go together for it.

The first step is quiet. Then come windows of equal length: the input sends in the first, every
layer in the one after the last of those it reads (its turn), and the readout is complete when the
last layer has sent, after

    T = 1 + (turns of the last layer + 1) * window

steps, all of which count. Neuron, encoder and readout take turns where they have a `window`.
"""

from collections.abc import Mapping
from typing import Any

from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError, TooFewStepsError
from convsnn.graph import Graph
from convsnn.graph.ops import Role
from convsnn.neurons import NEURONS
from convsnn.readouts import READOUTS
from convsnn.registry import Registry, split_spec

_TOGETHER = (
    "use --neuron tsc --encoder tsc --readout switch together, calibrated with the stage tsc"
)


def takes_turns(neuron: str) -> bool:
    """Whether layers of the neuron `neuron`, such as `tsc:window=8`, send one after another."""
    return _has_window(NEURONS, neuron)


def turns(graph: Graph) -> dict[str, int]:
    """The turn of every node, by name: 0 for what the input alone decides, 1 for the first layer of
    neurons and what it drives."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        before = max((found[name] for name in graph.data_inputs(node)), default=0)
        found[node.name] = before + (node.role is Role.ACTIVATION)
    return found


def fill_windows(
    graph: Graph, steps: int, *, neuron: str, encoder: str, readout: str
) -> tuple[str, str, str]:
    """The three specs with the longest window that `steps` leave to each layer, where none is set.

    ConfigError where only some of the three take turns, TooFewStepsError.
    """
    require_together(neuron, encoder, readout)
    if not takes_turns(neuron):
        return neuron, encoder, readout
    found = turns(graph)
    windows = max(found[name] for name in graph.outputs) + 1
    window = (steps - 1) // windows
    given: tuple[tuple[Registry[Any], str], ...] = (
        (NEURONS, neuron),
        (ENCODERS, encoder),
        (READOUTS, readout),
    )
    specs = [registry.with_default(spec, "window", max(1, window)) for registry, spec in given]
    used = require_together(*specs)
    if 1 + windows * used > steps:
        raise TooFewStepsError(
            f"the input and {windows - 1} layers, one after another in windows of {used}, take "
            f"{1 + windows * used} time steps, more than {steps}",
            hint=f"use --timesteps {1 + windows * used} or more, or a shorter window",
        )
    return specs[0], specs[1], specs[2]


def require_together(neuron: str, encoder: str, readout: str) -> int:
    """The window that all three share, 0 where none takes turns; ConfigError where they differ."""
    windows = {
        "neuron": _window(NEURONS, neuron),
        "encoder": _window(ENCODERS, encoder),
        "readout": _window(READOUTS, readout),
    }
    if len(set(windows.values())) > 1:
        raise ConfigError(
            f"the neuron '{neuron}', the encoder '{encoder}' and the readout '{readout}' do not go "
            f"together: their windows are {_listed(windows)}",
            hint=_TOGETHER + ", with the same window or none given",
        )
    return windows["neuron"]


def _has_window(registry: Registry[Any], spec: str) -> bool:
    return "window" in registry.options(split_spec(spec)[0])


def _window(registry: Registry[Any], spec: str) -> int:
    if not _has_window(registry, spec):
        return 0
    given = {"threshold": 1.0} if registry is NEURONS else {}
    return int(registry.create(spec, **given).window)


def _listed(windows: Mapping[str, int]) -> str:
    return ", ".join(f"{size or 'none'} ({kind})" for kind, size in windows.items())
