"""`convsnn bench`: peers run the same network, the document is whole, ratios by an oracle.

No timing is asserted: that is what the command itself is for.
"""

import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, random_graph
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

import convsnn
from convsnn.commands import main
from convsnn.errors import MissingExtraError, SimulationError, UnsupportedError
from convsnn.graph import Graph, run
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.workflows.bench import costs as bench_costs
from convsnn.workflows.bench import race as benching
from convsnn.workflows.bench.costs import neuron_specs
from convsnn.workflows.bench.memory import peak_memory
from convsnn.workflows.bench.peers import PEERS, contenders
from convsnn.workflows.bench.peers.layers import as_module
from convsnn.workflows.bench.race import Clock, Entry, enter, race, ratios
from convsnn.workflows.bench.subject import set_statistics
from convsnn.workflows.bench.table import render_bench
from convsnn.workflows.convert.network import convert

STEPS = 5
PEER_ENGINES = [name for names in PEERS.values() for name in names]


class Tiny(nn.Module):
    """A residual block with the strided, padded shortcut of the ResNets for small images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.same = nn.Conv2d(8, 8, 3, padding=1)
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(8 * 2 * 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.conv(x) + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        x = self.pool(torch.relu(self.same(x) + x))
        return self.head(x.flatten(1))


def tiny() -> nn.Module:
    """What the command line names."""
    torch.manual_seed(3)
    return Tiny()


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes far longer than all that is asked here."""
    for module in (
        "simulate.program",
        "workflows.bench.peers.engines",
        "workflows.bench.peers.spikingjelly",
    ):
        monkeypatch.setattr(import_module(f"convsnn.{module}"), "compiler", lambda: "left out")


@pytest.fixture(scope="module")
def spiking() -> tuple[Spiking, Tensor]:
    from calibrate import parse_stages

    x = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    module = tiny().eval()
    set_statistics(module, x)
    stages = parse_stages("percentile:q=99.9")
    return convert(module, x[:2], [x], stages, steps=8, max_pool="current"), x


def require(engine: str) -> None:
    pytest.importorskip("spikingjelly" if engine.startswith("spiking") else "sinabs")


@pytest.mark.parametrize("engine", ["convsnn", "convsnn counting", *PEER_ENGINES])
def test_every_engine_runs_the_same_network(engine: str, spiking: tuple[Spiking, Tensor]) -> None:
    if engine in PEER_ENGINES:
        require(engine)
    net, x = spiking
    wanted = simulate(net, x, steps=STEPS).outputs[0][-1]
    assert float(wanted.std()) > 0.01
    ways = contenders(engine, net, x)
    assert ways
    for way in ways:
        answer = way.prepare()
        for _ in range(2):  # the second from rest again
            got = answer(STEPS).float()
            # one spike of one neuron may fall a step later: 1 / STEPS of what it is worth
            exact = way.precision == "float32"
            gap = float((got - wanted).abs().max() / wanted.abs().max())
            assert gap < (1e-4 if exact else 0.25), (way.mode, gap)


@pytest.mark.parametrize("seed", range(4))
def test_a_module_of_layers_is_the_graph(seed: int) -> None:
    maker = Maker(np.random.default_rng(seed), (3, 8, 8))
    x = maker.relu(maker.conv("input", 4, padding=1))
    x = maker.emit("add", maker.relu(maker.conv(x, 4, padding=1, groups=2)), x)
    x = maker.emit("concat", x, maker.relu(maker.conv(x, 2, 1)), dim=1)
    x = maker.relu(maker.max_pool(x)) if seed % 2 else maker.relu(maker.avg_pool(x))
    graph = maker.graph(maker.linear(maker.flatten(x), 3))
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        got, wanted = as_module(graph)(images), run(graph, images)[graph.outputs[0]]
    torch.testing.assert_close(got, wanted)


def test_what_has_no_layer_is_refused_by_name() -> None:
    maker = Maker(np.random.default_rng(0), (2, 4, 4))
    graph = maker.graph(maker.emit("permute", maker.relu("input"), dims=[0, 1, 3, 2]))
    with pytest.raises(UnsupportedError, match=r"'permute2' \(permute\)"):
        as_module(graph)


def test_peers_refuse_neurons_they_do_not_have(spiking: tuple[Spiking, Tensor]) -> None:
    require("spikingjelly")
    net, x = spiking
    burst = to_spiking(net.graph, net.plan, neuron="burst")
    with pytest.raises(UnsupportedError, match="plain neurons"):
        contenders("spikingjelly_tuned", burst, x)
    entries, failures = enter("spikingjelly", burst, x)
    assert not entries
    assert "plain neurons" in failures[0].reason


def test_a_fault_of_one_engine_leaves_the_others(
    spiking: tuple[Spiking, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> list[Any]:
        raise ZeroDivisionError("of theirs")

    monkeypatch.setattr(benching, "contenders", broken)
    entries, failures = enter("sinabs", *spiking)
    assert (entries, failures[0].reason) == ([], "ZeroDivisionError: of theirs")

    def missing(*_: Any) -> list[Any]:
        raise MissingExtraError("it", "bench")

    monkeypatch.setattr(benching, "contenders", missing)
    with pytest.raises(MissingExtraError):
        enter("sinabs", *spiking)


def entry(log: list[str], name: str) -> Entry:
    def answer(steps: int) -> Tensor:
        log.append(name)
        return torch.zeros(1)

    return Entry(name, "float32", "", answer, 0.0)


def test_engines_take_turns() -> None:
    log: list[str] = []
    entries = [entry(log, "a"), entry(log, "b")]
    passes = race(entries, nn.Identity(), torch.zeros(1), steps=2, repeats=3, clock=Clock(None))
    assert log == ["a", "b"] * 3
    assert len(passes) == 3
    assert all(len(e.seconds) == 3 for e in entries)


def test_without_time_each_runs_once() -> None:
    log: list[str] = []
    race(
        [entry(log, "a"), entry(log, "b")], nn.Identity(), torch.zeros(1), steps=2, repeats=9,
        clock=Clock(0.0),
    )  # fmt: skip
    assert log == ["a", "b"]


speeds = st.floats(0.1, 1000)
cases = st.tuples(st.sampled_from("mn"), st.sampled_from([16, 64]), st.just(8))
tables = st.dictionaries(
    cases, st.tuples(st.lists(speeds, min_size=1, max_size=3), speeds, speeds), max_size=4
)


@given(tables)
def test_ratio_is_the_least_of_our_fastest_over_theirs(table: dict[Any, Any]) -> None:
    rows = []
    for (model, steps, batch), (ours, counting, theirs) in table.items():
        about = {"model": model, "timesteps": steps, "batch_size": batch}
        named = [*(("convsnn", s) for s in ours), ("convsnn counting", counting)]
        for engine, speed in [*named, ("sinabs", theirs)]:
            rows.append({**about, "engine": engine, "images_per_second": speed})
    wanted = min((max(ours) / theirs for ours, _, theirs in table.values()), default=None)
    assert ratios(rows, ["sinabs"]) == {"sinabs": wanted}
    assert ratios(rows, ["spikingjelly"]) == {"spikingjelly": None, "spikingjelly_tuned": None}


def test_batch_norm_gets_the_statistics_of_the_images(spiking: tuple[Spiking, Tensor]) -> None:
    module, (_, x) = tiny().eval(), spiking
    assert isinstance(module, Tiny)
    set_statistics(module, x)
    assert not module.norm.training
    with torch.no_grad():
        seen = module.norm(module.stem(x))
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.var((0, 2, 3)), torch.ones(4), atol=5e-3, rtol=0)


def test_neuron_specs_keep_their_options() -> None:
    text = "if,msat:set=vgg16,reference=2,burst"
    assert neuron_specs(text) == ["if", "msat:set=vgg16,reference=2", "burst"]


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    given_ = ["bench", *arguments, "--json", "--repeats", "1", "--threads", "1"]
    code = main(given_)
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return "test_bench:tiny"


def test_the_document_is_whole(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("sinabs")
    threads = torch.get_num_threads()
    code, document = bench(
        capsys, model, "--against", "sinabs", "--timesteps", "2,4", "--batch-size", "3",
        "--input-shape", "3,8,8", "--precision", "float32", "--no-peak", "--neurons", "burst",
        "-o", str(tmp_path / "b.json"),
    )  # fmt: skip
    assert code == 0
    assert json.loads((tmp_path / "b.json").read_text()) == document
    keys = {"model", "engine", "precision", "timesteps", "batch_size", "images_per_second",
            "step_over_ann", "peak_memory_bytes"}  # fmt: skip
    assert all(keys <= row.keys() for row in document["results"])
    found = [(r["engine"], r["timesteps"]) for r in document["results"]]
    assert found == [(e, t) for t in (2, 4) for e in ("convsnn", "convsnn counting", "sinabs")]
    assert set(document["ratio"]) == {"sinabs"}
    for row in document["results"]:
        assert row["images_per_second"] == pytest.approx(3 / row["seconds"]["median"])
        ann = next(a for a in document["ann"] if a["timesteps"] == row["timesteps"])
        step = row["seconds"]["median"] / row["timesteps"]
        assert row["step_over_ann"] == pytest.approx(step / ann["seconds"])
        assert row["agreement"] == 1.0
        assert row["counted"] == (row["engine"] == "convsnn counting")
    assert [n["neuron"] for n in document["neurons"]] == ["if", "burst"]
    assert document["neurons"][0]["over_if"] == 1.0
    assert document["threads"] == 1
    assert torch.get_num_threads() == threads
    assert render_bench(document) is not None


def test_memory_and_what_comes_before_a_step(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    require("sinabs")
    asked = []

    def peak(_: Spiking, timeout: float | None, **request: Any) -> int:
        asked.append((request["engine"], request["timesteps"]))
        if request["engine"] == "convsnn counting":
            raise SimulationError("the process died")
        return 100 * request["timesteps"]

    monkeypatch.setattr(bench_costs, "peak_memory", peak)
    code, document = bench(
        capsys, model, "--against", "sinabs", "--timesteps", "2", "--batch-size", "3",
        "--input-shape", "3,8,8", "--precision", "float32", "--memory", "--stages",
    )  # fmt: skip
    assert code == 0
    engines = ["convsnn", "convsnn counting", "sinabs"]
    wanted = [(e, 2) for e in engines] + [("convsnn", 16), ("convsnn", 256)]
    assert asked == [*wanted, ("convsnn counting", 16), ("sinabs", 16), ("sinabs", 256)]
    assert [r["peak_memory_bytes"] for r in document["results"]] == [200, None, 200]
    assert [(m["engine"], m["growth"]) for m in document["memory"]] == [
        ("convsnn", 16.0),
        ("sinabs", 16.0),
    ]
    assert any("counting" in note and "died" in note for note in document["notes"])
    passes = {row["what"]: row["passes"] for row in document["stages"]}
    calibrations = {"calibrate mse+weights", "calibrate mse+weights, layer by layer"}
    assert {"import", "verify", "convert with sinabs", *calibrations} <= passes.keys()
    assert all((passes[what] is not None) == what.startswith("calibrate") for what in passes)
    console = Console(width=130, file=io.StringIO(), record=True)
    console.print(render_bench(document))
    text = console.export_text()
    assert all(word in text for word in ("T=16", "T=256", "calibrate mse+weights", "died"))
    narrow = Console(width=80, file=io.StringIO(), record=True)
    narrow.print(render_bench(document, width=80))
    text = narrow.export_text()
    assert all(word in text for word in ("precision", "images/s", "float32", "memory", "answer"))
    assert "not shown, for want of width: warm-up, runs" in text


def test_peak_memory_is_that_of_another_process(spiking: tuple[Spiking, Tensor]) -> None:
    require("sinabs")
    request = {"engine": "sinabs", "precision": "float32", "mode": "all steps at once"}
    found = peak_memory(
        spiking[0], 300, **request, timesteps=2, batch_size=512, threads=1, device="cpu", seed=0
    )
    assert found > 512 * 4 * 8 * 8 * 4  # at least the potentials of one layer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "nengo"], "--against nengo is not known"),
        (["--precision", "float16"], "--precision float16 is not known"),
        (["--timesteps", "0"], "--timesteps 0 is not a list of positive whole numbers"),
        (["--batch-size", "a"], "--batch-size a is not"),
        (["--minutes", "0"], "--minutes is a positive number"),
        (["--weights", "w.safetensors"], "--weights is for one model"),
        (["--neurons", "iff"], "unknown neuron 'iff'"),
        (["zoo:nothing"], "nothing"),
        (["-o", "no/such/file.json"], "does not exist"),
        (["zoo:a", "zoo:b", "--answer", "x"], "--answer is for one model"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = bench(capsys, *arguments)
    assert code == 2
    assert message in document["error"]["message"]


def test_none_measures_no_other_package(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = bench(
        capsys, model, "--against", "none", "--timesteps", "2", "--batch-size", "3",
        "--input-shape", "3,8,8", "--precision", "float32", "--no-peak",
    )  # fmt: skip
    assert code == 0
    assert [row["engine"] for row in document["results"]] == ["convsnn", "convsnn counting"]


def test_a_graph_with_two_outputs_is_not_compared() -> None:
    graph = random_graph(0)
    two = Graph(graph.nodes, graph.tensors, (*graph.outputs, graph.nodes[1].name))
    with pytest.raises(UnsupportedError, match="2 outputs"):
        as_module(two)


@pytest.mark.parametrize("schedule", ["steps", "layers"])
def test_a_network_with_functions_is_measured_without_peers(schedule: str) -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8))
    found = convsnn.bench(
        network, input_shape=(6,), timesteps=(2,), batch_sizes=(4,), precisions=("float32",),
        repeats=1, peak=False, stages=schedule == "steps", schedule=schedule,
        peers=("spikingjelly",),
    )  # fmt: skip
    document = found.document
    assert not found.failed
    assert {row["engine"] for row in document["results"]} == {"convsnn", "convsnn counting"}
    (said,) = document["notes"]
    assert said.endswith("has functions and products, which spikingjelly cannot run")
    told = [stage["what"] for stage in document["stages"]]
    failed = [text.partition(" failed: ")[0] for text in told if " failed: " in text]
    both = ["calibrate mse+weights", "calibrate mse+weights, layer by layer"]
    assert failed == (both if schedule == "steps" else [])
