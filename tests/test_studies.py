"""Studies: trainings side by side, gone on with, and the temporal-coding task with its figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convsnn.commands import main
from convsnn.load import load_module
from convsnn.report.training.sheets import layer_sheet, weight_sheet
from convsnn.train import settled
from convsnn.train.direct import prepare
from convsnn.train.form import Form
from convsnn.train.observed import trained_weights
from convsnn.train.settled import Trail
from convsnn.train.temporal import CASES, Pattern, Ramp
from convsnn.workflows.catalogue import catalogue
from convsnn.workflows.train import temporal as task
from zoo.recipes.spiking import RECIPES, find_recipe
from zoo.recipes.studies import STUDIES, Study

QUICK = ["--device", "cpu", "--set", "epochs=1", "--set", "timesteps=6", "--set", "batch_size=8"]


def spec(tmp_path: Path) -> str:
    """Recordings of two classes on a sensor of 17x17, as a data spec."""
    rng = np.random.default_rng(0)
    rows, offsets = [], [0]
    for label in np.arange(24) % 2:
        t = np.sort(rng.integers(0, 30_000, 60))
        x = rng.integers(0, 8, 60) + 8 * label
        rows.append(np.stack([t, x, rng.integers(0, 17, 60), rng.integers(0, 2, 60)], 1))
        offsets.append(offsets[-1] + 60)
    np.savez(
        tmp_path / "events.npz", events=np.concatenate(rows), offsets=np.array(offsets),
        columns=np.array(["t", "x", "y", "p"]), labels=np.arange(24) % 2, size=np.array([17, 17]),
    )  # fmt: skip
    return f"events:{tmp_path / 'events.npz'}"


def test_every_study_compares_recipes_that_there_are() -> None:
    for name, study in STUDIES.items():
        assert name not in RECIPES
        assert len(study.rows) > 1
        assert set(study.rows.values()) <= set(RECIPES), name
    assert catalogue("studies").names == sorted(STUDIES)


def test_a_study_is_trained_shown_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"Rouser": "rouser-short-low", "SLAYER": "rouser-short-low-slayer"}
    monkeypatch.setitem(STUDIES, "two", Study("for this test", rows))
    out = tmp_path / "out"
    data = ["--data", spec(tmp_path), "--set", "training_samples=16"]
    asked = ["train", "two", *QUICK, *data, "-o", str(out)]
    assert main([*asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["rows"]) == list(rows)
    first = document["rows"]["Rouser"]["runs"][0]
    layers = ["layers.2", "layers.4", "read_neurons"]
    assert list(first["epochs"][-1]["dead"]) == list(first["epochs"][-1]["silent"]) == layers
    weights = [f"layers.{i}.weight" for i in (1, 3, 5)]
    assert list(first["epochs"][-1]["moved"]) == weights
    assert first["epochs"][-1]["settled"] == dict.fromkeys(weights, 0.0)  # the last are the last
    assert list(first["histograms"]) == list(first["negative_thresholds"]) == layers
    assert document == json.loads((out / "study.json").read_text())
    page = (out / "study.html").read_text()
    assert "Dead neurons" in page
    assert "SLAYER" in page
    one = json.loads((out / "rouser" / "report.json").read_text())
    assert one["method"]["neuron"].startswith("cuba:")
    assert one["layers"][0]["dead_fraction"]
    training = (out / "slayer" / "training.html").read_text()
    assert "Silent neurons" in training
    assert "from where they end" in training
    assert "Spikes of each neuron" in training
    assert main(asked) == 2
    assert "is not empty" in capsys.readouterr().err
    made = (out / "rouser" / "training.json").stat().st_mtime_ns
    (out / "slayer" / "training.json").unlink()
    assert main([*asked, "--resume"]) == 0
    said = capsys.readouterr()
    assert "dead neurons" in said.err  # on the line of progress, of the row that was missing
    assert (out / "rouser" / "training.json").stat().st_mtime_ns == made
    assert (out / "slayer" / "training.json").exists()


def test_weights_of_every_epoch_are_measured_against_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    network = prepare(load_module(module, torch.zeros(2, 2)), Form()).network
    trail = Trail(network, tmp_path, 4)
    ways = {1: [3.0, 0.0, 0.0, 5.0], 2: [0.0, 0.0, 0.0, 5.0], 4: [0.0, 4.0, 0.0, 3.0]}
    (first, _), (second, other) = trained_weights(network)
    for epoch, values in ways.items():
        with torch.no_grad():
            dict(trained_weights(network))[first].copy_(torch.tensor(values).reshape(2, 2))
        trail.keep(epoch)
    with torch.no_grad():
        other.mul_(2)
    found = trail.distances()  # of the last, whose size is 5; epoch 3 left nothing
    assert list(found) == [1, 2, 4]
    assert [found[epoch][first] for epoch in found] == pytest.approx([29**0.5 / 5, 20**0.5 / 5, 0])
    assert [found[epoch][second] for epoch in found] == pytest.approx([0.5, 0.5, 0.5])
    (tmp_path / "weights-2.safetensors").write_bytes(b"cut off")
    assert list(trail.distances()) == [1, 4]
    monkeypatch.setattr(settled, "MOST", 4 * 6 * 4 - 1)
    trail.keep(3)
    assert list(trail.distances()) == [1, 4]


def test_tables_of_a_training_hold_what_its_weights_did() -> None:
    epoch = {"number": 1, "thresholds": {"layers.2": 1.0}, "dead": {"layers.2": 0.5}}
    weights = {"moved": {"layers.1.weight": 0.25}, "settled": {"layers.1.weight": 0.125}}
    layers = layer_sheet([({}, [epoch | weights])], {})
    assert [row["dead"] for row in layers.rows] == [0.5]
    sheet = weight_sheet([({}, [epoch | weights, epoch])], {})
    assert sheet.to_csv().splitlines()[1:] == ["1,layers.1.weight,0.25,0.125"]


def test_a_binary_network_says_how_many_bits_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        x = rng.integers(0, 255, (20, 28, 28, 1)).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(20) % 2)
    data = ["--data", f"npz:{tmp_path / 'a.npz'},{tmp_path / 'b.npz'}"]
    out = tmp_path / "out"
    asked = ["train", "annealing-mnist-short-annealed", *QUICK, *data, "-o", str(out)]
    assert main(asked) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "36,240 - weights" not in said
    weights, others = 400 + 25_600 + 10_240, 2 * (16 + 64) + 10
    assert f"{weights:,} weights of 1 bit and {others:,} other values of 32 are" in said
    (run,) = json.loads((out / "training.json").read_text())["runs"]
    assert run["memory"]["total"] == weights + 32 * others
    started = list(run["epochs"][0]["thresholds"].values())
    assert started[0] > 0.5  # after two updates


def test_constants_are_searched_by_what_is_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        x = rng.integers(0, 80, (30, 28, 28, 1)) + 170 * (np.arange(30) % 2)[:, None, None, None]
        np.savez(tmp_path / f"{name}.npz", x=x.astype(np.uint8), y=np.arange(30) % 2)
    data = ["--data", f"npz:{tmp_path / 'a.npz'},{tmp_path / 'b.npz'}", "--set", "held_out=0.3"]
    out = tmp_path / "out"
    asked = ["train", "annealing-mnist-short-annealed", *QUICK, *data, "-o", str(out), "--json"]
    assert main([*asked, "--trials", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["trials"]) == 2
    names = {f"layer {layer} {key}" for layer in (1, 2, 3) for key in ("start", "rise", "rate")}
    assert names < set(document["trials"][0]["values"])
    assert document["best"]["held_out"] == max(one["held_out"] for one in document["trials"])
    assert main([*asked, "--trials", "3"]) == 2
    capsys.readouterr()
    assert main([*asked, "--trials", "3", "--resume"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["trials"][:2] == document["trials"]
    best = find_recipe(str(out / "best.json"))
    assert best.weight_bits == 1
    assert len(best.rules) == 3
    assert (best.clip is not None) == again["best"]["values"]["clip"]
    for wrong, message in (
        (["--set", "epochs=2", "--trials", "3", "--resume"], "belongs to another recipe"),
        (["--set", "held_out=0", "--trials", "3", "--resume"], "held out to judge by"),
        (["--seeds", "0,1", "--trials", "3"], "neither --seeds"),
    ):
        assert main([*asked, *wrong]) == 2
        assert message in json.loads(capsys.readouterr().out)["error"]["message"]


# --- the temporal-coding task ---------------------------------------------------------------------


def test_the_target_rises_to_a_tenth_above_the_threshold() -> None:
    y = Ramp(50.0).target()
    found = [float(y[t]) for t in (1, 74, 75, 76)]
    assert found == pytest.approx([0.733333, 54.266667, 55, 0], rel=1e-6)
    potentials = y.reshape(-1, 1, 1) + 2
    assert float(Ramp(50.0)(potentials, None, None)) == pytest.approx(4.0)  # type: ignore[arg-type]


def test_the_pattern_is_drawn_once() -> None:
    trains = Pattern(3).trains()
    assert trains.shape == (100, 1, 100)
    assert torch.equal(trains, Pattern(3).trains())
    assert not torch.equal(trains, Pattern(4).trains())
    assert float(trains.mean()) == pytest.approx(0.5, abs=0.02)


def test_the_task_is_trained_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {k: CASES[k] for k in ("binary, threshold 50", "binary, annealed")}
    monkeypatch.setattr(task, "CASES", kept)
    out = tmp_path / "out"
    asked = ["train", "temporal-coding", "--set", "epochs=4", "-o", str(out)]
    assert main([*asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    silent = document["cases"]["binary, threshold 50"]["traces"]
    assert [trace["update"] for trace in silent] == [0, 4]
    assert silent[0]["spikes"] == []
    assert silent[0]["dead_hidden"] == 1.0
    annealed = document["cases"]["binary, annealed"]["traces"]
    assert annealed[0]["spikes"]
    assert annealed[-1]["threshold"] == pytest.approx(50 - 45 * 0.995**4)
    assert "Potential of the output neuron" in (out / "temporal.html").read_text()
    for wrong, message in (
        (["--set", "decay=0.5"], "takes no decay"),
        (["--seeds", "0,1"], "--seeds of several"),
        (["--set", "epochs=1.5"], "whole number"),
        ([], "is not empty"),
    ):
        assert main([*asked, *wrong]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_a_form_without_neurons_to_read_gives_currents() -> None:
    assert not Form().reads_neurons
    assert Form(answer="potentials").reads_neurons
