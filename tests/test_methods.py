"""The methods of the comparison table: worked numbers, and what must hold on any network.

Spike-Norm, RMP and Hybrid share one law: in the finished network, run in full on the calibration
images, no layer's current at any step exceeds its (unscaled) threshold, and the largest equals it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, images, random_graph
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor

from calibrate import CALIBRATORS, parse_stages
from calibrate.currents import stem_of, waves
from convsnn.encoders import Encoder
from convsnn.encoders.direct import Direct
from convsnn.encoders.poisson import Poisson
from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import Graph, run
from convsnn.neurons import NEURONS
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Context, Plan, run_stages

SEEDS = st.integers(0, 2**32 - 1)
BALANCED = {"spike-norm": "if:reset=zero", "rmp": "if:reset=soft", "hybrid:factor=1": "if"}


@dataclass(frozen=True)
class Played:
    """An encoder that plays given inputs (T, B, ...), sample `ids` of them."""

    inputs: Tensor
    constant = False
    steps = None

    def still(self, x: Tensor) -> Tensor:
        return x

    def encode(self, x: Tensor, ids: Tensor, steps: range) -> Tensor:
        return self.inputs[steps.start : steps.stop, ids]

    def fit(self, batches: object) -> "Played":
        return self

    def spec(self) -> str:
        return "direct"


@dataclass
class Recorder:
    """A population that keeps its largest current."""

    neuron: Any
    largest: list[Tensor] = field(default_factory=list)
    graded: bool = False

    def scan(self, currents: Tensor, state: Any = None, *, keys: Any = None) -> tuple[Tensor, Any]:
        self.largest.append(currents.amax())
        return self.neuron.scan(currents, state, keys=keys)


def calibrated(
    text: str,
    graph: Graph,
    batches: Sequence[Tensor],
    *,
    steps: int = 8,
    encoder: Encoder | None = None,
) -> Plan:
    """The plan that the stages of `text` make."""
    context = Context(graph, batches, "if", encoder or Direct(), steps, 0)
    return run_stages(context, parse_stages(text))


def largest_currents(
    net: Spiking, batches: Sequence[Tensor], *, steps: int, encoder: Encoder
) -> dict[str, Tensor]:
    """The largest current of every site while the whole network runs."""
    recorders = {name: Recorder(neuron) for name, neuron in net.neurons.items()}
    net = replace(net)
    net.__dict__["neurons"] = recorders
    seen = 0
    for x in batches:
        ids = torch.arange(seen, seen + len(x))
        simulate(net, x, steps=steps, encoder=encoder, ids=ids)
        seen += len(x)
    return {name: torch.stack(r.largest).amax() for name, r in recorders.items()}


def chain(*layers: tuple[list[list[float]], list[float]]) -> Graph:
    """Fully connected layers, each followed by ReLU, in float64."""
    maker = Maker(np.random.default_rng(0), (len(layers[0][0][0]),))
    x = "input"
    for weight, bias in layers:
        names = [maker.tensor(torch.tensor(value, dtype=torch.float32)) for value in (weight, bias)]
        x = maker.relu(maker.emit("linear", x, *names))
    return maker.graph(x).to(torch.float64)


def double(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def thresholds(plan: Plan) -> list[float]:
    return [float(planned.threshold) for planned in plan.sites.values()]


# Spike-Norm, RMP, Hybrid


@pytest.mark.parametrize("text", BALANCED)
def test_threshold_is_the_largest_current_of_any_step(text: str) -> None:
    graph = chain(([[0.6, 0.5], [-0.2, 0.9]], [0.0, 0.0]))
    spikes = double([1, 0], [1, 1], [0, 1], [1, 1])[:, None]
    plan = calibrated(text, graph, [spikes[0]], steps=4, encoder=Played(spikes))
    assert thresholds(plan) == pytest.approx([1.1])
    first_only = calibrated(f"{text},steps=1" if ":" in text else f"{text}:steps=1",
                            graph, [spikes[0]], steps=4, encoder=Played(spikes))  # fmt: skip
    assert thresholds(first_only) == pytest.approx([0.6])


@pytest.mark.parametrize("text", BALANCED)
def test_second_layer_sees_spikes_and_not_activations(text: str) -> None:
    """Neuron 1 sends 1.41 at every step and neuron 2 at the third for the first time: the largest
    current is 1.41 + .1, while the largest activation of the second layer is 1.19."""
    graph = chain(([[1, 0.5], [-0.5, 2]], [0.1, -0.2]), ([[1, -1], [0.5, 0.25]], [0.1, 0.35]))
    plan = calibrated(text, graph, [double([1.0, 0.62])])
    assert thresholds(plan) == pytest.approx([1.41, 1.51])


@pytest.mark.parametrize(("text", "expected"), [("spike-norm", 0.25), ("rmp", 1.25)])
def test_spike_norm_resets_to_zero_and_rmp_softly(text: str, expected: float) -> None:
    """Currents 1, .75 and .5 at threshold 1: the third fires at steps 2, 4, ...; the second with it
    after a reset to zero, and alone at step 3 after a soft one."""
    graph = chain(([[1], [0.75], [0.5]], [0, 0, 0]), ([[0, 1, -1]], [0.25]))
    plan = calibrated(text, graph, [double([1.0])])
    assert thresholds(plan) == [1.0, expected]


@pytest.mark.parametrize("encoder", [Direct(), Poisson(seed=5, scale=1.0)])
@pytest.mark.parametrize(("text", "neuron"), BALANCED.items())
@settings(max_examples=6)
@given(seed=SEEDS)
def test_no_current_of_the_finished_network_exceeds_its_threshold(
    text: str, neuron: str, encoder: Encoder, seed: int
) -> None:
    graph = random_graph(seed).to(torch.float64)
    batches = [images(graph, seed, n).double() for n in (2, 1)]
    try:
        everywhere = f"{text}{',' if ':' in text else ':'}behind=balanced"
        plan = calibrated(everywhere, graph, batches, steps=12, encoder=encoder)
    except CalibrationError as error:  # a random layer may never get a positive current
        assert any(f"'{name}'" in str(error) for name in graph.sites)  # noqa: PT017
        reject()
    net = to_spiking(graph, plan, neuron=neuron)
    found = largest_currents(net, batches, steps=12, encoder=encoder)
    for name, site in graph.sites.items():
        wanted = found[name] if site.ceiling is None else found[name].clamp(max=site.ceiling)
        assert torch.equal(plan.sites[name].threshold, wanted), name


@pytest.mark.parametrize("text", ["spike-norm", "rmp", "hybrid", "opt", "burst"])
@pytest.mark.parametrize("encoder", [Direct(), Poisson(seed=3, scale=1.0)])
def test_batch_size_changes_nothing(text: str, encoder: Encoder) -> None:
    graph = random_graph(11).to(torch.float64)
    x = images(graph, 2, 6).double()
    whole = calibrated(text, graph, [x], encoder=encoder)
    split = calibrated(text, graph, [x[:1], x[1:4], x[4:]], encoder=encoder)
    for name in graph.sites:
        for key, value in whole.sites[name].tensors().items():
            assert torch.equal(value, split.sites[name].tensors()[key]), (name, key)


@given(seed=st.integers(0, 200), factor=st.floats(0.1, 1.0))
@settings(max_examples=8)
def test_factor_scales_every_threshold_and_hybrid_is_seven_tenths(seed: int, factor: float) -> None:
    graph = random_graph(seed)
    x = images(graph, seed, 2)
    try:
        full = calibrated("rmp:behind=balanced", graph, [x])
    except CalibrationError:
        reject()
    depth = {name: number for number, wave in enumerate(waves(graph), 1) for name in wave}
    wanted = {name: float(full.sites[name].threshold) for name in graph.sites}
    for text, by in ((f"rmp:factor={factor!r}", factor), ("hybrid:", 0.7)):
        plan = calibrated(f"{text},behind=balanced".replace(":,", ":"), graph, [x])
        for name in graph.sites:
            found = float(plan.sites[name].threshold)
            assert found == pytest.approx(wanted[name] * by ** depth[name]), name


def test_thresholds_scale_as_those_of_neurons_that_count_in_spikes() -> None:
    """Spikes of 1 and thresholds in units of spikes, as the authors have it, written out here."""
    torch.manual_seed(3)
    weights = [torch.rand(6, 6, dtype=torch.float64) - 0.3 for _ in range(4)]
    x = torch.rand(1, 6, dtype=torch.float64)
    graph = chain(*((w.tolist(), [0.0] * 6) for w in weights))
    steps = 40

    def trains(limits: list[float]) -> list[torch.Tensor]:
        currents, sent = x.expand(steps, 6), []
        for weight, limit in zip(weights, limits, strict=False):
            potential, spikes = torch.zeros(6, dtype=torch.float64), []
            for current in currents @ weight.T:
                potential = potential + current
                spikes.append((potential >= limit).double())
                potential = potential - limit * spikes[-1]
            currents = torch.stack(spikes)
            sent.append(currents)
        return sent

    maxima: list[float] = []
    for weight in weights:
        before = trains([*maxima])[-1] if maxima else x.expand(steps, 6)
        maxima.append(float((before @ weight.T).max()))
    counts = [each.sum(0) for each in trains([0.7 * top for top in maxima])]
    plan = calibrated("hybrid", graph, [x], steps=steps)
    found: dict[str, torch.Tensor] = {}

    def watch(node, at, values):
        if node.name in graph.sites:
            found[node.name] = (values[:, 0] > 0).double().sum(0)

    simulate(to_spiking(graph, plan), x, steps=steps, observe=watch)
    for name, wanted in zip(graph.sites, counts, strict=True):
        assert torch.equal(found[name], wanted), name


def test_behind_the_stem_one_spike_is_the_threshold() -> None:
    maker = Maker(np.random.default_rng(0), (2,))

    def layer(source: str) -> str:
        weight = maker.tensor(torch.tensor([[1.5, 0.0], [0.0, 1.0]]))
        return maker.emit(
            "relu", maker.emit("linear", source, weight, maker.tensor(torch.zeros(2)))
        )

    first = layer("input")
    stem = layer(first)
    graph = maker.graph(layer(maker.emit("add", layer(stem), stem)))
    x = torch.ones(1, 2)
    assert stem_of(graph) == (first, stem)
    assert thresholds(calibrated("rmp", graph, [x], steps=30)) == pytest.approx(
        [1.5, 2.25, 2.25, 2.25]
    )
    assert thresholds(calibrated("rmp:behind=balanced", graph, [x], steps=30)) == pytest.approx(
        [1.5, 2.25, 3.375, 8.4375]
    )
    half = thresholds(calibrated("rmp:factor=0.5", graph, [x], steps=30))
    assert half == pytest.approx([0.75, 0.5625, 0.5625, 0.5625])


def test_a_layer_that_nothing_reached_yet_has_no_threshold() -> None:
    """Of steps that were too few it would get its bias alone as the largest current."""
    graph = chain(([[1.0], [0.1]], [0, 0]), ([[0.0, 1.0]], [0.0]), ([[1.0]], [0.25]))
    with pytest.raises(CalibrationError, match=r"sent no spike in 5 steps|no positive current"):
        calibrated("rmp", graph, [double([1.0])], steps=5)
    assert len(thresholds(calibrated("rmp", graph, [double([1.0])], steps=40))) == 3


def test_only_the_images_that_were_asked_for_are_simulated() -> None:
    graph = chain(([[1.0]], [0.0]))
    batches = [double([1.0], [2.0]), double([5.0], [3.0])]
    found = [
        float(thresholds(calibrated(f"rmp:samples={n}", graph, batches))[0]) for n in (1, 3, 4)
    ]
    assert found == [1.0, 5.0, 5.0]


def test_a_factor_above_one_stays_below_the_ceiling() -> None:
    maker = Maker(np.random.default_rng(0), (1,))
    weight, bias = maker.tensor(torch.ones(1, 1)), maker.tensor(torch.zeros(1))
    graph = maker.graph(
        maker.emit("clip", maker.emit("linear", "input", weight, bias), ceiling=2.0)
    )
    assert thresholds(calibrated("rmp:factor=4", graph, [torch.ones(1, 1)])) == [2.0]


@settings(max_examples=25)
@given(seed=SEEDS)
def test_waves_hold_every_site_once_and_depend_on_earlier_ones_only(seed: int) -> None:
    graph = random_graph(seed, blocks=5)
    found = waves(graph)
    assert sorted(name for wave in found for name in wave) == sorted(graph.sites)
    before: set[str] = set()
    for wave in found:
        for name in wave:
            ahead, seen = [name], set()
            while ahead:
                node = graph.by_name[ahead.pop()]
                ahead += [i for i in graph.data_inputs(node) if i not in seen]
                seen.update(graph.data_inputs(node))
            assert seen & set(graph.sites) <= before
        before.update(wave)


@pytest.mark.parametrize("text", BALANCED)
def test_a_layer_without_positive_current_is_named(text: str) -> None:
    graph = chain(([[1.0]], [0.0]), ([[-1.0]], [0.0]))
    last = list(graph.sites)[-1]
    with pytest.raises(CalibrationError, match=last) as caught:
        calibrated(text, graph, [double([1.0])])
    assert "steps" in caught.value.hint


@pytest.mark.parametrize("text", BALANCED)
def test_no_images_and_infinite_currents_are_refused(text: str) -> None:
    with pytest.raises(CalibrationError, match="no calibration images"):
        calibrated(text, chain(([[1.0]], [0.0])), [])
    graph = chain(([[1.0]], [0.0]), ([[float("inf")]], [0.0]))
    with pytest.raises(CalibrationError, match=list(graph.sites)[-1]):
        calibrated(text, graph, [double([1.0])])


# Opt.

LEVELS = [  # T = 4, threshold 1: current, mean output without the shift, with it
    (0.1, 0, 0), (0.13, 0, 0.25), (0.3, 0.25, 0.25), (0.4, 0.25, 0.5), (0.6, 0.5, 0.5),
    (0.65, 0.5, 0.75), (0.9, 0.75, 1), (1.2, 1, 1),
]  # fmt: skip


def test_shift_rounds_to_the_nearest_of_four_levels() -> None:
    graph = chain(([[1.0]], [0.0]))
    x = torch.tensor([[z] for z, _, _ in LEVELS], dtype=torch.float64)
    for text, column in (("max", 1), ("opt", 2)):
        plan = calibrated(text, graph, [double([1.0])], steps=4)
        out = simulate(to_spiking(graph, plan), x, steps=4).outputs[0][-1]
        assert out[:, 0].tolist() == [row[column] for row in LEVELS], text


@settings(max_examples=15)
@given(
    levels=st.lists(st.integers(-64, 128).map(lambda k: Fraction(k, 32)), min_size=8, max_size=8),
    theta=st.integers(1, 64).map(lambda k: Fraction(k, 32)),
    power=st.integers(0, 5),
    steps=st.integers(1, 9),
)
def test_shifted_neuron_is_the_rounded_staircase(
    levels: list[Fraction], theta: Fraction, power: int, steps: int
) -> None:
    """The formula at the steps it was made for, and the floor of the shifted mean elsewhere."""
    made_for = 2**power
    graph = chain(([[1.0]], [0.0]))
    plan = calibrated(f"opt:steps={made_for}", graph, [double([float(theta)])])
    x = torch.tensor([[float(level)] for level in levels], dtype=torch.float64)
    for count in {made_for, steps}:
        out = simulate(to_spiking(graph, plan), x, steps=count).outputs[0][-1]
        exact = [count * level / theta + Fraction(count, 2 * made_for) for level in levels]
        spikes = [min(max(floor(value), 0), count) for value in exact]
        assert out[:, 0].tolist() == pytest.approx([float(s * theta / count) for s in spikes])


def test_opt_takes_the_maximum_or_a_percentile_and_starts_from_zero() -> None:
    graph = random_graph(4)
    x = images(graph, 4, 8)
    kept = run(graph, x, keep=graph.sites)
    full, cut = (calibrated(text, graph, [x]) for text in ("opt:steps=16", "opt:steps=16,q=80"))
    for name in graph.sites:
        planned = full.sites[name]
        assert float(planned.threshold) == float(kept[name].max())
        assert planned.shift is not None
        assert float(planned.shift) == float(planned.threshold) / 32
        assert not planned.potential.any()
        values = kept[name].flatten().sort().values
        wanted = values[max(floor(len(values) * 0.8), 1) - 1]
        gap = float(cut.sites[name].threshold - wanted)
        assert -1e-6 <= gap <= float(values[-1]) / 2**15


# Burst


def burst_by_hand(
    currents: list[Fraction], threshold: Fraction, potential: Fraction, gamma: int
) -> tuple[list[int], list[Fraction]]:
    """Spikes and potentials of one burst neuron."""
    spikes, potentials = [], []
    for current in currents:
        potential += current
        spikes.append(min(max(floor(potential / threshold), 0), gamma))
        potential -= threshold * spikes[-1]
        potentials.append(potential)
    return spikes, potentials


@pytest.mark.parametrize(
    ("gamma", "spikes", "potentials"),
    [(5, [0, 3, 0, 5, 0, 0], [0.4, 0.1, -1.4, 0.8, 0.8, 0.8]), (1, [0, 1, 0, 1, 1, 1], None)],
)
def test_worked_example_of_a_burst(
    gamma: int, spikes: list[int], potentials: list[float] | None
) -> None:
    neuron = NEURONS.create(f"burst:gamma={gamma}", threshold=1.0)
    found, seen, state = [], [], None
    for z in (0.4, 2.7, -1.5, 7.2, 0.0, 0.0):
        out, state = neuron.scan(torch.tensor([[[z]]]).double(), state)
        found.append(int(out))
        seen.append(float(state.potential))
    assert found == spikes
    if potentials is not None:
        assert seen == pytest.approx(potentials)


@given(
    currents=st.lists(st.integers(-24, 96).map(lambda k: Fraction(k, 8)), min_size=1, max_size=30),
    threshold=st.integers(1, 24).map(lambda k: Fraction(k, 8)),
    start=st.integers(-16, 16).map(lambda k: Fraction(k, 8)),
    gamma=st.integers(1, 7),
)
def test_every_step_of_a_burst_follows_the_definition(
    currents: list[Fraction], threshold: Fraction, start: Fraction, gamma: int
) -> None:
    neuron = NEURONS.create(
        f"burst:gamma={gamma}", threshold=float(threshold), potential=float(start)
    )
    out, state = neuron.scan(torch.tensor([float(z) for z in currents]).reshape(-1, 1, 1))
    spikes, potentials = burst_by_hand(currents, threshold, start, gamma)
    assert out.flatten().tolist() == [float(threshold * s) for s in spikes]
    assert float(state.potential) == float(potentials[-1])


@given(seed=SEEDS, threshold=st.floats(0.01, 10))
def test_a_burst_of_one_is_integrate_and_fire(seed: int, threshold: float) -> None:
    currents = torch.from_numpy(np.random.default_rng(seed).normal(0.3, 2, (20, 2, 50))).float()
    currents[:, :, 0] = threshold  # a tie at every step
    plain, end = NEURONS.create("if", threshold=threshold).scan(currents)
    burst, last = NEURONS.create("burst:gamma=1", threshold=threshold).scan(currents)
    assert torch.equal(plain, burst)
    assert torch.equal(end.potential, last.potential)


@given(seed=SEEDS, gamma=st.integers(2, 8))
def test_a_burst_never_sends_more_than_it_holds(seed: int, gamma: int) -> None:
    """Thresholds that are no binary fractions: a rounded quotient must not overdraw."""
    rng = np.random.default_rng(seed)
    threshold = float(rng.uniform(0.01, 1))
    multiples = torch.from_numpy(rng.integers(0, gamma + 1, (1, 1, 500))).float()
    held = torch.tensor(threshold) * multiples
    below = torch.nextafter(held, torch.tensor(0.0))
    neuron = NEURONS.create(f"burst:gamma={gamma}", threshold=threshold)
    out, state = neuron.scan(below)
    assert bool((state.potential >= 0).all())
    assert bool((out <= below).all())


@pytest.mark.parametrize(
    ("text", "scale", "wanted", "above"),
    [
        ("burst:q=10", 1, 1.0, False),
        ("burst:q=99,gamma=20", 1, 9.9, False),
        ("burst", 1, 5.0, False),
        ("burst:gamma=2", 0.4, 2.0, False),
        ("burst:gamma=2,q=100", 1, 5.0, True),  # two spikes of 2 a step would never send 10
        ("burst:q=100", 200, 400.0, True),
    ],
)
def test_burst_threshold_is_the_percentile_of_activations_cut_at_gamma(
    text: str, scale: float, wanted: float, above: bool
) -> None:
    graph = chain(([[1.0]], [0.0]))
    x = (torch.arange(1, 1001, dtype=torch.float64) / 100 * scale)[:, None]
    plan = calibrated(text, graph, [x])
    assert thresholds(plan) == pytest.approx([wanted], rel=2e-4)
    assert plan.record[0]["threshold_above_gamma"] == (list(graph.sites) if above else [])


def test_only_bursts_reach_activations_above_the_threshold() -> None:
    graph = random_graph(21, exact=False).to(torch.float64)
    x = images(graph, 21, 8).double()
    plan = calibrated("max:factor=0.3", graph, [x])
    (wanted,) = run(graph, x).values()
    gaps = {}
    for neuron in ("if", "burst:gamma=5"):
        (out,) = simulate(to_spiking(graph, plan, neuron=neuron), x, steps=128).outputs
        gaps[neuron] = float((out[-1] - wanted).abs().mean())
    assert gaps["burst:gamma=5"] < 0.2 * gaps["if"]


# Options


@pytest.mark.parametrize(
    "spec",
    [
        "spike-norm:steps=0", "spike-norm:steps=x", "rmp:factor=0", "rmp:factor=nan",
        "rmp:steps=-1", "rmp:samples=0", "rmp:behind=x",
        "hybrid:factor=-1", "opt:steps=0", "opt:q=0", "opt:q=101", "burst:q=0",
        "burst:gamma=0", "burst:gamma=1.5", "spike-norm:factor=2",
    ],
)  # fmt: skip
def test_wrong_options_are_configuration_errors(spec: str) -> None:
    with pytest.raises(ConfigError):
        CALIBRATORS.create(spec)


@pytest.mark.parametrize("spec", ["burst:gamma=0", "burst:gamma=x", "burst:reset=zero"])
def test_wrong_burst_neurons_are_configuration_errors(spec: str) -> None:
    with pytest.raises(ConfigError):
        NEURONS.create(spec, threshold=1.0)


@pytest.mark.parametrize("name", ["spike-norm", "rmp", "hybrid", "opt"])
def test_the_record_holds_the_steps_that_were_used(name: str) -> None:
    graph = chain(([[1.0]], [0.0]))
    for text, wanted in ((name, 8), (f"{name}:steps=3", 3)):
        (record,) = calibrated(text, graph, [double([1.0])]).record
        assert record["stage"] == name
        assert record["steps"] == wanted
