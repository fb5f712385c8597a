"""The parts of training: worked numbers of the papers' equations, laws, and the simulation's bits.

The worked numbers were computed from the equations by hand, in float64, to six digits or more.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from convsnn.errors import ConfigError
from convsnn.neurons import NEURONS
from convsnn.train import LOSSES, SURROGATES, THRESHOLDS, Threshold
from convsnn.train.dropout import ModerateDropout, Twin, drop_probability
from convsnn.train.lateral import Lateral
from convsnn.train.lif import LIF
from convsnn.train.sawb import Sawb, clip_bound
from convsnn.train.surrogates import Arctan, Exponential, Rectangle, Surrogate, Triangle, spike

SEEDS = st.integers(0, 2**32 - 1)
M = 0.46211715726  # tanh(0.5)
MODES = ["sgp", "sgp_noindicator", "stsg", "gpw_all", "repo_sum"]
LEARNED = ["ltmd", *(f"lt-snn:mode={mode}" for mode in MODES)]


def near(found: Tensor | float, expected: Any) -> None:
    """Equal to the digits given, of which there are six at least."""
    found = torch.as_tensor(found).detach().double().flatten()
    torch.testing.assert_close(
        found, torch.tensor(expected).double().flatten(), rtol=2e-6, atol=1e-6
    )


def trace(*values: float) -> Tensor:
    """Currents of one neuron, (T, 1, 1), that collect a gradient."""
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1).requires_grad_()


def rule(spec: str, **given: Any) -> Any:
    """A threshold in float64."""
    return THRESHOLDS.create(spec, **given).double()


def potentials(lif: LIF, currents: Tensor) -> Tensor:
    """The potentials that are compared with the threshold."""
    twin = LIF(lif.threshold, decay=lif.decay, reset=lif.reset, output="potential")
    return twin(currents)


# --- surrogates


@pytest.mark.parametrize(
    ("surrogate", "area"),
    [("rectangle:width=0.5", 1), ("triangle:gamma=2", 1), ("arctan:alpha=3", 1),
     ("fast-sigmoid:slope=4", 0.5), ("exponential:scale=1.5,tau=0.5", 3)],
)  # fmt: skip
def test_a_surrogate_is_a_bump_of_known_area(surrogate: str, area: float) -> None:
    made = SURROGATES.create(surrogate)
    distance = torch.linspace(-200, 200, 400_001, dtype=torch.float64)
    slope = made.derivative(distance)
    assert abs(float(torch.trapezoid(slope, distance)) / area - 1) < 4e-3
    assert bool((slope >= 0).all())
    near(slope.max(), float(made.derivative(torch.zeros(1).double())))


@pytest.mark.parametrize("name", SURROGATES.names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract_of_surrogates(name: str, dtype: torch.dtype) -> None:
    surrogate = SURROGATES.create(name)
    distance = torch.linspace(-2, 2, 33, dtype=dtype).requires_grad_()
    spikes = spike(distance, surrogate)
    upstream = torch.linspace(1, 3, 33, dtype=dtype)
    spikes.backward(upstream)
    assert torch.equal(spikes, (distance >= 0).to(dtype))
    assert torch.equal(spike(distance, surrogate, strict=True), (distance > 0).to(dtype))
    slope = surrogate.derivative(distance.detach())
    assert slope.dtype == dtype
    assert torch.equal(slope, slope.flip(0))
    assert torch.equal(distance.grad, upstream * slope)


def test_worked_slopes() -> None:
    distance = torch.tensor([0, 0.5, 1.25, 3.75], dtype=torch.float64)
    near(Exponential(1.5, 3.75).derivative(distance), [0.4, 0.350069, 0.286613, 0.147152])
    near(Exponential(3, 3).derivative(distance), [1, 0.846482, 0.659241, 0.286505])
    edge = torch.tensor([0.5, 0.4999999, -0.5], dtype=torch.float64)
    assert Rectangle().derivative(edge).tolist() == [0, 1, 0]
    near(Triangle().derivative(distance - 0.25), [0.75, 0.75, 0, 0])


# --- LTMD: thresholds by tanh


def test_ltmd_threshold_and_its_slope() -> None:
    threshold = rule("ltmd")
    threshold.value().backward()
    near(threshold.value(), [0.46211715726])
    near(threshold.k.grad, [0.78644773297])


LTMD_TRACES = [  # currents, detached, potentials, spikes, dL/dM, dL/dk, dL/dI
    ([0.3, 0.4, 0.5, 0.1], True, [0.3, 0.475, 0.5, 0.1], [0, 1, 1, 0],
     -4, -3.14579093, [1.25, 1, 1, 1]),
    ([0.3, 0.4, 0.5, 0.1], False, [0.3, 0.475, 0.5, 0.1], [0, 1, 1, 0],
     -3.70388672, -2.91291331, [1.1568164063, 0.89609375, 0.875, 1]),
    ([1.2, 0.1, 0.6, 0.95], True, [1.2, 0.1, 0.625, 0.95], [1, 0, 1, 1],
     -3, -2.3593432, [0, 1.25, 1, 1]),
    ([1.2, 0.1, 0.6, 0.95], False, [1.2, 0.1, 0.625, 0.95], [1, 0, 1, 1],
     -2.82265625, -2.21987161, [0, 1.18984375, 0.84375, 1]),
]  # fmt: skip


@pytest.mark.parametrize(("currents", "detached", "u", "spikes", "dm", "dk", "di"), LTMD_TRACES)
def test_worked_traces_of_ltmd(
    currents: list[float], detached: bool, u: list[float], spikes: list[float],
    dm: float, dk: float, di: list[float],
) -> None:  # fmt: skip
    learned, free = rule("ltmd"), rule(f"lt-snn:initial={math.tanh(0.5)},mode=stsg")
    x = trace(*currents)
    for threshold in (learned, free):
        x.grad = None
        lif = LIF(threshold, decay=0.25, surrogate=Rectangle(), detach_reset=detached)
        out = lif(x)
        out.sum().backward()
        near(potentials(lif, x), u)
        assert out.flatten().tolist() == spikes
        near(x.grad, di)
        near(lif.last_rate, [sum(spikes) / len(spikes)])
    near(learned.k.grad, [dk])
    near(free.m.grad, [dm])


# --- LT-SNN: a separate path for the threshold

LT_SNN = [  # mode, detached dL/dV, attached dL/dV (None: not worked out)
    ("sgp", -0.85378270, -0.69896830),
    ("sgp_noindicator", -1.19411377, None),
    ("stsg", -2.45, -2.016935075),
    ("repo_sum", -3.30378270, None),
]


@pytest.mark.parametrize(("mode", "cut", "whole"), LT_SNN)
def test_worked_traces_of_lt_snn(mode: str, cut: float, whole: float | None) -> None:
    for detached, expected, di in [
        (True, cut, [1.05, 0.9, 0.625, 0.65]),
        (False, whole, [0.7936332, 0.60510375, 0.59575, 0.65]),
    ]:
        threshold, x = rule(f"lt-snn:mode={mode}"), trace(0.6, 0.8, 0.3, 1.2)
        lif = LIF(threshold, decay=0.5, detach_reset=detached)
        out = lif(x)
        out.sum().backward()
        near(potentials(lif, x), [0.6, 1.1, 0.3, 1.35])
        assert out.flatten().tolist() == [0, 1, 0, 1]
        near(x.grad, di)
        if expected is not None:
            near(threshold.m.grad, [expected])


def test_gpw_for_all_narrows_both_paths() -> None:
    x, threshold = trace(0.6, 1.1), rule("lt-snn:mode=gpw_all")
    LIF(threshold, decay=0.0)(x).sum().backward()
    windows = [0.6 * 0.40131234, 0.9 * 0.52497919]
    near(x.grad, windows)
    near(threshold.m.grad, [-sum(windows)])


@pytest.mark.parametrize(
    ("gpw", "window"),
    [("sigmoid", [0.40131234, 0.52497919]), ("triangle", [0.6, 0.9]), ("piecewise", [0.3, 0.55]),
     ("arctan", [1 / (1 + (math.pi * 0.4) ** 2), 1 / (1 + (math.pi * 0.1) ** 2)])],
)  # fmt: skip
def test_penalty_windows(gpw: str, window: list[float]) -> None:
    for mode, fired in [("sgp", [0, 1]), ("sgp_noindicator", [1, 1])]:
        threshold = rule(f"lt-snn:mode={mode},gpw={gpw}")
        LIF(threshold, decay=0.0)(trace(0.6, 1.1)).sum().backward()
        slopes = [0.6 * window[0] * fired[0], 0.9 * window[1] * fired[1]]
        near(threshold.m.grad, [-sum(slopes)])


@pytest.mark.parametrize("spec", LEARNED)
def test_a_higher_threshold_means_fewer_spikes(spec: str) -> None:
    """Raising the output has to lower the threshold: the sign of its gradient is minus."""
    threshold = rule(spec)
    LIF(threshold, decay=0.0)(trace(1.1)).sum().backward()
    assert [float(p.grad) < 0 for p in threshold.parameters()] == [True]


# --- Rouser: leak, undecayed subtraction, exponential slope

CURRENT = [0, 0, 1, 0.75, 1.5625, 1.171875]  # (1), delayed by one step as (2) has it


@pytest.mark.parametrize(("whole", "expected"), [(False, -4.85282628), (True, -8.11754916)])
def test_worked_chain_with_soft_reset_and_a_filtered_loss(whole: bool, expected: float) -> None:
    threshold = rule("lt-snn:mode=stsg,initial=1.25", whole=whole)
    lif = LIF(
        threshold, decay=0.97, reset="soft", detach_reset=True, surrogate=Exponential(1.5, 3.75)
    )
    x = trace(*CURRENT)
    out = lif(x)
    near(potentials(lif, x), [0, 0, 1, 1.72, 1.9809, 1.843348])
    error = out.flatten() - torch.tensor([0.0, 1, 0, 0, 0, 0])
    kernel = torch.tensor([(n + 1) * math.exp(-n / 2) for n in range(6)]).double()
    filtered = [sum(kernel[t - s] * error[s] for s in range(t + 1)) for t in range(6)]
    loss = torch.stack(filtered).square().sum() / 2
    loss.backward()
    near(loss, [5.59790449])
    torch.testing.assert_close(
        x.grad.flatten(),
        torch.tensor([4.36075, 4.62874, 4.65986, 3.84923, 2.36325, 0.90147]).double(),
        rtol=0, atol=6e-6,
    )  # fmt: skip
    near(threshold.m.grad, [expected])


# --- DSR


def test_worked_traces_of_dsr() -> None:
    lif = LIF(rule("dsr"), reset="soft", sends="threshold")
    assert lif(trace(0.5, 0.5, 0.5, 0.5)).flatten().tolist() == [1, 0, 1, 0]
    assert lif(trace(2, 2, 2, 2)).flatten().tolist() == [1, 1, 1, 1]
    near(lif.last_rate, [1])


def test_dsr_learns_from_time_means() -> None:
    threshold = rule("dsr")
    x = torch.tensor([[0.2, 3, -1], [0.6, 1, 0.5]], dtype=torch.float64)[:, None].requires_grad_()
    upstream = torch.tensor([[1.0, 2, 4], [8, 16, 32]], dtype=torch.float64)[:, None]
    LIF(threshold, reset="soft", sends="threshold")(x).backward(upstream)
    near(x.grad, [[4.5, 0, 0], [4.5, 0, 0]])  # means 0.4, 2 and -0.25
    near(threshold.m.grad, [18])


@given(seed=SEEDS)
def test_dsr_sends_the_clipped_mean_within_one_spike(seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 3, (1, 2, 7)))
    steps = 50
    out = LIF(rule("dsr", unit=1.5), reset="soft", sends="threshold")(x.expand(steps, 2, 7))
    assert bool(((out.mean(0) - x[0].clamp(0, 1.5)).abs() <= 1.5 / steps + 1e-9).all())


# --- the recursion in time, for every combination


def by_hand(
    x: Tensor, g: Tensor, *, v: float, decay: float, hard: bool, cut: bool, surrogate: Surrogate
) -> tuple[list[float], float]:
    """dL/dI and the firing path's dL/dV of one neuron, step by step backwards."""
    u, s, before = [], [], 0.0
    for current in x.tolist():
        u.append(before + current)
        s.append(float(u[-1] >= v))
        before = decay * u[-1] * (1 - s[-1]) if hard else decay * u[-1] - v * s[-1]
    di, dv, later = [0.0] * len(u), 0.0, 0.0
    for t in reversed(range(len(u))):
        slope = float(surrogate.derivative(torch.tensor(u[t] - v).double()))
        ds = float(g[t]) - (0 if cut else later * (decay * u[t] if hard else v))
        later = ds * slope + later * decay * ((1 - s[t]) if hard else 1)
        di[t], dv = later, dv - ds * slope
    return di, dv


@pytest.mark.parametrize(("reset", "cut"), list(product(["hard", "soft"], [False, True])))
@given(seed=SEEDS, steps=st.integers(1, 7), decay=st.sampled_from([0.0, 0.25, 0.9, 1.0]))
def test_the_backward_pass_is_the_recursion(
    reset: Any, cut: bool, seed: int, steps: int, decay: float
) -> None:
    rng = np.random.default_rng(seed)
    x, g = torch.from_numpy(rng.normal(0.5, 1, steps)), torch.from_numpy(rng.normal(0, 1, steps))
    threshold, currents = rule("lt-snn:mode=stsg,initial=0.8"), trace(*x.tolist())
    lif = LIF(threshold, decay=decay, reset=reset, detach_reset=cut, surrogate=Arctan())
    lif(currents).flatten().backward(g)
    v = float(threshold.value().detach())
    di, dv = by_hand(x, g, v=v, decay=decay, hard=reset == "hard", cut=cut, surrogate=lif.surrogate)
    near(currents.grad, di)
    near(threshold.m.grad, [dv])


class Smooth(Threshold):
    """Fires by degrees: the integral of the arctan surrogate instead of the step."""

    def __init__(self, m: float, unit: float) -> None:
        super().__init__(unit=unit)
        self.m = nn.Parameter(torch.tensor(m))

    def number(self) -> Tensor:
        return self.m

    def fire(self, potential: Tensor, surrogate: Surrogate, *, strict: bool = False) -> Tensor:
        distance = (potential - self.value()) / self.unit
        return 0.5 + torch.atan(math.pi * distance) / math.pi


COMBINATIONS = [
    *product(["hard", "soft"], ["one", "threshold"], ["spike"]),
    *product(["hard", "soft"], ["one"], ["potential"]),
]


@pytest.mark.parametrize(("reset", "sends", "output"), COMBINATIONS)
def test_gradients_against_finite_differences(reset: Any, sends: Any, output: Any) -> None:
    torch.manual_seed(0)
    lif = LIF(
        Smooth(0.9, 1.7), decay=0.6, reset=reset, sends=sends, output=output,
        potential=nn.Parameter(torch.tensor([0.1, 0.2, 0.3])), lateral=Lateral(3),
    ).double()  # fmt: skip
    parameters = tuple(lif.parameters())
    assert len(parameters) == 3
    x = torch.randn(3, 1, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        names = [name for name, _ in lif.named_parameters()]
        return torch.func.functional_call(lif, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


def test_a_spike_passes_on_the_slope_of_the_smooth_function() -> None:
    """One step of the hard threshold against autograd through the smooth one."""
    u = torch.linspace(-3, 5, 41, dtype=torch.float64)
    found = []
    for threshold in (rule("lt-snn:mode=stsg,initial=0.9", unit=1.7), Smooth(0.9, 1.7).double()):
        potential = u.clone().requires_grad_()
        threshold.fire(potential, Arctan()).backward(u.cos())
        found.append((potential.grad, threshold.m.grad))
    for hard, smooth in zip(*found, strict=True):
        torch.testing.assert_close(hard, smooth)


# --- thresholds that do not learn, units, floors, shapes


@pytest.mark.parametrize("spec", LEARNED)
@pytest.mark.parametrize(("reset", "sends"), list(product(["hard", "soft"], ["one", "threshold"])))
def test_frozen_equals_fixed_to_the_last_bit(spec: str, reset: Any, sends: Any) -> None:
    torch.manual_seed(1)
    frozen = THRESHOLDS.create(spec).requires_grad_(False)
    fixed = THRESHOLDS.create("fixed", value=float(frozen.value()))
    x = torch.randn(6, 3, 5)
    results = []
    for threshold in (frozen, fixed):
        currents = x.clone().requires_grad_()
        out = LIF(threshold, decay=0.7, reset=reset, sends=sends)(currents)
        out.backward(x.cos())
        results.append((out, currents.grad))
    assert torch.equal(results[0][0], results[1][0])
    if "gpw_all" not in spec:  # which narrows the potential's window, too
        assert torch.equal(results[0][1], results[1][1])
    assert frozen.get_parameter("k" if spec == "ltmd" else "m").grad is None


@pytest.mark.parametrize("spec", ["fixed", "ltmd:k=0.3", "lt-snn", "dsr"])
def test_a_unit_is_where_learning_starts_and_scales_out(spec: str) -> None:
    """Powers of two, so that the scaled run has the bits of the plain one."""
    torch.manual_seed(2)
    x, unit = torch.randn(5, 2, 3, 4), torch.tensor([0.5, 2.0, 32.0])[:, None]
    results = []
    for scale in (torch.ones(3, 1), unit):
        threshold = THRESHOLDS.create(spec, unit=scale)
        assert torch.equal(threshold.value(), scale)
        currents = (x * scale).requires_grad_()
        out = LIF(threshold, decay=1.0, reset="soft", sends="threshold")(currents) / scale
        out.backward(x.cos())
        results.append((out, currents.grad * scale, [p.grad for p in threshold.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    torch.testing.assert_close(results[0][2], results[1][2])


@pytest.mark.parametrize("spec", ["ltmd:k=-2", "lt-snn:initial=-0.5", "dsr:initial=-0.5"])
def test_a_floor_holds_and_lets_the_threshold_rise_again(spec: str) -> None:
    threshold = THRESHOLDS.create(spec, floor=0.125)
    assert threshold.value().tolist() == 0.125
    threshold.value().backward()
    assert float(next(threshold.parameters()).grad) > 0
    above = THRESHOLDS.create("lt-snn:initial=0.3,floor=0.125")
    assert torch.equal(above.value(), torch.tensor(0.3))


@pytest.mark.parametrize(("spec", "whole"), [("lt-snn", False), ("ltmd", True)])
def test_who_learns_from_the_amounts_sent_and_subtracted(spec: str, whole: bool) -> None:
    for given_whole in (None, False, True):
        options = {} if given_whole is None else {"whole": given_whole}
        threshold = rule(spec, **options)
        # far above the threshold, beyond the surrogate: only the amount sent is left
        LIF(threshold, reset="soft", sends="threshold")(trace(9.0)).sum().backward()
        expected = whole if given_whole is None else given_whole
        assert (float(next(threshold.parameters()).grad) != 0) == expected


def test_a_threshold_of_every_neuron_or_channel_learns_by_itself() -> None:
    x = torch.rand(3, 4, 2, 5, dtype=torch.float64)
    for shape in [(), (5,), (2, 1), (2, 5)]:
        threshold = rule("lt-snn:mode=stsg", shape=shape)
        LIF(threshold)(x).sum().backward()
        each = rule("lt-snn:mode=stsg", shape=(4, 2, 5))
        LIF(each)(x).sum().backward()
        torch.testing.assert_close(threshold.m.grad, each.m.grad.sum_to_size(shape))


# --- the neurons of the simulation


@given(seed=SEEDS, cut=st.integers(1, 8))
def test_without_leak_it_is_the_neuron_if_to_the_last_bit(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(0.3, 1, (9, 2, 3, 4))).float()
    threshold = torch.from_numpy(rng.uniform(0.2, 30, (3, 1))).float()
    potential = threshold * 0.4
    expected, state = NEURONS.create("if", threshold=threshold, potential=potential).scan(x)
    for spec in ("fixed", "ltmd", "lt-snn", "dsr"):
        rule = THRESHOLDS.create(spec, unit=threshold)
        lif = LIF(rule, reset="soft", sends="threshold", potential=potential)
        assert torch.equal(lif(x), expected)
        if spec != "dsr":
            first, carry = lif.scan(x[:cut])
            second, carry = lif.scan(x[cut:], carry)
            assert torch.equal(torch.cat([first, second]), expected)
            assert torch.equal(carry.base, state.potential)


def test_dsr_starts_where_its_neurons_stand_for_a_rate() -> None:
    rule = THRESHOLDS.create("dsr:alpha=0.25", unit=torch.tensor([2.0, 4.0]))
    assert LIF(rule, reset="soft", sends="threshold").start().tolist() == [1.5, 3.0]


NAMES = {"hard": "zero", "soft": "soft"}


@pytest.mark.parametrize(
    ("reset", "sends", "strict"),
    list(product(["hard", "soft"], ["one", "threshold"], [False, True])),
)
@given(seed=SEEDS, decay=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
def test_with_leak_it_is_the_neuron_lif_to_the_last_bit(
    reset: str, sends: Any, strict: bool, seed: int, decay: float
) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.integers(-8, 17, (9, 2, 3, 4)) / 8).float()  # with ties
    threshold = torch.from_numpy(rng.integers(1, 12, (3, 1)) / 8).float()
    spec = f"lif:decay={decay},reset={NAMES[reset]},sends={sends},strict={strict}"
    expected, _ = NEURONS.create(spec, threshold=threshold, potential=0.25).scan(x)
    lif = LIF(
        THRESHOLDS.create("lt-snn", unit=threshold), decay=decay, reset=reset, sends=sends,
        strict=strict, potential=0.25,
    )  # fmt: skip
    assert torch.equal(lif(x), expected)


@given(seed=SEEDS)
def test_the_neuron_lif_without_leak_is_the_neuron_if(seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1, (9, 2, 5))).float()
    for reset in ("soft", "zero"):
        leaky = NEURONS.create(f"lif:decay=1,reset={reset},sends=threshold", threshold=0.7)
        plain = NEURONS.create(f"if:reset={reset}", threshold=0.7)
        assert torch.equal(leaky.scan(x)[0], plain.scan(x)[0])


def test_chunks_give_the_gradients_of_one_run() -> None:
    torch.manual_seed(3)
    x = torch.randn(6, 2, 5, dtype=torch.float64)
    gradients = []
    for cut in (None, 2):
        threshold, currents = rule("ltmd"), x.clone().requires_grad_()
        torch.manual_seed(4)
        lif = LIF(threshold, decay=0.5, lateral=Lateral(3).double())
        out, carry = lif.scan(currents[:cut])
        if cut is not None:
            out = torch.cat([out, lif.scan(currents[cut:], carry)[0]])
        out.backward(x.cos())
        gradients.append((currents.grad, threshold.k.grad))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_potentials_stay_in_full_precision_under_mixed_precision() -> None:
    """2^-9 is lost beside 1 in bfloat16: summed there the neuron would never fire."""
    x = torch.full((600, 1, 1), 2.0**-9, dtype=torch.bfloat16)
    out = LIF(THRESHOLDS.create("fixed"), reset="soft")(x)
    assert out.dtype == torch.bfloat16
    assert out.flatten().nonzero().flatten().tolist() == [511]


# --- fully connected layers: lateral input, potentials sent


def lateral(source: Any, *kernel: float) -> Lateral:
    made = Lateral(len(kernel), source=source).double()
    made.kernel.data = torch.tensor([[kernel]], dtype=torch.float64)
    return made


def test_worked_lateral_example() -> None:
    x = torch.tensor([[[0.5, 0.2, 0.1]], [[0.1, 0.3, 0.2]]], dtype=torch.float64)
    wired = LIF(
        rule("ltmd"), decay=0.25, output="potential", lateral=lateral("recurrent", 0.1, 0, 0.1)
    )
    near(wired(x), [0.5, 0.2, 0.1, 0.12, 0.41, 0.245])
    wired = LIF(
        rule("ltmd"), decay=0.0, output="potential", lateral=lateral("feedforward", 1, 2, 0)
    )
    near(wired(x), [1.5, 1.1, 0.5, 0.3, 1.0, 0.9])


def test_gated_output_is_the_potential_of_those_that_fire() -> None:
    x, threshold = trace(0.0, -0.05, 0.5, 0.3), rule("ltmd")
    out = LIF(threshold, decay=0.0, output="gated", strict=True)(x)
    out.sum().backward()
    near(out, [0, 0, 0.5, 0])
    near(x.grad, [1, 0, 1, 1])  # from M - 0.5 = -0.038 on
    assert float(threshold.k.grad) == 0


# --- moderate dropout


def test_worked_drop_probabilities() -> None:
    near(drop_probability(torch.tensor([[0.2, 0.4, 0.9, 0.5]]), 0.2), [0.35, 0.25, 0, 0.2])
    near(drop_probability(torch.tensor([[-2.0, 1, 1, 1]]), 0.5), [1, 0, 0, 0])
    near(drop_probability(torch.full((2, 3), 0.7), 0.2), [0.2] * 6)


@given(seed=SEEDS)
def test_the_mean_drop_probability_is_the_one_asked_for(seed: int) -> None:
    u = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (3, 50)))
    alone = drop_probability(u, 0.1)
    torch.testing.assert_close(alone.mean(1), torch.full((3,), 0.1).double())
    assert torch.equal(alone[1:2], drop_probability(u[1:2], 0.1))
    together = drop_probability(u, 0.1, stats="batch")
    torch.testing.assert_close(together.mean(), torch.tensor(0.1).double())
    assert not torch.allclose(together, alone)


def test_a_mask_holds_over_time_and_keeps_the_mean() -> None:
    torch.manual_seed(5)
    u = torch.rand(4, 2000, 8) + 0.5
    drop = ModerateDropout(0.3)
    out = drop(u)
    ratio = out / u
    assert torch.equal(ratio[0] == 0, ratio[3] == 0)
    top = u.mean(0).argmax(1, keepdim=True)
    torch.testing.assert_close(ratio[0].gather(1, top), torch.ones(2000, 1))
    assert abs(float((ratio[0] == 0).float().mean()) - 0.3) < 0.01
    assert abs(float(ratio[0].mean()) - 1) < 0.02
    assert torch.equal(drop.eval()(u), u)


def test_the_gradient_stays_out_of_the_probabilities_unless_asked_in() -> None:
    torch.manual_seed(6)
    u = torch.rand(1, 50, 8, dtype=torch.float64)
    for detach in (True, False):
        torch.manual_seed(7)
        x = u.clone().requires_grad_()
        out = ModerateDropout(0.3, detach=detach)(x)
        out.sum().backward()
        assert torch.allclose(x.grad, out.detach() / u) == detach


def test_twins_are_two_runs_of_the_same_samples() -> None:
    x = torch.rand(3, 2, 4)
    both = Twin()(x)
    assert torch.equal(both[:, :2], x)
    assert torch.equal(both[:, 2:], x)
    assert torch.equal(Twin().eval()(x), x)


# --- losses


def test_worked_twin_loss() -> None:
    logits = torch.tensor([[[2.0, 0, 0], [1, 1, 0]]], dtype=torch.float64)
    label = torch.tensor([0])
    near(LOSSES.create("twin-ce")(logits, label), [0.8910093])
    near(LOSSES.create("twin-ce:kl=repo")(logits, label), [0.6074764])
    near(LOSSES.create("twin-ce:gamma=0")(logits, label), [(0.2395448 + 0.8619948) / 2])
    near(LOSSES.create("twin-ce:gamma=2")(logits, label), [0.5507698 + 2 * (0.3029291 + 0.37755)])
    near(LOSSES.create("twin-ce")(logits[:, :1], label), [0.2395448])
    over_time = torch.stack([logits[0] + 3 * logits[0].cos(), logits[0] - 3 * logits[0].cos()])
    near(LOSSES.create("twin-ce")(over_time, label), [0.8910093])


def test_worked_tet_loss() -> None:
    logits = torch.tensor([[[2.0, 0]], [[1, 1]]], dtype=torch.float64)
    label, one = torch.tensor([0]), (torch.tensor(1.0),)
    near(LOSSES.create("tet:beta=1")(logits, label), [0.41003760])
    near(LOSSES.create("tet:beta=0,target=1")(logits, label), [0.5])
    near(LOSSES.create("tet")(logits, label, thresholds=one), [0.45951692])
    near(LOSSES.create("tet:beta=0.55,target=1")(logits, label), [0.45052068])
    near(LOSSES.create("tet:beta=0.95,target=1")(logits, label), [0.41453572])
    near(LOSSES.create("mean-ce")(logits, label), [math.log(1 + math.exp(-1))])


def test_the_target_is_the_mean_of_the_layers_thresholds_and_no_path_for_gradients() -> None:
    logits, label = torch.randn(3, 4, 5), torch.tensor([0, 1, 2, 3])
    values = (torch.tensor([0.5, 1.5, 1.0]).requires_grad_(), torch.tensor(2.0).requires_grad_())
    found = LOSSES.create("tet")(logits, label, thresholds=values)
    near(found, float(LOSSES.create("tet:target=1.5")(logits, label)))
    assert not found.requires_grad


# --- weights of few bits


def test_worked_4_bit_weights() -> None:
    weight = torch.tensor([-1, -0.5, 0.5, 1, 0.1], dtype=torch.float64)
    near(clip_bound(weight, 4), [2.12692618])
    near(Sawb(4)(weight), [-0.91153979, -0.60769319, 0.60769319, 0.91153979, 0])


@pytest.mark.parametrize(("bits", "levels"), [(4, 15), (8, 255)])
def test_a_weight_of_b_bits_has_that_many_values_and_a_straight_gradient(
    bits: int, levels: int
) -> None:
    torch.manual_seed(8)
    weight = torch.randn(100_000, dtype=torch.float64, requires_grad=True)
    rounded = Sawb(bits)(weight)
    rounded.backward(weight.detach())
    bound = clip_bound(weight, bits)
    steps = (rounded / bound * (levels // 2)).detach()
    torch.testing.assert_close(steps, steps.round())
    near(rounded.abs().max(), float(bound))
    inside = weight.abs() <= bound
    assert 0 < int((~inside).sum()) < 5000
    assert torch.equal(weight.grad, weight.detach() * inside)
    error = (rounded - weight).detach()[inside].abs().max()
    assert float(error) <= float(bound) / (levels - 1) * 1.000001


@pytest.mark.parametrize("weight", [[0.5, -0.5] * 50, [0.3], [0.0, 0.0]])
def test_weights_that_the_fit_does_not_know_keep_their_size(weight: list[float]) -> None:
    near(Sawb(4)(torch.tensor(weight).double()), weight)


def test_rounding_is_a_parametrization_of_a_layer() -> None:
    layer = nn.Linear(6, 3)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Sawb(4))
    layer(torch.randn(2, 6)).sum().backward()
    assert layer.parametrizations["weight"].original.grad is not None
    assert len(layer.weight.unique()) <= 15


# --- what is refused

WRONG: list[Callable[[], object]] = [
    lambda: SURROGATES.create("rectangle:width=0"),
    lambda: SURROGATES.create("triangle:gamma=nan"),
    lambda: SURROGATES.create("exponential:tau=-1"),
    lambda: SURROGATES.create("tringle"),
    lambda: THRESHOLDS.create("lt-snn:mode=spg"),
    lambda: THRESHOLDS.create("lt-snn:initial=inf"),
    lambda: THRESHOLDS.create("fixed", unit=0.0),
    lambda: THRESHOLDS.create("fixed", unit=torch.tensor([1.0, math.nan])),
    lambda: THRESHOLDS.create("ltmd:k=0", unit=2.0),
    lambda: THRESHOLDS.create("dsr:alpha=1.5"),
    lambda: THRESHOLDS.create("dsr:floor=0"),
    lambda: LIF(THRESHOLDS.create("fixed"), decay=1.5),
    lambda: LIF(THRESHOLDS.create("fixed"), decay=math.nan),
    lambda: LIF(THRESHOLDS.create("dsr"), reset="hard"),
    lambda: LIF(THRESHOLDS.create("dsr"), reset="soft", sends="threshold", decay=0.5),
    lambda: Lateral(4),
    lambda: ModerateDropout(1.0),
    lambda: Sawb(3),
    lambda: LOSSES.create("tet:beta=2"),
    lambda: LOSSES.create("tet:target=median"),
    lambda: LOSSES.create("tet")(torch.zeros(1, 2, 3), torch.tensor([0, 1])),
    lambda: LOSSES.create("twin-ce:gamma=-1"),
    lambda: LOSSES.create("twin-ce")(torch.zeros(1, 3, 3), torch.tensor([0, 1])),
    lambda: NEURONS.create("lif:decay=-0.1", threshold=1.0),
    lambda: NEURONS.create("lif:reset=hard", threshold=1.0),
]


@pytest.mark.parametrize("make", WRONG)
def test_what_cannot_be_is_a_configuration_error(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


def test_a_carry_is_refused_where_the_gradient_is_of_the_whole_run() -> None:
    lif = LIF(THRESHOLDS.create("dsr"), reset="soft", sends="threshold")
    _, carry = lif.scan(torch.ones(2, 1, 1))
    with pytest.raises(ConfigError, match="chunks"):
        lif.scan(torch.ones(2, 1, 1), carry)
