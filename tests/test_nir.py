"""NIR out and in again: the same spikes where the file can say it, refused by name elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, images

from convsnn.encoders import ENCODERS
from convsnn.errors import ExportError, LoadError, UnsupportedError
from convsnn.export.nir import nir_graph, save_nir
from convsnn.graph import Graph
from convsnn.load.nir import is_nir, load_nir
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan

nir = pytest.importorskip("nir")
h5py = pytest.importorskip("h5py")

STEPS = 6


def chain(maker: Maker) -> Graph:
    x = maker.relu(maker.linear("input", 6))
    return maker.graph(maker.linear(maker.relu(maker.linear(x, 5)), 3))


def images_in(maker: Maker) -> Graph:
    x = maker.relu(maker.conv("input", 4, padding=1))
    x = maker.relu(maker.conv(maker.avg_pool(x), 4, padding=1, stride=2))
    return maker.graph(maker.linear(maker.flatten(x), 3))


def residual(maker: Maker) -> Graph:
    """Shortcuts of both kinds: as it is, and every second pixel with channels of zeros."""
    x = maker.relu(maker.conv("input", 2, padding=1))
    inner = maker.relu(maker.conv(x, 2, padding=1))
    x = maker.relu(maker.emit("add", maker.conv(inner, 2, padding=1), x))
    inner = maker.conv(maker.relu(maker.conv(x, 4, padding=1, stride=2)), 4, padding=1)
    short = maker.emit("slice", x, dim=2, start=0, stop=8, step=2)
    short = maker.emit("slice", short, dim=3, start=0, stop=8, step=2)
    short = maker.emit("pad", short, pads=[0, 0, 0, 0, 1, 1])
    x = maker.relu(maker.emit("add", inner, short))
    x = maker.emit("mean", x, dims=[2, 3], keepdim=False)
    return maker.graph(maker.linear(x, 3))


def joined(maker: Maker) -> Graph:
    x = maker.relu(maker.conv("input", 2, padding=1))
    both = maker.emit("concat", x, maker.relu(maker.conv(x, 3, 1)), dim=1)
    x = maker.relu(maker.conv(both, 4, padding=1))
    x = maker.emit("add", x, x)
    constant = maker.tensor(maker.draw(1, 4, 1, 1))
    x = maker.relu(maker.emit("add_constant", maker.conv(x, 4, 1), constant))
    return maker.graph(maker.linear(maker.flatten(x), 3))


def grouped(maker: Maker) -> Graph:
    x = maker.relu(maker.conv("input", 4, padding=1))
    x = maker.relu(maker.conv(x, 4, padding=1, groups=4))
    return maker.graph(maker.linear(maker.flatten(x), 3))


def shared(maker: Maker) -> Graph:
    """A layer that neurons and a sum read."""
    before = maker.conv("input", 2, padding=1)
    x = maker.conv(maker.relu(before), 2, padding=1)
    x = maker.relu(maker.emit("add", x, before))
    return maker.graph(maker.linear(maker.flatten(x), 3))


def one_axis(maker: Maker) -> Graph:
    weight = maker.tensor(maker.draw(4, 2, 3))
    bias = maker.tensor(maker.draw(4))
    x = maker.emit("conv", "input", weight, bias, stride=[2], padding=[1, 1], dilation=[1])
    return maker.graph(maker.linear(maker.flatten(maker.relu(x)), 3))


NETWORKS = [chain, images_in, residual, joined, grouped, shared, one_axis]


def built(build: Callable[[Maker], Graph], seed: int = 0) -> Graph:
    shape = {chain: (7,), one_axis: (2, 9)}.get(build, (2, 8, 8))
    return build(Maker(np.random.default_rng(seed), shape))


def powers(graph: Graph, seed: int, *, start: float = 0.0) -> Plan:
    """Thresholds that are powers of two, which fold into weights exactly; some of a channel."""
    rng, sites = np.random.default_rng(seed), {}
    for name, site in graph.sites.items():
        rows = site.channels if rng.random() < 0.5 else 1
        values = torch.from_numpy(2.0 ** rng.integers(-1, 2, rows)).float()
        threshold = site.per_channel(values) if rows > 1 else values[0]
        shift = torch.tensor(0.125) if rng.random() < 0.3 else None
        sites[name] = SitePlan(threshold, threshold * start, shift)
    return Plan(sites)


def spikes(net: Spiking, x: torch.Tensor, steps: int = STEPS) -> dict[str, np.ndarray]:
    """Numbers of spikes by layer, (T, B, ...), and the answers."""
    sent: dict[str, list[torch.Tensor]] = {}

    def observe(node: Any, span: range, values: torch.Tensor) -> None:
        del span
        if node.name in net.graph.sites:
            sent.setdefault(node.name, []).append((values != 0).float())

    run = simulate(net, x, steps=steps, observe=observe)
    found = {name: torch.cat(parts).numpy() for name, parts in sent.items()}
    return {**found, "answers": run.outputs[0].numpy()}


def again(path: Path) -> Spiking:
    given = load_nir(path)
    sites = {
        name: SitePlan(threshold, given.potentials[name])
        for name, threshold in given.thresholds.items()
    }
    return to_spiking(given.graph, Plan(sites), neuron=given.neuron)


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("neuron", ["if", "if:reset=zero"])
def test_the_same_spikes_come_back(
    build: Callable[[Maker], Graph], neuron: str, tmp_path: Path
) -> None:
    for seed in range(3):
        graph = built(build, seed)
        net = to_spiking(graph, powers(graph, seed), neuron=neuron)
        save_nir(net, tmp_path / "net.nir")
        x = images(graph, seed, 3)
        wanted, got = spikes(net, x), spikes(again(tmp_path / "net.nir"), x)
        assert wanted.keys() == got.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(got[name], value, err_msg=f"{seed} {name}")
        assert max(v.max() for k, v in wanted.items() if k != "answers") == 1
