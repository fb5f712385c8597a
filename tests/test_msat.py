"""MSAT against the authors' logged traces, numbers worked out by hand, and its own laws.

`by_hand` is the definition in plain floats, one neuron and one step at a time, with the readings
that the project does not follow as options, so that tests can tell them apart.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import exp, log1p
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from calibrate import parse_stages
from calibrate.cautions import cautions
from calibrate.confidence import Counts, count
from convsnn.encoders import ENCODERS
from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import Graph, Node, run
from convsnn.load import load_module
from convsnn.measure import Activity
from convsnn.neurons import NEURONS, Keys
from convsnn.neurons import msat as module
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Context, Plan, SitePlan, run_stages
from zoo.models import MODELS, describe

VGG16 = {"alpha": 0.03, "ka": 1.0, "ki": 1.0, "c": 5.0, "tau_mp": 1.0, "tau_rd": 1.0}
RESNET20 = VGG16 | {"alpha": 0.3, "tau_mp": 0.5, "tau_rd": 0.5}
RESNET20_REPO = RESNET20 | {"tau_mp": 0.2, "tau_rd": 0.1}
SETS = {"vgg16": VGG16, "resnet20": RESNET20, "resnet20-repo": RESNET20_REPO}
SEEDS = st.integers(0, 2**32 - 1)

Trace = tuple[list[float], list[float], list[float]]


def by_hand(
    z: Sequence[float],
    top: float,
    k: dict[str, float],
    *,
    dtt: bool = True,
    det: bool = True,
    v_t: float | None = None,
    squared: bool = False,
    start: float = 0.0,
) -> Trace:
    """Thresholds, potentials after the step, and sent values of one neuron."""
    v, residuals = start, []
    thetas, sent = [], []
    for t, current in enumerate(z):
        theta = top
        if t:
            away = v - sum(residuals) / t
            bend = log1p(exp(-abs(away / k["ki"]))) + max(away / k["ki"], 0)
            d = k["alpha"] * away + (-top if v_t is None else v_t) + k["ka"] * bend
            e = exp(-current / k["c"])
            weight = k["tau_rd"] ** (2 if squared else 1)
            theta = top / (1 + exp(-(k["tau_mp"] * d * dtt + weight * e * det)))
        v += current
        y = theta if v >= theta else 0.0
        v -= y
        residuals.append(v)
        thetas.append(theta)
        sent.append(y)
    return thetas, residuals, sent


def traced(spec: str, z: Iterable[float], threshold: float, **given: Any) -> Trace:
    """The same of the project's neuron, fed one step at a time, in float64."""
    neuron, state = NEURONS.create(spec, threshold=threshold, **given), None
    thetas, potentials, sent = [], [], []
    for current in z:
        out, state = neuron.scan(torch.full((1, 1, 1), current, dtype=torch.float64), state)
        thetas.append(float(state.threshold))
        potentials.append(float(state.potential))
        sent.append(float(out))
    return thetas, potentials, sent


LOGS = [  # spec, V_max, currents, thresholds the authors logged, their residuals, by step
    ("msat:det=false", 2.913, [-0.028] * 4, [2.913, 0.285, 0.283, 0.282], {}),
    ("msat:dtt=false", 2.913, [-0.028] * 3, [2.913, 2.133, 2.133], {}),
    (
        "msat:det=false", 1.587, [0.194, -0.09, 0.383, -0.01],
        [1.587, 0.461, 0.453, 0.448], {2: 0.034},
    ),
    (
        "msat:det=false", 2.418, [0.243, 0.394, 0.23, 0.154],
        [2.418, 0.366, 0.368, 0.353], {1: 0.272, 2: 0.134},
    ),
    ("msat", 3.544, [-0.095] * 4, [3.544, 0.489, 0.479, 0.469], {}),
    ("msat", 2.414, [0.134, -0.082, 0.129, -0.063], [2.414, 0.799, 0.765, 0.813], {}),
    ("msat", 2.643, [0.164, 0.443, 0.365, 0.152], [2.643, 0.693, 0.766, 0.690], {}),
]  # fmt: skip
SPIKES = [[], [], [2], [1, 2], [], [], [2]]


@pytest.mark.parametrize(("log", "spikes"), list(zip(LOGS, SPIKES, strict=True)))
def test_traces_that_the_authors_logged(log: Any, spikes: list[int]) -> None:
    spec, top, z, thresholds, residuals = log
    thetas, potentials, sent = traced(spec, z, top)
    assert thetas == pytest.approx(thresholds, abs=2e-3)
    assert [t for t, y in enumerate(sent) if y] == spikes
    for step, value in residuals.items():
        assert potentials[step] == pytest.approx(value, abs=2e-3)


STEADY = [0.9] * 6
WORKED = [  # spec, currents, thresholds, spikes, potentials
    (
        "msat:set=vgg16", STEADY, [2, 0.768483, 0.785298, 0.799738, 0.812018, 0.822399],
        [0, 1, 1, 1, 1, 1], [0.9, 1.031517, 1.146218, 1.246481, 1.334463, 1.412064],
    ),
    (
        "msat:set=resnet20", STEADY, [2, 0.882648, 0.884362, 0.885854, 0.887157, 0.888295],
        [0, 1, 1, 1, 1, 1], [0.9, 0.917352, 0.932991, 0.947137, 0.95998, 0.971685],
    ),
    (
        "msat:det=false", STEADY, [2, 0.426028, 0.472177, 0.519373, 0.564877, 0.606521],
        [0, 1, 1, 1, 1, 1], None,
    ),
    ("msat:dtt=false", STEADY, [2, *[1.394936] * 5], [0, 1, 0, 1, 1, 0], None),
    (
        "msat", [0.9, 0.9, -0.4, 0.9, 0.2, 0.9],
        [2, 0.768483, 0.90619, 0.716261, 0.821196, 0.657466],
        [0, 1, 0, 1, 1, 1], [0.9, 1.031517, 0.631517, 0.815256, 0.19406, 0.436594],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "z", "thresholds", "spikes", "last"), WORKED)
def test_worked_numbers(spec: str, z: list[float], thresholds: Any, spikes: Any, last: Any) -> None:
    thetas, potentials, sent = traced(spec, z, 2.0)
    assert thetas == pytest.approx(thresholds, abs=1e-6)
    assert [int(y > 0) for y in sent] == spikes
    assert sent == [theta * s for theta, s in zip(thetas, spikes, strict=True)]
    if last is not None:
        assert potentials == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize(("name", "mean"), [("vgg16", 0.664656), ("resnet20", 0.738053)])
def test_worked_mean_outputs(name: str, mean: float) -> None:
    assert np.mean(traced(f"msat:set={name}", STEADY, 2.0)[2]) == pytest.approx(mean, abs=1e-6)


def test_other_readings_of_the_paper_are_told_apart() -> None:
    ours = traced("msat", STEADY, 2.0)[0]
    other = by_hand(STEADY, 2.0, VGG16, v_t=0.0)[0]
    stated = [2, 1.643549, 1.587787, 1.698947, 1.593073, 1.714651]
    assert other == pytest.approx(stated, abs=1e-6)
    assert all(abs(a - b) > 0.1 for a, b in zip(ours[1:], other[1:], strict=True))
    twice = by_hand(STEADY, 2.0, RESNET20, squared=True)[0]
    assert twice[1] == pytest.approx(0.781287, abs=1e-6)
    assert abs(traced("msat:set=resnet20", STEADY, 2.0)[0][1] - twice[1]) > 0.1


def test_normalised_potentials_are_another_neuron() -> None:
    """Input over the maximum and V_T = -1, as in a later port, is what reference=1 asks for."""
    normalised = [1, 0.647274, 0.63553, 0.625077]
    plain = [theta / 2 for theta in traced("msat", STEADY, 2.0)[0]]
    assert all(abs(a - b) > 0.1 for a, b in zip(plain[1:4], normalised[1:], strict=True))
    asked = [theta / 2 for theta in traced("msat:reference=1", STEADY, 2.0)[0]]
    assert asked[:4] == pytest.approx(normalised, abs=1e-6)


@settings(max_examples=60)
@given(
    z=st.lists(st.floats(-2, 4), min_size=1, max_size=25),
    top=st.floats(0.25, 8),
    name=st.sampled_from(list(SETS)),
    parts=st.sampled_from([(True, True), (True, False), (False, True)]),
    start=st.sampled_from([0.0, 0.5, -1.25]),
)
def test_every_step_follows_the_definition(
    z: list[float], top: float, name: str, parts: tuple[bool, bool], start: float
) -> None:
    dtt, det = parts
    spec = f"msat:set={name},dtt={dtt},det={det}"
    got = traced(spec, z, top, potential=start)
    expected = by_hand(z, top, SETS[name], dtt=dtt, det=det, start=start)
    if any(abs(v) < 1e-9 for v in expected[1]):  # a tie, which rounding decides
        return
    for mine, theirs in zip(got, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)


@given(value=st.floats(0.05, 3), key=st.sampled_from(list(VGG16)), seed=SEEDS)
@settings(max_examples=30)
def test_single_constants_replace_those_of_the_set(value: float, key: str, seed: int) -> None:
    z = np.random.default_rng(seed).normal(0.4, 0.5, 8).tolist()
    got = traced(f"msat:set=resnet20,{key}={value}", z, 1.5)
    expected = by_hand(z, 1.5, RESNET20 | {key: value})
    for mine, theirs in zip(got, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)


# Scale


def population(rng: np.random.Generator, steps: int = 20) -> tuple[Tensor, Tensor]:
    """Currents (T, 3, 2, 4) with spikes among them, and one threshold per channel (2, 1)."""
    currents = torch.from_numpy(rng.normal(0.4, 0.7, (steps, 3, 2, 4))).float()
    return currents, torch.from_numpy(rng.uniform(0.5, 3, (2, 1))).float()


@pytest.mark.parametrize("name", list(SETS))
@given(seed=SEEDS, top=st.sampled_from([0.7, 1.0, 2.913, 5.0]))
@settings(max_examples=15)
def test_a_layer_whose_maximum_is_the_reference_is_the_original(
    name: str, seed: int, top: float
) -> None:
    currents, _ = population(np.random.default_rng(seed))
    plain, end = NEURONS.create(f"msat:set={name}", threshold=top).scan(currents)
    free, last = NEURONS.create(f"msat:set={name},reference={top}", threshold=top).scan(currents)
    assert torch.equal(plain, free)
    assert torch.equal(end.potential, last.potential)


@given(seed=SEEDS, power=st.integers(-4, 6))
@settings(max_examples=30)
def test_with_a_reference_the_scale_of_a_layer_changes_nothing_else(seed: int, power: int) -> None:
    currents, threshold = population(np.random.default_rng(seed))
    spec = "msat:set=resnet20,reference=2.5"
    out, _ = NEURONS.create(spec, threshold=threshold).scan(currents)
    scaled, _ = NEURONS.create(spec, threshold=threshold * 2**power).scan(currents * 2**power)
    assert torch.equal(scaled, out * 2**power)  # powers of two do not round


def test_without_a_reference_scale_matters_as_stated() -> None:
    # threshold over maximum for V = V_m and no current
    stated = {0.5: 0.767, 1: 0.667, 2: 0.424, 3: 0.213, 5: 0.035, 8: 0.0018}
    for top, ratio in stated.items():
        assert traced("msat", [0.0, 0.0], top)[0][1] / top == pytest.approx(ratio, abs=6e-4)


@pytest.mark.parametrize("det", [True, False])
@pytest.mark.parametrize("tau_rd", [0.0, 1.0])
@pytest.mark.parametrize("current", [-1e4, 1e4, -3e38])
def test_huge_currents_leave_no_infinities(det: bool, tau_rd: float, current: float) -> None:
    neuron = NEURONS.create(f"msat:tau_rd={tau_rd},det={det}", threshold=2.0)
    out, state = neuron.scan(torch.tensor([0.5, current, 0.5]).reshape(3, 1, 1))
    assert out.isfinite().all()
    assert state.threshold.isfinite().all()


# Spike confidence


def mask(monkeypatch: pytest.MonkeyPatch, kept: list[int]) -> None:
    """Let the draws keep the spikes of the steps marked 1."""

    def uniform(seed: int, ids: Tensor, site: int, steps: range, shape: Any) -> Tensor:
        low = torch.tensor([0.0 if kept[step] else 0.9 for step in steps], dtype=torch.float64)
        return low.reshape(-1, 1, *[1] * len(shape)).expand(len(steps), len(ids), *shape)

    monkeypatch.setattr(module, "uniform", uniform)


@pytest.mark.parametrize("option", ["preset=repo", "sc_reset=repo", "preset=paper,sc_reset=repo"])
def test_repo_preset_loses_the_charge_of_a_dropped_spike(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    mask(monkeypatch, [1, 0, 1, 1, 0, 1])
    _, potentials, sent = traced(f"msat:{option}", STEADY, 2.0, confidence=0.5)
    assert potentials == pytest.approx(WORKED[0][4], abs=1e-6)
    assert sent == pytest.approx([0, 0, 0.785298, 0.799738, 0, 0.822399], abs=1e-6)


@pytest.mark.parametrize("option", ["preset=paper", "preset=repo,sc_reset=paper", "set=vgg16"])
def test_paper_preset_keeps_the_charge_of_a_dropped_spike(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    mask(monkeypatch, [1, 0, 1, 1, 0, 1])
    thetas, potentials, sent = traced(f"msat:{option}", STEADY, 2.0, confidence=0.5)
    stated = [2, 0.768483, 0.896383, 0.851156, 0.839739, 1.06307]
    assert thetas == pytest.approx(stated, abs=1e-6)
    assert potentials == pytest.approx([0.9, 1.8, 1.803617, 1.852461, 2.752461, 2.589391], abs=1e-6)
    assert [y > 0 for y in sent] == [False, False, True, True, False, True]


@pytest.mark.parametrize(
    ("spec", "early"), [("msat", 16), ("msat:early=3", 3), ("msat:early=0", 0)]
)
def test_confidence_ends_with_the_early_window(spec: str, early: int) -> None:
    neuron = NEURONS.create(spec, threshold=1.0, confidence=0.0)
    out, _ = neuron.scan(torch.full((20, 1, 3), 1.5))  # enough to fire at every step
    assert [bool(step.any()) for step in out] == [False] * early + [True] * (20 - early)


def test_the_share_of_kept_spikes_is_the_confidence() -> None:
    currents = torch.full((16, 10, 500), 2.0)  # every neuron fires at every step
    for kept in (0.2, 0.683):
        out, _ = NEURONS.create("msat:preset=repo", threshold=1.0, confidence=kept).scan(currents)
        share = float((out != 0).double().mean())
        deviation = (kept * (1 - kept) / currents.numel()) ** 0.5
        assert abs(share - kept) < 5 * deviation


def test_confidence_one_is_no_confidence() -> None:
    currents, threshold = population(np.random.default_rng(0))
    plain, _ = NEURONS.create("msat", threshold=threshold).scan(currents)
    for kept in (1.0, torch.ones(2, 1)):
        assert torch.equal(
            plain, NEURONS.create("msat", threshold=threshold, confidence=kept).scan(currents)[0]
        )


@given(seed=SEEDS, cut=st.integers(1, 19), preset=st.sampled_from(["paper", "repo"]))
@settings(max_examples=30)
def test_with_confidence_neither_chunks_nor_batches_change_anything(
    seed: int, cut: int, preset: str
) -> None:
    currents, threshold = population(np.random.default_rng(seed))
    kept = torch.tensor([[0.3], [0.8]])
    neuron = NEURONS.create(
        f"msat:preset={preset},seed=7",
        threshold=threshold,
        potential=threshold / 2,
        confidence=kept,
    )
    ids = torch.tensor([5, 2, 9])
    whole, end = neuron.scan(currents, keys=Keys(ids, 3))
    first, state = neuron.scan(currents[:cut], keys=Keys(ids, 3))
    second, last = neuron.scan(currents[cut:], state, keys=Keys(ids, 3))
    assert torch.equal(whole, torch.cat([first, second]))
    assert torch.equal(end.potential, last.potential)
    assert end.step == last.step == 20
    for row in range(3):
        alone, _ = neuron.scan(currents[:, [row]], keys=Keys(ids[[row]], 3))
        assert torch.equal(alone[:, 0], whole[:, row])


@pytest.mark.parametrize("size", [1, 7, 15, 17, 100, 1023])
@pytest.mark.parametrize("spec", ["msat", "msat:det=false", "msat:dtt=false", "msat:reference=1.5"])
def test_rounding_does_not_depend_on_where_a_neuron_lies(spec: str, size: int) -> None:
    # vectorised functions often round the last few elements of a tensor otherwise
    currents = torch.from_numpy(np.random.default_rng(size).normal(0.4, 0.7, (12, 5, size))).float()
    neuron = NEURONS.create(spec, threshold=2.3)
    whole, _ = neuron.scan(currents)
    for cut in range(1, 5):
        parts = [neuron.scan(part)[0] for part in (currents[:, :cut], currents[:, cut:])]
        assert torch.equal(whole, torch.cat(parts, 1))


def test_draws_differ_by_seed_site_and_sample() -> None:
    currents = torch.full((16, 2, 40), 2.0)

    def scan(seed: int, site: int, first: int) -> Tensor:
        neuron = NEURONS.create(f"msat:seed={seed}", threshold=1.0, confidence=0.5)
        return neuron.scan(currents, keys=Keys(torch.arange(first, first + 2), site))[0]

    base = scan(0, 1, 0)
    assert torch.equal(base, scan(0, 1, 0))
    for other in (scan(1, 1, 0), scan(0, 2, 0), scan(0, 1, 2)):
        assert not torch.equal(base, other)
    assert not torch.equal(base[:, 0], base[:, 1])


@given(seed=SEEDS, kept=st.floats(0, 1), start=st.floats(-1, 1))
@settings(max_examples=40)
def test_the_paper_conserves_charge_whatever_is_dropped(
    seed: int, kept: float, start: float
) -> None:
    currents, threshold = population(np.random.default_rng(seed))
    currents, threshold = currents.double(), threshold.double()
    neuron = NEURONS.create("msat", threshold=threshold, potential=start, confidence=kept)
    out, state = neuron.scan(currents)
    given_in = start + currents.sum(0)
    torch.testing.assert_close(given_in, state.potential + out.sum(0), rtol=0, atol=1e-9)
    assert state.step == 20


@given(seed=SEEDS)
@settings(max_examples=20)
def test_thresholds_stay_between_zero_and_the_maximum(seed: int) -> None:
    currents, threshold = population(np.random.default_rng(seed))
    neuron, state = NEURONS.create("msat", threshold=threshold), None
    for current in currents:
        out, state = neuron.scan(current[None], state)
        assert ((state.threshold > 0) & (state.threshold <= threshold)).all()
        sent = out[0]
        assert torch.equal(sent, torch.where(sent != 0, state.threshold, 0.0))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("msat:set=vgg19", "one of vgg16"),
        ("msat:ki=0", "ki must be finite and positive"),
        ("msat:alpha=nan", "alpha"),
        ("msat:tau_rd=-1", "tau_rd"),
        ("msat:dtt=false,det=false", "use the neuron 'if'"),
        ("msat:confidence=1.5", "between 0 and 1"),
        ("msat:confidence=nan", "finite number"),
        ("msat:early=-1", "early"),
        ("msat:reference=0", "reference"),
        ("msat:tau=1", "no option 'tau'"),
    ],
)
def test_wrong_options_are_configuration_errors(spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        NEURONS.create(spec, threshold=1.0)
    assert "msat" in str(caught.value)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), torch.tensor([1.0, 0.0])])
def test_a_threshold_that_is_not_positive_is_refused(threshold: Any) -> None:
    with pytest.raises(ConfigError, match="threshold must be positive"):
        NEURONS.create("msat", threshold=threshold)


# Where a fixed threshold is, and what is counted


@pytest.mark.parametrize(
    ("z", "rate"), [(0.6, 0.5), (1.3, 1.0), (-0.1, 0.0), (0.99, 0.75), (0.25, 0.25)]
)
def test_fixed_threshold_floors_and_clips(z: float, rate: float) -> None:
    assert np.mean(traced("if", [z] * 4, 1.0)[2]) == rate


PRE = torch.tensor([[-0.5, -0.1, 0.0, 0.3, 0.8, -0.2]])
SENT = torch.tensor([[1.0, 0.0, 2.0, 3.0, 0.0, 0.0]])


def test_counts_of_wrongly_firing_neurons() -> None:
    counts = count(PRE, SENT != 0)
    assert counts == Counts(sin=2, pos=2, silent=4)
    assert counts.sin_ratio == 0.5
    assert counts.confidence == 0.5
    sites = {"relu": SimpleNamespace(signed=False)}
    graph = SimpleNamespace(shapes={"relu": (6,)}, sites=sites)
    activity = Activity(SimpleNamespace(graph=graph, schedule="steps"), 1)
    watch = activity.batch({"relu": PRE})
    watch(Node("relu", "relu"), range(1), SENT[None])
    watch.finish()
    assert float(activity.sin_ratio("relu")) == pytest.approx(1 / 3)  # strictly below zero


# The calibration stage


def context(graph: Graph, batches: list[Tensor], neuron: str = "msat") -> Context:
    return Context(graph, batches, neuron, ENCODERS.create("direct"), 32, 0)


def fitted(seed: int) -> tuple[Graph, Plan, Tensor]:
    graph = random_graph(seed)
    return graph, dyadic_plan(graph, seed), images(graph, seed, 6)


def counted_by_hand(graph: Graph, plan: Plan, x: Tensor, site: str, steps: int) -> float:
    fired: dict[str, Tensor] = {}

    def observe(node: Node, seen: range, value: Tensor) -> None:
        if node.name == site:
            for spikes in value:
                fired[site] = (spikes != 0) | fired.get(site, torch.zeros_like(spikes).bool())

    simulate(to_spiking(graph, plan, neuron="msat"), x, steps=steps, observe=observe)
    source = graph.by_name[site].inputs[0]
    pre = run(graph, x, keep=[source])[source]
    pairs = list(zip(fired[site].flatten().tolist(), pre.flatten().tolist(), strict=True))
    sin = sum(1 for spoke, a in pairs if spoke and a <= 0)
    pos = sum(1 for spoke, a in pairs if spoke and a >= 0)
    return 1 - sin / (sin + pos)


@pytest.mark.parametrize("steps", [16, 5])
def test_the_stage_measures_the_last_layer_and_leaves_the_others(steps: int) -> None:
    graph, plan, x = fitted(3)
    (stage,) = parse_stages(f"confidence:value=auto,steps={steps}")
    made = stage(context(graph, [x]), plan)
    *others, last = graph.sites
    expected = counted_by_hand(graph, plan, x, last, steps)
    assert 0 < expected < 1
    assert float(made.sites[last].confidence) == pytest.approx(expected)
    assert all(made.sites[name] == plan.sites[name] for name in others)
    assert made.record[-1]["stage"] == "confidence"
    assert made.record[-1]["confidence"] == {last: pytest.approx(expected)}


def test_the_measurement_ignores_batches_and_an_earlier_confidence() -> None:
    graph, plan, x = fitted(3)
    (stage,) = parse_stages("confidence:layers=all")
    whole = stage(context(graph, [x]), plan)
    parts = stage(context(graph, [x[:1], x[1:5], x[5:]]), plan)
    again = stage(context(graph, [x]), whole)
    for name in graph.sites:
        value = whole.sites[name].confidence
        assert value is not None
        assert torch.equal(value, parts.sites[name].confidence)
        assert torch.equal(value, again.sites[name].confidence)
        assert float(value) == pytest.approx(counted_by_hand(graph, plan, x, name, 16))


@pytest.mark.parametrize("layers", ["last", "all"])
def test_a_given_value_is_taken_as_it_is(layers: str) -> None:
    graph, _, x = fitted(1)
    stages = parse_stages(f"max+confidence:value=0.683,layers={layers}")
    plan = run_stages(context(graph, [x]), stages)
    values = [site.confidence for site in plan.sites.values()]
    assert [r["stage"] for r in plan.record] == ["max", "confidence"]
    assert float(values[-1]) == pytest.approx(0.683)
    assert all((v is None) == (layers == "last") for v in values[:-1])
    assert float(to_spiking(graph, plan, neuron="msat").neurons[list(plan.sites)[-1]].confidence)


@pytest.mark.parametrize(
    ("neuron", "said"),
    [("if", "needs a neuron that knows confidence"), ("msat:confidence=0.5", "confidence already")],
)
def test_the_stage_refuses_a_neuron_that_does_not_fit(neuron: str, said: str) -> None:
    graph, plan, x = fitted(1)
    with pytest.raises(ConfigError, match=said) as caught:
        parse_stages("confidence")[0](context(graph, [x], neuron), plan)
    assert caught.value.hint


def test_the_stage_needs_thresholds_images_and_spikes() -> None:
    graph, plan, x = fitted(1)
    (stage,) = parse_stages("confidence")
    with pytest.raises(CalibrationError, match="has no threshold"):
        stage(context(graph, [x]), Plan())
    with pytest.raises(CalibrationError, match="no calibration images"):
        stage(context(graph, []), plan)
    last = list(graph.sites)[-1]
    (short,) = parse_stages("confidence:steps=1")
    loud = SitePlan(torch.tensor(1e6), torch.tensor(0.0))
    with pytest.raises(CalibrationError, match=f"'{last}' does not fire in 1 steps"):
        short(context(graph, [x]), plan.with_sites({last: loud}, {}))


@pytest.mark.parametrize("option", ["value=1.5", "value=-0.1", "steps=0", "layers=first"])
def test_wrong_options_of_the_stage_are_configuration_errors(option: str) -> None:
    with pytest.raises(ConfigError, match="confidence"):
        parse_stages(f"max+confidence:{option}")


@pytest.mark.parametrize(
    ("neuron", "warned"),
    [
        ("msat", True),
        ("msat:set=resnet20", True),
        ("msat:reference=2", False),
        ("msat:tau_mp=0.1", False),
    ],
)
def test_large_thresholds_with_published_constants_are_warned_of(neuron: str, warned: bool) -> None:
    graph, plan, _ = fitted(1)
    first = next(iter(graph.sites))
    loud = SitePlan(torch.tensor(6.0), torch.tensor(0.0))
    found = cautions(neuron, plan.with_sites({first: loud}, {"stage": "max"}))
    assert len(found) == int(warned)
    assert all(f"6, in '{first}'" in caution.text for caution in found)
    assert all(caution.remedy.endswith("reference=2") for caution in found)


@pytest.mark.parametrize(
    ("stage", "neuron", "words"),
    [
        ({"stage": "spike-norm"}, "if", "if:reset=zero"),
        ({"stage": "spike-norm"}, "if:reset=zero", ""),
        ({"stage": "burst", "gamma": 5}, "if", "burst:gamma=5"),
        ({"stage": "burst", "gamma": 5}, "burst:gamma=3", "burst:gamma=5"),
        ({"stage": "burst", "gamma": 5}, "burst", ""),
    ],
)
def test_stages_made_for_another_neuron_are_warned_of(
    stage: dict[str, Any], neuron: str, words: str
) -> None:
    found = cautions(neuron, Plan({}, {}, (stage,)))
    assert len(found) == bool(words)
    assert all(words in caution.text and words in caution.remedy for caution in found)


@pytest.mark.parametrize(("seed", "chunk", "cut"), [(0, 1, 1), (1, 7, 2), (2, 19, 3)])
def test_a_network_with_confidence_does_not_depend_on_chunks_and_batches(
    seed: int, chunk: int, cut: int
) -> None:
    graph, plan, x = fitted(seed)
    x, ids = x[:4], torch.tensor([4, 0, 7, 3])
    (stage,) = parse_stages("confidence:value=0.5,layers=all")
    net = to_spiking(graph, stage(context(graph, [x]), plan), neuron="msat:seed=3")
    first = next(iter(graph.sites))  # its currents are exact; those behind may round otherwise

    def spikes(net: Spiking, rows: slice, chunk: int = 20) -> Tensor:
        seen = {}

        def observe(node: Node, steps: range, value: Tensor) -> None:
            if node.name == first:
                seen[steps.start] = value.clone()

        simulate(net, x[rows], steps=20, ids=ids[rows], chunk=chunk, observe=observe)
        return torch.cat(list(seen.values()))

    whole = spikes(net, slice(4))
    assert torch.equal(whole, spikes(net, slice(4), chunk))
    assert torch.equal(whole, torch.cat([spikes(net, slice(cut)), spikes(net, slice(cut, 4))], 1))
    if whole.any():
        plain = to_spiking(graph, plan, neuron="msat")
        assert not torch.equal(whole, spikes(plain, slice(4)))


# The networks


def vgg_size(classes: int) -> int:
    widths = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
    convolutions = sum(a * b * 9 + b for a, b in pairwise(widths))
    return convolutions + 2 * sum(widths[1:]) + 512 * classes + classes


def resnet_size(classes: int) -> int:
    size = 3 * 64 * 9 + 2 * 64 * 64 * 9 + 3 * 2 * 64
    before = 64
    for width in (64, 128, 256, 512):
        size += before * width * 9 + 3 * width * width * 9 + 4 * 2 * width
        if width != before:
            size += before * width + 2 * width
        before = width
    return size + 512 * classes + classes


@pytest.mark.parametrize("classes", [10, 100])
def test_parameters_are_as_many_as_counted_by_hand(classes: int) -> None:
    rows = {row["name"]: row["parameters"] for row in describe()}
    assert rows[f"vgg16-cifar{classes}"] == vgg_size(classes)
    assert rows[f"msat-resnet20-cifar{classes}"] == resnet_size(classes)


def test_vgg16_costs_what_the_energy_formula_counts() -> None:
    counts = []

    def note(layer: nn.Module, _: Any, out: Tensor) -> None:
        weight = layer.weight
        counts.append(weight[0].numel() * out[0].numel())

    network = MODELS.create("vgg16-cifar10").module(weights=False)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    with torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32))
    wide, half = 37_748_736, 18_874_368
    assert counts == [
        1_769_472, wide, half, wide, half, wide, wide, half, wide, wide, *[9_437_184] * 3, 5_120
    ]  # fmt: skip
    assert sum(counts) == 313_201_664


@pytest.mark.parametrize(
    ("name", "layers", "last"),
    [("vgg16-cifar10", 13, (512, 2, 2)), ("msat-resnet20-cifar100", 19, (512, 4, 4))],
)
def test_both_networks_can_be_converted(name: str, layers: int, last: tuple[int, ...]) -> None:
    entry = MODELS.create(name)
    graph = load_module(entry.module(weights=False), torch.randn(2, *entry.input_shape))
    graph.require_convertible()
    sites = list(graph.sites.values())
    assert len(sites) == layers
    assert sites[-1].shape == last
    assert all(site.ceiling is None for site in sites)
