"""What calibration costs: how far it is, what it keeps, and that keeping less changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import Maker
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shared_calibration import assert_same
from torch import Tensor, nn

import convsnn
from calibrate import parse_stages, replay, rows, weights
from calibrate.least_squares import by_group, features
from calibrate.replay import Replay
from convsnn.encoders import ENCODERS
from convsnn.graph import Graph
from convsnn.spiking.plan import Context, Plan, run_stages
from convsnn.workflows.convert.network import convert
from convsnn.workflows.running.voice import Voice, heard_by

DEFAULT = parse_stages("mse+weights")


def context(graph: Graph, batches: list[Tensor], schedule: str = "steps") -> Context:
    return Context(graph, batches, "if", ENCODERS.create("direct"), 8, 0, schedule)


def convolutions(seed: int) -> tuple[Graph, Tensor]:
    """Two convolutions, a pool between them, and images of several pieces."""
    rng = np.random.default_rng(seed)
    maker = Maker(rng, (2, 9, 8), exact=False)
    x = maker.max_pool(maker.relu(maker.conv("input", 4, padding=1)))
    x = maker.relu(maker.conv(x, 4, padding=1, groups=2))
    graph = maker.graph(maker.linear(maker.flatten(x), 3))
    return graph, torch.from_numpy(rng.normal(0, 1, (24, 2, 9, 8))).float()


@pytest.mark.parametrize("schedule", ["steps", "layers"])
def test_the_default_says_how_far_it_is(schedule: str) -> None:
    graph, x = convolutions(0)
    heard: list[list[float]] = []

    @contextmanager
    def shown(number: int) -> Iterator[Callable[[float], None]]:
        assert number == len(heard)
        heard.append([])
        yield heard[-1].append

    run_stages(context(graph, list(x.split(8)), schedule), DEFAULT, shown=shown)
    assert all(len(told) > 2 and told == sorted(told) for told in heard)
    assert heard[0][-1] == pytest.approx(0.9)  # the search over thresholds comes last
    assert heard[1][-1] == pytest.approx(1.0)


class Watched(Voice):
    """Notes every bar and how far it came."""

    def __init__(self) -> None:
        self.bars: dict[str, list[int]] = {}
        self.totals: dict[str, int] = {}

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        self.totals[title] = total
        yield self.bars.setdefault(title, []).append


def test_a_conversion_shows_a_bar_for_each_stage_and_for_the_readout() -> None:
    graph, x = convolutions(1)
    voice = Watched()
    with heard_by(voice):
        convert(graph, x[:4], list(x.split(8)), DEFAULT, steps=8, readout="auto")
    titles = ["calibrating: mse, stage 1 of 2", "calibrating: weights, stage 2 of 2"]
    assert list(voice.bars) == [*titles, "choosing the readout"]
    assert voice.bars[titles[1]][-1] == voice.totals[titles[1]]
    last = voice.bars["choosing the readout"]
    assert last == sorted(last)
    assert last[-1] == voice.totals["choosing the readout"]


@pytest.mark.parametrize("kept", [0, 1 << 13])
@pytest.mark.parametrize("schedule", ["steps", "layers"])
def test_currents_that_are_made_anew_are_those_that_were_kept(
    schedule: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, x = convolutions(2)
    monkeypatch.setattr(replay, "ELEMENTS", 1 << 13)  # several pieces, of which some fit
    given_ = context(graph, list(x.split(8)), schedule)
    wanted = run_stages(given_, DEFAULT)
    monkeypatch.setattr(replay, "KEPT", kept)
    assert_same(wanted, run_stages(given_, DEFAULT), exactly=True)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("elements", [1, 1 << 21])
def test_sums_of_lots_are_the_least_squares_solution(
    elements: int, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ELEMENTS", elements)
    monkeypatch.setattr(rows, "WHOLE", 2)
    graph, _ = convolutions(3)
    node = next(n for n in graph.nodes if n.op == "conv" and n.attrs["groups"] == 2)
    draw = torch.Generator().manual_seed(0)
    pieces = [torch.randn(2, 5, 7, generator=draw) for _ in range(40)]
    missing = [torch.randn(2, 2, 7, generator=draw) for _ in pieces]
    found = rows.Normal.nothing(node, graph.weight(node), 5)
    for number, (inputs, lacks) in enumerate(zip(pieces, missing, strict=True)):
        found.add(number, inputs, lacks)
    found = found.of_all(context(graph, []).share)
    a, b = (torch.cat(each, 2).double() for each in (pieces, missing))
    gram = a @ a.mT
    torch.testing.assert_close(found.gram, gram, rtol=1e-5, atol=1e-4)
    penalty = rows.penalty_of(gram.diagonal(dim1=1, dim2=2), 0.5, biased=biased)
    assert bool((penalty[:, -1] < 1e-6 * penalty[:, 0]).all()) == biased
    wanted = torch.linalg.solve(gram + torch.diag_embed(penalty), a @ b.mT)
    torch.testing.assert_close(found.solve(0.5, biased=biased), wanted, rtol=1e-4, atol=1e-5)


def test_what_rounding_left_without_a_root_is_solved_all_the_same() -> None:
    gram = torch.tensor([[[1.0, 2.0], [2.0, 1.0]]], dtype=torch.float64)  # one eigenvalue is -1
    moment = torch.ones(1, 2, 1, dtype=torch.float64)
    found = rows.Normal(gram.clone(), moment).solve(1e-3, biased=False)
    torch.testing.assert_close((gram + 1e-3 * torch.eye(2)) @ found, moment)


@given(
    unknowns=st.integers(1, 40),
    count=st.integers(1, 6),
    whole=st.integers(1, 9),
    seed=st.integers(),
)
@settings(max_examples=25, deadline=None)
def test_squares_of_parts_are_the_square(unknowns: int, count: int, whole: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed % 2**32)
    x = torch.randint(-9, 9, (2, unknowns, count), generator=draw).float()
    before, rows.WHOLE = rows.WHOLE, whole
    try:
        assert torch.equal(rows.squared(x), x @ x.mT)
    finally:
        rows.WHOLE = before


@pytest.mark.parametrize("every", [1, 2, 3])
def test_places_that_are_left_out_are_every_other_of_all(every: int) -> None:
    graph, x = convolutions(4)
    node = next(n for n in graph.nodes if n.op == "conv")
    weight = graph.weight(node)
    plan = run_stages(context(graph, [x]), parse_stages("max"))
    replayed = Replay(context(graph, [x]), plan, 8, 4)
    places = rows.Places.some(replayed, node, 1 / every**2, seed=5)
    assert places.every == every
    out = torch.conv2d(x[:4], weight, graph.tensors[node.inputs[2]], padding=1)
    part, given_, (kept,) = places.of(0, node, x[:4], out)
    down, across = places.firsts[0]
    assert torch.equal(kept, out[:, :, down::every, across::every])
    seen = features(part, weight, given_, wide=False, biased=True)[0]
    matrix = torch.cat([weight.flatten(1), graph.tensors[node.inputs[2]][:, None]], 1)
    made = (matrix @ seen)[None]
    torch.testing.assert_close(made, by_group(part, kept), rtol=1e-4, atol=1e-5)


def test_large_layers_are_fitted_to_some_of_their_places_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, x = convolutions(5)
    given_ = context(graph, [x])
    start = run_stages(given_, DEFAULT[:1])
    all_, some = Plan(), Plan()
    for work in (weights.WORK, 1 << 16):
        monkeypatch.setattr(weights, "WORK", work)
        all_, some = some, DEFAULT[1](given_, start)
    assert (all_.record[-1]["every"], some.record[-1]["every"]) == (1, 2)
    moved = [
        torch.cat([(p.weights[name] - graph.tensors[name]).flatten() for name in p.weights])
        for p in (all_, some)
    ]
    assert float(torch.corrcoef(torch.stack(moved))[0, 1]) > 0.8


@pytest.mark.parametrize("shape", [(1, 1, 40), (2, 3, 3)])
@pytest.mark.parametrize("schedule", ["steps", "layers"])
def test_maps_smaller_than_what_is_left_out_are_fitted_too(
    shape: tuple[int, ...], schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = (1, 7) if shape[1] == 1 else (3, 3)
    padding = tuple(size // 2 for size in kernel)
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(shape[0], 4, kernel, padding=padding), nn.ReLU(),
        nn.Conv2d(4, 4, kernel, padding=padding), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip
    x = torch.rand(20, *shape)
    module(x)
    monkeypatch.setattr("calibrate.weights.WORK", 1)
    monkeypatch.setattr("calibrate.quantised.ROWS", 0.001)
    snn = convsnn.convert(
        module.eval(), x, timesteps=8, calibrate="mse+weights", schedule=schedule, verify=False
    )
    assert bool(snn(x).isfinite().all())
