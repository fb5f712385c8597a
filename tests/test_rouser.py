"""Rouser: its neurons, thresholds and losses against numbers worked out by hand, and its recipes.

Two steps of delay, 0.75 of the current and 0.97 of the potential kept, a threshold of 1.25; spikes
arrive at steps 0 and 2.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.load import load_module
from convsnn.neurons import NEURONS
from convsnn.simulate import simulate
from convsnn.train import LOSSES, SURROGATES, THRESHOLDS
from convsnn.train.direct import Form, prepare
from convsnn.train.lif import LIF
from convsnn.train.observed import describe, moved, trained_weights
from convsnn.train.scan import ScannedLIF
from convsnn.train.spike_losses import filter_of, van_rossum
from convsnn.train.synapse import Synapse
from zoo.models import MODELS
from zoo.recipes.rouser import SETTINGS
from zoo.recipes.spiking import RECIPES

ARRIVING = [1, 0, 1, 0, 0, 0, 0, 0]
PAPER_V = [0, 0, 1, 1.72, 1.9809, 1.843348, 1.416954, 0.783625]
PAPER_S = [0, 0, 0, 1, 1, 1, 1, 0]
TRACES = [  # dynamics: delay, reset; potentials; spikes
    ("paper", 1, "soft", PAPER_V, PAPER_S),
    (
        "soft", 0, "soft",
        [1, 1.72, 1.9809, 1.843348, 1.416954, 0.783625, 1.254501, 0.337654],
        [0, 1, 1, 1, 1, 0, 1, 0],
    ),
    (
        "lava", 0, "zero",
        [1, 1.72, 1.5625, 1.171875, 2.015625, 0.65918, 1.133789, 1.470564],
        [0, 1, 1, 0, 1, 0, 0, 1],
    ),
]  # fmt: skip
FORM = Form(
    threshold="rouser:initial=1.25", per="neuron", surrogate="exponential:scale=1.5,tau=3.75",
    dynamics="paper", decay=0.97, reset="auto", detach_reset=True, answer="spikes",
)  # fmt: skip


def near(found: Tensor | float, expected: Any, atol: float = 2e-6) -> None:
    found = torch.as_tensor(found).detach().double().flatten()
    torch.testing.assert_close(
        found, torch.tensor(expected).double().flatten(), rtol=2e-6, atol=atol
    )


def column(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def neurons(kind: type[LIF] = ScannedLIF, *, whole: bool = False, **given: Any) -> LIF:
    """One neuron of the paper, in float64."""
    rule = THRESHOLDS.create(f"rouser:initial=1.25,whole={whole}")
    known = {
        "decay": 0.97,
        "reset": "soft",
        "detach_reset": True,
        "surrogate": SURROGATES.create("exponential:scale=1.5,tau=3.75"),
        "synapse": Synapse(0.75, delay=1),
        **given,
    }
    return kind(rule, **known).double()


def test_the_current_is_that_of_equation_1() -> None:
    wanted = [0, 1, 0.75, 1.5625, 1.171875, 0.87890625, 0.65917969, 0.49438477]
    found = Synapse(0.75, delay=1)(column(ARRIVING)).flatten()
    near(found[1:], wanted[:-1])  # as the potential gets it, a step later
    assert float(found[0]) == 0


@pytest.mark.parametrize(("name", "delay", "reset", "potentials", "spikes"), TRACES)
def test_worked_traces_of_training_and_of_the_simulation(
    name: str, delay: int, reset: str, potentials: list[float], spikes: list[int]
) -> None:
    hard = {"reset": "hard" if reset == "zero" else "soft", "synapse": Synapse(0.75, delay=delay)}
    lif = neurons(**hard, ignore_reset=name == "lava")
    assert lif(column(ARRIVING)).flatten().tolist() == spikes
    near(neurons(LIF, output="potential", **hard)(column(ARRIVING)), potentials)
    spec = f"cuba:decay=0.97,current=0.75,delay={delay},reset={reset}"
    one = NEURONS.create(spec, threshold=1.25)
    sent, state = one.scan(column(ARRIVING))
    assert sent.flatten().tolist() == spikes
    last = 0.97 * potentials[-1] * (1 if reset == "soft" else 1 - spikes[-1])
    near(state.potential, [last - (1.25 * spikes[-1] if reset == "soft" else 0)])


def test_the_filter_of_second_order() -> None:
    h = filter_of(2.0, length=6, order=2, like=torch.zeros(1).double())
    near(h, [1, 1.213061, 1.103638, 0.892521, 0.676676, 0.49251])


@pytest.mark.parametrize(
    ("order", "loss", "slope"), [(2, 0.57426396, 0.08642288), (1, 0.62021641, -0.09817942)]
)
def test_worked_distance_and_its_gradients(order: int, loss: float, slope: float) -> None:
    spikes = column([0, 0, 1, 0, 0, 0]).requires_grad_()
    target = column([0, 1, 0, 0, 0, 0])
    h = filter_of(2.0, length=6, order=order, like=target)
    found = van_rossum(spikes, target, h)
    found.backward()
    near(found, [loss])
    if order == 2:
        wanted = [-1.101378, -0.803209, 0.345318, 0.603736, 0.47295, 0.215844]
        near(spikes.grad, wanted)
    rule = THRESHOLDS.create("rouser:initial=1.25").double()
    given = column([0.2, 0.9, 1.3, 0.4, 0.3, 0.1])
    fired = rule.fire(given, SURROGATES.create("exponential:scale=1.5,tau=3.75"))
    fired.backward(spikes.grad)
    near(rule.m.grad, [slope])
    near(rule.m.detach() - 0.01 * rule.m.grad, [1.25 - 0.01 * slope])


@pytest.mark.parametrize("kind", [LIF, ScannedLIF])
@pytest.mark.parametrize(("whole", "slope"), [(False, -4.85282628), (True, -8.11754916)])
def test_worked_chain_from_the_loss_to_weight_and_threshold(
    kind: type[LIF], whole: bool, slope: float
) -> None:
    lif = neurons(kind, whole=whole)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    spikes = lif(weight * column(ARRIVING[:6]))
    target = column([0, 1, 0, 0, 0, 0])
    loss = van_rossum(spikes, target, filter_of(2.0, length=6, order=2, like=target))
    loss.backward()
    near(loss, [5.59790449])
    near(weight.grad, [12.29577772])
    near(lif.threshold.m.grad, [slope])


@pytest.mark.parametrize("kind", [LIF, ScannedLIF])
def test_the_gradients_of_potential_and_current(kind: type[LIF]) -> None:
    """Those of the current at step t are those of what arrived a step before."""
    lif = neurons(kind, synapse=None)
    current = column([0, *[0, 1, 0.75, 1.5625, 1.171875][:5]]).requires_grad_()
    target = column([0, 1, 0, 0, 0, 0])
    h = filter_of(2.0, length=6, order=2, like=target)
    van_rossum(lif(current), target, h).backward()
    near(current.grad, [4.36075, 4.62874, 4.65986, 3.84923, 2.36325, 0.90147], atol=6e-6)
    arriving = column(ARRIVING[:6]).requires_grad_()
    whole = neurons(kind)
    van_rossum(whole(arriving), target, h).backward()
    # dL/dI(t) = 0.75 dL/dI(t+1) + dL/dV(t+1), and what arrives at t is the current of t + 1
    near(arriving.grad[:5], [9.25642, 6.12874, 3.03936, 0.90147, 0], atol=6e-6)


def test_lava_learns_as_if_there_were_no_reset() -> None:
    """du(t) = ds(t) f' + a du(t+1), whether a neuron fired or not."""
    found = []
    for kind in (LIF, ScannedLIF):
        lif = neurons(kind, reset="hard", ignore_reset=True, synapse=None)
        current = column([1, 0.75, 2, 0.5]).requires_grad_()
        lif(current).sum().backward()
        found.append(current.grad.flatten())
    u = neurons(LIF, reset="hard", synapse=None, output="potential")(column([1, 0.75, 2, 0.5]))
    slope = SURROGATES.create("exponential:scale=1.5,tau=3.75").derivative(u.flatten() - 1.25)
    wanted = torch.zeros(5).double()
    for step in (3, 2, 1, 0):
        wanted[step] = slope[step].detach() + 0.97 * wanted[step + 1]
    for one in found:
        torch.testing.assert_close(one, wanted[:4])


def test_losses_of_rates_and_trains() -> None:
    spikes = torch.zeros(10, 2, 3).double()
    spikes[::2, 0, 1] = 1
    labels = torch.tensor([1, 2])
    assert float(LOSSES.create("rate:right=0.5,wrong=0")(spikes[:, :1], labels[:1])) == 0
    near(LOSSES.create("rate:right=0.5,wrong=0.1")(spikes, labels), [(0.02 + 0.25 + 0.02) / 2])
    exact = LOSSES.create("van-rossum:period=2")
    assert float(exact(spikes[:, :1], labels[:1])) == 0
    assert float(exact(spikes, labels)) > 0
    with pytest.raises(ConfigError, match="right lies between"):
        LOSSES.create("rate:right=2")


def small(**changed: Any) -> Any:
    """The short network, prepared as the paper has it."""
    torch.manual_seed(0)
    entry = MODELS.create("rouser-nmnist-short")
    graph = load_module(entry.module(weights=False), torch.zeros(2, *entry.input_shape))
    from dataclasses import replace

    return prepare(graph, replace(FORM, **changed))


@pytest.mark.parametrize("dynamics", ["paper", "lava"])
def test_what_was_trained_is_what_is_simulated(dynamics: str) -> None:
    made = small(dynamics=dynamics, threshold="rouser:initial=0.5")
    x = (torch.rand(12, 4, 2, 17, 17) < 0.1).float()
    with torch.no_grad():
        wanted = made.network.predict(made.network(x, steps=12))
    net = made.to_spiking(encoder="frames:steps=12")
    assert net.neuron.startswith("cuba:decay=0.97,current=0.75,delay=")
    got = simulate(net, x.movedim(1, 0), steps=12).outputs[0]
    assert float(wanted.sum()) > 0
    assert torch.equal(got, wanted)
    assert net.plan.sites["layers.2"].threshold.shape == (200,)


def test_dead_and_silent_neurons_are_counted_by_layer() -> None:
    lif = neurons(ScannedLIF, synapse=None)
    currents = torch.zeros(3, 2, 4).double()
    currents[1, 0, 0] = currents[2, 1, 0] = currents[0, 1, 2] = 5  # neurons 1 and 3 never fire
    for one in (lif, neurons(LIF, synapse=None)):
        one(currents)
        assert (float(one.last_dead), float(one.last_silent)) == (0.5, 5 / 8)
    found = describe(small().network)
    assert found["thresholds"] == {"layers.2": 1.25, "layers.4": 1.25, "read_neurons": 1.25}
    assert found["dead"] == {}  # before the first pass


@pytest.mark.parametrize("form", [{}, {"weight_norm": True}, {"weight_bits": 1}])
def test_how_far_weights_have_moved(form: dict[str, Any]) -> None:
    network = small(**form).network
    first = {name: w.detach().clone() for name, w in trained_weights(network)}
    assert list(first) == ["layers.1.weight", "layers.3.weight", "layers.5.weight"]
    assert set(moved(network, first).values()) == {0.0}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1.5
    assert moved(network, first) == pytest.approx(dict.fromkeys(first, 0.5), rel=1e-5)


def test_normalised_weights_learn_length_and_direction_and_give_the_same_network() -> None:
    plain, other = small().network, small(weight_norm=True).network
    x = (torch.rand(6, 2, 2, 17, 17) < 0.2).float()
    assert torch.equal(plain(x, steps=6), other(x, steps=6))
    other(x, steps=6).sum().backward()
    halves = [p for n, p in other.named_parameters() if "original" in n]
    assert len(halves) == 6
    assert all(p.grad is not None for p in halves)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"delay": 2}, "delay of 2"),
        ({"current_decay": 1.0}, "current_decay of 1.0"),
        ({"dynamics": "plain", "delay": 1}, "have no delay"),
        ({"weight_norm": True, "weight_bits": 4}, "cannot be normalised"),
        ({"outputs": "potential"}, "what the last layer sends"),
        ({"threshold": "fixed;fixed"}, "2 thresholds are given for 3 layers"),
    ],
)
def test_forms_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(**given)


def test_table_2_and_its_baseline_differ_in_what_learns_only() -> None:
    for setting, (threshold, tau, scale) in SETTINGS.items():
        one, base = (RECIPES[f"rouser-nmnist-{setting}{x}"] for x in ("", "-slayer"))
        assert one.surrogate == base.surrogate == f"exponential:scale={scale},tau={tau}"
        assert (one.threshold, base.threshold) == (
            f"rouser:initial={threshold}",
            f"fixed:value={threshold}",
        )
        assert one.override({"threshold": base.threshold, "source": base.source}) == base
    assert RECIPES["rouser-nmnist-low-rate0.01"].threshold_rate == 10
