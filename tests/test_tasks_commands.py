"""Tasks from the command line: `convert` and `evaluate` on data of every kind, written as npz."""

import json

import numpy as np
import pytest
import torch

from convsnn.commands import main

NETS = '''
import torch
from torch import nn

def made(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers).eval()

def forecast():
    return made(nn.Conv1d(2, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6))

def labels():
    return made(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))

def segmenter():
    return made(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))

def classes():
    return made(nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 8))

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(32, 16), nn.Linear(16, 8)

    def forward(self, x):
        h = torch.relu(self.f(x.flatten(1)))
        return h, self.g(h)

def two():
    torch.manual_seed(0)
    return Two().eval()

def plain():
    """The largest of eight values."""
    net = made(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.copy_(torch.eye(8))
            layer.bias.zero_()
    return net

def centred():
    """The same, and the first where the values are not around zero."""
    net = made(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 8))
    with torch.no_grad():
        net[0].weight.copy_(torch.cat([torch.eye(8), torch.ones(1, 8)]))
        net[0].bias.copy_(torch.tensor([0.0] * 8 + [2.5]))
        net[2].weight.copy_(torch.cat([torch.eye(8), torch.zeros(8, 1)], 1))
        net[2].weight[0, 8] = 10
        net[2].bias.zero_()
    return net
'''
COUNT = {"train": 30, "test": 20}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory that holds the networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "tasknets", raising=False)
    (tmp_path / "tasknets.py").write_text(NETS)
    return tmp_path


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def near(factory, x):
    """What the network answers, which is then what it was trained for."""
    import tasknets

    with torch.no_grad():
        return getattr(tasknets, factory)()(torch.from_numpy(x))


def written(kind, factory):
    """Two files of samples with targets that the network nearly gives."""
    rng = np.random.default_rng(0)
    for name, count in COUNT.items():
        shape = (2, 8) if factory == "forecast" else (2, 4, 4)
        x = rng.normal(size=(count, *shape)).astype(np.float32)
        if kind == "none":
            np.savez(f"{name}.npz", x=x)
            continue
        if factory == "two":
            np.savez(f"{name}.npz", x=x, y=np.arange(count) % 8)
            continue
        out = near(factory, x)
        y = {
            "regress": lambda out=out: out.numpy(),
            "multilabel": lambda out=out: (out > 0).numpy(),
            "segment": lambda out=out: out.argmax(1).numpy().astype(np.uint8),
            "classify": lambda out=out: out.argmax(1).numpy(),
        }[kind]()
        np.savez(f"{name}.npz", x=x, y=y)
    return "npz:train.npz,test.npz"


SMALL = ("--timesteps", 4, "--batch-size", 7, "--calibration-samples", 20)
HEADLINES = {
    "forecast": ("regress", "r2", {"r2", "mse", "mae"}),
    "labels": ("multilabel", "f1", {"f1", "label_accuracy", "f1_0", "f1_1", "f1_2"}),
    "segmenter": ("segment", "miou", {"miou", "pixel_accuracy", "iou_0", "iou_1", "iou_2"}),
    "classes": ("classify", "accuracy", {"accuracy", "top5"}),
}


@pytest.mark.parametrize("factory", HEADLINES)
def test_every_task_is_scored_alike_by_convert_and_evaluate(here, capsys, factory):
    task, headline, names = HEADLINES[factory]
    data = written(task, factory)
    code, out, err = run(
        capsys, "convert", f"tasknets:{factory}", "--data", data, *SMALL, "-o", "snn", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert (report["task"], report["headline"]) == (task, headline)
    assert report["not_scored"] is None
    assert set(report["metrics"]) == names
    assert all(len(metric["snn"]) == 4 for metric in report["metrics"].values())
    best = {"mse": 0, "mae": 0}
    for name, metric in report["metrics"].items():
        assert metric["ann"] is None or metric["ann"] == pytest.approx(best.get(name, 1), abs=1e-6)
    classes = task == "classify"
    assert (report["ann"]["accuracy"] is not None) == classes
    assert (report["snn"]["accuracy"] is not None) == classes
    if classes:
        assert report["metrics"]["accuracy"]["snn"] == report["snn"]["accuracy"]
    page = (here / "snn/report.html").read_text()
    label = report["metrics"][headline]["label"]
    assert label in page
    code, out, err = run(capsys, "evaluate", "snn", "--json")
    assert code == 0, err
    again = json.loads(out)
    for key in ("task", "metrics", "ann"):
        assert again[key] == report[key]
    assert again["snn"]["agreement"] == report["snn"]["agreement"]
    code, out, _ = run(capsys, "evaluate", "snn")
    assert label in out
    assert "no labels" not in out + page
    last = report["metrics"][headline]["snn"][-1]
    lost = 100 * (report["metrics"][headline]["ann"] - last)
    for bound, wanted in ((lost + 0.1, 0), (lost - 0.1, 1)):
        assert run(capsys, "evaluate", "snn", "--max-drop", bound)[0] == wanted
    code, _, err = run(capsys, "evaluate", "snn", "--early-exit", 50)
    if not classes:
        assert code == 2
        assert f"the task is '{task}'" in err or "class scores" in err


@pytest.mark.parametrize("factory", ["forecast", "segmenter"])
def test_methods_are_ranked_by_the_score_of_their_task(here, capsys, factory):
    task, headline, _ = HEADLINES[factory]
    data = written(task, factory)
    options = ("compare", f"tasknets:{factory}", "--data", data, *SMALL, "--methods", "mse,max-1.0")
    code, out, err = run(capsys, *options, "-o", "out", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["ann"]["score"] == pytest.approx(1, abs=1e-6)
    for row in document["methods"]:
        kept = json.loads((here / "out" / f"{row['name']}.json").read_text())
        assert row["scores"] == kept["metrics"][headline]["snn"]
        assert document["measure"] == kept["metrics"][headline]["label"]
    assert f"{document['measure']} in" in (here / "out/comparison.html").read_text()


def test_without_targets_a_forecaster_is_not_scored_by_the_largest_output(here, capsys):
    data = written("none", "forecast")
    options = ("convert", "tasknets:forecast", "--data", data, *SMALL, "--json")
    report = json.loads(run(capsys, *options, "-o", "a")[1])
    assert (report["task"], report["not_scored"], report["metrics"]) == ("none", "no labels", {})
    assert report["snn"]["agreement_kind"] == "closeness"
    report = json.loads(run(capsys, *options, "-o", "b", "--task", "classify")[1])
    assert report["snn"]["agreement_kind"] == "same class"
    assert report["ann"]["accuracy"] is None


def test_of_several_outputs_all_are_named_and_labels_are_not_denied(here, capsys):
    data = written("classify", "two")
    code, out, err = run(capsys, "convert", "tasknets:two", "--data", data, *SMALL, "-o", "snn")
    assert code == 0, err
    assert "no labels" not in out + err + (here / "snn/report.html").read_text()
    assert "2 outputs" in " ".join(out.split())
    assert "2 outputs" in err
    code, out, err = run(capsys, "evaluate", "snn", "--max-drop", 1)
    assert code == 2
    assert "2 outputs" in err


def test_what_is_unclear_is_asked_before_any_work(here, capsys):
    written("regress", "labels")
    for name in COUNT:
        held = dict(np.load(f"{name}.npz"))
        np.savez(f"{name}.npz", x=held["x"], y=(held["y"] > 0).astype(np.float32))
    options = ("convert", "tasknets:labels", "--data", "npz:train.npz,test.npz", *SMALL)
    code, out, err = run(capsys, *options, "-o", "a")
    assert code == 2
    assert "multilabel or regress" in err
    assert "--task multilabel" in err
    for task, headline in (("multilabel", "f1"), ("regress", "r2")):
        out = run(capsys, *options, "--task", task, "-o", task, "--json")[1]
        assert json.loads(out)["headline"] == headline
    assert run(capsys, *options, "--task", "segment", "-o", "b")[0] == 2
    code, out, err = run(capsys, *options, "--task", "sorting", "-o", "b")
    assert code == 2
    assert "unknown task 'sorting'" in err


def bright(*, upside_down=False):
    """Two files of eight pixels, of which one is bright: that is the class."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 80), ("test", 64)):
        y = np.arange(count) % 8
        x = rng.integers(50, 70, (count, 8))
        x[np.arange(count), y] += 140
        np.savez(f"{name}.npz", x=(255 - x if upside_down else x).astype(np.uint8), y=y)
    return "npz:train.npz,test.npz"


def test_an_original_that_only_guesses_is_the_first_thing_that_is_said(here, capsys):
    data = bright(upside_down=True)
    code, out, err = run(capsys, "convert", "tasknets:plain", "--data", data, *SMALL, "-o", "a")
    assert code == 0, err
    assert out.startswith("Warning: the original itself is right on")
    assert "check --weights" in " ".join(out.split())
    text = (here / "a/report.html").read_text()
    assert text.index("the original itself is right on") < text.index('class="lead"')
    assert text.count("the original itself is right on") == 1


def test_a_forgotten_mean_is_found_and_named(here, capsys):
    options = ("convert", "tasknets:centred", "--data", bright(), *SMALL, "--json")
    _, out, err = run(capsys, *options, "-o", "a")
    report = json.loads(out)
    assert report["ann"]["accuracy"] == 1 / 8
    assert report["warnings"][0] == report["doubt"]
    assert report["doubt"] in " ".join(err.split())
    assert "with --mean 0.5 --std 0.5 it has accuracy 1.000" in report["doubt"]
    _, out, err = run(capsys, *options, "--mean", "0.5", "--std", "0.5", "-o", "b")
    assert json.loads(out)["ann"]["accuracy"] == 1
    assert json.loads(out)["doubt"] is None
