"""Methods side by side: the table of methods, the runs that are kept, the order, the page."""

import json
import math
import re
import shlex
from html.parser import HTMLParser
from itertools import pairwise, permutations

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console

from calibrate.methods import choose_methods, methods
from calibrate.named import LONGEST, NamedMethod
from calibrate.published import TABLE_2
from convsnn.commands import main
from convsnn.errors import ConfigError
from convsnn.measure.paired import loss, loss_of_shares
from convsnn.neurons import NEURONS
from convsnn.report.comparison import apart, charts, scale
from convsnn.report.comparison import page as comparison_page
from convsnn.report.comparison.charts import front
from convsnn.report.comparison.document import compared_steps
from convsnn.report.comparison.ordering import order
from convsnn.report.comparison.page import render_comparison_page
from convsnn.report.comparison.table import render_comparison
from convsnn.report.document import validate
from convsnn.report.wording import percent
from convsnn.spiking.kinds import ANALOG
from convsnn.workflows.compare.runs import Bench
from convsnn.workflows.running.resume import fingerprint
from convsnn.workflows.subject.method import Method
from zoo.models.base import WEIGHTS

SMALL = ["--samples", "40", "--calibration-samples", "60", "--batch-size", "20"]
MODEL = str(WEIGHTS / "mnist5k-cnn.onnx")  # quicker to open than a module
FEW = "p-norm,max-0.5,msat-vgg16"


@pytest.fixture
def here_with_page(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def here(here_with_page, monkeypatch):
    """The same where no page is drawn, which takes longer than all else."""
    monkeypatch.setattr(comparison_page, "render_comparison_page", lambda _: "")
    return here_with_page


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def compare(capsys, *arguments, methods=FEW):
    """Compare on few images; returns exit code, document and messages."""
    given = ("compare", MODEL, "--timesteps", 8, "--methods", methods, *SMALL, "-o", "out")
    code, out, err = run(capsys, *given, *arguments, "--json")
    return code, json.loads(out), err


# The table of methods


@pytest.mark.parametrize("method", methods(), ids=lambda m: m.name)
def test_a_method_can_be_built_and_says_what_it_sends(method):
    for steps in (1, 16, 128):
        Method(method.stages(steps), method.neuron, method.encoder, readout=method.reading(steps))
    assert NEURONS.create(method.neuron, threshold=1.0).graded == (method.spikes == "graded")
    assert method.source
    assert method.name.replace("-", "").replace(".", "").isalnum()  # it becomes a file name
    assert method.name not in ("settings", "comparison")


def test_the_list_of_methods_is_not_broken_at_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "methods"]) == 0
    out = capsys.readouterr().out
    lines = re.sub(r"\n  --(?!calibrate)", " --", out).splitlines()  # a long one goes on below
    typed = [shlex.split(line) for line in lines if line.startswith("  --calibrate")]
    for method, words in zip(methods(), typed, strict=True):
        given = dict(zip(words[::2], words[1::2], strict=True))
        assert f"{method.name} " in out
        assert given.get("--calibrate") == method.stages(LONGEST)
        assert given.get("--neuron", "if") == method.neuron
        assert given.get("--readout", "auto") == method.reading(LONGEST)  # convert's defaults
    assert max(map(len, out.splitlines())) <= 80


def test_all_methods_of_the_papers_table_that_can_be_had_are_there():
    names = {method.name for method in methods()}
    assert len(names) == len(methods())
    assert names >= TABLE_2.keys()
    assert names >= {"spike-norm", "hybrid-thresholds", "calibration-light", "ltb", "max-0.7"}
    (rebuilt,) = (method for method in methods() if method.reconstruction)
    assert rebuilt.name == "tsc"
    assert "reconstruction" in rebuilt.kind
    assert "experimental" in rebuilt.note


def test_the_same_run_is_not_listed_twice():
    runs = [(m.calibrate, m.neuron, m.readout) for m in methods()]
    assert len(set(runs)) == len(runs)


def test_names_choose_in_the_tables_order_and_unknown_ones_are_refused():
    assert [m.name for m in choose_methods("rmp, p-norm")] == ["p-norm", "rmp"]
    with pytest.raises(ConfigError, match="unknown method 'p-nrom'") as caught:
        choose_methods("p-nrom")
    assert "p-norm" in caught.value.hint


def test_published_cells_agree_with_the_papers_table():
    """Read off the paper: cells of different rows; more steps are better, but for Opt."""
    cells = {(name, p.network): p for name, rows in TABLE_2.items() for p in rows}
    assert cells["rmp", "VGG16 on CIFAR-10"].accuracy == {32: 60.30, 64: 90.35, 128: 92.41}
    assert cells["rmp", "VGG16 on CIFAR-100"].accuracy == {128: 63.76}
    assert cells["opt", "VGG16 on CIFAR-100"].ann == 77.89
    for network in ("ResNet20 on CIFAR-10", "ResNet20 on CIFAR-100"):
        assert "ResNet20 set" in cells["msat-confidence", network].source
    for (name, _), cell in cells.items():
        assert all(value <= cell.ann + 0.6 for value in cell.accuracy.values())  # small gains
        assert list(cell.accuracy.values()) == sorted(cell.accuracy.values()) or name == "opt"


def test_the_row_that_is_a_run_without_confidence_is_not_given_as_one_with_it():
    """The paper prints the log without confidence, 71.92/78.94/80.28, in that row."""
    (cell,) = (p for p in TABLE_2["msat-confidence"] if p.network == "ResNet20 on CIFAR-100")
    assert cell.accuracy == {32: 73.25, 64: 79.10, 128: 80.35}
    assert cell.source.startswith("the logs")
    assert 78.94 not in [p.accuracy.get(64) for rows in TABLE_2.values() for p in rows]


# Order in the literature


def rows_of(**scores):
    """Rows of methods that the literature orders a, b, c on one network at step 32."""
    reported = {"a": 90.0, "b": 80.0, "c": 79.5}
    return [
        {
            "title": name,
            "score": {"32": score},
            "differs": f"what {name} does",
            "published": [
                {"network": "N", "ann": 95.0, "accuracy": {"32": reported[name]}, "source": "P"}
            ],
        }
        for name, score in scores.items()
    ]


def test_a_pair_the_other_way_round_gets_a_note_with_numbers_and_a_reason():
    found = order(rows_of(a=0.5, b=0.9), samples=1000)
    assert (found.alike, found.close, found.opposite) == (0, 0, 1)
    (note,) = found.notes
    for part in ("a (50.00 %)", "b (90.00 %", "80.00 of 95.00", "90.00 of 95.00", "what a does"):
        assert part in note


def test_order_as_published_and_too_close_to_tell():
    assert order(rows_of(a=0.9, b=0.5), samples=1000).alike == 1
    assert order(rows_of(a=0.90, b=0.91), samples=100).close == 1
    assert order(rows_of(a=0.90, b=0.91), samples=100_000).opposite == 1
    # the literature's own difference is too small: nothing is expected
    assert order(rows_of(b=0.1, c=0.9), samples=1000) == order([], samples=1)


def test_networks_that_disagree_order_nothing():
    rows = rows_of(a=0.9, b=0.5)
    for row, value in zip(rows, (50.0, 94.0), strict=True):
        other = {"network": "M", "ann": 95.0, "accuracy": {"32": value}, "source": "P"}
        row["published"].append(other)
    assert order(rows, samples=1000) == order([], samples=1)


@given(st.tuples(*[st.integers(0, 50)] * 3), st.integers(10, 5000))
def test_the_counts_do_not_depend_on_the_order_of_rows(scores, samples):
    rows = rows_of(**{name: score / 50 for name, score in zip("abc", scores, strict=True)})
    counts = set()
    for shuffled in permutations(rows):
        found = order(shuffled, samples=samples)
        counts.add((found.alike, found.close, found.opposite))
    assert len(counts) == 1
    assert sum(next(iter(counts))) == 2  # b and c differ by half a point only


# The front of accuracy against energy

_RUN = st.tuples(st.integers(1, 20), st.integers(0, 20))


@given(st.lists(st.lists(_RUN, min_size=3, max_size=3), min_size=1, max_size=5))
@settings(max_examples=60)
def test_the_front_is_what_no_run_of_equal_or_less_energy_beats(runs):
    rows = [
        {
            "spikes": "binary",
            "trained": False,
            "energy": {str(4 << k): float(energy) for k, (energy, _) in enumerate(row)},
            "score": {str(4 << k): score / 20 for k, (_, score) in enumerate(row)},
        }
        for row in runs
    ]
    found = front(rows, "binary")
    every = [(float(e), s / 20) for row in runs for e, s in row]
    best = {
        (energy, score)
        for energy, score in every
        if not any(
            (e <= energy and s > score) or (e < energy and s >= score) for e, s in every
        )
    }  # fmt: skip
    assert {(energy, score) for energy, score, *_ in found} == best
    for energy, score, number, step in found:
        assert rows[number - 1]["energy"][str(step)] == energy
        assert rows[number - 1]["score"][str(step)] == score
    assert front(rows, "graded") == front(rows, "binary, trained") == []


def test_compared_steps_end_with_the_last():
    assert compared_steps(128) == [4, 8, 16, 32, 64, 128]
    assert compared_steps(100) == [4, 8, 16, 32, 64, 100]
    assert compared_steps(256) == [8, 16, 32, 64, 128, 256]
    assert compared_steps(8) == [1, 2, 4, 8]
    assert compared_steps(3) == [1, 2, 3]
    assert compared_steps(1) == [1]


# The command


def test_compare_gives_what_convert_gives(here, capsys):
    code, document, err = compare(capsys)
    assert code == 0, err
    names = [row["name"] for row in document["methods"]]
    assert sorted(names) == sorted(FEW.split(","))
    assert names[-1] == "msat-vgg16"  # graded spikes stand apart
    row = next(row for row in document["methods"] if row["name"] == "p-norm")
    convert = ("convert", MODEL, "--timesteps", 8, *SMALL, "-o", "alone", "--json")
    chosen = ("--calibrate", row["calibrate"], "--readout", row["readout"])
    code, out, err = run(capsys, *convert, *chosen)
    assert code == 0, err
    report = json.loads(out)
    assert row["scores"] == report["snn"]["accuracy"]
    assert row["energy"]["8"] == report["energy"]["counted"][-1]
    layers = report["layers"]
    assert row["sin_ratio"] == pytest.approx(
        sum(layer["sin_ratio"][-1] for layer in layers) / len(layers)
    )
    spikes = sum(layer["firing_rate"][-1] * layer["neurons"] for layer in layers)
    total = sum(layer["neurons"] for layer in layers)
    assert row["firing_rate"] == pytest.approx(spikes / total)
    kept = json.loads((here / "out" / "p-norm.json").read_text())
    validate(kept)
    assert kept["layers"] == layers
    for name in ("comparison.json", "comparison.html", "settings.json"):
        assert (here / "out" / name).is_file()


def without_times(document):
    """What must not depend on when and how often the command was run."""
    rows = [{k: v for k, v in row.items() if "seconds" not in k} for row in document["methods"]]
    return {**document, "methods": rows, "command": ""}


def test_an_interrupted_comparison_goes_on_where_it_stopped(here, capsys, monkeypatch):
    measured, real = [], Bench._measure

    def measure(bench, method):
        measured.append(method.name)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(bench, method)

    monkeypatch.setattr(Bench, "_measure", measure)
    code, _, _ = run(capsys, "compare", MODEL, "--timesteps", 8, "--methods", FEW, *SMALL,
                     "-o", "out")  # fmt: skip
    assert code == 130
    assert sorted(p.name for p in (here / "out").iterdir()) == [
        "p-norm.json", "p-norm.safetensors", "settings.json",
    ]  # fmt: skip
    code, document, _ = compare(capsys)
    assert code == 0
    assert measured == ["p-norm", "max-0.5", "max-0.5", "msat-vgg16"]
    (here / "out" / "max-0.5.json").write_text("{}")  # damaged: made anew, to the same numbers
    code, again, _ = compare(capsys)
    assert measured[4:] == ["max-0.5"]
    assert without_times(again) == without_times(document)


def test_other_settings_are_refused_or_made_anew(here, capsys):
    compare(capsys, methods="p-norm")
    code, document, _ = compare(capsys, "--seed", 1, methods="p-norm")
    assert code == 2
    assert "seed: 0 there, 1 now" in document["error"]["message"]
    assert "--force" in document["error"]["hint"]
    before = (here / "out" / "p-norm.json").read_text()
    code, _, err = compare(capsys, "--seed", 1, "--force", methods="p-norm")
    assert code == 0
    assert "taken from" not in err
    assert (here / "out" / "p-norm.json").read_text() != before
    code, _, err = compare(capsys, "--seed", 1, methods="p-norm")
    assert "taken from" in err


def test_a_directory_of_others_is_never_touched(here, capsys):
    (here / "out").mkdir()
    (here / "out" / "mine.txt").write_text("mine")
    code, document, _ = compare(capsys, "--force")
    assert code == 2
    assert "holds no results of convsnn compare" in document["error"]["message"]
    assert [p.name for p in (here / "out").iterdir()] == ["mine.txt"]


def test_a_method_that_fails_is_a_row_that_says_why(here_with_page, capsys, monkeypatch):
    some = [NamedMethod("bad", "Bad", "percentile:q=1"), NamedMethod("good", "Good", "max")]
    monkeypatch.setattr("convsnn.workflows.compare.comparison.choose_methods", lambda *_: some)
    code, document, _ = compare(capsys)
    assert code == 1
    assert [row["name"] for row in document["methods"]] == ["good"]
    (failed,) = document["failed"]
    assert "percentile of its activations is zero" in failed["message"]
    assert failed["hint"]
    assert (
        "percentile of its activations" in (here_with_page / "out" / "comparison.html").read_text()
    )


def test_a_method_that_needs_more_steps_is_left_out_of_all_and_an_error_by_name(
    here, capsys, monkeypatch
):
    some = [method for method in methods() if method.name in ("tsc", "max-0.5")]
    monkeypatch.setattr("convsnn.workflows.compare.comparison.choose_methods", lambda *_: some)
    few = ("compare", MODEL, "--timesteps", 4, *SMALL, "-o", "out")
    code, out, err = run(capsys, *few, "--methods", "all", "--json")
    document = json.loads(out)
    assert (code, document["failed"]) == (0, [])
    (left,) = document["left_out"]
    assert left["name"] == "tsc"
    assert left["reason"].endswith("more than 4; use --timesteps 5 or more")
    assert "results are in out/ (open comparison.html)" in err
    code, out, _ = run(capsys, *few, "--methods", "max-0.5,tsc", "--json")
    document = json.loads(out)
    assert (code, document["left_out"], len(document["failed"])) == (1, [], 1)


# The best, and what the scored images tell of its lead


def lead(answers, scores=None, samples=40):
    """The sentence on rows by name, whose answers are right or not."""
    rows = [
        {"name": name, "title": name.upper(), "score": {"4": score}, "energy": {"4": place}}
        for place, (name, score) in enumerate((scores or {}).items())
    ] or [
        {"name": n, "title": n.upper(), "score": {"4": sum(a) / len(a)}, "energy": {"4": place}}
        for place, (n, a) in enumerate(answers.items())
    ]
    document = {"timesteps": 4, "methods": rows}
    digits = {name: apart.as_digits(torch.tensor(each)) for name, each in answers.items()}
    best = apart.best_section(document, digits, samples=samples, shares=True)
    return best, apart.close_in_words({**document, "best": best})


def test_a_lead_of_one_image_is_not_told_apart_and_one_of_many_is():
    right = [True] * 39 + [False]
    found, words = lead({"a": right, "b": right[::-1], "c": [True] * 38 + [False] * 2})
    assert found["name"] == "a"
    assert found["not_told_apart"] == ["b", "c"]
    assert words == "not told apart by the 40 samples that it was chosen on (95 %): B; C"
    found, words = lead({"a": right, "b": [True] * 25 + [False] * 15})
    assert words == "told apart from all others by the 40 samples that it was chosen on (95 %)"
    many = dict.fromkeys("abcdefgh", right)
    assert lead(many)[1].endswith(": B; C; D; E; 3 more")


def test_the_same_images_tell_more_than_shares_do_and_answers_of_others_are_not_believed():
    right, worse = [True] * 180 + [False] * 20, [True] * 170 + [False] * 30
    found, _ = lead({"a": right, "b": worse}, samples=200)
    assert found["not_told_apart"] == []  # ten lost, none won
    found, _ = lead({}, {"a": 0.9, "b": 0.85}, samples=200)
    assert found["not_told_apart"] == ["b"]
    for other in ({"a": right}, {"a": right, "b": worse[:-8]}, {"a": right, "b": right}):
        found, _ = lead(other, {"a": 0.9, "b": 0.85}, samples=200)
        assert found["not_told_apart"] == ["b"]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_answers_are_kept_bit_by_bit_and_both_intervals_hold_the_loss(pairs):
    right, before = (torch.tensor(side) for side in zip(*pairs, strict=True))
    kept = apart.from_digits(apart.as_digits(right), len(pairs))
    assert kept.tolist() == right.tolist()
    assert apart.from_digits(apart.as_digits(right), len(pairs) + 8) is None
    assert apart.from_digits("no digits", len(pairs)) is None
    share, had = float(right.double().mean()), float(before.double().mean())
    for drop, low, high in (
        loss(right[None], before),
        loss_of_shares(share, had, samples=len(pairs)),
    ):
        assert float(drop) == pytest.approx(had - share)
        assert -share - 1e-9 <= low <= drop + 1e-9
        assert drop - 1e-9 <= high <= had + 1e-9


def test_a_comparison_says_what_its_images_do_not_tell_apart(here_with_page, capsys):
    code, document, _ = compare(capsys, methods="p-norm,max-0.5")
    assert code == 0
    best = document["best"]
    rows = {row["name"]: row["score"]["8"] for row in document["methods"]}
    (other,) = rows.keys() - {best["name"]}
    assert best["samples"] == 40
    assert best["behind"][other]["drop"] == pytest.approx(rows[best["name"]] - rows[other])
    kept = json.loads((here_with_page / "out" / f"{other}.json").read_text())
    right = apart.from_digits(kept["comparison"]["right"], 40)
    assert float(right.double().mean()) == pytest.approx(rows[other])
    assert "right" not in kept
    words = apart.close_in_words(document)
    assert words in " ".join((here_with_page / "out" / "comparison.html").read_text().split())
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_comparison(document))
    assert words in " ".join(console.export_text().split())


def test_a_budget_leaves_out_and_says_so(here, capsys):
    compare(capsys, methods="p-norm")
    code, document, _ = compare(capsys, "--budget", 0)
    assert code == 0
    assert [row["name"] for row in document["methods"]] == ["p-norm"]
    assert {one["name"] for one in document["left_out"]} == {"max-0.5", "msat-vgg16"}
    assert "minutes" in document["left_out"][0]["reason"]
    code, _, _ = run(capsys, "compare", MODEL, "--budget", "nan", "-o", "other")
    assert code == 2


def test_warnings_of_msat_reach_the_comparison(here_with_page, capsys):
    code, document, err = compare(capsys, methods="msat-vgg16,msat-confidence,msat-scale-free")
    assert code == 0, err
    warned = {row["name"]: row["warnings"] for row in document["methods"]}
    assert warned["msat-scale-free"] == []
    for name in ("msat-vgg16", "msat-confidence"):
        assert len(warned[name]) == 1
        assert "reference=2" in warned[name][0]
    page = (here_with_page / "out" / "comparison.html").read_text()
    assert page.count("for which the published constants") == 1  # once for both


def test_fingerprints_tell_values_apart():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert len({fingerprint(x) for x in (1, 1.5, "1", [1], [[1]], None)}) == 6


def test_a_network_with_functions_is_called_by_its_kind(here, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(here))
    (here / "softnet.py").write_text(
        "from torch import nn\n"
        "net = lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))\n"
    )
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        np.savez(f"{name}.npz", x=rng.normal(size=(30, 6)).astype("f4"), y=np.arange(30) % 3)
    options = ("--data", "npz:train.npz,test.npz", "--timesteps", 4, "--methods", "mse", *SMALL)
    code, out, err = run(capsys, "compare", "softnet:net", *options, "-o", "out", "--json")
    assert code == 0, err
    (row,) = json.loads(out)["methods"]
    assert row["kind"].startswith("graded, partly analog, training-free")
    assert row["spikes"] == "graded"


# What people see


def document_of(count=7, steps=128, labels=True):
    """A comparison with long names and extreme numbers."""
    at = compared_steps(steps)
    rows = [
        {
            **dict.fromkeys(("source", "note", "differs"), ""),
            "name": f"m{i}",
            "network": f"m{i}.safetensors",
            "title": f"Fixed, {i} <of> maximum",
            "calibrate": "max",
            "neuron": "if",
            "readout": "mean" if i else "rising",
            "kind": "graded spikes, training-free"
            if i % 3
            else f"binary spikes, {'trained' if i == 6 else 'training-free'}",
            "spikes": "graded" if i % 3 else "binary",
            "trained": i == 6,
            "trained_steps": 4 if i == 6 else None,
            "how": "--calibrate max --neuron if",
            "published": [],
            "score": {str(step): 1.0 if i else 0.0 for step in at},
            "energy": {str(step): 1e-4 * step * 10 ** (i % 6) for step in at},
            "sin_ratio": 1.0,
            "firing_rate": 0.00123,
            "calibration_seconds": 3214.0,
            "training_seconds": None if i == 6 else 0.0,
            "simulation_seconds": 12345.6,
            "warnings": [],
            "scores": [1 - math.exp(-(t + 1) / (i + 1)) for t in range(steps)],
        }
        for i in range(count)
    ]
    part = {"source": "npz:train.npz", "split": "train", "samples": 1000}
    return {
        "schema": 1,
        "convsnn": "0.1.0",
        "command": "convsnn compare model.onnx",
        "seed": 0,
        "timesteps": steps,
        "folder": "net-compare",
        "model": {"name": "<script>net", "source": "model.onnx", "sha256": "0" * 64},
        "data": {"calibration": part, "evaluation": part},
        "versions": {"torch": "2"},
        "methods": rows,
        "failed": [{"name": "x", "title": "X", "message": "no <b>", "hint": "try"}],
        "left_out": [{"name": "y", "title": "Y", "reason": "late"}],
        "measure": "accuracy" if labels else "agreement",
        "ann": {"accuracy": 0.9 if labels else None, "energy_joules": 1e-3, "macs": 10},
        "order": {"alike": 1, "close": 0, "opposite": 1, "notes": ["a note"]} if labels else None,
        "graded_places": ["pool"],
    }


def test_the_table_fits_100_columns_and_keeps_every_number():
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_comparison(document_of(18)))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "…" not in text
    lines = [line for line in text.splitlines() if line.startswith("Fixed, 1 <of>")]
    assert lines[0].split()[4:10] == ["100.00"] * 6
    assert lines[0].split()[-1] == "12346"


def test_the_table_leaves_columns_out_where_80_characters_have_no_room_and_says_which():
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_comparison(document_of(18), width=80))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    heads = [line for line in text.splitlines() if line.startswith("method ")]
    assert {line[-7:].strip() for line in heads} == {"SIN %"}
    hidden = re.search(r"not shown, for want of width: (.*?) \(the page", " ".join(text.split()))
    assert set(hidden[1].split(", ")) == {"rate", "calib.", "train.", "simul."}
    line = next(line for line in text.splitlines() if line.startswith("Fixed, 1 <of>"))
    assert line.split()[4:10] == ["100.00"] * 6


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("labels", [True, False])
def test_the_page_needs_nothing_else_and_escapes_what_it_shows(labels):
    document = document_of(labels=labels)
    page = render_comparison_page(document)
    assert page == render_comparison_page(document)
    parsed = Page()
    parsed.feed(page)
    assert parsed.tags.count("script") == 1  # the one of all pages
    assert all(link.startswith("#") for link in parsed.links)
    text = "".join(parsed.text)
    for row in document["methods"]:
        assert row["title"] in text
    assert text.count("read out by rising") == 1
    assert "no <b>" in text
    assert ("Accuracy in per cent after" in text) == labels


def test_every_method_and_every_family_can_be_hidden_by_what_the_page_names():
    document = document_of(9)
    for place, row in enumerate(document["methods"][:3]):
        row |= {"schedule": "layers", "sends": ("binary", ANALOG, "graded")[place]}
        row["scores"] = [
            s if step & (step - 1) == 0 else None for step, s in enumerate(row["scores"], 1)
        ]
    page = render_comparison_page(document)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len({*ids})
    for number in range(1, 10):
        assert {*charts.parts(number)} < {*ids}
    toggles = [found.split() for found in re.findall(r'data-toggle="([^"]+)"', page)]
    names = charts.families(document)
    assert len(toggles) == 9 + len(names)
    assert ANALOG + ", layer by layer" in names
    assert sorted(
        n for name in names for n in charts.family_parts(document, name) if "line" in n
    ) == sorted(part for number in range(1, 10) for part in charts.parts(number)[:2])
    for name in names:
        if charts.front(document["methods"], name):
            assert f"cost-front-{names.index(name)}" in ids


def test_steps_that_are_networks_of_their_own_are_marked(monkeypatch):
    document = document_of(3)
    whole, layers, each = document["methods"]
    layers |= {"schedule": "layers"}  # of few steps all are run
    each["scores"] = [None, *each["scores"][1:]]
    drawn = []

    def draw(name, paint, **_):
        with matplotlib.style.context("default"):
            paint(figure := Figure())
        drawn.extend(figure.axes[0].lines[1:4])

    monkeypatch.setattr(charts, "draw", draw)
    charts.steps_chart(document)
    assert [line.get_marker() not in ("", "None") for line in drawn] == [False, True, True]
    assert [len(line.get_xdata()) for line in drawn] == [
        len(one["scores"]) - (one is each) for one in (whole, layers, each)
    ]


@given(st.lists(st.floats(0, 1), max_size=30))
def test_numbers_beside_a_chart_stand_apart_in_their_order(places):
    found = charts.spread(places, 1 / 40)
    order = sorted(range(len(places)), key=lambda i: places[i])
    shown = [found[i] for i in order]
    assert all(b - a >= 1 / 40 - 1e-9 for a, b in pairwise(shown))
    assert all(-1e-9 <= at <= 1 + 1e-9 for at in shown)
    if all(b - a >= 1 / 40 for a, b in pairwise(sorted(places))):
        assert found == pytest.approx(places)


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_axis_holds_every_score_in_order_and_says_so(ann, scores):
    document = document_of(1) | {"ann": {"accuracy": ann}}
    document["methods"][0]["scores"] = scores
    places = [scale.place(document, score) for score in sorted([*scores, ann])]
    assert all(0 < place < 1 for place in places)
    assert places == sorted(places)
    low, high = scale.limits(document)
    assert f"{percent(low)} to {percent(high)}" in scale.in_words(document)
    ticks = scale._ticks(document)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert all(
        scale.place(document, b) - scale.place(document, a) > 0.07 for a, b in pairwise(ticks)
    )


def test_a_comparison_of_nothing_can_be_shown():
    document = document_of(0) | {"ann": None, "order": None, "graded_places": []}
    assert "late" in render_comparison_page(document)
