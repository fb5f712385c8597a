"""Where the error comes from: laws neuron by neuron, cases by hand, the advice, the command."""

import html
import importlib
import json
import shlex
from copy import deepcopy
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import typer
from conftest import Maker, dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from test_commands import failure, run

import convsnn
from convsnn.commands.app import app
from convsnn.graph import run as run_graph
from convsnn.measure.decomposition import PARTS, decompose, divide
from convsnn.neurons import NEURONS
from convsnn.report.diagnosis import charts
from convsnn.report.diagnosis.advice import advise
from convsnn.report.diagnosis.page import render_diagnosis_page
from convsnn.report.page.html import render_html
from convsnn.report.wording import neurons_named
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.spiking.turns import takes_turns
from convsnn.workflows.running.precision import Wanted

diagnosing = importlib.import_module("convsnn.workflows.diagnose")
SEEDS = st.integers(0, 2**32 - 1)


def layers(net, x, steps):
    """Every layer's division, by name."""
    return dict(divide(net, x, steps=steps, ids=torch.arange(len(x)))[2])


def mean_outputs(net, x, steps):
    """What every site sends on average, found by watching the simulation."""
    sent = {}

    def watch(node, _, values):
        if node.name in net.graph.sites:
            sent[node.name] = sent.get(node.name, 0) + values.double().sum(0)

    simulate(net, x, steps=steps, observe=watch)
    return {name: value / steps for name, value in sent.items()}


def chain(*layers_of_weights, thresholds):
    """A fully connected network without biases, ReLU after each layer, and its plan."""
    maker = Maker(np.random.default_rng(0), (len(layers_of_weights[0][0]),))
    x, sites = "input", {}
    for weights, threshold in zip(layers_of_weights, thresholds, strict=True):
        weight = maker.tensor(torch.tensor(weights))
        bias = maker.tensor(torch.zeros(len(weights)))
        x = maker.emit("linear", x, weight, bias)
        maker.values[x] = torch.zeros(1, len(weights))
        x = maker.relu(x)
        sites[x] = SitePlan(torch.tensor(threshold), torch.tensor(0.0))
    return to_spiking(maker.graph(x), Plan(sites))


@settings(max_examples=25)
@given(seed=SEEDS, neuron=st.sampled_from(["if", "if:reset=zero", "burst:gamma=2"]))
def test_the_parts_add_up_neuron_by_neuron(seed, neuron):
    graph = random_graph(seed)
    if any(site.ceiling for site in graph.sites.values()):
        neuron = "if"
    net = to_spiking(graph, dyadic_plan(graph, seed), neuron=neuron)
    x = images(graph, seed, 2)
    sent = mean_outputs(net, x, 8)
    ann = run_graph(graph, x, keep=graph.sites)
    for name, layer in layers(net, x, 8).items():
        whole = sum(layer.parts[part] for part in PARTS)
        assert torch.equal(whole, sent[name] - ann[name].double())


@pytest.mark.parametrize("name", [n for n in NEURONS.names() if not takes_turns(n)])
def test_the_parts_add_up_for_every_neuron(name):
    graph = random_graph(5, exact=False)
    plan = dyadic_plan(graph, 5)
    halved = {n: replace(p, threshold=p.threshold / 4, shift=None) for n, p in plan.sites.items()}
    net = to_spiking(graph, Plan(halved), neuron=name)
    x = images(graph, 5, 3)
    sent, ann = mean_outputs(net, x, 6), run_graph(graph, x, keep=graph.sites)
    for site, layer in layers(net, x, 6).items():
        whole = sum(layer.parts[part] for part in PARTS)
        torch.testing.assert_close(whole, sent[site] - ann[site].double())
    shares = [found.shares for found in decompose(net, [(x, None)], steps=6).layers]
    assert any(shares)
    assert all(sum(known.values()) == pytest.approx(1) for known in shares if known)


@settings(max_examples=25)
@given(seed=SEEDS, steps=st.integers(1, 17))
def test_the_first_layer_makes_all_its_error_itself(seed, steps):
    graph = random_graph(seed, exact=False, blocks=0)
    net = to_spiking(graph, dyadic_plan(graph, seed))
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, *graph.shapes["input"])))
    layer = next(iter(layers(net, x.float(), steps).values()))
    for part in ("inherited", "uneven"):
        assert not layer.parts[part].any()
    if net.plan.sites[next(iter(graph.sites))].shift is None:
        assert not layer.parts["sin"].any()


@settings(max_examples=25)
@given(threshold=st.integers(1, 12), currents=st.lists(st.integers(-16, 16), min_size=1))
def test_one_layer_follows_equation_10(threshold, currents):
    threshold, x = threshold / 4, torch.tensor(currents) / 4
    net = chain(torch.eye(len(x)).tolist(), thresholds=[threshold])
    layer = layers(net, x[None], 8)["relu2"]
    a = x.clamp(min=0)
    staircase = (threshold / 8 * torch.floor(x * 8 / threshold)).clamp(0, threshold)
    kept = layer.parts["clipping"] + layer.parts["quantisation"] + a
    torch.testing.assert_close(kept[0].float(), staircase, rtol=0, atol=1e-6)
    assert torch.equal(-layer.parts["clipping"][0].float(), (a - threshold).clamp(min=0))


def test_wrong_spikes_by_hand():
    # 0.25 * 1 - 0.75 * 0.5 < 0, but the half comes a step later: one spike of 0.25 in 2 steps
    net = chain([[1.0, 0.0], [0.0, 1.0]], [[0.25, -0.75]], thresholds=[1.0, 0.25])
    parts = layers(net, torch.tensor([[1.0, 0.5]]), 2)["relu4"].parts
    assert {k: float(v) for k, v in parts.items()} == {**dict.fromkeys(PARTS, 0.0), "sin": 0.125}


def test_uneven_spikes_by_hand():
    # 1 arrives at steps 2 and 4: the threshold of 0.5 lets 2 of 4 halves through by step 4
    net = chain([[0.5]], [[1.0]], thresholds=[1.0, 0.5])
    parts = layers(net, torch.tensor([[1.0]]), 4)["relu4"].parts
    assert float(parts["uneven"]) == 0.5 * 3 / 4 - 0.5  # steps 2, 3 and 4 fire
    assert float(sum(parts.values())) == float(parts["uneven"])


def test_an_inherited_error_by_hand():
    # the first layer clips 1 to 0.5, and the second gets half of what it should
    net = chain([[1.0]], [[1.0]], thresholds=[0.5, 1.0])
    parts = layers(net, torch.tensor([[1.0]]), 4)["relu4"].parts
    assert {k: float(v) for k, v in parts.items() if v} == {"inherited": -0.5}


def test_changed_weights_belong_to_the_layer():
    net = chain([[1.0]], thresholds=[1.0])
    weight = next(name for name, t in net.graph.tensors.items() if t.dim() == 2)
    net = replace(net, plan=replace(net.plan, weights={weight: torch.tensor([[0.5]])}))
    parts = layers(net, torch.tensor([[1.0]]), 4)["relu2"].parts
    assert {k: float(v) for k, v in parts.items() if v} == {"quantisation": -0.5}


def test_dead_and_saturated_layers_are_found():
    net = chain([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]], thresholds=[0.25, 9.0])
    found = decompose(net, [(torch.tensor([[1.0, 0.5]]), None)], steps=4)
    first, second = found.layers
    assert (first.above, first.dead, first.ann_dead) == (1, 0, 0)
    assert (second.dead, second.ann_dead, second.error) == (1, 0, 1)
    assert found.agreement is None


def test_a_silent_network_has_no_relative_errors():
    net = chain([[-1.0]], thresholds=[1.0])
    layer = decompose(net, [(torch.tensor([[1.0]]), None)], steps=4).layers[0]
    assert (layer.error, layer.rms, layer.shares, layer.ann_dead) == (None, None, None, 1)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_the_batch_split_changes_nothing(seed):
    graph = random_graph(seed)
    net = to_spiking(graph, dyadic_plan(graph, seed))
    x, y = images(graph, seed, 5), torch.arange(5) % 3
    whole = decompose(net, [(x, y)], steps=4)
    parts = decompose(net, list(zip(x.split(2), y.split(2), strict=True)), steps=4)
    assert close(asdict(whole), asdict(parts))


def close(one, other):
    """Whether two records are the same; sums in another order differ in the last digits."""
    if isinstance(one, float):
        return one == pytest.approx(other, rel=1e-6, abs=1e-6, nan_ok=True)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(close, one, other))
    return one == other


def document(**changes):
    """A diagnosis that finds nothing, with changes by key or layer key."""
    layer = {
        "name": "a", "mean_error": 0.0, "above": 0.0, "dead": 0.1, "ann_dead": 0.1,
        "rms": dict.fromkeys(PARTS, 0.01),
    }  # fmt: skip
    made = {
        "timesteps": 8,
        "method": {"calibration": "max", "neuron": "if", "encoder": "direct", "max_pool": "exact"},
        "ann": {"accuracy": 0.9, "classes": 10},
        "snn": {"accuracy": 0.5, "agreement": 0.5},
        "output_error": 0.5,
        "causes": {"clipping": 0.1, "quantisation": 0.7, "sin": 0.1, "uneven": 0.1},
        "layers": [layer, deepcopy(layer) | {"name": "b"}],
    }
    for key, value in changes.items():
        if key in layer:
            made["layers"][0][key] = value
        else:
            made[key] = value | {} if not isinstance(value, dict) else made[key] | value
    return made


CHANGES = [
    {"ann": {"accuracy": 0.2}, "ann_dead": 1, "dead": 1, "above": 0.5},
    {"dead": 1, "above": 0.5, "method": {"calibration": "mse"}},
    {"method": {"neuron": "if:reset=zero", "encoder": "poisson", "max_pool": "current"}},
    {"causes": dict.fromkeys(("clipping", "quantisation", "sin", "uneven"), 0.25)},
    {"causes": {"sin": 0.9, "uneven": 0.9}, "mean_error": -0.3},
    {"method": {"neuron": "msat:reference=2"}, "causes": {"sin": 0.9, "uneven": 0.9}},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_advice_can_be_typed_behind_convert_and_comes_once(changes):
    command = typer.main.get_command(app).commands["convert"]
    known = [("text", "--neuron msat:reference=2"), ("more", "--neuron msat:reference=2")]
    for mismatches in ([], known):
        found = advise(document(**changes), mismatches=mismatches)
        typed = [tuple(shlex.split(o, comments=True)) for f in found for o in f["try"]]
        assert typed
        assert len(set(typed)) == len(typed)
        for words in typed:  # raises where convert would not take them
            command.make_context("convert", ["model.onnx", *words])


@pytest.mark.parametrize(
    ("changes", "finding", "option"),
    [
        ({"ann": {"accuracy": 0.2}}, "The ANN itself", "--mean"),
        ({"ann_dead": 1}, "Silent in the ANN", "--scale"),
        ({"dead": 1}, "No neuron ever fires: a", "--timesteps 32"),
        ({"above": 0.5}, "Saturated: a", "percentile:q=99.99"),
        ({"method": {"neuron": "if:reset=zero"}}, "Neurons are reset", "--neuron if"),
        ({"method": {"encoder": "poisson:seed=1"}}, "The input comes", "--encoder direct"),
        ({"method": {"max_pool": "current"}}, "Max-pooling", "--max-pool exact"),
        ({}, "Quantisation: 70.00 %", "--calibrate mse"),
        ({"causes": {"clipping": 0.9}}, "Clipping", "--calibrate mse:steps=16"),
        ({"causes": {"sin": 0.9}}, "Spikes of neurons", "mse+weights"),
        ({"causes": {"uneven": 0.9}}, "Uneven", "mse+weights"),
        (
            {"method": {"neuron": "msat:reference=2"}, "causes": {"sin": 0.9}},
            "Spikes of neurons",
            "max+confidence",
        ),
    ],
)
def test_the_most_urgent_advice(changes, finding, option):
    first = advise(document(**changes))[0]
    assert first["finding"].startswith(finding)
    assert option in " ".join(first["try"])


def test_advice_beside_the_first():
    found = advise(document(mean_error=-0.3))
    assert [f["finding"].split(":")[0] for f in found] == [
        "Quantisation",
        "Too little is sent on average",
    ]
    equal = {"accuracy": 0.9, "agreement": 0.99}
    assert advise(document(snn=equal))[0]["finding"].startswith("Nothing is lost")
    by_luck = {"accuracy": 0.9, "agreement": 0.8}
    assert advise(document(snn=by_luck))[0]["finding"].startswith("Quantisation")
    warned = advise(document(), mismatches=[("too large", "--neuron msat:reference=2")])
    assert [f["try"] for f in warned] == [["--neuron msat:reference=2"]]
    refitted = document(method={"calibration": "mse+weights"}, causes={"sin": 0.9})
    assert not any("weights" in option for f in advise(refitted) for option in f["try"])
    unlabelled = document(ann={"accuracy": None}, snn={"accuracy": None, "agreement": 1.0})
    assert advise(unlabelled)[0]["finding"].startswith("Nothing is lost")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A conversion with far too high thresholds for its 4 steps."""
    from convsnn.commands import main

    folder = tmp_path_factory.mktemp("diagnose") / "net"
    options = ["--calibrate", "max", "--timesteps", "4", "--samples", "20", "--no-verify"]
    few = ["--calibration-samples", "40", "-o", str(folder)]
    assert main(["convert", "zoo:mnist5k-cnn", *options, *few]) == 0
    return folder


def test_the_command_says_where_and_what(converted, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, "diagnose", converted, "--samples", 30)
    assert code == 0
    assert "4 time steps, 30 samples of mnist5k" in out
    assert "(test)" in out
    assert "worst layer: features" in out
    assert "--timesteps" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_neurons_that_really_stand_there_are_named(converted):
    report = json.loads((converted / "report.json").read_text())
    assert neurons_named(report) == "if"
    for layer, kind in zip(report["layers"], ("signed", "if", "signed"), strict=True):
        layer["kind"] = kind
    assert neurons_named(report) == "signed, if"
    report["method"]["neuron"] = "if:reset=soft"
    assert neurons_named(report) == "signed, if:reset=soft"
    assert "<code>signed, if:reset=soft</code>" in render_html(report)


def test_a_report_names_its_program_once(converted):
    report = json.loads((converted / "report.json").read_text())
    assert report["convsnn"]
    assert "convsnn" not in report["versions"]
    assert "torch" in report["versions"]


def test_another_precision_is_said_to_be_left_aside(converted, capsys, monkeypatch):
    monkeypatch.setattr(diagnosing, "as_before", lambda *_, **__: Wanted("int8"))
    code, _, err = run(capsys, "diagnose", converted, "--samples", 2, "--timesteps", 1)
    assert code == 0
    assert "float32 reference; the network was scored in int8" in " ".join(err.split())


def test_the_document(converted, capsys):
    code, out, _ = run(
        capsys,
        "diagnose",
        converted,
        "--samples",
        30,
        "--split",
        "train",
        "--timesteps",
        2,
        "--json",
    )
    assert code == 0
    found = json.loads(out)
    assert found["timesteps"] == 2
    assert found["data"]["split"] == "train"
    assert sum(found["causes"].values()) == pytest.approx(1)
    assert found["worst"] in [layer["name"] for layer in found["layers"]]
    assert set(found["layers"][0]["rms"]) == set(PARTS)
    assert found["findings"][0]["try"]
    assert found["layers"][0]["rms"]["clipping"] < 0.01


def test_the_page_stands_beside_the_network_and_says_it_all(converted, capsys):
    before = {path.name: path.read_bytes() for path in converted.iterdir()}
    code, out, err = run(capsys, "diagnose", converted, "--samples", 30, "--json", "-o", converted)
    assert code == 0
    assert "open diagnosis.html" in err
    after = {path.name: path.read_bytes() for path in converted.iterdir()}
    assert after.items() > before.items()
    assert after.keys() - before.keys() == {"diagnosis.json", "diagnosis.html"}
    found = json.loads(after["diagnosis.json"])
    assert found == json.loads(out)
    page = html.unescape(after["diagnosis.html"].decode())
    for finding in found["findings"]:
        assert all(text in page for text in (finding["finding"], *finding["try"]))
    assert page.count('<tr class="worst">') == 1
    assert page == html.unescape(render_diagnosis_page(found))


def test_the_page_of_a_network_that_sends_nothing_and_has_no_labels(converted):
    found = json.loads(convsnn.load(converted).diagnose(samples=5).to_json())
    for key in ("error", "made_here", "mean_error", "rms", "shares"):
        found["layers"][0][key] = None
    found["layers"][0]["name"] = "<script>alert(1)</script>" * 5
    found |= {"causes": None, "worst": None, "made_here": None, "lost": None, "output_error": None}
    found["ann"] = {"accuracy": None, "classes": None}
    found["snn"] = {"accuracy": None, "agreement": None}
    page = render_diagnosis_page(found)
    assert "No layer makes an error" in page
    assert "<script>alert" not in page


def test_the_bars_of_a_layer_end_where_its_error_does(converted, monkeypatch):
    found = json.loads(convsnn.load(converted).diagnose(samples=20).to_json())
    drawn = []
    monkeypatch.setattr(charts, "draw", lambda _, paint, **__: drawn.append(paint) or "")
    charts.error_chart(found)
    figure = Figure()
    drawn[0](figure)
    (axes,) = figure.axes
    widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
    assert widths.sum(0) == pytest.approx([layer["error"] for layer in found["layers"]])


def test_what_cannot_be_diagnosed(converted, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--timesteps" in failure(capsys, "diagnose", converted, "--timesteps", 0)
    failure(capsys, "diagnose", "nothing.safetensors")
    failure(capsys, "diagnose", converted, "--data", "npz:none.npz")
    assert "--samples" in failure(capsys, "diagnose", converted, "--samples", 0)
    (tmp_path / "net.onnx").write_bytes(b"x")
    assert "no saved spiking network" in failure(capsys, "diagnose", tmp_path / "net.onnx")
