"""Calibration shared by several processes, here threads: every stage comes to the plan of one."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_calibrate import BESIDE, NEURON, loud_networks
from torch import Tensor, nn

from calibrate import CALIBRATORS, parse_stages
from calibrate.base import SetsThresholds
from calibrate.bit_matched import quantised
from convsnn.encoders import ENCODERS
from convsnn.errors import CalibrationError
from convsnn.graph import Graph
from convsnn.load import load_module
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Context, Plan, run_stages, same_plan
from convsnn.spiking.sharing import ALONE, Share, own_batches
from convsnn.workflows.convert.closest_readout import with_closest_readout
from convsnn.workflows.convert.network import convert
from convsnn.workflows.subject.images import Chosen
from zoo.data import Preprocessing, open_data

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Thread:
    """One of several threads, each with a share of the work."""

    number: int
    count: int
    slots: list[Any]
    meeting: Barrier

    def _all(self, value: Any) -> list[Any]:
        self.slots[self.number] = value
        self.meeting.wait()
        found = list(self.slots)
        self.meeting.wait()
        return found

    def agree(self, numbers: Sequence[int]) -> list[int]:
        return list(self._all(numbers)[0])

    def add(self, value: Tensor) -> Tensor:
        return torch.stack(self._all(value)).sum(0).to(value.dtype)

    def least(self, value: Tensor) -> Tensor:
        return torch.stack(self._all(value)).amin(0)

    def most(self, value: Tensor) -> Tensor:
        return torch.stack(self._all(value)).amax(0)

    def first(self, value: Tensor) -> Tensor:
        return self._all(value)[0].clone()


def together(count: int, work: Callable[[Share], Any]) -> list[Any]:
    """What `work` gives in each of `count` threads; an error in one ends all."""
    slots, meeting = [None] * count, Barrier(count, timeout=60)

    def one(number: int) -> Any:
        try:
            return work(Thread(number, count, slots, meeting))
        except BaseException:
            meeting.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        waiting = [pool.submit(one, number) for number in range(count)]
        return [each.result() for each in waiting]


def assert_same(one: Plan, other: Plan, *, exactly: bool) -> None:
    assert list(one.sites) == list(other.sites)
    assert list(one.weights) == list(other.weights)
    pairs = [(one.weights[name], other.weights[name]) for name in one.weights]
    for name, planned in one.sites.items():
        found = other.sites[name].tensors()
        assert list(planned.tensors()) == list(found)
        pairs += [(value, found[key]) for key, value in planned.tensors().items()]
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype
        scale = float(mine.abs().max())
        assert torch.allclose(mine, theirs, rtol=1e-6, atol=0 if exactly else 1e-6 * scale)
        assert not exactly or torch.equal(mine, theirs)


@pytest.mark.parametrize("count", [2, 5])  # of 3 batches, so that two have nothing to do
@pytest.mark.parametrize(
    ("name", "schedule"),
    [*((name, "steps") for name in CALIBRATORS.names()), ("mse", "layers"), ("weights", "layers")],
)
def test_contract_shared_calibration_is_that_of_one(name: str, schedule: str, count: int) -> None:
    graph, x = loud_networks()[1]
    batches = list(x.split(2))
    neuron = NEURON.get(name, "if")
    encoder = ENCODERS.create(BESIDE.get(name, {}).get("encoder", "direct"))
    alone = Context(graph, batches, neuron, encoder, 8, 0, schedule)
    sets = isinstance(CALIBRATORS.create(name), SetsThresholds)
    stages = parse_stages(
        {"balance": "balance:batches=7"}.get(name, name if sets else f"max+{name}")
    )
    wanted = run_stages(alone, stages)

    def work(share: Share) -> Plan:
        return run_stages(replace(alone, share=share), stages)

    for plan in together(count, work):
        assert_same(wanted, plan, exactly=sets)
        assert plan.record == wanted.record


def test_lots_change_nothing_but_rounding_and_every_process_gets_the_first_plan() -> None:
    graph, x = loud_networks()[0]
    alone = Context(graph, [image[None] for image in x], "if", ENCODERS.create("direct"), 8, 0)
    stages = parse_stages("mse+weights:samples=5+bias+potential")
    wanted = run_stages(alone, stages)

    def work(share: Share) -> tuple[Plan, Spiking]:
        plan = same_plan(run_stages(replace(alone, share=share), stages), share)
        net = to_spiking(graph, plan)
        return plan, with_closest_readout(net, alone.batches, steps=8, share=share)

    (plan, net), *others = together(3, work)
    assert_same(wanted, plan, exactly=False)
    for other, read in others:
        assert_same(plan, other, exactly=True)
        assert (read.readout, read.plan.record) == (net.readout, net.plan.record)
    chosen = with_closest_readout(to_spiking(graph, plan), alone.batches, steps=8)
    assert chosen.plan.record[-1] == net.plan.record[-1]


def test_networks_of_few_bits_are_those_of_one() -> None:
    graph, x = loud_networks()[0]
    batches = list(x.split(2))
    wanted = quantised(graph, batches, [2, 4])
    for found in together(2, lambda share: quantised(graph, batches, [2, 4], share=share)):
        for bits in (2, 4):
            assert_same(wanted[bits].plan, found[bits].plan, exactly=True)


@cache
def smooth_network(last: type[nn.Module]) -> tuple[Graph, Tensor]:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.LayerNorm(7), nn.Linear(7, 6))
    layers = first, last(), nn.Linear(6, 3)
    x = torch.randn(14, 5)
    return load_module(nn.Sequential(*layers).eval(), x[:4]), x


def test_smooth_networks_are_shared_too() -> None:
    graph, x = smooth_network(nn.ReLU)
    wanted = convert(graph, x[:4], x.split(3), parse_stages("mse"), steps=8)

    def work(share: Share) -> Plan:
        return convert(graph, x[:4], x.split(3), parse_stages("mse"), steps=8, share=share).plan

    for plan in together(3, work):
        assert "coding" in [record["stage"] for record in plan.record]
        assert_same(wanted.plan, plan, exactly=True)


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("name", ["max", "coding"])
def test_what_is_not_finite_for_one_is_refused_by_all(name: str, broken: int) -> None:
    graph, x = smooth_network(nn.Tanh) if name == "coding" else loud_networks()[0]
    batches = list(x.clone().split(len(x) // 3))
    batches[broken][:] = torch.nan

    def work(share: Share) -> str:
        if name == "coding":
            with pytest.raises(CalibrationError) as told:
                convert(graph, x[:4], batches, (), steps=8, share=share)
        else:
            given_ = Context(graph, batches, "if", ENCODERS.create("direct"), 8, 0, share=share)
            with pytest.raises(CalibrationError) as told:
                run_stages(given_, parse_stages(name))
        return str(told.value)

    first, second = together(2, work)
    assert first == second
    assert "not finite" in first


@given(total=st.integers(0, 60), batch=st.integers(1, 9), count=st.integers(1, 7))
def test_batches_are_dealt_once_and_know_their_first_image(total, batch, count):
    batches = [torch.arange(total)[n : n + batch] for n in range(0, total, batch)]
    shares = [Thread(n, count, [], Barrier(1)) for n in range(count)]
    dealt = [list(own_batches(share, batches)) for share in shares]
    found = sorted((first, x.tolist()) for part in dealt for first, x in part)
    assert found == [(int(x[0]), x.tolist()) for x in batches]
    assert dealt[0] or not total
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    whole = [(first, x.tolist()) for first, x in own_batches(ALONE, batches)]
    assert whole == found


def test_chosen_images_are_dealt_without_reading_those_of_others() -> None:
    part = open_data("digits", input_shape=(1, 8, 8), preprocessing=Preprocessing()).train
    chosen = Chosen(part, list(range(30, 7, -1)), 4, CPU)
    shares = [Thread(n, 3, [], Barrier(1)) for n in range(3)]
    for share in shares:
        mine, theirs = chosen.dealt(share), own_batches(share, list(chosen))
        for (first, x), (other, y) in zip(mine, theirs, strict=True):
            assert first == other
            assert torch.equal(x, y)
