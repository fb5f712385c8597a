"""The signed neuron against its law in exact arithmetic, and leaky networks from end to end."""

from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic, images
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from calibrate import CALIBRATORS, parse_stages
from calibrate.sent import Sent
from convsnn.errors import CalibrationError, ConfigError, UnsupportedError
from convsnn.export.artifact import load_artifact, save_artifact
from convsnn.graph import Graph, run
from convsnn.load import load_module, load_onnx, onnx_reference
from convsnn.measure.activity import Activity
from convsnn.neurons.signed import Signed
from convsnn.passes import EXACT, apply_exact, pool_before_neuron
from convsnn.passes.permutes import fold_permutes
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.workflows.convert.network import convert

EIGHTHS = st.integers(-24, 24).map(lambda k: Fraction(k, 8))
THRESHOLDS = st.integers(1, 24).map(lambda k: Fraction(k, 8))
SLOPES = st.integers(-4, 4).map(lambda k: Fraction(k, 4))


def activation(z: Fraction, slope: Fraction, ceiling: Fraction | None = None) -> Fraction:
    value = z if z > 0 else slope * z
    return value if ceiling is None else min(value, ceiling)


def column(values: list[Fraction]) -> Tensor:
    return torch.tensor([float(v) for v in values]).reshape(-1, 1, 1)


def neuron(threshold: Fraction, potential: Fraction, slope: Fraction | None) -> Signed:
    return Signed(
        float(threshold), float(potential), None if slope is None else torch.tensor(float(slope))
    )


@given(
    currents=st.lists(EIGHTHS, min_size=1, max_size=30),
    threshold=THRESHOLDS,
    start=EIGHTHS,
    slope=SLOPES,
)
def test_every_step_follows_the_definition(
    currents: list[Fraction], threshold: Fraction, start: Fraction, slope: Fraction
) -> None:
    out, state = neuron(threshold, start, slope).scan(column(currents))
    total, sent = Fraction(0), Fraction(0)
    for current, got in zip(currents, out.flatten().tolist(), strict=True):
        total += current
        potential = activation(total, slope) + start - sent
        spike = 1 if potential >= threshold else -1 if potential < 0 else 0
        assert got == float(spike * threshold)
        sent += spike * threshold
    assert float(state.sent) == float(sent)
    assert float(state.potential) == float(activation(total, slope) + start - sent)


@given(
    z=st.integers(-64, 64),
    threshold=st.integers(1, 64),
    slope=SLOPES,
    start=st.integers(0, 3),
    steps=st.integers(1, 40),
)
def test_a_current_it_can_keep_up_with_is_followed_to_the_nearest_level_below(
    z: int, threshold: int, slope: Fraction, start: int, steps: int
) -> None:
    theta, level = Fraction(threshold, 32), Fraction(z, 32)
    value = activation(level, slope)
    if abs(value) > theta:
        level, value = level * theta / abs(value) / 2, value * theta / abs(value) / 2
        if level.denominator & (level.denominator - 1):
            return  # not exact in floats
    potential = theta * start / 4
    out, _ = neuron(theta, potential, slope).scan(column([level] * steps))
    sums = out.cumsum(0).flatten().tolist()
    wanted = [theta * floor((t * value + potential) / theta) for t in range(1, steps + 1)]
    assert sums == [float(w) for w in wanted]


@given(
    currents=st.lists(EIGHTHS, min_size=1, max_size=12),
    threshold=THRESHOLDS,
    slope=SLOPES,
    start=st.integers(0, 7),
)
def test_once_the_current_stops_what_was_sent_settles_at_the_activation_of_the_sum(
    currents: list[Fraction], threshold: Fraction, slope: Fraction, start: int
) -> None:
    potential = threshold * start / 8
    value = activation(sum(currents, Fraction(0)), slope)
    enough = len(currents) + int(sum(map(abs, currents)) * 4 / threshold) + 2
    out, _ = neuron(threshold, potential, slope).scan(column([*currents, *[Fraction(0)] * enough]))
    assert float(out.sum()) == float(threshold * floor((value + potential) / threshold))


@given(currents=st.lists(EIGHTHS, min_size=1, max_size=30), threshold=THRESHOLDS, start=EIGHTHS)
def test_for_relu_it_never_takes_back_more_than_it_sent(
    currents: list[Fraction], threshold: Fraction, start: Fraction
) -> None:
    out, _ = neuron(threshold, start, None).scan(column(currents))
    assert float(out.cumsum(0).min()) >= 0


@given(z=st.integers(-16, 64), steps=st.integers(1, 30), top=st.sampled_from([1, 2, 4]))
def test_a_ceiling_bounds_the_mean(z: int, steps: int, top: int) -> None:
    level, ceiling = Fraction(z, 8), Fraction(3)
    theta = ceiling / top
    made = Signed(float(theta), ceiling=torch.tensor(float(ceiling)))
    out, _ = made.scan(column([level] * steps))
    count = min(floor(max(level, 0) * steps / theta), top * steps, steps)
    assert float(out.sum()) == float(theta * count)


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 11))
def test_chunks_equal_one_scan_with_slope_and_ceiling(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    slope, ceiling = dyadic(rng, (3, 1)), torch.tensor(1.5)
    made = Signed(torch.tensor(0.75), torch.tensor(0.25), slope, ceiling)
    currents = dyadic(rng, (12, 2, 3, 4), reach=16, bits=3)
    whole, end = made.scan(currents)
    first, state = made.scan(currents[:cut])
    second, last = made.scan(currents[cut:], state)
    assert torch.equal(whole, torch.cat([first, second]))
    assert torch.equal(end.potential, last.potential)
    assert set(whole.unique().tolist()) <= {-0.75, 0.0, 0.75}


class Leaky(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 4, 3, padding=1), act
        self.pool, self.again = nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)
        self.last, self.head = nn.LeakyReLU(0.25), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.conv(x)))
        return self.head(self.last(self.again(x)).flatten(1))


def leaky(kind: str) -> Leaky:
    torch.manual_seed(3)
    module = Leaky(nn.PReLU(4) if kind == "prelu" else nn.LeakyReLU(0.1)).eval()
    if isinstance(module.act, nn.PReLU):
        module.act.weight.data = torch.tensor([0.5, 0.1, 0.25, 0.0])
    return module


def example(batch: int = 8) -> Tensor:
    return torch.randn(batch, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def distance(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("entrance", ["module", "onnx"])
@pytest.mark.parametrize("kind", ["leaky", "prelu"])
def test_a_leaky_network_converges_to_the_original(
    kind: str, entrance: str, tmp_path: Path
) -> None:
    module, x = leaky(kind), example()
    source: nn.Module | Path = module
    with torch.no_grad():
        wanted = module(x)
    if entrance == "onnx":
        source = tmp_path / "m.onnx"
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(module, (x,), source, dynamic_shapes=shapes, verbose=False)
        graph = load_onnx(source)
        assert not graph.blockers()
        reference = onnx_reference(source)(x)[0]
        torch.testing.assert_close(run(graph, x)[graph.outputs[0]], reference, rtol=0, atol=1e-5)
    net = convert(source, x, [x], parse_stages("max:potential=0.5"), steps=256)
    assert set(net.kinds.values()) == {"signed"}
    out = simulate(net, x, steps=256).outputs[0]
    errors = [distance(out[t - 1], wanted) for t in (16, 64, 256)]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.03
    kept = run(net.graph, x, keep=net.graph.sites)
    assert all(bool((kept[name] < 0).any()) for name in net.graph.sites)


def test_relu_takes_the_signed_neuron_on_request_and_leaky_layers_by_themselves() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.LeakyReLU())
    x = example()
    mixed = convert(module.eval(), x, [x], parse_stages("max"))
    assert list(mixed.kinds.values()) == ["if", "signed"]
    every = convert(module, x, [x], parse_stages("max"), neuron="signed")
    assert list(every.kinds.values()) == ["signed", "signed"]


@pytest.mark.parametrize("spec", ["msat", "burst", "if:reset=zero"])
def test_a_neuron_without_signs_is_refused_with_every_layer_and_a_remedy(spec: str) -> None:
    x = example()
    with pytest.raises(UnsupportedError, match=r"act, last") as caught:
        convert(leaky("leaky"), x, [x], parse_stages("max"), neuron=spec)
    assert [item.layer for item in caught.value.items] == ["act", "last"]
    assert "signed" in caught.value.hint


@pytest.mark.parametrize("stage", CALIBRATORS.names())
def test_contract_every_stage_works_on_leaky_layers_or_says_why_not(stage: str) -> None:
    x = example()
    first = stage in ("bias", "coding", "ftbc", "potential", "weights", "confidence")
    text = f"max:potential=0.5+{stage}" if first else stage
    if stage == "balance":
        text = "balance:batches=20"
    if stage in ("confidence", "spike-norm", "trained", "tsc"):
        with pytest.raises((UnsupportedError, CalibrationError, ConfigError)) as caught:
            convert(leaky("prelu"), x, [x], parse_stages(text), steps=64)
        assert caught.value.hint
        return
    net = convert(leaky("prelu"), x, [x], parse_stages(text), steps=64)
    wanted = leaky("prelu")(x).detach()
    assert distance(simulate(net, x, steps=64).outputs[0][-1], wanted) < 0.5


def test_thresholds_measure_the_size_of_a_negative_activation() -> None:
    maker = Maker(np.random.default_rng(0), (1,))
    weight = maker.tensor(torch.tensor([[1.0], [-1.0]]))
    slope = maker.tensor(torch.tensor([[0.5, 0.5]]))
    end = maker.emit("leaky_relu", maker.emit("linear", "input", weight), slope)
    graph = maker.graph(end)
    x = torch.tensor([[-8.0], [2.0]])
    for text in ("channel:q=100", "max", "mse:steps=64"):
        net = convert(graph, x, [x], parse_stages(text))
        found = net.plan.sites[end].threshold.expand(2).tolist()
        wanted = {"channel:q=100": [4.0, 8.0], "max": [8.0, 8.0]}.get(text)
        assert found == wanted if wanted else (found[0] > 3.5 and found[1] > 7)


def signed_graph(seed: int) -> Graph:
    maker = Maker(np.random.default_rng(seed), (2, 6, 6))
    slope = maker.tensor(dyadic(maker.rng, (1, 4, 1, 1)).abs())
    x = maker.emit("leaky_relu", maker.conv("input", 4), slope)
    x = maker.emit("permute", maker.max_pool(x), dims=[0, 2, 3, 1])
    other = maker.tensor(torch.full((1, 1, 1, 1), 0.25))
    x = maker.emit("permute", maker.emit("leaky_relu", x, other), dims=[0, 3, 1, 2])
    return maker.graph(maker.linear(maker.flatten(x), 3))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_passes_keep_leaky_networks_to_the_last_bit(seed: int) -> None:
    graph, x = signed_graph(seed), images(signed_graph(seed), seed, 3)
    wanted = run(graph, x)[graph.outputs[0]]
    folded = fold_permutes(graph)
    assert [n.op for n in folded.nodes].count("permute") < 2
    assert torch.equal(run(folded, x)[graph.outputs[0]], wanted)
    moved = pool_before_neuron(graph)
    ops = [n.op for n in moved.nodes]
    assert ops.index("max_pool") < ops.index("leaky_relu")
    assert torch.equal(run(moved, x)[graph.outputs[0]], wanted)


def test_a_negative_slope_is_not_swapped_with_a_pool() -> None:
    maker = Maker(np.random.default_rng(0), (2, 6, 6))
    slope = maker.tensor(torch.full((1, 1, 1, 1), -0.5))
    maker.max_pool(maker.emit("leaky_relu", maker.conv("input", 2), slope))
    graph = maker.graph(maker.nodes[-1].name)
    assert pool_before_neuron(graph) is graph


def test_an_artifact_keeps_slopes_and_spikes(tmp_path: Path) -> None:
    x = example()
    net = convert(leaky("prelu"), x, [x], parse_stages("max:potential=0.5"))
    save_artifact(net, tmp_path / "net.safetensors")
    again = load_artifact(tmp_path / "net.safetensors")
    assert again.kinds == net.kinds
    assert torch.equal(simulate(net, x, steps=8).outputs[0], simulate(again, x, steps=8).outputs[0])


@given(seed=st.integers(0, 2**32 - 1))
def test_a_replay_keeps_signed_spikes_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    threshold = torch.from_numpy(rng.integers(1, 9, (3, 1))).float() / 4
    spikes = torch.from_numpy(rng.integers(-1, 2, (11, 2, 3, 4))).float()
    kept = Sent.pack(spikes * threshold, threshold)
    assert kept.bits
    assert kept.data.dtype == torch.uint8
    assert torch.equal(kept.values(7), (spikes * threshold)[:7])


def test_a_spike_against_the_sign_of_the_activation_is_wrong() -> None:
    """Three neurons, of pre-activation 1, -1 and 0, that all see currents of both signs."""
    maker = Maker(np.random.default_rng(0), (3,))
    end = maker.emit("leaky_relu", "input", maker.tensor(torch.tensor([[0.5]])))
    graph = maker.graph(end)
    net = to_spiking(graph, Plan({end: SitePlan(torch.tensor(1.0), torch.tensor(0.0))}))
    activity = Activity(net, 3)
    watch = activity.batch({end: torch.tensor([[1.0, -1.0, 0.0]])})
    spikes = torch.tensor([[1.0, -1.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    watch(graph.by_name[end], range(3), spikes[:, None])
    watch.finish()
    assert activity.sin[end].tolist() == [0, 1, 2]
    assert activity.silent[end] == 2


def test_exact_passes_keep_a_prelu_behind_a_batch_norm() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4)).eval()
    x = example()
    graph = apply_exact(load_module(module, x), x, EXACT)
    assert [node.op for node in graph.nodes] == ["input", "conv", "leaky_relu"]
    torch.testing.assert_close(run(graph, x)[graph.outputs[0]], module(x).detach())


@given(
    seed=st.integers(0, 2**32 - 1),
    at=st.lists(st.integers(1, 150), min_size=1, max_size=4, unique=True).map(sorted),
    fewest=st.sampled_from([-1, 0]),
    lasts=st.booleans(),
)
def test_means_of_what_is_kept_are_those_of_its_values(seed, at, fewest, lasts) -> None:
    rng = np.random.default_rng(seed)
    threshold = torch.from_numpy(rng.integers(1, 9, (3, 1, 1))).float() / 4
    spikes = torch.from_numpy(rng.integers(fewest, 2, (at[-1] * 2, 3, 2, 2))).float()
    if lasts:
        spikes = spikes.contiguous(memory_format=torch.channels_last)
    values = (spikes * threshold).unflatten(0, (at[-1], 2))
    wanted = torch.stack([values[:step].mean(0) for step in at])
    for kept in (Sent.pack(values, threshold), Sent(values, threshold, at[-1])):
        assert torch.equal(kept.values(at[-1]), values)
        torch.testing.assert_close(kept.means(at), wanted)
