"""NIR out and in again: the same spikes where the file can say it, refused by name elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, images

from convsnn.commands import main
from convsnn.encoders import ENCODERS
from convsnn.errors import ExportError, LoadError, UnsupportedError
from convsnn.export import load_artifact
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


@pytest.mark.parametrize("readout", ["mean", "rising", "mean:delay=2"])
def test_a_readout_that_the_graph_does_not_hold_is_remarked(readout: str, tmp_path: Path) -> None:
    graph = built(images_in)
    net = replace(to_spiking(graph, powers(graph, 1)), readout=readout)
    said = save_nir(net, tmp_path / "net.nir")
    warned = [text for text in said.remarks if f"read out by '{readout}'" in text]
    assert len(warned) == (readout != "mean")
    assert all("--readout mean" in text for text in warned)


def test_initial_potentials_are_refused_kept_or_spread(tmp_path: Path) -> None:
    graph = built(images_in)
    net = to_spiking(graph, powers(graph, 1, start=0.5))
    path, x = tmp_path / "net.nir", images(graph, 1, 2)
    with pytest.raises(ExportError, match="initial potential") as refused:
        save_nir(net, path)
    assert all(name in str(refused.value) for name in graph.sites)
    assert "potential=0" in refused.value.hint
    assert not path.exists()
    save_nir(net, path, initial="metadata")
    wanted, got = spikes(net, x), spikes(again(path), x)
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    save_nir(net, path, initial="bias", timesteps=4)
    assert all(not bool(v.any()) for v in load_nir(path).potentials.values())


def test_the_input_layer_is_the_leading_node_or_stays_on_the_host(tmp_path: Path) -> None:
    """On the host its neurons may be anything that sends spikes: they start from a potential."""
    path = tmp_path / "net.nir"
    for build in (images_in, residual, chain):
        graph = built(build)
        plan, first = powers(graph, 2), next(iter(graph.sites))
        sites = {**plan.sites, first: replace(plan.sites[first], potential=torch.tensor(0.25))}
        net, x = to_spiking(graph, Plan(sites)), images(graph, 2, 3)
        with pytest.raises(ExportError, match="initial potential"):
            save_nir(net, path)
        said = save_nir(net, path, place="host")
        assert f"'{first}'" in said.shown
        given = load_nir(path)
        assert given.metadata["input_layer"] == "host"
        assert given.metadata["input"] == said.shown
        assert first not in given.thresholds
        assert len(given.thresholds) == len(graph.sites) - 1
        wanted = spikes(net, x)
        frames = torch.from_numpy(wanted.pop(first)).movedim(0, 1)
        behind = replace(again(path), encoder=ENCODERS.create(f"frames:steps={STEPS}"))
        got = spikes(behind, frames)
        assert wanted.keys() == got.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(got[name], value, err_msg=f"{build.__name__} {name}")
    plain = to_spiking(graph, plan)
    assert save_nir(plain, path).shown == load_nir(path).metadata["input"]
    assert load_nir(path).metadata["input_layer"] == "node"


def test_what_crosses_the_cut_beside_spikes_keeps_the_input_layer_in_the_graph(
    tmp_path: Path,
) -> None:
    graph = built(shared)
    with pytest.raises(ExportError, match="cannot be kept on the host alone") as refused:
        save_nir(to_spiking(graph, powers(graph, 0)), tmp_path / "net.nir", place="host")
    assert "--input node" in refused.value.hint
    assert not list(tmp_path.iterdir())


def test_what_nir_cannot_say_is_named_all_at_once() -> None:
    maker = Maker(np.random.default_rng(0), (2, 8, 8))
    x = maker.max_pool(maker.relu(maker.conv("input", 4, padding=1)))
    x = maker.relu(maker.conv_transpose(x, 4))
    graph = maker.graph(maker.linear(maker.flatten(x), 3))
    names = {node.op: node.name for node in graph.nodes}
    with pytest.raises(ExportError) as refused:
        nir_graph(to_spiking(graph, powers(graph, 0)))
    for op in ("max_pool", "conv_transpose"):
        assert f"{names[op]} ({op})" in str(refused.value)
    assert "average pooling" in refused.value.hint
    plain = built(chain)
    for neuron in ("burst", "signed", "msat"):
        with pytest.raises(ExportError, match="said exactly") as unsaid:
            nir_graph(to_spiking(plain, powers(plain, 2), neuron=neuron))
        assert "--neuron if" in unsaid.value.hint


def written(path: Path) -> Path:
    graph = built(images_in)
    save_nir(to_spiking(graph, powers(graph, 0)), path)
    return path


def first(nodes: Any, kind: str) -> Any:
    return next(n for n in nodes.values() if n["type"][()].decode() == kind)


def put(group: Any, key: str, value: Any) -> None:
    if key in group:
        del group[key]
    group[key] = value


def unknown(nodes: Any, _: Any) -> None:
    put(first(nodes, "IF"), "type", "Izhikevich")


def leaky(nodes: Any, _: Any) -> None:
    put(first(nodes, "IF"), "type", "LIF")


def cycle(_: Any, graph: Any) -> None:
    edges = [list(edge) for edge in graph["edges"][()]]
    edges.append([edges[3][1], edges[1][1]])
    put(graph, "edges", edges)


def no_shape(nodes: Any, _: Any) -> None:
    del nodes["input"]["shape"]


def words(nodes: Any, _: Any) -> None:
    put(first(nodes, "Affine"), "weight", np.array([[b"a", b"b"]]))


def infinite(nodes: Any, _: Any) -> None:
    first(nodes, "Conv2d")["weight"][0] = np.inf


def other_size(nodes: Any, _: Any) -> None:
    put(first(nodes, "Affine"), "weight", np.ones((3, 7), np.float32))


def silent(nodes: Any, _: Any) -> None:
    first(nodes, "IF")["v_threshold"][:] = 0


def nowhere(_: Any, graph: Any) -> None:
    put(graph, "edges", [[b"input", b"gone"]])


def linked(nodes: Any, _: Any) -> None:
    nodes["more"] = h5py.ExternalLink("other.h5", "/node")


SPOILS = {
    unknown: (UnsupportedError, "relu.*Izhikevich"), leaky: (UnsupportedError, "relu.*LIF"),
    cycle: (LoadError, "circle: .* -> "), no_shape: (LoadError, "'input' does not say its shape"),
    words: (LoadError, "'linear.*weight"), infinite: (LoadError, "'conv.*not finite"),
    other_size: (LoadError, "'linear.*does not fit"), silent: (LoadError, "'relu.*v_threshold"),
    nowhere: (LoadError, "'gone', which is no node"), linked: (LoadError, "more' is a link"),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS)
def test_damaged_graphs_are_refused_by_the_name_of_the_node(spoil: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "net.nir")
    with h5py.File(path, "r+") as file:
        spoil(file["node/nodes"], file["node"])
    kind, said = SPOILS[spoil]
    with pytest.raises(kind, match=said):
        load_nir(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "net.nir")
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1000):
        path.write_bytes(whole[:size])
        with pytest.raises(LoadError):
            load_nir(path)
    path.write_text("no HDF5")
    with pytest.raises(LoadError, match="no whole HDF5"):
        load_nir(path)
    with pytest.raises(LoadError, match="does not exist"):
        load_nir(tmp_path / "gone.nir")
    assert is_nir(path)
    (tmp_path / "other").write_bytes(whole)
    assert is_nir(tmp_path / "other")


def test_the_papers_network_is_read_as_it_is(shared_data: Path) -> None:
    """The weights of the NIR paper's network; its spikes on events are scored by the command."""
    given = load_nir(shared_data / "nir" / "cnn_sinabs.nir")
    assert given.graph.input.attrs["shape"] == [2, 34, 34]
    assert [len(s.shape) for s in given.graph.sites.values()] == [3, 3, 3, 1, 1]
    assert given.neuron == "lif:decay=1,reset=soft,sends=one,strict=true"
    assert all(bool((t == 1).all()) for t in given.thresholds.values())


def test_a_file_is_converted_without_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "net.nir")
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        x = rng.normal(size=(6, 2, 8, 8)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(6) % 3)
    monkeypatch.chdir(tmp_path)
    data = ["--data", "npz:train.npz,test.npz", "--timesteps", "3"]
    assert main(["convert", "net.nir", *data]) == 0
    assert load_artifact(tmp_path / "net-snn" / "network.safetensors").neuron == "if"
    assert main(["evaluate", "net-snn"]) == 0
    assert main(["convert", "net.nir", *data, "--calibrate", "mse", "-o", "b"]) == 2
    assert "--calibrate would do nothing" in capsys.readouterr().err
    given = ["--calibration-samples", "5", "--no-verify", "-o", "b"]
    assert main(["convert", "net.nir", *data, *given]) == 2
    assert "--calibration-samples, --no-verify would do nothing" in capsys.readouterr().err
    assert main(["convert", "net.nir", *data[:2], "-o", "b"]) == 2
    assert "does not say for how many time steps" in capsys.readouterr().err
    assert main(["export", "net-snn", "--to", "nir", "-o", "again.nir"]) == 0
    assert main(["convert", "again.nir", "-o", "c"]) == 0  # data and time steps are in the file
    assert load_artifact(tmp_path / "c" / "network.safetensors").provenance["timesteps"] == 3
    assert main(["export", "net-snn", "--to", "nir", "-o", "c.nir", "--form", "loop"]) == 2
    assert main(["export", "net-snn", "--to", "onnx", "-o", "again.nir"]) == 2
    capsys.readouterr()
    assert main(["export", "net-snn", "--to", "nir", "-o", "h.nir", "--input", "host"]) == 0
    assert "input layer: on the host; the input is spikes of 'relu" in capsys.readouterr().err
    assert main(["convert", "h.nir", "-o", "d"]) == 2
    assert "begins behind its input layer" in capsys.readouterr().err
    assert main(["export", "net-snn", "--to", "onnx", "-o", "h.onnx", "--input", "host"]) == 2
    assert main(["inspect", "net.nir"]) == 2
    del path
