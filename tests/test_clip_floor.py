"""Networks trained with a staircase: recognised in every spelling, simulated to the last bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Maker, dyadic
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from calibrate import CALIBRATORS, parse_stages
from convsnn.errors import CalibrationError, RewriteError, UnsupportedError
from convsnn.graph import Graph, Site, run
from convsnn.graph.ops import OPS
from convsnn.load import load_module, load_onnx, onnx_reference
from convsnn.load.verify import module_reference, verify_import
from convsnn.passes import TOLERANCE, tolerance
from convsnn.simulate import simulate
from convsnn.workflows.convert.network import convert


class Below(torch.autograd.Function):
    """Rounds down and lets the gradient pass, as networks of this kind are trained."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.floor(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


class Qcfs(nn.Module):
    """Quantization clip-floor-shift with a trained threshold."""

    def __init__(self, levels: int = 4, threshold: float = 2.0) -> None:
        super().__init__()
        self.levels, self.threshold = levels, nn.Parameter(torch.tensor([threshold]))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.clamp(x / self.threshold, 0, 1)
        return Below.apply(x * self.levels + 0.5) / self.levels * self.threshold


def straight(x: Tensor, rounded: Tensor) -> Tensor:
    return (rounded - x).detach() + x


def lsq(x: Tensor) -> Tensor:
    x = torch.clamp(x / 0.3, 0, 7)
    return straight(x, x.round()) * 0.3


def pact(x: Tensor) -> Tensor:
    x = torch.clamp(x, torch.tensor(0.0), torch.tensor(1.7))
    return torch.round(x * 15 / 1.7) * 1.7 / 15


SPELLINGS: dict[str, tuple[Callable[[Tensor], Tensor], float, int, float]] = {
    "QCFS": (Qcfs(), 2.0, 4, 0.5),
    "QCFS of 16 levels": (Qcfs(16, 1.3), 1.3, 16, 0.5),
    "without shift": (lambda x: torch.floor(x.clamp(0, 2) * 4) / 4, 2.0, 8, 0.0),
    "relu6": (lambda x: F.relu6(x).mul(2).add(0.25).floor().div(2), 6.0, 12, 0.25),
    "relu and minimum": (lambda x: F.relu(x).clamp(max=1).mul(8).round() / 8, 1.0, 8, 0.5),
    "bounded behind": (lambda x: torch.floor(x / 0.5 + 0.5).clamp(0, 5) * 0.5, 2.5, 5, 0.5),
    "LSQ": (lsq, 2.1, 7, 0.5),
    "PACT": (pact, 1.7, 15, 0.5),
    "a rounding of whole steps": (lambda x: x.clamp(0, 3).round(), 3.0, 3, 0.5),
}


class Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.function, self.head = nn.Linear(6, 16), function, nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self.first(x)))


def net(function: Callable[[Tensor], Tensor]) -> Net:
    torch.manual_seed(0)
    return Net(function).eval()


X = torch.randn(64, 6, generator=torch.Generator().manual_seed(2)) * 3


def only_site(graph: Graph) -> Site:
    assert not graph.blockers()
    (site,) = graph.sites.values()
    return site


@pytest.mark.parametrize("entrance", ["module", "onnx"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_one_site(spelling: str, entrance: str, tmp_path: Path) -> None:
    function, ceiling, levels, shift = SPELLINGS[spelling]
    module = net(function)
    with torch.no_grad():
        wanted = module(X)
    if entrance == "onnx":
        path = tmp_path / "m.onnx"
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(module, (X,), path, dynamic_shapes=shapes, verbose=False)
        graph, wanted = load_onnx(path), onnx_reference(path)(X)[0]
    else:
        graph = load_module(module, X)
    site = only_site(graph)
    assert site.kind == "quantized_clip"
    assert (site.ceiling, site.levels, site.shift) == (pytest.approx(ceiling), levels, shift)
    torch.testing.assert_close(run(graph, X)[graph.outputs[0]], wanted, rtol=0, atol=1e-5)


NO_STAIRCASE: dict[str, Callable[[Tensor], Tensor]] = {
    "a rounding alone": torch.floor,
    "no upper bound": lambda x: torch.floor(F.relu(x)),
    "below zero": lambda x: torch.round(x.clamp(-1, 1) * 4) / 4,
    "a rise that is turned": lambda x: torch.floor(x.clamp(0, 1) * -4),
    "a bound between steps": lambda x: torch.floor(x.relu() + 0.5).clamp(max=2.5),
}


@pytest.mark.parametrize("case", NO_STAIRCASE)
def test_what_is_no_staircase_blocks_by_name(case: str) -> None:
    graph = load_module(net(NO_STAIRCASE[case]), X)
    assert any("clip-floor" in item.reason for item in graph.blockers())
    with pytest.raises(UnsupportedError):
        graph.require_convertible()
    torch.testing.assert_close(
        run(graph, X)[graph.outputs[0]], net(NO_STAIRCASE[case])(X).detach(), rtol=0, atol=1e-5
    )


def test_thresholds_that_differ_between_channels_are_named_as_what_blocks() -> None:
    scales = torch.arange(1.0, 17.0)
    (item,) = load_module(net(lambda x: torch.floor(x.clamp(0, 2) * scales) / scales), X).blockers()
    assert "differ between channels" in item.reason
    assert "one threshold" in item.remedy


def test_a_bound_for_each_channel_is_refused_with_the_spelling_that_is_taken() -> None:
    bounds = torch.arange(1.0, 17.0)
    graph = load_module(net(lambda x: torch.minimum(x.relu(), bounds).mul(4).round() / 4), X)
    item = graph.blockers()[0]
    assert "one for each channel" in item.reason
    assert "clamp(x / bound, 0, 1) * bound" in item.remedy
    module = Qcfs()
    module.threshold = nn.Parameter(bounds)
    assert only_site(load_module(net(module), X)).levels == 4


BEYOND: dict[str, Callable[[Tensor], Tensor]] = {
    "read twice": lambda x: (y := torch.floor(x.clamp(0, 4))) + y * 0.5,
    "raised behind": lambda x: torch.floor(x.clamp(0, 4)) + 0.1,
    "turned behind": lambda x: -torch.floor(x.clamp(0, 4)),
}


@pytest.mark.parametrize("case", BEYOND)
def test_a_staircase_ends_where_it_is_one(case: str) -> None:
    module = net(BEYOND[case])
    graph = load_module(module, X)
    site = only_site(graph)
    assert (site.ceiling, site.levels) == (4.0, 4)
    torch.testing.assert_close(run(graph, X)[graph.outputs[0]], module(X).detach())


def test_a_staircase_in_other_units_gets_a_factor_before_it() -> None:
    module = net(lambda x: torch.floor(x.clamp(0, 4) * 2 + 0.5))
    graph = load_module(module, X)
    site = only_site(graph)
    assert (site.ceiling, site.levels) == (8.0, 8)
    torch.testing.assert_close(run(graph, X)[graph.outputs[0]], module(X).detach())


@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([1, 2, 4, 8]),
    ceiling=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    shift=st.sampled_from([0.0, 0.25, 0.5]),
)
def test_after_as_many_steps_as_levels_the_spikes_are_the_network(
    seed: int, levels: int, ceiling: float, shift: float
) -> None:
    maker = Maker(np.random.default_rng(seed), (3, 4, 4))
    attrs = {"ceiling": ceiling, "levels": levels, "shift": shift}
    hidden = maker.emit("quantized_clip", maker.conv("input", 4), **attrs)
    graph = maker.graph(maker.linear(maker.flatten(hidden), 3))
    x = dyadic(np.random.default_rng(seed + 1), (4, 3, 4, 4), reach=8, bits=3)
    spiking = convert(graph, x, [], parse_stages("trained"), steps=levels)
    got = simulate(spiking, x, steps=levels).outputs[0][-1]
    assert torch.equal(got, run(graph, x)[graph.outputs[0]])


@given(x=st.integers(-64, 128), levels=st.integers(1, 12), k=st.integers(1, 8))
def test_the_staircase_is_its_formula(x: int, levels: int, k: int) -> None:
    value, ceiling = torch.tensor([x / 32.0], dtype=torch.float64), k / 4
    op = OPS["quantized_clip"].run
    got = float(op(value, ceiling=ceiling, levels=levels, shift=0.5))
    place = min(max(x / 32, 0), ceiling) * levels / ceiling
    assert got in [n * (ceiling / levels) for n in range(levels + 1)]
    assert abs(got / (ceiling / levels) - place) <= 0.5 + 1e-9


@pytest.mark.parametrize("stage", sorted(set(CALIBRATORS.names()) - {"confidence", "tsc"}))
def test_contract_every_stage_takes_the_threshold_that_was_trained(stage: str) -> None:
    follows = stage in ("bias", "coding", "ftbc", "potential", "weights")
    text = {"balance": "balance:batches=5"}.get(stage, f"trained+{stage}" if follows else stage)
    neuron = "if:reset=zero" if stage == "spike-norm" else "if"
    made = convert(net(Qcfs()), X, [X], parse_stages(text), steps=8, neuron=neuron)
    (planned,) = made.plan.sites.values()
    assert planned.threshold.tolist() == 2.0
    if not follows:
        assert planned.potential.tolist() == 1.0
        assert planned.shift is None


def test_a_layer_that_no_image_wakes_keeps_its_threshold() -> None:
    module = net(Qcfs())
    module.first.bias.data -= 1000
    made = convert(module, X, [X], parse_stages("percentile"), steps=4)
    assert [p.threshold.tolist() for p in made.plan.sites.values()] == [2.0]


def test_trained_thresholds_need_no_images_and_name_the_layers_without() -> None:
    clipped = nn.Sequential(nn.Linear(6, 4), nn.ReLU6(), nn.Linear(4, 4), Qcfs()).eval()
    made = convert(clipped, X, [], parse_stages("trained"))
    assert [p.threshold.tolist() for p in made.plan.sites.values()] == [6.0, 2.0]
    plain = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4), Qcfs()).eval()
    with pytest.raises(CalibrationError, match="no threshold in '1'") as caught:
        convert(plain, X, [], parse_stages("trained"))
    assert "mse" in caught.value.hint
    made = convert(plain, X, [X], parse_stages("max:factor=0.5+trained"))
    first, second = made.plan.sites.values()
    assert float(first.threshold) == pytest.approx(float(plain[:2](X).detach().max()) / 2)
    assert float(second.threshold) == 2.0


def deep(levels: int = 8) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for width in (3, 16, 16, 16):
        layers += [nn.Conv2d(width, 16, 3, padding=1), nn.BatchNorm2d(16), Qcfs(levels, 1.0)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 5)).eval()


def test_a_deep_network_converts_and_nears_the_original() -> None:
    module = deep()
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made = convert(module, x, [], parse_stages("trained"))
    wanted = module(x).detach()
    out = simulate(made, x, steps=64).outputs[0]
    gaps = [float((out[t - 1] - wanted).norm() / wanted.norm()) for t in (2, 8, 64)]
    assert gaps[2] < gaps[1] < gaps[0]


def test_a_site_is_named_after_the_module_that_it_is() -> None:
    graph = load_module(deep(), torch.randn(2, 3, 8, 8))
    assert list(graph.sites) == ["2", "5", "8", "11"]


def test_verification_allows_what_rounding_makes_of_steps_and_no_more() -> None:
    module = deep()
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    graph = load_module(module, x)
    assert tolerance(graph, x) >= TOLERANCE
    verify_import(graph, module_reference(module), x)
    other = deep()
    other[2].threshold.data *= 1.02
    with pytest.raises(RewriteError):
        verify_import(graph, module_reference(other), x)
