"""Who reads our NIR files right: our own reader, sinabs and snnTorch, through their own code.

`python tests/test_nir_readers.py` prints the table that docs/export-nir.md shows.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import images
from test_nir import NETWORKS, STEPS, built, chain, images_in, powers

from convsnn.export.nir import nir_graph
from convsnn.graph import Graph
from convsnn.graph.ops import OPS
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Plan, SitePlan

pytest.importorskip("nir")

BATCH = 3
Answers = np.ndarray[Any, Any]


def by_sinabs(graph: Any, x: torch.Tensor) -> Answers:
    from sinabs.nir import from_nir

    net = from_nir(graph, batch_size=len(x))
    shown = x.repeat_interleave(STEPS, 0)  # a sample's steps follow one another
    with torch.no_grad():
        out = net(shown)
    out = out[0] if isinstance(out, tuple) else out
    return np.asarray(out.unflatten(0, (len(x), STEPS)).movedim(1, 0))


def by_snntorch(graph: Any, x: torch.Tensor) -> Answers:
    from snntorch.import_nir import import_from_nir

    net, state, steps = import_from_nir(graph), None, []
    with torch.no_grad():
        for _ in range(STEPS):
            out, state = net(x, state)
            steps.append(out.numpy())
    return np.stack(steps)


READERS: dict[str, Callable[[Any, torch.Tensor], Answers]] = {
    "sinabs": by_sinabs,
    "snntorch": by_snntorch,
}


def tame(build: Any) -> tuple[Graph, Plan]:
    """No weight is negative and every threshold is above all current that can come in a step: no
    neuron sends two spikes at once, and none is driven below zero."""
    graph = built(build)
    graph = replace(graph, tensors={name: t.abs() for name, t in graph.tensors.items()})
    values: dict[str, torch.Tensor] = {}
    sites: dict[str, SitePlan] = {}
    for node in graph.nodes:
        given = [graph.tensors[i] if i in graph.tensors else values[i] for i in node.inputs]
        if node.op == "input":
            values[node.name] = torch.ones(1, *node.attrs["shape"])
        elif node.op == "relu":
            threshold = 2.0 ** given[0].max().log2().ceil()
            sites[node.name] = SitePlan(threshold, torch.zeros(()))
            values[node.name] = torch.full_like(given[0], float(threshold))
        else:
            values[node.name] = OPS[node.op].run(*given, **node.attrs)
    return graph, Plan(sites)


def verdict(reader: str, build: Any, *, tamed: bool = True) -> str:
    """`same` answers at every step, `other` answers, or what it refuses with."""
    graph, plan = tame(build) if tamed else (built(build), powers(built(build), 0))
    net = to_spiking(graph, plan)
    x = images(graph, 0, BATCH).abs()
    means = simulate(net, x, steps=STEPS).outputs[0].numpy()
    written, _ = nir_graph(net)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            raw = READERS[reader](written, x)
    except Exception as error:  # whatever a reader raises is its answer
        return f"refused ({type(error).__name__})"
    count = np.arange(1, STEPS + 1).reshape(-1, 1, 1)
    if raw.shape != means.shape:
        return f"other (shape {raw.shape[2:]})"
    return "same" if np.allclose(raw.cumsum(0) / count, means, atol=1e-5) else "other"


@pytest.mark.slow
@pytest.mark.parametrize("build", [chain, images_in])
def test_sinabs_reads_what_it_can_say(build: Any) -> None:
    pytest.importorskip("sinabs")
    assert verdict("sinabs", build) == "same"


def main() -> None:
    """Print the table."""
    print("| network | " + " | ".join(f"{r} | {r}, any weights" for r in READERS) + " |")
    print("|---" * (2 * len(READERS) + 1) + "|")
    for build in NETWORKS:
        found = [verdict(r, build, tamed=tamed) for r in READERS for tamed in (True, False)]
        print(f"| {build.__name__} | " + " | ".join(found) + " |")


if __name__ == "__main__":
    main()
