"""Neurons against their defining equations, in exact arithmetic, and the contract of the registry.

The reference `by_hand` is the definition in Fractions, one neuron and one step at a time.
"""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from conftest import dyadic
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.neurons import NEURONS, Keys

SEEDS = st.integers(0, 2**32 - 1)
EIGHTHS = st.integers(-24, 24).map(lambda k: Fraction(k, 8))
THRESHOLDS = st.integers(1, 24).map(lambda k: Fraction(k, 8))


def by_hand(
    currents: list[Fraction], threshold: Fraction, potential: Fraction, *, zero: bool = False
) -> tuple[list[int], Fraction]:
    """Spikes and the last potential of one integrate-and-fire neuron."""
    spikes = []
    for current in currents:
        potential += current
        spikes.append(int(potential >= threshold))
        if spikes[-1]:
            potential = Fraction(0) if zero else potential - threshold
    return spikes, potential


def column(values: list[Fraction]) -> Tensor:
    return torch.tensor([float(v) for v in values]).reshape(-1, 1, 1)


@given(x=st.integers(-64, 128), threshold=st.integers(1, 64), steps=st.integers(1, 40))
def test_half_threshold_start_rounds_the_mean_to_the_nearest_level(
    x: int, threshold: int, steps: int
) -> None:
    level = Fraction(x, 32)
    theta = Fraction(threshold, 32)
    neuron = NEURONS.create("if", threshold=float(theta), potential=float(theta / 2))
    out, _ = neuron.scan(column([level] * steps))
    count = min(max(floor(level * steps / theta + Fraction(1, 2)), 0), steps)
    assert float(out.sum()) == float(count * theta)


@pytest.mark.parametrize("reset", ["soft", "zero"])
@given(
    currents=st.lists(EIGHTHS, min_size=1, max_size=30),
    threshold=THRESHOLDS,
    start=st.integers(-16, 16).map(lambda k: Fraction(k, 8)),
)
def test_every_step_follows_the_definition(
    reset: str, currents: list[Fraction], threshold: Fraction, start: Fraction
) -> None:
    neuron = NEURONS.create(f"if:reset={reset}", threshold=float(threshold), potential=float(start))
    out, state = neuron.scan(column(currents))
    spikes, last = by_hand(currents, threshold, start, zero=reset == "zero")
    assert out.flatten().tolist() == [float(threshold * s) for s in spikes]
    assert float(state.potential) == float(last)
    assert float(state.threshold) == float(threshold)


@given(seed=SEEDS, steps=st.integers(1, 20))
def test_soft_reset_conserves_charge(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    currents = dyadic(rng, (steps, 2, 3, 4), reach=24, bits=3)
    threshold = torch.from_numpy(rng.integers(1, 12, (3, 1))).float() / 8
    potential = dyadic(rng, (3, 4), reach=8, bits=3)
    out, state = NEURONS.create("if", threshold=threshold, potential=potential).scan(currents)
    assert torch.equal(potential + currents.sum(0), state.potential + out.sum(0))


@given(seed=SEEDS)
def test_at_most_one_spike_a_step(seed: int) -> None:
    currents = dyadic(np.random.default_rng(seed), (9, 2, 5), reach=80, bits=3)
    out, _ = NEURONS.create("if", threshold=0.75).scan(currents)
    assert set(out.unique().tolist()) <= {0.0, 0.75}


TWO_LAYERS = [  # reset, steps, counts of both layers, decoded output, potentials of both layers
    ("soft", 8, [5, 2], [4, 5], [0.8, 1.0], [0.64, 0.16], [0.25, 0.5]),
    ("zero", 8, [4, 2], [2, 4], None, None, None),
    ("soft", 4, [2, 1], [2, 2], None, None, None),
]


@pytest.mark.parametrize(("reset", "steps", "first", "second", "decoded", "v1", "v2"), TWO_LAYERS)
def test_worked_example_of_two_normalised_layers(
    reset: str,
    steps: int,
    first: list[int],
    second: list[int],
    decoded: list[float] | None,
    v1: list[float] | None,
    v2: list[float] | None,
) -> None:
    """Weights normalised by (2, 1.6), threshold 1, the image as current at every step."""
    w1 = torch.tensor([[0.5, 0.25], [-0.25, 1.0]], dtype=torch.float64)
    w2 = torch.tensor([[1.25, -1.25], [0.625, 0.3125]], dtype=torch.float64)
    b1, b2 = torch.tensor([0.05, -0.1]).double(), torch.tensor([0.0625, 0.21875]).double()
    x = torch.tensor([[1.0, 0.62]], dtype=torch.float64)
    neuron = NEURONS.create(f"if:reset={reset}", threshold=1.0)
    s1, state1 = neuron.scan((x @ w1.T + b1).expand(steps, 1, 2))
    s2, state2 = neuron.scan(s1 @ w2.T + b2)
    assert s1.sum(0)[0].tolist() == first
    assert s2.sum(0)[0].tolist() == second
    if decoded is not None:
        near = {"rtol": 0, "atol": 1e-6}
        torch.testing.assert_close(s2.mean(0)[0] * 1.6, torch.tensor(decoded).double(), **near)
        torch.testing.assert_close(state1.potential[0], torch.tensor(v1).double(), **near)
        torch.testing.assert_close(state2.potential[0], torch.tensor(v2).double(), **near)


def _population(name: str, rng: np.random.Generator) -> tuple[object, Tensor]:
    threshold = torch.from_numpy(rng.integers(2, 12, (3, 1))).float() / 8
    neuron = NEURONS.create(name, threshold=threshold, potential=threshold / 2)
    return neuron, dyadic(rng, (12, 2, 3, 4), reach=16, bits=3)


@pytest.mark.parametrize("name", NEURONS.names())
@given(seed=SEEDS, cut=st.integers(1, 11))
def test_contract_chunks_equal_one_scan(name: str, seed: int, cut: int) -> None:
    neuron, currents = _population(name, np.random.default_rng(seed))
    whole, end = neuron.scan(currents)
    first, state = neuron.scan(currents[:cut])
    second, last = neuron.scan(currents[cut:], state)
    assert torch.equal(whole, torch.cat([first, second]))
    assert torch.equal(end.potential, last.potential)
    ones, state = [], None
    for current in currents:
        out, state = neuron.scan(current[None], state)
        ones.append(out)
    assert torch.equal(whole, torch.cat(ones))


@pytest.mark.parametrize("name", NEURONS.names())
def test_contract_a_scan_changes_nothing_it_was_given(name: str) -> None:
    neuron, currents = _population(name, np.random.default_rng(3))
    kept = currents.clone()
    _, state = neuron.scan(currents)
    potential = state.potential.clone()
    again, _ = neuron.scan(currents, state)
    assert torch.equal(currents, kept)
    assert torch.equal(state.potential, potential)
    assert torch.equal(again, neuron.scan(currents, state)[0])


@pytest.mark.parametrize("name", NEURONS.names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract_form_of_the_result(name: str, dtype: torch.dtype) -> None:
    neuron, currents = _population(name, np.random.default_rng(4))
    out, state = neuron.scan(currents.to(dtype))
    assert out.shape == currents.shape
    assert out.dtype == dtype
    assert state.potential.shape == currents.shape[1:]
    assert isinstance(neuron.graded, bool)
    assert torch.broadcast_shapes(state.threshold.shape, currents.shape[1:]) == currents.shape[1:]
    assert NEURONS.describe(name)


@pytest.mark.parametrize("name", NEURONS.names())
def test_contract_samples_do_not_see_each_other(name: str) -> None:
    neuron, currents = _population(name, np.random.default_rng(5))
    whole, _ = neuron.scan(currents, keys=Keys(torch.arange(2), 1))
    for sample in range(2):
        part, keys = currents[:, sample : sample + 1], Keys(torch.tensor([sample]), 1)
        assert torch.equal(neuron.scan(part, keys=keys)[0][:, 0], whole[:, sample])


@pytest.mark.parametrize("spec", ["iff", "if:rest=zero", "if:reset=hard", "if:reset"])
def test_a_wrong_spec_is_a_configuration_error(spec: str) -> None:
    with pytest.raises(ConfigError):
        NEURONS.create(spec, threshold=1.0)
