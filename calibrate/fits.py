"""Smooth activations as sums of a few neurons, fitted on their own inputs: `gelu=if:8`.

A fit names a function, or a layer that is one, and how many neurons stand for each of its values.
It is made on three of four calibration images, and its error measured on the others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from calibrate.splines import closest_line, on_line
from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import Graph, Node, run
from convsnn.graph.fits import without_functions
from convsnn.graph.ops import OPS, Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.graph.ops.fitted import FITTABLE
from convsnn.passes.edit import rebuild
from convsnn.passes.ramps import Line, as_neurons, with_ramps
from convsnn.registry import nearest, split_spec

MOST = 16  # neurons for a value
IMAGES = 256  # that are looked at
FEWEST = 4  # of them, so that one is left to measure the error on
EACH = 256  # values of each
_FORM = "write it like gelu=if:8, the function or a layer's name, and how many neurons"
_LAST = "it stands at the very end, where it is a readout and may stay"
_MIXED = "it is no function of one value alone, so no sum of neurons that see one value is it"


@dataclass(frozen=True)
class Fit:
    """`target` is a function (gelu, hard-swish) or a layer; `levels` neurons stand for it."""

    target: str
    levels: int

    def __str__(self) -> str:
        return f"{self.target}=if:{self.levels}"


def parse_fits(given: str | Sequence[str] | Sequence[Fit] | None) -> tuple[Fit, ...]:
    """`gelu=if:8,tanh=if:4`, or one text for each; ConfigError for what is none."""
    texts = [given] if isinstance(given, str) else [str(text) for text in given or ()]
    parts = [part.strip() for text in texts for part in text.split(",")]
    fits = tuple(_parsed(part) for part in parts if part)
    twice = sorted({fit.target for fit in fits if [f.target for f in fits].count(fit.target) > 1})
    if twice:
        raise ConfigError(f"'{twice[0]}' is fitted twice", hint="give each target once")
    return fits


def require_if(fits: Sequence[Fit], neuron: str) -> None:
    """Raise ConfigError where there are `fits` and the neurons are not those they are made of."""
    if fits and split_spec(neuron)[0] != "if":
        raise ConfigError(
            f"fits are sums of if neurons, and --neuron is '{neuron}'",
            hint="leave out --fit or --neuron",
        )


def _parsed(text: str) -> Fit:
    target, equals, how = text.rpartition("=")
    neuron, colon, levels = how.partition(":")
    if not (target and equals and colon):
        raise ConfigError(f"'{text}' is no fit", hint=_FORM)
    if neuron != "if":
        raise ConfigError(f"'{text}': a fit is a sum of if neurons, not '{neuron}'", hint=_FORM)
    try:
        count = int(levels)
    except ValueError:
        raise ConfigError(f"'{text}': '{levels}' is no whole number", hint=_FORM) from None
    if not 1 <= count <= MOST:
        raise ConfigError(
            f"'{text}': from 1 to {MOST} neurons stand for a value, not {count}",
            hint="8 are usually enough; more cost more spikes",
        )
    return Fit(target.strip(), count)


def chosen_layers(graph: Graph, fits: Iterable[Fit]) -> dict[str, int]:
    """The layers that `fits` mean, each with its neurons; a layer's own name goes before its
    function. ConfigError where there is none such, or none that a sum of neurons could be."""
    functions = {node.name: node for node in graph.nodes if node.op in FITTABLE}
    found: dict[str, int] = {}
    for fit in sorted(fits, key=lambda f: f.target in graph.by_name):
        word = fit.target.replace("_", "-")
        meant = [name for name, node in functions.items() if FITTABLE[node.op] == word]
        if fit.target in graph.by_name:
            meant = [fit.target]
            if fit.target not in functions:
                raise _unfit(graph.by_name[fit.target], fit)
        if not meant:
            _refuse(graph, fit, word)
        found |= dict.fromkeys(meant, fit.levels)
    return {name: found[name] for name in functions if name in found}


def _unfit(node: Node, fit: Fit) -> ConfigError:
    kind = node.op.removesuffix("_inside")
    reason = _MIXED if node.role in SMOOTH else "it is no smooth function"
    reason = _LAST if node.role is Role.READOUT else reason
    known = ", ".join(FITTABLE.values())
    return ConfigError(f"'{fit}': layer '{node.name}' is a {kind}; {reason}",
                       hint=f"functions that can be fitted: {known}")  # fmt: skip


def _refuse(graph: Graph, fit: Fit, word: str) -> None:
    for node in graph.nodes:
        if (
            node.role in (*SMOOTH, Role.READOUT)
            and node.op.removesuffix("_inside").replace("_", "-") == word
        ):
            raise _unfit(node, fit)
    there = sorted({FITTABLE[node.op] for node in graph.nodes if node.op in FITTABLE})
    known = f"the network has {', '.join(there)}" if there else "the network has none to fit"
    names = [*there, *(node.name for node in graph.nodes if node.op in FITTABLE)]
    near = nearest(fit.target, names)
    raise ConfigError(
        f"'{fit}': the network has no layer or function '{fit.target}'",
        hint=f"{known}; {near}" if near and there else known,
    )


def as_if_fitted(graph: Graph, fits: Sequence[Fit]) -> Graph:
    """What kinds of layers `graph` has once `fits` are made; nothing is calibrated."""
    return as_neurons(graph, list(chosen_layers(graph, fits))) if fits else graph


def fitted(graph: Graph, batches: Iterable[Tensor], fits: Sequence[Fit], *, seed: int = 0) -> Graph:
    """The graph with the functions that `fits` mean as sums of neurons, fitted on `batches`, each
    layer behind the ones before it as they are fitted already; `seed` draws the values that are
    looked at."""
    layers = chosen_layers(graph, fits)
    shown = _first(batches) if layers else []
    for name, levels in layers.items():
        seen = _inputs(graph, shown, graph.by_name[name].inputs[0], seed=seed)
        graph = with_ramps(graph, {name: _line(graph.by_name[name], seen, levels)})
    return graph


def _first(batches: Iterable[Tensor]) -> list[Tensor]:
    """The first images; they are read once for each layer."""
    found, left = list[Tensor](), IMAGES
    for batch in batches:
        found.append(batch[:left])
        left -= len(found[-1])
        if not left:
            break
    if IMAGES - left < FEWEST:
        raise CalibrationError(
            f"functions are fitted on three of four images, and there are {IMAGES - left}",
            hint=f"give --calibration-samples at least {FEWEST}",
        )
    return found


def _inputs(graph: Graph, shown: Sequence[Tensor], source: str, *, seed: int) -> Tensor:
    """Values (images, some of each) that the node `source` gives: of every image the least, the
    largest, and others drawn from anywhere, for every place in a row may be another channel."""
    before = rebuild(replace(without_functions(graph), outputs=(source,)))
    drawing, found = torch.Generator().manual_seed(seed), []
    for batch in shown:
        with torch.no_grad():
            flat = run(before, batch)[source].flatten(1)
        flat = flat.double().cpu()
        if flat.shape[1] > EACH:
            drawn = torch.randint(flat.shape[1], (len(flat), EACH - 2), generator=drawing)
            ends = [flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)]
            flat = torch.cat([*ends, flat.gather(1, drawn)], 1)
        found.append(flat)
    return torch.cat(found)


def _line(node: Node, seen: Tensor, levels: int) -> Line:
    if not bool(seen.isfinite().all()):
        raise CalibrationError(f"layer '{node.name}': its input is not finite on the images",
                               hint="check the weights and the scale of the images")  # fmt: skip
    if float(seen.min()) == float(seen.max()):
        raise CalibrationError(
            f"layer '{node.name}': its input is the same on all images, so nothing can be fitted",
            hint="give more images, or leave it out of --fit",
        )
    known = len(seen) - len(seen) // 4
    x, y = _pair(node, seen[:known])
    if x.min() == x.max():
        x, y = _pair(node, seen)
    places, values = closest_line(x, y, levels)
    shown, wanted = _pair(node, seen[known:])
    gap = np.square(on_line(shown, places, values) - wanted).mean()
    error = float(np.sqrt(gap / max(np.square(wanted).mean(), 1e-300)))
    above = [float(((x - t) / (u - t)).clip(0, 1).mean()) > 0.5 for t, u in pairwise(places)]
    return Line(places.tolist(), values.tolist(), above, error)


def _pair(node: Node, values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    flat = values.flatten()
    return flat.numpy(), OPS[node.op].run(flat[:, None], **node.attrs)[:, 0].numpy()
