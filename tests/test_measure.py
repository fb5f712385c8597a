"""Fan-out by brute force, the energy formula's published numbers, SIN, scores by a plain loop."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, Node, run
from convsnn.graph.fan_out import fan_out, is_weighted, passes_on
from convsnn.graph.ops import OPS
from convsnn.measure import Activity, evaluate, is_classifier, score_ann
from convsnn.measure.energy import ann_joules, macs, paper_joules, weighted_layers
from convsnn.simulate import Run, simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan

SEEDS = st.integers(0, 2**32 - 1)


def brute_fan_out(graph: Graph, sender: str) -> Tensor:
    """Send a one from each element in turn and count the products with weights it takes part in.

    It is handed on as a one (sums, factors, offsets and signs aside), so that a weighted layer of
    ones gives at every output the number of products.
    """
    shape = graph.shapes[sender]
    found = torch.zeros(int(np.prod(shape)), dtype=torch.float64)
    start = list(graph.by_name).index(sender)
    for element in range(len(found)):
        one = torch.zeros(len(found))
        one[element] = 1
        values = {sender: one.reshape(1, *shape)}
        for node in graph.nodes[start + 1 :]:
            sources = [n for n in graph.data_inputs(node) if n in values]
            if not sources:
                continue
            if is_weighted(node):
                ones = torch.ones_like(graph.weight(node))
                hit = OPS[node.op].run(values[sources[0]], ones, **node.attrs)
                found[element] += float(hit.sum())
            elif node.op in ("scale", "add_constant", "batch_norm"):
                values[node.name] = values[sources[0]]
            elif passes_on(node):
                read = graph.data_inputs(node)
                full = [values.get(n, torch.zeros(1, *graph.shapes[n])) for n in read]
                values[node.name] = OPS[node.op].run(*full, **node.attrs).abs()
    return found.reshape(shape)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_fan_out_equals_brute_force(seed: int) -> None:
    graph = random_graph(seed, blocks=2)
    found = fan_out(graph)
    for node in graph.nodes:
        if passes_on(node):
            assert node.name not in found
            continue
        wanted = brute_fan_out(graph, node.name)
        got = found.get(node.name, torch.zeros_like(wanted))
        assert torch.equal(got, wanted), node.name


def arranged_graphs() -> list[tuple[str, Graph]]:
    """Layers behind everything that only hands values on."""

    def made(name: str) -> tuple[str, Graph]:
        m = Maker(np.random.default_rng(1), (2, 5, 6))
        if name == "transposed":
            x = m.conv_transpose(m.relu(m.conv_transpose("input", 4, groups=2)), 2, stride=1)
        elif name == "strided":
            x = m.conv(m.relu(m.conv("input", 4, stride=2, padding=1)), 4, 2, stride=2, groups=4)
        elif name == "uneven":
            w = m.tensor(m.draw(3, 2, 2, 2))
            x = m.emit(
                "conv", "input", w, stride=[1, 2], padding=[0, 1, 1, 0], dilation=[2, 1], groups=1
            )
        elif name == "sliced":
            part = m.emit("slice", m.relu("input"), dim=2, start=1, stop=5, step=2)
            x = m.conv(m.emit("pad", part, pads=[1, 0, 0, 2]), 3, 2)
        elif name == "joined":
            r = m.relu("input")
            halves = [m.emit("slice", r, dim=1, start=i, stop=i + 1) for i in (1, 0)]
            x = m.conv(m.emit("concat", *halves, r, dim=1), 3, padding=1)
        elif name == "residual":
            r = m.relu("input")
            x = m.conv(m.emit("add", r, m.conv(r, 2, padding=1)), 3)
            x = m.emit("sub", x, m.conv(r, 3))
        elif name == "upsampled":
            x = m.conv(m.emit("upsample", m.relu("input"), size=[10, 12], mode="nearest"), 2)
        elif name == "scaled":
            zero = m.tensor(torch.zeros(1, 2, 1, 1))
            x = m.conv(m.emit("scale", m.batch_norm(m.relu("input")), zero), 2)
        elif name == "averaged":
            x = m.linear(m.flatten(m.avg_pool(m.max_pool(m.relu("input"), 2, 1))), 3)
        else:
            x = m.linear(m.emit("permute", m.relu("input"), dims=[0, 2, 3, 1]), 4)
        return name, m.graph(m.relu(x))

    names = (
        "transposed", "strided", "uneven", "sliced", "joined", "residual", "upsampled", "scaled",
        "averaged", "last axis",
    )  # fmt: skip
    return [made(name) for name in names]


@pytest.mark.parametrize(("name", "graph"), arranged_graphs())
def test_fan_out_behind_every_arrangement(name: str, graph: Graph) -> None:
    for sender, got in fan_out(graph).items():
        assert torch.equal(got, brute_fan_out(graph, sender)), (name, sender)


def test_a_weight_of_zero_is_still_a_synapse() -> None:
    graph = random_graph(5)
    none = replace(graph, tensors={k: torch.zeros_like(v) for k, v in graph.tensors.items()})
    before, after = fan_out(graph), fan_out(none)
    assert all(torch.equal(before[name], after[name]) for name in before)


@settings(max_examples=20)
@given(seed=SEEDS)
def test_all_active_inputs_of_unpadded_layers_make_their_macs(seed: int) -> None:
    m = Maker(np.random.default_rng(seed), (4, 7, 6))
    first = m.conv("input", 4, m.pick(1, 3), stride=m.pick(1, 2), groups=m.pick(1, 2, 4))
    second = m.conv(m.relu(first), 2, 2)
    third = m.linear(m.flatten(m.relu(second)), 3)
    graph = m.graph(third)
    totals = fan_out(graph)
    senders = ["input", *graph.sites]
    for layer, sender in zip((first, second, third), senders, strict=True):
        assert float(totals[sender].sum()) == macs(graph, graph.by_name[layer])


VGG_MACS = [
    1769472, 37748736, 18874368, 37748736, 18874368, 37748736, 37748736, 18874368, 37748736,
    37748736, 9437184, 9437184, 9437184, 5120,
]  # fmt: skip
VGG_RATES = [
    0.0454867, 0.0776649, 0.0511538, 0.0453777, 0.0453977, 0.0377775, 0.0162395, 0.0263286,
    0.0101580, 0.0177076, 0.0596891, 0.0610471, 0.0537910,
]  # fmt: skip


def vgg16() -> Graph:
    """VGG-16 at 32 x 32 with one fully connected layer, all its tensors on no device."""
    m = Maker(np.random.default_rng(0), (3, 32, 32))
    nodes, tensors, x = list(m.nodes), {}, "input"
    widths = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
    channels = 3
    for index, width in enumerate(widths):
        name = f"n{index}"
        if not width:
            attrs = {"kernel": [2, 2], "stride": [2, 2], "padding": [0] * 4, "dilation": [1, 1]}
            nodes.append(Node(name, "max_pool", (x,), attrs))
        else:
            tensors[f"w{index}"] = torch.empty(width, channels, 3, 3, device="meta")
            attrs = {"stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
            nodes.append(Node(f"c{index}", "conv", (x, f"w{index}"), attrs))
            nodes.append(Node(name, "relu", (f"c{index}",)))
            channels = width
        x = name
    tensors["w"] = torch.empty(10, 512, device="meta")
    nodes.append(Node("flat", "reshape", (x,), {"shape": [512]}))
    nodes.append(Node("scores", "linear", ("flat", "w")))
    return Graph(tuple(nodes), tensors, ("scores",))


def test_energy_of_the_published_vgg16() -> None:
    """MSAT's 0.84: rates of its authors' log at T = 64; joules per image."""
    graph = vgg16()
    layers = weighted_layers(graph)
    assert [layer.macs for layer in layers] == VGG_MACS
    assert [layer.analog for layer in layers] == [True] + [False] * 13
    assert [list(layer.drivers.values()) for layer in layers] == [[]] + [[1.0]] * 13
    assert [next(iter(layer.drivers)) for layer in layers[1:]] == list(graph.sites)
    joules = paper_joules(VGG_MACS, [None, *VGG_RATES], 64)
    assert ann_joules(graph) * 1e6 == pytest.approx(1440.73, abs=5e-3)
    assert joules * 1e6 == pytest.approx(1217.94, abs=5e-3)
    assert joules / ann_joules(graph) == pytest.approx(0.84536, abs=5e-6)
    assert paper_joules(VGG_MACS, [None, *VGG_RATES], 128) == pytest.approx(2 * joules)


def test_drivers_of_sums_and_concatenations() -> None:
    m = Maker(np.random.default_rng(0), (2, 4, 4))
    a = m.relu(m.conv("input", 2, padding=1))
    b = m.relu(m.conv(a, 6, padding=1))
    joined = m.conv(m.avg_pool(m.emit("concat", a, b, dim=1)), 4, 1)
    c = m.relu(m.conv(b, 2, padding=1))
    summed = m.conv(m.emit("add", a, c), 2)
    mixed = m.conv(m.emit("add", a, "input"), 2)
    layers = {
        x.name: x for x in weighted_layers(m.graph(m.relu(joined), m.relu(summed), m.relu(mixed)))
    }
    assert layers[joined].drivers == {a: 0.25, b: 0.75}
    assert layers[summed].drivers == {a: 1.0, c: 1.0}
    assert (layers[joined].analog, layers[summed].analog, layers[mixed].analog) == (
        False, False, True,
    )  # fmt: skip


def tiny(shape: tuple[int, ...]) -> Spiking:
    m = Maker(np.random.default_rng(0), shape)
    graph = m.graph(m.linear(m.relu("input"), 2))
    return to_spiking(graph, dyadic_plan(graph, 0))


def test_sin_counts_what_the_original_kept_strictly_silent() -> None:
    net = tiny((6,))
    name = next(iter(net.graph.sites))
    activity = Activity(net, 3)
    watch = activity.batch({name: torch.tensor([[-0.5, -0.1, 0.0, 0.3, 0.8, -0.2]])})
    trains = torch.tensor([[0, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]]).float()
    watch(net.graph.by_name[name], range(1), trains[:1, None])
    watch(net.graph.by_name[name], range(1, 3), trains[1:, None])
    watch.finish()
    ones = torch.ones(3, 1, dtype=torch.int64)
    activity.add(Run((), {name: ones}, {}), 1)
    assert activity.sin_ratio(name).tolist() == pytest.approx([0, 1 / 3, 1 / 3])
    assert activity.silent[name] == 3
    assert activity.dead_fraction(name).tolist() == pytest.approx([4 / 6, 3 / 6, 3 / 6])


def classifier(seed: int) -> tuple[Spiking, Tensor, Tensor]:
    graph = random_graph(seed)
    x = images(graph, seed, 7)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, 7))
    return to_spiking(graph, dyadic_plan(graph, seed)), x, labels


def split(x: Tensor, y: Tensor | None, size: int) -> list[tuple[Tensor, Tensor | None]]:
    parts = range(0, len(x), size)
    return [(x[i : i + size], None if y is None else y[i : i + size]) for i in parts]


@settings(max_examples=8)
@given(seed=SEEDS, size=st.integers(1, 7))
def test_scores_equal_a_plain_loop_over_images(seed: int, size: int) -> None:
    net, x, labels = classifier(seed)
    steps, graph = 6, net.graph
    done: list[int] = []
    got = evaluate(net, split(x, labels, size), steps=steps, progress=done.append)
    right, agreed, ann_right = [0] * steps, [0] * steps, 0
    events = {name: [0] * steps for name in graph.sites}
    for index in range(len(x)):
        one = x[index : index + 1]
        answer = int(run(graph, one)[graph.outputs[0]].argmax())
        result = simulate(net, one, steps=steps)
        ann_right += int(answer == int(labels[index]))
        for step in range(steps):
            spiking = int(result.outputs[0][step, 0].argmax())
            right[step] += int(spiking == int(labels[index]))
            agreed[step] += int(spiking == answer)
            assert int(got.predictions[step, index]) == spiking
            for name in events:
                events[name][step] += int(result.spikes[name][step, 0])
    assert got.accuracy.tolist() == pytest.approx([n / 7 for n in right])
    assert got.agreement.tolist() == pytest.approx([n / 7 for n in agreed])
    assert got.ann_accuracy == pytest.approx(ann_right / 7)
    assert score_ann(graph, split(x, labels, size)) == (pytest.approx(ann_right / 7), 7)
    assert done[-1] == got.samples == 7
    for name, counts in events.items():
        assert got.activity.events[name].tolist() == counts
        neurons = int(np.prod(graph.shapes[name]))
        rates = np.cumsum(counts) / (np.arange(1, steps + 1) * neurons * 7)
        assert got.activity.rate(name).tolist() == pytest.approx(rates.tolist())


@settings(max_examples=8)
@given(seed=SEEDS, size=st.integers(1, 7))
def test_activity_by_counting_spike_trains(seed: int, size: int) -> None:
    net, x, labels = classifier(seed)
    graph, steps = net.graph, 5
    got = evaluate(net, split(x, labels, size), steps=steps).activity
    trains: dict[str, Tensor] = {}

    def watch(node: Node, times: range, value: Tensor) -> None:
        trains[node.name] = torch.cat([trains.get(node.name, value[:0]), value])

    simulate(net, x, steps=steps, observe=watch)
    before = {name: graph.by_name[name].inputs[0] for name in graph.sites}
    currents = run(graph, x, keep=before.values())
    behind = fan_out(graph)
    for name, source in before.items():
        spiked, silent = trains[name] != 0, currents[source] < 0
        for step in range(steps):
            fired = spiked[: step + 1].any(0)
            wrong = float((fired & silent).sum()) / max(1, int(silent.sum()))
            assert float(got.sin_ratio(name)[step]) == pytest.approx(wrong)
            sent = (spiked[: step + 1].double() * behind.get(name, torch.zeros(()))).sum()
            assert float(got.operations_per_image(name)[step]) == pytest.approx(float(sent) / 7)
            dead = 1 - float(fired.any(0).double().mean())
            assert float(got.dead_fraction(name)[step]) == pytest.approx(dead)


def test_what_the_input_decides_alone_is_listed_at_every_step() -> None:
    net, x, _ = classifier(3)
    result = simulate(net, x, steps=4)
    activity = Activity(net, 4)
    activity.add(result, 7)
    pixels = int((x != 0).sum())
    assert activity.events["input"].tolist() == [pixels] * 4
    products = ((x != 0).double() * fan_out(net.graph)["input"]).sum() / 7
    assert activity.operations_per_image("input").tolist() == pytest.approx(
        [float(products) * (t + 1) for t in range(4)]
    )


def test_agreement_of_outputs_that_are_no_classes_is_relative_closeness() -> None:
    m = Maker(np.random.default_rng(6), (2, 6, 6))
    graph = m.graph(m.conv(m.relu(m.conv("input", 4, padding=1)), 1, padding=1))
    assert not is_classifier(graph)
    net, x = to_spiking(graph, dyadic_plan(graph, 6)), images(graph, 6, 5)
    got = evaluate(net, split(x, None, 2), steps=8)
    result, wanted = simulate(net, x, steps=8).outputs[0], run(graph, x)[graph.outputs[0]]
    for step in range(8):
        off = (result[step] - wanted).flatten(1).double().norm(dim=1)
        close = (1 - off / wanted.flatten(1).double().norm(dim=1)).clamp(0, 1).mean()
        assert float(got.agreement[step]) == pytest.approx(float(close), abs=1e-6)
    assert got.accuracy is None
    assert got.predictions is None


def test_without_labels_there_is_agreement_but_no_accuracy() -> None:
    net, x, labels = classifier(4)
    got = evaluate(net, split(x, None, 3), steps=3, task="classify")
    assert got.accuracy is None
    assert got.ann_accuracy is None
    assert got.agreement.tolist() == evaluate(net, split(x, labels, 7), steps=3).agreement.tolist()


BAD: Mapping[str, tuple[type[Exception], list[int] | None]] = {
    "no images": (ConfigError, None),
    "too many classes": (LoadError, [0, 1, 2, 3, 0, 1, 2]),
    "negative": (LoadError, [0, 1, 2, -1, 0, 1, 2]),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_cannot_be_scored_is_refused(name: str) -> None:
    error, labels = BAD[name]
    net, x, _ = classifier(4)
    with pytest.raises(error):
        evaluate(net, [] if labels is None else split(x, torch.tensor(labels), 4), steps=2)


def test_labels_for_some_images_only_are_refused() -> None:
    net, x, labels = classifier(4)
    with pytest.raises(LoadError):
        evaluate(net, [(x[:3], labels[:3]), (x[3:], None)], steps=2)


def test_as_many_labels_as_images_are_needed() -> None:
    net, x, labels = classifier(4)
    with pytest.raises(LoadError):
        evaluate(net, [(x, labels[:5])], steps=2)


def test_worked_example_of_counted_operations() -> None:
    """One neuron, threshold 1, current 0.5: a spike at every second step, each to two synapses."""
    net = tiny((1,))
    name = next(iter(net.graph.sites))
    plan = Plan({name: SitePlan(torch.tensor(1.0), torch.tensor(0.0))})
    result = simulate(to_spiking(net.graph, plan), torch.tensor([[0.5]]), steps=5)
    assert result.spikes[name].flatten().tolist() == [0, 1, 0, 1, 0]
    assert result.synaptic_operations[name].flatten().tolist() == [0, 2, 0, 2, 0]
