"""Energy from the command line: sets of constants, and the number of steps that is worth it."""

import html
import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from convsnn.commands import main
from convsnn.errors import ConfigError
from convsnn.report.document import validate
from convsnn.report.page import costs
from convsnn.report.page.html import render_html
from convsnn.report.page.summary import expected_in_words
from convsnn.report.page.table import POOLED, render_table
from convsnn.report.wording import significant
from convsnn.workflows.evaluate.best import plan_best
from convsnn.workflows.evaluate.pricing import Pricing
from convsnn.workflows.subject.given import as_part
from convsnn.workflows.subject.images import Chosen
from convsnn.workflows.subject.saved import load_saved
from zoo.data import DataSet

SMALL = ["--samples", "30", "--calibration-samples", "40", "--batch-size", "20"]
NAMES = ("original", "zeros_skipped", "int8", "bit_matched")


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where a network with 8-bit weights lies, made once."""
    folder = tmp_path_factory.mktemp("energy")
    options = ["--timesteps", "4", *SMALL, "--calibrate", "mse", "--weight-bits", "8"]
    assert main(["convert", "zoo:mnist5k-cnn", *options, "-o", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def converted(made, monkeypatch):
    """Its report, in its folder."""
    monkeypatch.chdir(made)
    return json.loads(Path("out/report.json").read_text())


def test_a_report_holds_the_estimate_with_its_sources(converted, capsys):
    validate(converted)
    estimate = converted["estimate"]
    assert estimate["kind"] == "estimate, not measured"
    assert [one["name"] for one in estimate["sets"]] == ["horowitz45", "lemaire", "yan22"]
    assert all(figure["source"] for one in estimate["sets"] for figure in one["figures"])
    for name in NAMES:
        found = estimate["ratios"][name]
        assert all(low <= high for low, high in zip(found["low"], found["high"], strict=True))
    for one in estimate["sets"]:
        for name, last in one["cheaper"].items():
            mine, theirs = one["joules"]["spiking"], one["joules"][name]
            below = [s for s, (a, b) in enumerate(zip(mine, theirs, strict=True), 1) if a < b]
            assert last == max(below, default=0)
    assert estimate["bit_matched"]["bits"] == [1, 2, 2, 3]
    assert set(estimate["quantised"]["bits"]) == {"1", "2", "3"}
    assert estimate["quantised"]["int8"] == pytest.approx(converted["ann"]["accuracy"], abs=0.04)
    assert estimate["quantised"]["calibration"] == converted["data"]["calibration"]
    assert set(estimate["neurobench"]) == {
        "Footprint", "ConnectionSparsity", "ActivationSparsity", "SynapticOperations",
        "MembraneUpdates",
    }  # fmt: skip
    page = render_html(converted)
    assert "Energy beside other networks" in page
    assert estimate["sets"][2]["figures"][0]["source"].split(",")[0] in page
    code, out, err = run(capsys, "evaluate", "out")
    assert code == 0, err
    assert "estimate, not measured" in out
    assert max(map(len, out.splitlines())) <= 80


def test_what_energy_is_priced_with(converted, capsys):
    code, out, err = run(capsys, "evaluate", "out", "--json", "--mac-pj", 5, "--ac-pj", 5)
    assert code == 0, err
    estimate = json.loads(out)["estimate"]
    (one,) = estimate["sets"]
    assert one["name"] == "given"
    # all operations cost the same, whatever is added up
    counts = estimate["counts"]["original"]
    operations = sum(counts[i] for i in ("graded_operations", "comparisons", "biases", "pooling"))
    assert one["joules"]["original"][0] == pytest.approx(5e-12 * operations)
    assert estimate["counts"] == converted["estimate"]["counts"]
    Path("mine.toml").write_text(
        'name = "mine"\n[operations.add]\njoules = 1e-13\nsource = "a data sheet"\n'
        '[operations.multiply]\njoules = 1e-12\nsource = "a data sheet"\n'
    )
    code, out, err = run(capsys, "evaluate", "out", "--json", "--energy", "mine.toml,yan22")
    assert code == 0, err
    assert [s["name"] for s in json.loads(out)["estimate"]["sets"]] == ["mine", "yan22"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--energy", "yan22"], "whole numbers"),
        (["--energy", "horowitz"], "horowitz45"),
        (["--energy", "yan22,"], "twice, or none"),
        (["--energy", "none.toml"], "cannot be read"),
        (["--mac-pj", "4.6"], "go together"),
        (["--mac-pj", "-1", "--ac-pj", "1"], "positive number"),
    ],
)
def test_what_cannot_be_asked_for(capsys, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "convert", "zoo:mnist5k-cnn", "--timesteps", 2, *options)
    assert code == 2
    assert out == ""
    assert words in err
    assert list(Path().iterdir()) == []


def test_what_cannot_be_chosen(converted, capsys):
    code, _, err = run(capsys, "evaluate", "out", "--best", "energy")
    assert code == 2
    assert "--max-drop 1 --best energy" in err
    net, part = load_saved(Path("out")), as_part((torch.zeros(6, 1, 28, 28), torch.arange(6)))
    options = {"graph": net.graph, "seed": 0, "pricing": Pricing(), "max_drop": 1.0}
    used = Chosen(part, list(range(6)), 2, torch.device("cpu"))
    for data, words in (
        (DataSet("given", part, part), "images that are scored"),
        (DataSet("given", part, as_part(torch.zeros(2, 1, 28, 28))), "none is left"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan_best("energy", data=data, calibration=lambda: used, **options)


def test_the_first_screen_tells_one_energy_at_every_stop(converted):
    page = render_html(converted)
    moved = json.loads(page.split('id="steps">')[1].split("</script>")[0])
    told = [costs.ratio(converted["estimate"], "original", step) for step in moved["stops"]]
    assert moved["texts"]["spent"] == told
    first = page[page.index("<header>") : page.index("Energy, three ways")]
    assert f"It spends {told[-1]} times the ANN" in html.unescape(" ".join(first.split()))
    assert first.count(f'data-at="spent">{told[-1]}<') == 2  # the card and the slider
    assert 'data-at="counted"' not in first
    bare = {**converted, "estimate": None}
    assert costs.spent(bare, 4) == significant(converted["energy"]["counted"][3])


@pytest.mark.parametrize(("bound", "words"), [(1.0, "1 point"), (0.5, "0.5 points")])
def test_the_loss_that_chose_and_the_bound_on_it_are_told_apart(converted, bound, words):
    held = {"source": "d", "split": "train", "samples": 500, "ann": 1.0, "snn": [0.9, 0.994, 1, 1]}
    point = {"best": "energy", "max_drop": bound, "step": 2, "held_out": held}
    expected = {"source": "d", "split": "train", "samples": 500, "bound": bound, "from": 3}
    expected |= {"drop": [0.1, 0.006, 0, 0], "low": [0.0] * 4, "high": [0.2, 0.013, 0.005, 0.004]}
    report = {**converted, "point": point, "expected": expected}
    said = costs.point_in_words(report)
    assert said.endswith(f"loses 0.60 of the {words} allowed (as measured; up to 1.30 at 95 %)")
    assert expected_in_words(report).endswith(
        f"95 %), its upper end at most {words} from step 3 on"
    )
    assert costs.point_in_words({**report, "expected": None}).endswith(f"{words} allowed")


def test_max_pooling_is_said_to_have_no_form_elsewhere(converted):
    console = Console(width=80, file=io.StringIO())
    console.print(render_table(converted))
    pooled = any(source["kind"] == "max_pool" for source in converted["sources"])
    assert pooled
    assert console.file.getvalue().count(POOLED) == 1
    console.file.truncate(0)
    console.print(render_table({**converted, "sources": []}))
    assert POOLED not in console.file.getvalue()


def test_the_step_to_run_at_is_chosen_on_held_out_images(converted, capsys, monkeypatch):
    monkeypatch.setattr("convsnn.workflows.evaluate.best.HELD_OUT", 60)
    best = ("evaluate", "out", "--best", "energy", "--json")
    code, out, err = run(capsys, *best, "--max-drop", 100)
    assert code == 0, err
    report = json.loads(out)
    point = report["point"]
    assert point["step"] == 1  # everything is within 100 points
    held = point["held_out"]
    assert (held["samples"], held["split"]) == (60, "train")
    assert held["snn"] != report["snn"]["accuracy"]
    bound = 100 * (held["ann"] - max(held["snn"]))
    code, out, err = run(capsys, *best, "--max-drop", bound)
    report = json.loads(out)
    step = report["point"]["step"]
    assert held["snn"][step - 1] == max(held["snn"])
    assert held["snn"].index(max(held["snn"])) == step - 1  # the first is the cheapest
    drop = 100 * (report["ann"]["accuracy"] - report["snn"]["accuracy"][step - 1])
    assert code == (0 if drop <= bound + 1e-9 else 1)  # the gate looks at that step
    code, out, err = run(capsys, *best[:-1], "--max-drop", bound - 1)
    assert code == 1
    assert out.startswith("no number of steps up to 4 loses at most")
    assert "gate failed: at no step" in err
    code, out, err = run(capsys, "evaluate", "out", "--best", "energy", "--max-drop", 100)
    assert out.startswith("run it for 1 of 4 steps: accuracy")
