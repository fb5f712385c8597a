"""Running passes that must not change the network, and the proof after each that they did not.

A pass is a function Graph -> Graph. `apply_exact` runs the original once on example input and
compares after every pass: float32, at most 1e-4 of the output's scale. Where the network has steps
(clip-floor activations), a rounding difference can move a value to the next step; there the output
may differ by as much as it does when the input changes by a hundred-thousandth of
its scale, or when every step begins a thousandth of its size earlier or later: the mean of values
on steps often lies right between two of them. In a network that enlarges rounding from layer to
layer a pass has to prove itself in float64. An import, whose original may have no such form, may
differ ten times as much as the network's float32 output does from its float64 one, up to 1e-2.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convsnn.errors import RewriteError
from convsnn.graph import Graph, Node, run

TOLERANCE = 1e-4
_EXACT = 1e-8  # the same in float64
_LARGEST = 1e-2  # beyond it rounding says nothing about a network any more
_NUDGE = 1e-5  # of the input: well above what float32 rounds
_EDGE = 1e-3  # of a step: the same for the values that are rounded
Pass = Callable[[Graph], Graph]


def relative_gap(got: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference in units of the largest absolute wanted value."""
    if got.shape != wanted.shape:
        return float("inf")
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    gap = float((got - wanted).abs().max()) if wanted.numel() else 0.0
    return gap / scale if scale > 0 else gap


def tolerance(graph: Graph, example: Tensor, gap: float = 0.0) -> float:
    """The largest relative gap that rounding explains, for a network run on `example`; the `gap`
    that is judged says whether the network's own rounding must be known for that."""
    steps = any(site.levels is not None for site in graph.sites.values())
    found = _of_steps(graph, example) if steps else TOLERANCE
    return max(found, _rounding(graph, example)) if found < gap <= _LARGEST else found


def _of_steps(graph: Graph, example: Tensor) -> float:
    """How far the smallest changes move the output of a network with steps."""
    generator = torch.Generator().manual_seed(0)
    found = TOLERANCE
    with torch.no_grad():
        wanted = run(graph, example)
        for _ in range(4):
            noise = torch.randn(example.shape, generator=generator).to(example)
            got = run(graph, example + noise * (_NUDGE * float(example.abs().max())))
            gaps = (relative_gap(got[name], wanted[name]) for name in graph.outputs)
            found = max(found, TOLERANCE + max(gaps))
        for sign in (1, -1):
            got = run(_with_steps_moved(graph, sign * _EDGE), example)
            gaps = (relative_gap(got[name], wanted[name]) for name in graph.outputs)
            found = max(found, TOLERANCE + max(gaps))
    return found


def _rounding(graph: Graph, example: Tensor) -> float:
    """The relative gap that float32 arithmetic explains for this network."""
    with torch.no_grad():
        rounded = run(graph, example)
        exact = run(graph.to(torch.float64), example.double())
    return explained(max(relative_gap(rounded[name], exact[name]) for name in graph.outputs))


def explained(own: float) -> float:
    """The gap that is explained where a network's own rounding makes one of `own`: ten times that,
    since what is compared with it rounds elsewhere, at most 1e-2."""
    return min(10 * own, _LARGEST)


def _with_steps_moved(graph: Graph, by: float) -> Graph:
    """The network with every step beginning earlier by a part `by` of its size."""

    def moved(node: Node) -> Node:
        if node.op != "quantized_clip":
            return node
        attrs = {k: v for k, v in node.attrs.items() if k != "even"}
        return replace(node, attrs={**attrs, "shift": max(node.attrs["shift"] + by, 0.0)})

    return replace(graph, nodes=tuple(moved(node) for node in graph.nodes))


def _values(graph: Graph, example: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return run(graph, example, keep=graph.sites)


def _first_gap(
    got: dict[str, Tensor], wanted: dict[str, Tensor], pairs: Sequence[tuple[str, str]]
) -> tuple[str, float]:
    """The first value that differs, among those both networks have in the same shape."""
    for new, old in pairs:
        if new in got and got[new].shape == wanted[old].shape:
            gap = relative_gap(got[new], wanted[old])
            if not gap <= TOLERANCE:
                return new, gap
    return pairs[-1][0], float("inf")


def _holds_exactly(step: Pass, graph: Graph, example: Tensor) -> bool:
    """Whether a pass changes nothing in float64, so that what it changes in float32 is rounding."""
    wide = graph.to(torch.float64)
    changed = step(wide)
    with torch.no_grad():
        wanted, got = run(wide, example.double()), run(changed, example.double())
    ends = zip(changed.outputs, wide.outputs, strict=True)
    return all(relative_gap(got[new], wanted[old]) <= _EXACT for new, old in ends)


def apply_exact(graph: Graph, example: Tensor, passes: Sequence[Pass]) -> Graph:
    """The graph after all passes; RewriteError names the pass, the layer and the gap.

    `example` is (B, *input shape).
    """
    wanted = _values(graph, example)
    outputs = graph.outputs
    allowed = tolerance(graph, example)
    for step in passes:
        changed = step(graph)
        if changed is graph:
            continue
        got = _values(changed, example)
        ends = list(zip(changed.outputs, outputs, strict=True))
        gaps = [relative_gap(got[new], wanted[old]) for new, old in ends]
        # a gap that is no number is above every bound
        if not all(gap <= allowed for gap in gaps) and not _holds_exactly(step, graph, example):
            if not all(bool(wanted[old].isfinite().all()) for _, old in ends):
                raise RewriteError(
                    "the network's own answer to the example holds what is no number",
                    hint="check its weights and the scale of the images; a norm over equal "
                    "values, or a mask that hides everything, makes such values",
                )
            name, gap = _first_gap(got, wanted, [*((s, s) for s in graph.sites), *ends])
            raise RewriteError(
                f"pass '{step.__name__}' changed the network: layer '{name}' is off by "
                f"{gap:.2e} of its scale (at most {allowed:.0e} is allowed)",
                hint="this is a fault of convsnn; please report it with the network",
            )
        graph = changed
    return graph
