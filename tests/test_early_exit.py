"""Early exit: the answers of the full run at the step of leaving, the bound, energy, the command.

The laws are asserted to the last bit, on dyadic networks.
"""

import json
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convsnn.commands import main
from convsnn.errors import ConfigError, ExportError
from convsnn.measure import evaluate
from convsnn.measure.early_exit import Exits, run_early, trace
from convsnn.measure.energy import joules_per_operation
from convsnn.measure.margins import (
    CONFIDENCE,
    Margins,
    Trace,
    fewest_samples,
    fit_margins,
    upper_bound,
)
from convsnn.measure.sharing import part_of
from convsnn.report.document import validate
from convsnn.report.page.html import render_html
from convsnn.simulate import Engine, Program, simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.workflows.evaluate.early_exit import Sums
from convsnn.workflows.subject.images import Chosen
from zoo.data import Preprocessing, open_data

SEEDS = st.integers(0, 2**32 - 1)
STEPS, BATCH = 12, 7
POISSON = "poisson:seed=3,scale=1.0"


def network(seed: int, *, encoder: str = "direct", readout: str = "mean") -> tuple[Spiking, Tensor]:
    """A random dyadic network and images for it."""
    graph = random_graph(seed)
    plan = dyadic_plan(graph, seed)
    net = to_spiking(graph, plan, encoder=encoder, readout=readout)
    return net, images(graph, seed, BATCH)


def margins(found: Trace, share: float) -> Margins:
    """Margins that let `share` of the images leave at every step, and no image at step 2."""
    needed = found.leads.double().quantile(1 - share, dim=1).tolist()
    needed[1] = math.inf
    return Margins(tuple(needed), 0.9, BATCH, 0, 0.0, 0.0)


def by_hand(found: Trace, needed: Margins) -> tuple[list[int], list[int]]:
    """Answers and steps of the rule, one image and one step at a time."""
    answers, steps = [], []
    for image in range(found.leads.shape[1]):
        for step in range(len(needed.needed)):
            last = step == len(needed.needed) - 1
            if last or float(found.leads[step, image]) > needed.needed[step]:
                answers.append(int(found.answers[step, image]))
                steps.append(step + 1)
                break
    return answers, steps


def same(a: Exits, b: Exits) -> bool:
    """Whether two runs gave the same, time aside."""
    tensors = torch.equal(a.answers, b.answers) and torch.equal(a.steps, b.steps)
    return tensors and replace(a, answers=b.answers, steps=b.steps, seconds=b.seconds) == b


@settings(max_examples=15)
@given(
    seed=SEEDS,
    share=st.sampled_from([0.1, 0.3, 0.6]),
    how=st.sampled_from([("direct", "mean"), (POISSON, "mean"), ("direct", "rising:delay=3")]),
)
def test_an_image_gets_the_answer_of_the_full_run_at_the_step_it_leaves(
    seed: int, share: float, how: tuple[str, str]
) -> None:
    net, x = network(seed, encoder=how[0], readout=how[1])
    labels = torch.arange(BATCH) % 3
    program = Program(net)
    found = trace(program, [x], steps=STEPS)
    needed = margins(found, share)
    whole = run_early(program, [(x, labels)], needed)
    answers, steps = by_hand(found, needed)
    assert (whole.answers.tolist(), whole.steps.tolist()) == (answers, steps)
    assert whole.accuracy == sum(a == b % 3 for b, a in enumerate(answers)) / BATCH
    parts = list(zip(x.split(3), labels.split(3), strict=True))
    assert same(whole, run_early(program, [(x, labels)], needed, compact=False))
    assert same(whole, run_early(program, parts, needed))


@dataclass
class Meeting:
    """One of several threads that add up as processes do."""

    number: int
    count: int
    table: dict[int, Tensor]
    barrier: threading.Barrier

    def _all(self, value: Tensor) -> list[Tensor]:
        self.table[self.number] = value
        self.barrier.wait(60)
        found = [self.table[n] for n in range(self.count)]
        self.barrier.wait(60)
        return found

    def agree(self, numbers: Sequence[int]) -> list[int]:
        return list(numbers)

    def add(self, value: Tensor) -> Tensor:
        return torch.stack(self._all(value)).sum(0)

    def least(self, value: Tensor) -> Tensor:
        return torch.stack(self._all(value)).amin(0)


@pytest.mark.parametrize(("encoder", "size"), [("direct", 2), (POISSON, 2), ("direct", BATCH)])
def test_several_processes_leave_as_one_does(encoder: str, size: int) -> None:
    """Whole batches for each; in the last case there is nothing left for two of the three."""
    net, x = network(4, encoder=encoder)
    labels, program, count = torch.arange(BATCH) % 3, Program(net), 3
    found = trace(program, [x], steps=STEPS)
    needed = margins(found, 0.3)
    alone = run_early(program, [(x, labels)], needed)
    table: dict[int, Tensor] = {}
    barrier = threading.Barrier(count)

    def process(number: int) -> tuple[Trace, Exits]:
        share = Meeting(number, count, table, barrier)
        rows = part_of(share, BATCH, batch_size=size)
        parts = [(x[i : i + size], labels[i : i + size]) for i in rows[::size]]
        own = Program(net)
        mine = trace(own, [a for a, _ in parts], steps=STEPS, first=rows.start, share=share)
        return mine, run_early(own, parts, needed, first=rows.start, share=share)

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(process, range(count)))
    for mine, exits in results:
        assert torch.equal(mine.answers, found.answers)
        assert torch.equal(mine.leads, found.leads)
        assert same(exits, alone)


@pytest.mark.parametrize("encoder", ["direct", POISSON])
@pytest.mark.parametrize("seed", range(3))
def test_only_steps_that_ran_cost_energy(seed: int, encoder: str) -> None:
    net, x = network(seed, encoder=encoder)
    program = Program(net)
    needed = margins(trace(program, [x], steps=STEPS), 0.3)
    exits = run_early(program, [(x, None)], needed)
    assert len(set(exits.steps.tolist())) > 1
    full = simulate(net, x, steps=STEPS)
    counted = cached = 0.0
    for name, operations in full.synaptic_operations.items():
        joules = joules_per_operation(net, net.graph.by_name[name])
        fixed = len(operations) == 1
        for image, steps in enumerate(exits.steps.tolist()):
            spent = float(operations.expand(STEPS, -1)[:steps, image].sum()) * joules
            counted += spent
            cached += spent / steps if fixed else spent
    assert exits.counted == pytest.approx(counted / BATCH, rel=1e-12)
    assert exits.cached == pytest.approx(cached / BATCH, rel=1e-12)
    assert (exits.cached < exits.counted) == (encoder == "direct")
    assert exits.accuracy is None


def test_where_nobody_may_leave_it_is_the_full_run() -> None:
    net, x = network(3)
    never = Margins((math.inf,) * STEPS, 0.9, BATCH, 0, 0.0, 0.0)
    exits = run_early(Program(net), [(x, None)], never)
    full = evaluate(net, [(x, None)], steps=STEPS, task="classify")
    assert full.predictions is not None
    assert exits.answers.tolist() == full.predictions[-1].tolist()
    assert exits.steps.tolist() == [STEPS] * BATCH


def test_whole_number_engines_keep_the_law() -> None:
    net, x = network(5)
    program = Program(net, Engine("int8"))
    found = trace(program, [x], steps=STEPS)
    needed = margins(found, 0.3)
    answers, steps = by_hand(found, needed)
    exits = run_early(program, [(x, None)], needed)
    assert (exits.answers.tolist(), exits.steps.tolist()) == (answers, steps)


@given(samples=st.integers(1, 400), data=st.data())
def test_the_bound_is_where_so_few_changes_become_improbable(
    samples: int, data: st.DataObject
) -> None:
    changed = data.draw(st.integers(0, min(samples - 1, 12)))
    p = Fraction(upper_bound(changed, samples))
    as_few = sum(
        math.comb(samples, k) * p**k * (1 - p) ** (samples - k) for k in range(changed + 1)
    )
    assert float(as_few) == pytest.approx(1 - CONFIDENCE, rel=1e-6)


def test_the_bound_without_changes_and_with_nothing_but() -> None:
    assert upper_bound(0, 600) == pytest.approx(1 - 0.05 ** (1 / 600))
    assert upper_bound(5, 5) == 1.0
    assert (
        upper_bound(0, fewest_samples(0.995)) <= 0.005 < upper_bound(0, fewest_samples(0.995) - 1)
    )


def walks(seed: int, samples: int, steps: int = 10) -> Trace:
    """Chosen whose score is a mean that settles; the answer is 0 while it is above zero."""
    rng = np.random.default_rng(seed)
    t = np.arange(1, steps + 1)[:, None]
    settled = rng.gamma(2.0, 1.0, samples)
    value = settled + np.cumsum(rng.normal(0, 1.0, (steps, samples)), 0) / t
    return Trace(torch.from_numpy(np.abs(value)), torch.from_numpy((value < 0).astype(np.int64)))


@settings(max_examples=15)
@given(seed=SEEDS, promised=st.sampled_from([0.9, 0.97, 0.995]))
def test_fitted_margins_shrink_and_do_what_they_say(seed: int, promised: float) -> None:
    found = walks(seed, 800)
    fitted = fit_margins(found, promised=promised)
    answers, steps = by_hand(found, fitted)
    changed = sum(a != b for a, b in zip(answers, found.answers[-1].tolist(), strict=True))
    assert (fitted.changed, fitted.samples) == (changed, 800)
    assert fitted.mean_steps == pytest.approx(np.mean(steps))
    assert upper_bound(changed, 800) == fitted.bound <= 1 - promised
    inner = fitted.needed[:-1]
    assert all(a >= b > 0 for a, b in pairwise(inner))


def test_a_bolder_promise_runs_longer() -> None:
    found = walks(0, 2000)
    lengths = [fit_margins(found, promised=p).mean_steps for p in (0.8, 0.95, 0.99, 0.998)]
    assert lengths == sorted(lengths)
    assert lengths[0] < 0.6 * lengths[-1]


def test_the_promise_is_kept_as_often_as_stated() -> None:
    """Margins from 300 images, tried on 20,000 others, 150 times: at most 1 in 20 may miss."""
    promised, missed = 0.95, 0
    others = walks(10**6, 20_000)
    for seed in range(150):
        fitted = fit_margins(walks(seed, 300), promised=promised)
        leaves = others.leads[:-1] > torch.tensor(fitted.needed[:-1])[:, None]
        step = torch.where(leaves.any(0), leaves.int().argmax(0), len(fitted.needed) - 1)
        kept = others.answers.gather(0, step[None])[0] == others.answers[-1]
        missed += float(kept.double().mean()) < promised
    assert missed <= 13  # P(more | 1 in 20) < 2 %


@pytest.mark.parametrize("promised", [0.5, 1.0, 0.0, -3.0, 1.5, math.nan])
def test_promises_that_cannot_be_made(promised: float) -> None:
    with pytest.raises(ConfigError, match="more than 50 and less than 100") as caught:
        fit_margins(walks(0, 700), promised=promised)
    assert caught.value.hint


def test_too_few_images_or_steps() -> None:
    with pytest.raises(ConfigError, match="597 images are too few") as caught:
        fit_margins(walks(0, 597), promised=0.995)
    assert "598" in caught.value.hint
    assert fit_margins(walks(0, 598), promised=0.995).changed == 0
    with pytest.raises(ConfigError, match="a single time step"):
        fit_margins(walks(0, 700, steps=1), promised=0.9)


def test_no_images_and_no_classes() -> None:
    net, _ = network(0)
    never = Margins((math.inf,) * STEPS, 0.9, BATCH, 0, 0.0, 0.0)
    with pytest.raises(ConfigError, match="no images"):
        trace(Program(net), [], steps=STEPS)
    with pytest.raises(ConfigError, match="no images"):
        run_early(Program(net), [], never)
    maker = Maker(np.random.default_rng(0), (2, 5, 5))
    graph = maker.graph(maker.conv(maker.relu(maker.conv("input", 2)), 2))
    program = Program(to_spiking(graph, dyadic_plan(graph, 0)))
    for call in (
        lambda: trace(program, [images(graph, 0, 2)], steps=STEPS),
        lambda: run_early(program, [(images(graph, 0, 2), None)], never),
    ):
        with pytest.raises(ConfigError, match="class scores") as caught:
            call()
        assert caught.value.hint


SMALL = ["--samples", "60", "--calibration-samples", "80", "--batch-size", "20", "--timesteps", "8"]


def command(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_convert_and_evaluate_report_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    convert = ("convert", "zoo:mnist5k-cnn", *SMALL, "--early-exit", 95, "-o", "out", "--json")
    code, out, err = command(capsys, *convert)
    assert code == 0, err
    report = json.loads(out)
    section = report["early_exit"]
    assert section["promised"] == 0.95
    assert 0.8 <= section["reached"] <= 1
    assert 1 <= section["mean_steps"] < 8
    assert sum(section["exits"]) == pytest.approx(1)
    assert section["energy"]["counted"] < report["energy"]["counted"][-1]
    assert section["accuracy_full"] == report["snn"]["accuracy"][-1]
    assert len(section["margins"]) == 8
    assert section["margins"][-1] is None
    assert section["fit"]["samples"] == 80
    assert section["fit"]["unseen"] is False
    page = Path("out/report.html").read_text()
    assert "Early exit: promised that 95.00" in page.replace("\N{NO-BREAK SPACE}", " ")
    code, out, err = command(capsys, "evaluate", "out", "--samples", 60, "--early-exit", 95)
    assert code == 0, err
    assert "Early exit: promised that 95.00 %" in " ".join(out.split())
    evaluate_json = ("evaluate", "out", "--samples", 60, "--early-exit", 95, "--json")
    code, out, err = command(capsys, *evaluate_json)
    again = json.loads(out)["early_exit"]
    assert {**again, "seconds": 0} == {**section, "seconds": 0}
    for path, wrong in (("reached", 1.5), ("exits", [1.0]), ("fit", {})):
        with pytest.raises(ExportError, match="early_exit"):
            validate({**report, "early_exit": {**section, path: wrong}})
    del report["early_exit"]
    assert "Early exit" not in render_html(report)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory with three files of images of ten classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, count in (("train", 100), ("test", 60), ("other", 90)):
        x = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        np.savez(f"{name}.npz", x=x, y=np.arange(count) % 10)
    return tmp_path


def test_margins_come_from_data_the_network_has_not_seen(here, capsys):
    model = ("convert", "zoo:mnist5k-cnn", *SMALL, "--data", "npz:train.npz,test.npz", "--json")
    other = ("--early-exit", 90, "--exit-data", "npz:other.npz,other.npz")
    code, out, err = command(capsys, *model, *other)
    assert code == 0, err
    fit = json.loads(out)["early_exit"]["fit"]
    assert fit["samples"] == 90
    assert fit["source"] == "npz:other.npz"
    assert fit["unseen"] is True


def test_sums_do_not_depend_on_the_batch_size() -> None:
    part = open_data("mnist5k", input_shape=(1, 28, 28), preprocessing=Preprocessing()).train
    order, device = [5, 2, 9, 7, 40], torch.device("cpu")
    x, _ = next(part.batches(5, indices=order))
    wanted = 0.65 * x + 0.35 * x.roll(-1, 0)
    for size in (2, 5):
        found = torch.cat(list(Sums(Chosen(part, order, size, device))))
        assert torch.allclose(found, wanted)
    pairs = Chosen(part, order, 2, device)
    shared = [*Sums(pairs, range(4)), *Sums(pairs, range(4, 5)), *Sums(pairs, range(5, 5))]
    assert torch.equal(torch.cat(shared), torch.cat(list(Sums(pairs))))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--early-exit", "100"], "more than 50 and less than 100"),
        (["--early-exit", "50"], "more than 50 and less than 100"),
        (["--early-exit", "nan"], "must be a finite number"),
        (["--early-exit", "99.5"], "80 images are too few"),
        (["--early-exit", "90", "--timesteps", "1"], "single time step"),
        (["--exit-data", "npz:other.npz,other.npz"], "--exit-data needs --early-exit"),
        (["--early-exit", "90", "--exit-data", "npz:test.npz,test.npz"], "that are scored"),
        (["--early-exit", "90", "--exit-data", "npz:no.npz,no.npz"], "does not exist"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(here, capsys, options, words):
    before = sorted(here.iterdir())
    model = ("convert", "zoo:mnist5k-cnn", *SMALL, "--data", "npz:train.npz,test.npz")
    code, out, err = command(capsys, *model, *options)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert "calibrating" not in err
    assert sorted(here.iterdir()) == before
