"""Threshold annealing: rising thresholds, binary weights, the count loss, by worked numbers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsnn.errors import ConfigError
from convsnn.load import load_module
from convsnn.simulate import simulate
from convsnn.train import LOSSES, SURROGATES, THRESHOLDS
from convsnn.train.binary import Sign, rounding
from convsnn.train.direct import Form, prepare, settle
from convsnn.train.lif import LIF
from convsnn.train.observed import histograms, memory
from convsnn.train.scan import ScannedLIF
from convsnn.train.schedule import factor
from zoo.models import MODELS
from zoo.recipes.annealing import rising
from zoo.recipes.spiking import RECIPES


def near(found: Any, expected: Any, rtol: float = 2e-6) -> None:
    found = torch.as_tensor(found).detach().double().flatten()
    torch.testing.assert_close(
        found, torch.as_tensor(expected).double().flatten(), rtol=rtol, atol=1e-6
    )


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1).requires_grad_()


def annealed(spec: str) -> Any:
    return THRESHOLDS.create(f"anneal:{spec}").double()


def test_the_threshold_s_way_from_5_to_50() -> None:
    rule = annealed("start=5,end=50,rate=0.005")
    found = [float(rule.value())]
    for _ in range(1000):
        rule.advance()
        found.append(float(rule.value()))
    near([found[g] for g in (1, 2, 3)], [5.225, 5.448875, 5.671630625])
    near([found[g] for g in (100, 400, 1000)], [22.7403304, 43.9403881, 49.7005714])
    near(found[100], 50 - 45 * 0.995**100)


TABLES_5_AND_7 = [  # start, end, rate; updates until a thousandth of the end is left
    (11.7, 16.0, 2.4e-2, 230), (14.1, 30.4, 0.12, 49), (0.7, 4.2, 1.1e-3, 6111),
    (6.9, 14.0, 3.7e-2, 165), (10.3, 23.1, 0.30, 18), (18.0, 27.9, 0.10, 56),
    (10.4, 12.2, 3.3e-3, 1511), (16.6, 19.1, 6.1e-3, 797), (6.8, 16.5, 0.17, 34),
    (13.5, 45.2, 2.8e-5, 234032), (11.2, 51.1, 1.36e-5, 489728),
]  # fmt: skip


@pytest.mark.parametrize(("start", "end", "rate", "updates"), TABLES_5_AND_7)
def test_updates_until_a_thousandth_of_the_end_is_left(
    start: float, end: float, rate: float, updates: int
) -> None:
    rule = annealed(f"start={start},end={end},rate={rate}")
    left = (rule.end - rule.first) / rule.end
    assert round(math.log(1e-3 / left) / math.log1p(-rule.rate)) == updates
    if updates < 10_000:
        for _ in range(updates + 1):
            rule.advance()
        assert float(end - rule.value()) <= end / 1000


def test_the_recipes_hold_the_tables_constants() -> None:
    """They have the digits of the authors' code, of which the tables print two or three."""
    printed = iter(TABLES_5_AND_7)
    for name in ("mnist", "fmnist", "dvs128", "shd"):
        for spec in RECIPES[f"annealing-{name}-annealed"].rules:
            rule, (start, end, rate, _) = THRESHOLDS.create(spec), next(printed)
            found = (rule.first, rule.end, rule.rate)
            assert found == pytest.approx((start, end, rate), rel=0.05)


@pytest.mark.parametrize("row", ["fixed", "annealed"])
def test_neurons_of_the_short_recipes_reach_their_thresholds(row: str) -> None:
    """Those it once had, 6 behind batch norm for 10 steps, left three quarters of a layer dead."""
    recipe = RECIPES[f"annealing-mnist-short-{row}"]
    torch.manual_seed(0)
    module, x = MODELS.create(recipe.model).module(weights=False), torch.rand(50, 1, 28, 28)
    network = prepare(load_module(module, x[:2]), recipe).network.train()
    while any(site.threshold.number() < 0.99 * end for site, end in rising_sites(network)):
        settle(network)
    with torch.no_grad():
        network(x, steps=recipe.timesteps)
    dead = [float(site.last_dead) for site in network.sites if isinstance(site, LIF)]
    assert len(dead) == 3
    assert max(dead) < 0.5


def rising_sites(network: nn.Module) -> list[tuple[Any, float]]:
    """Neurons whose threshold rises, and where to."""
    sites = [site for site in network.modules() if isinstance(site, LIF)]
    return [(site, site.threshold.end) for site in sites if hasattr(site.threshold, "end")]


def test_worked_trace_with_reset_by_subtraction() -> None:
    currents = column(0.6, 0.7, 0.2, 0.5, 0.9)
    rule = annealed("start=1,end=2,rate=0")
    given = {"decay": 0.9, "reset": "soft", "detach_reset": True}
    near(LIF(rule, output="potential", **given)(currents), [0.6, 1.24, 0.316, 0.7844, 1.60596])
    assert ScannedLIF(rule, **given)(currents).flatten().tolist() == [0, 1, 0, 0, 1]


CLAMPED = [0.694444, 0.797194, 0.480916, 0.995614], [2.527264, 2.036466, 1.376969, 0.995614]
SHIFTED = [0.591716, 0.961169, 0.420563, 0.829762], [2.402321, 2.011783, 1.167349, 0.829762]


@pytest.mark.parametrize("kind", [LIF, ScannedLIF])
@pytest.mark.parametrize(("center", "worked"), [("start", CLAMPED), ("threshold", SHIFTED)])
def test_the_surrogate_stays_or_moves(
    kind: type[LIF], center: str, worked: tuple[list[float], list[float]]
) -> None:
    """The threshold has risen from 1 to 1.2."""
    rule = annealed(f"start=1,end=1.2,rate=1,center={center}")
    rule.advance()
    surrogate = SURROGATES.create("fast-sigmoid:slope=0.5")
    currents = column(0.6, 0.7, 0.2, 0.9)
    lif = kind(rule, decay=0.9, reset="soft", detach_reset=True, surrogate=surrogate)
    spikes = lif(currents)
    assert spikes.flatten().tolist() == [0, 1, 0, 0]
    spikes.sum().backward()
    slopes, gradient = worked
    near(currents.grad, gradient, rtol=2e-6)
    potentials = column(0.6, 1.24, 0.116, 1.0044)
    rule.fire(potentials, surrogate).sum().backward()
    near(potentials.grad, slopes, rtol=2e-6)


@pytest.mark.parametrize(
    ("start", "slope", "at", "wanted"),
    [(10.4, 0.2, [0, 5, 10.4, 12.2], [0.105414, 0.231139, 1, 0.540657]),
     (12.2, 0.2, [0, 5, 10.4, 12.2], [0.084505, 0.167966, 0.540657, 1]),
     (5, 5, [0], [1.47929e-3]), (50, 5, [0], [1.58728e-5])],
)  # fmt: skip
def test_worked_slopes_around_the_first_threshold(
    start: float, slope: float, at: list[float], wanted: list[float]
) -> None:
    rule = annealed(f"start={start},end=60,rate=0.5")
    rule.advance()
    given = column(*at)
    rule.fire(given, SURROGATES.create(f"fast-sigmoid:slope={slope}")).sum().backward()
    torch.testing.assert_close(
        given.grad.flatten(), torch.tensor(wanted).double(), rtol=1e-5, atol=5e-7
    )


def test_signs_and_their_gradient_straight_through() -> None:
    weight = torch.tensor([-0.3, 0.0, 0.2, 5.0], requires_grad=True)
    signs = Sign()(weight)
    assert signs.tolist() == [-1, 1, 1, 1]
    upstream = torch.tensor([1.0, -2.0, 3.0, 4.0])
    signs.backward(upstream)
    assert torch.equal(weight.grad, upstream)
    with pytest.raises(ConfigError, match="no weights of 2 bits"):
        rounding(2)


def test_the_loss_of_counts() -> None:
    spikes = torch.zeros(100, 1, 2)
    spikes[:70, 0, 0], spikes[:25, 0, 1] = 1, 1
    near(LOSSES.create("counts")(spikes, torch.tensor([0])), [0.625])


def test_the_learning_rate_swings() -> None:
    """Half a period is 4,688 updates; here two of them."""
    for update, wanted in ((1172, 0.0085099273), (2344, 0.004985), (4688, 0.0), (9376, 0.00997)):
        assert 0.00997 * factor("cosine:2", update / 9376) == pytest.approx(wanted, abs=1e-10)
    assert factor("cosine:1", 0.3) == factor("cosine", 0.3)
    for wrong in ("cosine:0", "cosine:-1", "cosine:2.5", "cosine:x"):
        with pytest.raises(ConfigError, match="cannot follow"):
            factor(wrong, 0)


class Net(nn.Module):
    """A convolution pooled before its neurons, and a fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 3, 3, bias=False), nn.AvgPool2d(2)
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.pool(self.conv(x)))).flatten(1))


FORM = Form(
    threshold=rising((0.5, 2.0, 0.5), (1.0, 3.0, 0.25)), decay=0.9, reset="soft", detach_reset=True,
    surrogate="fast-sigmoid:slope=2", answer="spikes", weight_bits=1, dropout="plain",
    drop_behind="head",
)  # fmt: skip


def prepared(form: Form = FORM) -> Any:
    torch.manual_seed(0)
    return prepare(load_module(Net().eval(), torch.zeros(2, 1, 6, 6)), form)


def test_a_network_of_binary_weights_is_simulated_as_it_was_trained() -> None:
    made = prepared()
    network = made.network
    assert [float(v) for v in network.thresholds().values()] == [0.5, 1.0]
    settle(network)
    assert [float(v) for v in network.thresholds().values()] == [1.25, 1.5]
    network.eval()
    x = torch.rand(30, 1, 6, 6)
    with torch.no_grad():
        wanted = network.predict(network(x, steps=8))
    net = made.to_spiking()
    assert net.neuron == "lif:decay=0.9,reset=soft,sends=one"
    assert set(net.graph.tensors["head.weight"].unique().tolist()) == {-1.0, 1.0}
    got = simulate(net, x, steps=8).outputs[0]
    assert float(wanted.sum()) > 0
    assert float((got == wanted).double().mean()) >= 0.99  # batch norm is folded, which rounds


def test_thresholds_stay_within_a_pass_and_go_on_from_a_checkpoint() -> None:
    network = prepared().network
    before = [v.clone() for v in network.thresholds().values()]
    network(torch.rand(4, 1, 6, 6), steps=5).sum().backward()
    assert all(
        torch.equal(a, b) for a, b in zip(before, network.thresholds().values(), strict=True)
    )
    settle(network)
    other = prepared().network
    other.load_state_dict(network.state_dict())
    for mine, theirs in zip(
        network.thresholds().values(), other.thresholds().values(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_networks_are_scored_with_the_threshold_reached_or_with_its_end() -> None:
    spec = "anneal:start=1,end=3,rate=0.5,score=end"
    made = prepared(Form(threshold=spec, decay=0.9, reset="soft", weight_bits=1))
    (rule,) = [s.threshold for s in made.network.sites]
    assert float(rule.train().value()) == 1.0
    assert float(rule.eval().value()) == 3.0
    made.network.train()
    assert float(next(iter(made.to_spiking().plan.sites.values())).threshold) == 3.0
    assert made.network.training


def test_weights_are_kept_within_a_limit() -> None:
    network = prepared().network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 3
    settle(network, limit=1.0)
    assert max(float(p.detach().max()) for p in network.parameters()) == 1.0


def test_memory_counts_bits_as_they_are() -> None:
    found = memory(prepared().network)
    weights, others = 27 + 48, 3 + 3 + 4  # batch norm's gains and shifts, biases
    assert found == {
        "weights": weights, "bits": 1, "others": others, "total": weights + 32 * others,
        "stored": 32 * (weights + others),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "weights"),
    [("annealing-mnist", 36_240), ("annealing-dvs128", 22_400), ("annealing-shd", 2_160_000)],
)
def test_the_papers_networks_have_as_many_binary_weights_as_counted(
    name: str, weights: int
) -> None:
    module = MODELS.create(name).module(weights=False)
    found = sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert found == weights


def test_histograms_count_every_neuron_of_every_layer() -> None:
    network = prepared().network
    batches = [(torch.rand(5, 1, 6, 6), None), (torch.rand(3, 1, 6, 6), None)]
    found = histograms(network, batches, steps=6)
    assert [sum(one["neurons"]) for one in found.values()] == [12, 4]
    with torch.no_grad():
        network.eval()
        spikes = network(torch.cat([x for x, _ in batches]), steps=6)
    mean = spikes.sum(0).mean(0)
    assert found["read_neurons"]["edges"][-1] == pytest.approx(float(mean.max()))
    assert found["read_neurons"]["dead"] == float((mean == 0).double().mean())


@pytest.mark.parametrize("wrong", ["rate=2", "start=0", "end=-1", "center=middle"])
def test_what_cannot_rise_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"anneal"):
        THRESHOLDS.create(f"anneal:{wrong}")
