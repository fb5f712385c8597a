"""Precision, compiling and batch size as options: what ran is named, batches change nothing."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import dyadic_plan, images, random_graph
from hypothesis import given
from hypothesis import strategies as st

from convsnn.commands import main
from convsnn.commands.terminal import Terminal
from convsnn.errors import LoadError, SimulationError
from convsnn.measure import evaluate
from convsnn.measure.first_spikes import FirstSpikes
from convsnn.measure.fitting import USUAL_BATCH, fitting_batch, in_pieces
from convsnn.simulate import PRECISIONS, Engine
from convsnn.spiking.network import to_spiking
from convsnn.workflows.running import precision as computing
from convsnn.workflows.running.precision import COMPILED_FROM, Wanted, as_before
from convsnn.workflows.running.voice import heard_by

CPU = torch.device("cpu")
SMALL = ["--samples", "40", "--calibration-samples", "60", "--timesteps", "6"]
NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")


def network(seed=3):
    graph = random_graph(seed)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, 9))
    return to_spiking(graph, dyadic_plan(graph, seed)), images(graph, seed, 9), labels


def split(x, y, size):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def same(one, other):
    """Everything that two evaluations found."""
    assert torch.equal(one.accuracy, other.accuracy)
    assert torch.equal(one.agreement, other.agreement)
    assert torch.equal(one.predictions, other.predictions)
    for name in ("events", "operations", "sin", "first_spike"):
        mine, theirs = vars(one.activity)[name], vars(other.activity)[name]
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine), name
    assert one.activity.silent == other.activity.silent


@given(
    seed=st.integers(0, 10**6),
    chunks=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    kind=st.sampled_from([torch.uint8, torch.float32, torch.bfloat16]),
    shape=st.sampled_from([(3,), (2, 3), (2, 2, 3)]),
)
def test_first_spikes_are_those_of_a_plain_search(seed, chunks, kind, shape):
    rng, steps = np.random.default_rng(seed), sum(chunks)
    train = torch.from_numpy(rng.integers(0, 5, (steps, 4, *shape)) // 4).to(kind)
    watched = torch.from_numpy(rng.integers(0, 2, (4, *shape)) == 1)
    seen = FirstSpikes(steps)
    for part in train.split(chunks):
        seen.see(part)
    expected = torch.zeros(4, *shape, dtype=torch.int64)
    for step in reversed(range(steps)):
        expected[train[step] != 0] = steps - step
    assert torch.equal(seen.left().long(), expected)
    fired = [int(((expected >= steps - step) & watched).sum()) for step in range(steps)]
    assert seen.counts(watched).tolist() == fired


@pytest.mark.parametrize("neurons", [3, 8])  # bytes one by one, and eight at a time
def test_first_spikes_of_more_steps_than_a_byte_counts(neurons):
    train = torch.zeros(600, 1, neurons, dtype=torch.uint8)
    for neuron, step in enumerate((0, 280, 599)):
        train[step:, 0, neuron] = 2
    seen = FirstSpikes(600)
    for part in train.split(7):
        seen.see(part)
    assert seen.left()[0].tolist() == [600, 320, 1] + [0] * (neurons - 3)
    counts = seen.counts(torch.ones(1, neurons, dtype=torch.bool)).tolist()
    assert counts == [1] * 280 + [2] * 319 + [3]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_are_the_same_for_every_batch_size(precision):
    net, x, y = network()
    engine = Engine(precision)
    whole = evaluate(net, split(x, y, 9), steps=6, engine=engine)
    for size in (1, 4):
        same(evaluate(net, split(x, y, size), steps=6, engine=engine), whole)


def test_where_memory_runs_out_fewer_images_run_at_once_to_the_same_scores(monkeypatch):
    net, x, y = network()
    expected = evaluate(net, split(x, y, 9), steps=6)
    module = sys.modules[evaluate.__module__]  # the name is the function's in its package
    simulate, told = module.simulate, []

    def small_machine(program, batch, **options):
        if len(batch) > 2:
            raise NO_MEMORY
        return simulate(program, batch, **options)

    monkeypatch.setattr(module, "simulate", small_machine)
    same(evaluate(net, split(x, y, 9), steps=6, shrunk=told.append), expected)
    assert told == [4, 2]


@given(total=st.integers(1, 30), batch=st.integers(1, 30), fits=st.integers(1, 30))
def test_pieces_cover_all_images_in_order(total, batch, fits):
    x, told = torch.arange(total), []

    def work(piece, labels):
        if len(piece) > fits:
            raise NO_MEMORY
        assert torch.equal(piece, labels)
        return piece

    found = list(in_pieces(split(x, x, batch), work, shrunk=told.append))
    assert torch.equal(torch.cat(found), x)
    assert told == sorted(told, reverse=True)


def test_one_image_that_does_not_fit_is_an_error_and_other_errors_stay_themselves():
    def fail(error):
        def work(*_):
            raise error

        return list(in_pieces([(torch.zeros(4), None)], work))

    with pytest.raises(SimulationError, match="single image"):
        fail(NO_MEMORY)
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())


def test_the_batch_fits_the_memory_that_is_free():
    graph = random_graph(1)
    sizes = [fitting_batch(graph, CPU, free=free) for free in (0, 1 << 28, 1 << 29, 1 << 40)]
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert sizes[-1] == USUAL_BATCH
    assert fitting_batch(graph, CPU, most=7, free=1 << 40) == 7
    assert 1 <= fitting_batch(graph, CPU) <= USUAL_BATCH


@pytest.mark.parametrize("missing", [None, "no compiler is here"])
@pytest.mark.parametrize("asked", [None, True, False])
def test_long_work_is_compiled_where_there_is_a_compiler(monkeypatch, capsys, asked, missing):
    monkeypatch.setattr(computing, "compiler", lambda: missing)
    graph = random_graph(2)
    neurons = sum(int(np.prod(site.shape)) for site in graph.sites.values())
    enough = int(COMPILED_FROM / neurons) + 1
    for samples in (1, enough):
        with heard_by(Terminal()):
            engine = Wanted(compile=asked).engine(graph, steps=1, samples=samples, device=CPU)
        wished = asked if asked is not None else samples == enough
        assert engine.fused == (bool(wished) and missing is None)
        err = capsys.readouterr().err
        assert ("no compiler is here" in err) == (bool(wished) and missing is not None)
        assert ("simulating in float32, compiled" in err) == engine.fused


def test_auto_is_settled_by_asking_the_machine(monkeypatch):
    monkeypatch.setattr(computing, "fastest", lambda device: "bfloat16")
    assert Wanted("auto").settled(CPU) == Wanted("bfloat16")
    assert Wanted("int8").settled(CPU) == Wanted("int8")


def test_what_a_file_says_of_its_precision_is_checked():
    chosen = as_before(
        {"engine": {"precision": "int8", "weight_bits": 5}},
        precision=None, weight_bits=None, compile=True,
    )  # fmt: skip
    assert chosen == Wanted("int8", 5, True)
    for damaged in ({"precision": "int9"}, {"weight_bits": "x"}, "int8", {"weight_bits": 40}):
        with pytest.raises(LoadError):
            as_before({"engine": damaged}, precision=None, weight_bits=None, compile=None)


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_report_names_what_ran_and_evaluate_runs_it_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ("--precision", "int8", "--weight-bits", "5", "-o", "out")
    code, out, err = run(capsys, "convert", "zoo:mnist5k-cnn", *SMALL, *options)
    assert code == 0, err
    assert "simulated in int8, 5-bit weights" in out
    assert err.count("simulating in int8, 5-bit weights") == 1
    made = json.loads((tmp_path / "out" / "report.json").read_text())
    assert made["precision"] == "int8, 5-bit weights"
    assert "int8, 5-bit weights" in (tmp_path / "out" / "report.html").read_text()
    code, out, err = run(capsys, "evaluate", "out", "--json", "--batch-size", "7")
    assert code == 0, err
    again = json.loads(out)
    assert again["precision"] == made["precision"]
    assert again["snn"]["accuracy"] == made["snn"]["accuracy"]
    assert again["layers"] == made["layers"]
    assert again["energy"] == made["energy"]
    code, out, err = run(capsys, "evaluate", "out", "--precision", "float32")
    assert code == 0, err
    assert "simulated in" not in out


@pytest.mark.parametrize(
    "options", [("--precision", "float16"), ("--weight-bits", "3"), ("--weight-bits", "9")]
)
def test_precisions_that_do_not_exist_are_refused(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "convert", "zoo:mnist5k-cnn", *SMALL, *options)
    assert code == 2
    assert out == ""
    assert options[0] in err
    assert not list(tmp_path.iterdir())


def test_a_comparison_names_its_precision(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ("--methods", "max-0.7", "--precision", "bfloat16")
    code, out, err = run(capsys, "compare", "zoo:mnist5k-cnn", *SMALL, *options)
    assert code == 0, err
    assert "simulated in bfloat16" in " ".join(out.split())
    code, _, err = run(capsys, "compare", "zoo:mnist5k-cnn", *SMALL, "--methods", "max-0.7")
    assert code == 2
    assert "other settings" in err
