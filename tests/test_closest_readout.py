"""The readout that convert chooses: judged by outputs alone, on the last calibration images."""

import math

import pytest
import torch
from conftest import dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import run
from convsnn.simulate import read_out, simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.workflows.convert import closest_readout
from convsnn.workflows.convert.closest_readout import SAMPLES, with_closest_readout

SEEDS = st.integers(0, 10_000)


def distances(net: Spiking, x: torch.Tensor, steps: int) -> dict[str, float]:
    """Written out: every readout from the mean output of each step."""
    (name,) = net.graph.outputs
    wanted = run(net.graph, x)[name].double()
    means = simulate(net, x, steps=steps).outputs[0].double()
    count = torch.arange(1.0, steps + 1, dtype=torch.float64).reshape(-1, *[1] * wanted.dim())
    each = torch.diff(means * count, dim=0, prepend=torch.zeros_like(means[:1]))
    rising, steeper = ((each * w).cumsum(0) / w.cumsum(0) for w in (count, count**2))
    at = sorted({t for t in (1, 2, 4, 8, 16) if t < steps} | {steps})
    return {
        spec: math.exp(
            sum(math.log(max(1e-6, float((m[t - 1] - wanted).norm() / wanted.norm()))) for t in at)
            / len(at)
        )
        for spec, m in (("mean", means), ("rising", rising), ("rising:power=2", steeper))
    }


@settings(max_examples=20)
@given(seed=SEEDS, steps=st.integers(1, 12), split=st.integers(1, 5))
def test_it_is_the_closer_one_in_any_batches(seed: int, steps: int, split: int) -> None:
    graph = random_graph(seed)
    net, x = to_spiking(graph, dyadic_plan(graph, seed)), images(graph, seed, 5)
    got = with_closest_readout(net, x.split(split), steps=steps)
    wanted = distances(net, x, steps)
    found = got.plan.record[-1]["distance"]
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    assert got.readout == min(found, key=lambda spec: found[spec])
    assert (got.graph, got.encoder, got.plan.sites) == (net.graph, net.encoder, net.plan.sites)


def test_no_more_images_are_run_at_once_than_a_batch_holds(monkeypatch) -> None:
    graph, seen = random_graph(2), []

    def watched(program: object, x: torch.Tensor, **options: object) -> object:
        seen.append(len(x))
        return read_out(program, x, **options)

    monkeypatch.setattr(closest_readout, "read_out", watched)
    net, x = to_spiking(graph, dyadic_plan(graph, 2)), images(graph, 2, 7)
    with_closest_readout(net, x.split(3), steps=4)
    assert sorted(seen) == [1, 3, 3]


def test_only_the_last_images_are_looked_at() -> None:
    graph = random_graph(3)
    net, x = to_spiking(graph, dyadic_plan(graph, 3)), images(graph, 3, SAMPLES + 9)
    other = torch.cat([torch.full_like(x[:9], 100.0), x[9:]])
    found = [
        with_closest_readout(net, batch.split(7), steps=8).plan.record[-1] for batch in (x, other)
    ]
    assert found[0]["distance"] == pytest.approx(found[1]["distance"])


def test_a_delay_stays_and_a_single_step_is_a_mean() -> None:
    graph = random_graph(5)
    plan, x = dyadic_plan(graph, 5), images(graph, 5, 4)
    late = to_spiking(graph, plan, readout="mean:delay=2")
    chosen = with_closest_readout(late, [x], steps=8)
    tried = ("mean:delay=2", "rising:delay=2", "rising:power=2,delay=2")
    assert chosen.readout in tried
    assert tuple(chosen.plan.record[-1]["distance"]) == tried
    assert with_closest_readout(to_spiking(graph, plan), [x], steps=1).readout == "mean"


def test_no_step_and_no_image_are_refused_by_name() -> None:
    graph = random_graph(5)
    late = to_spiking(graph, dyadic_plan(graph, 5), readout="mean:delay=4")
    with pytest.raises(ConfigError, match="delay=4 leaves nothing of 4 time steps"):
        with_closest_readout(late, [images(graph, 5, 2)], steps=4)
    with pytest.raises(CalibrationError, match="no calibration images"):
        with_closest_readout(late, [], steps=8)


def test_a_network_is_never_left_without_an_answer() -> None:
    graph = random_graph(1)
    with pytest.raises(ConfigError, match="'auto' is chosen by convert"):
        to_spiking(graph, dyadic_plan(graph, 1), readout="auto")
