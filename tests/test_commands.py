"""The command line: what it writes, what it prints, how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from convsnn.commands import main
from convsnn.report.document import validate
from convsnn.workflows.running.voice import progress
from zoo.models import MODELS
from zoo.models.base import WEIGHTS

ROOT = Path(__file__).parent.parent
SMALL = ["--samples", "40", "--calibration-samples", "60", "--batch-size", "20"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def failure(capsys, *arguments):
    """Run what must not run: exit code 2, no traceback, nothing left behind."""
    before = sorted(Path().iterdir())
    code, out, err = run(capsys, *arguments)
    assert code == 2, (out, err)
    assert out == ""
    assert "error: " in err
    assert "Traceback" not in err
    assert sorted(Path().iterdir()) == before
    return err


@pytest.fixture
def small_data(here):
    """Two npz files of 8-bit 28x28 images with 10 labels."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("test", 40)):
        x = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        np.savez(f"{name}.npz", x=x, y=np.arange(count) % 10)
    return "npz:train.npz,test.npz"


def test_convert_writes_artifact_report_and_page(here, capsys):
    code, out, err = run(capsys, "convert", "zoo:mnist5k-cnn", "--timesteps", 8, *SMALL)
    assert code == 0, err
    folder = here / "mnist5k-cnn-snn"
    assert {p.name for p in folder.iterdir()} == {
        "network.safetensors",
        "report.json",
        "report.html",
    }
    report = json.loads((folder / "report.json").read_text())
    validate(report)
    assert report["timesteps"] == 8
    assert report["model"]["parameters"] == 29_818
    assert report["data"]["calibration"] == {
        "source": report["data"]["calibration"]["source"],
        "split": "train",
        "samples": 60,
    }
    assert report["data"]["evaluation"]["split"] == "test"
    assert "Over time steps" in out
    assert "mnist5k-cnn-snn" in err


def test_the_users_own_words(here, capsys):
    """`convsnn convert model.onnx --timesteps 128`, nothing else: the file says the rest."""
    (here / "model.onnx").write_bytes((WEIGHTS / "mnist5k-cnn.onnx").read_bytes())
    code, _, err = run(capsys, "convert", "model.onnx", "--timesteps", 128, "--samples", 20)
    assert code == 0, err
    report = json.loads((here / "model-snn" / "report.json").read_text())
    assert len(report["snn"]["accuracy"]) == 128
    assert report["snn"]["accuracy"][-1] == pytest.approx(report["ann"]["accuracy"], abs=0.051)


def test_a_file_beside_the_model_names_the_data(here, capsys):
    model = onnx.load(WEIGHTS / "mnist5k-cnn.onnx")
    settings = {p.key: p.value for p in model.metadata_props}["convsnn.preprocessing"]
    del model.metadata_props[:]
    onnx.save(model, "model.onnx")
    err = failure(capsys, "convert", "model.onnx")
    assert "--data" in err
    assert "mnist5k" in err
    described = {"data": "mnist5k", "preprocessing": json.loads(settings)}
    Path("model.data.json").write_text(json.dumps(described))
    code, out, err = run(capsys, "convert", "model.onnx", "--timesteps", 4, *SMALL, "--json")
    assert code == 0, err
    assert json.loads(out)["ann"]["accuracy"] > 0.9


def test_evaluate_gives_the_same_numbers(here, capsys):
    convert = ("convert", "zoo:mnist5k-cnn", "--timesteps", 6, *SMALL, "--json", "-o", "out")
    code, out, err = run(capsys, *convert)
    assert code == 0, err
    first = json.loads(out)
    for artifact in ("out", "out/network.safetensors"):
        code, out, err = run(capsys, "evaluate", artifact, "--samples", 40, "--json")
        assert code == 0, err
        second = json.loads(out)
        assert second["snn"]["accuracy"] == first["snn"]["accuracy"]
        assert second["snn"]["agreement"] == first["snn"]["agreement"]
        assert second["layers"] == first["layers"]
        assert second["energy"] == first["energy"]
        assert second["data"] == first["data"]


def test_torch_and_onnx_entrances_agree(here, capsys):
    reports = []
    for model in ("zoo:mnist5k-cnn", WEIGHTS / "mnist5k-cnn.onnx"):
        options = ("--timesteps", 8, "--samples", 100, "--json", "--force", "-o", "out")
        code, out, err = run(capsys, "convert", model, "--calibrate", "mse", *options)
        assert code == 0, err
        reports.append(json.loads(out))
    a, b = (np.array(r["snn"]["agreement"]) for r in reports)
    assert np.abs(a - b).max() <= 0.0101
    assert reports[0]["ann"]["accuracy"] == reports[1]["ann"]["accuracy"]


@pytest.mark.parametrize("max_drop", [-101, 100])
def test_max_drop_is_a_gate(here, capsys, max_drop):
    options = ("--timesteps", 2, *SMALL, "--max-drop", max_drop)
    code, _, err = run(capsys, "convert", "zoo:mnist5k-cnn", *options)
    assert code == (1 if max_drop < 0 else 0)
    assert ("gate failed" in err) == (max_drop < 0)
    assert Path("mnist5k-cnn-snn/report.json").exists()  # the result stands either way


def test_module_factory_with_weights(here, capsys, small_data):
    Path("mine.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))\n"
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save({"state_dict": state}, "w.pth")
    options = ("--weights", "w.pth", "--data", small_data, "--timesteps", 4, *SMALL, "--json")
    code, out, err = run(capsys, "convert", "mine:net", *options)
    assert code == 0, err
    assert json.loads(out)["model"]["input_shape"] == [1, 28, 28]
    assert json.loads(out)["model"]["parameters"] == 784 * 20 + 20 + 210


def test_inspect_lists_layers_and_verifies(capsys):
    code, out, _ = run(capsys, "inspect", WEIGHTS / "mnist5k-cnn.onnx", "--verify", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["sites"] == 3
    assert all(gap < 1e-4 for gap in found["verify"].values())
    assert sum(layer["becomes"] == "neurons" for layer in found["layers"]) == 3


def test_inspect_names_every_blocker(here, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(here))
    Path("waves.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Wave(nn.Module):\n    def forward(self, x):\n"
        "        return x.lgamma() + x.erfinv()\n\n\n"
        "net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 9), Wave(), nn.Linear(9, 2))\n"
    )
    code, out, _ = run(capsys, "inspect", "waves:net", "--input-shape", "4", "--json")
    assert code == 1
    assert {b["op"] for b in json.loads(out)["blockers"]} == {"lgamma", "erfinv"}
    code, out, _ = run(capsys, "inspect", "waves:net", "--input-shape", "4")
    assert code == 1
    assert "2.lgamma" in out


def test_convert_refuses_blockers_with_all_names(here, capsys, small_data):
    Path("gelu.py").write_text(
        "from torch import nn\n"
        "net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.GELU(),"
        " nn.Linear(9, 9), nn.SiLU(), nn.Linear(9, 10))\n"
    )
    options = ("convert", "gelu:net", "--data", small_data, "--spikes", "binary")
    err = failure(capsys, *options)
    assert "gelu" in err
    assert "silu" in err
    assert "2 place(s)" in err
    code, out, _ = run(capsys, *options, "--json")
    assert code == 2
    assert [i["layer"] for i in json.loads(out)["error"]["items"]] == ["2", "4"]


@pytest.mark.parametrize("kind", ["neurons", "calibrators", "encoders", "datasets", "models"])
def test_list(capsys, kind):
    code, out, _ = run(capsys, "list", kind, "--json")
    assert code == 0
    rows = json.loads(out)[kind]
    assert rows
    assert all(row["name"] and row["description"] for row in rows)
    code, out, _ = run(capsys, "list", kind)
    assert code == 0
    assert all(row["name"][:12] in out for row in rows)


def test_list_counts_thresholds_of_models_apart(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    _, out, _ = run(capsys, "list", "models")
    (line,) = [line for line in out.splitlines() if line.startswith("ltmd-densenet-cifar10")]
    assert line.split()[1:3] == ["6,820,180", "102"]
    assert out.splitlines()[0].split()[:3] == ["name", "parameters", "thresholds"]


BAD = {
    "missing file": ["convert", "missing.onnx"],
    "missing artifact": ["evaluate", "missing.safetensors"],
    "zero steps": ["convert", "zoo:mnist5k-cnn", "--timesteps", "0"],
    "negative steps": ["convert", "zoo:mnist5k-cnn", "--timesteps", "-3"],
    "unknown model": ["convert", "zoo:mnist5k-cn"],
    "unknown source": ["convert", "nosuch"],
    "unknown torchvision": ["inspect", "torchvision:resnet19"],
    "unknown timm": ["inspect", "timm:resnet19"],
    "unknown neuron": ["convert", "zoo:mnist5k-cnn", "--neuron", "iff"],
    "unknown encoder": ["convert", "zoo:mnist5k-cnn", "--encoder", "poison"],
    "unknown stage": ["convert", "zoo:mnist5k-cnn", "--calibrate", "percentle:q=99"],
    "unknown stage option": ["convert", "zoo:mnist5k-cnn", "--calibrate", "percentile:p=99"],
    "stage option out of range": ["convert", "zoo:mnist5k-cnn", "--calibrate", "percentile:q=101"],
    "empty stage": ["convert", "zoo:mnist5k-cnn", "--calibrate", "max+"],
    "unknown data": ["convert", "zoo:mnist5k-cnn", "--data", "mnist6k"],
    "missing data": ["convert", "zoo:mnist5k-cnn", "--data", "npz:a.npz,b.npz"],
    "unknown device": ["convert", "zoo:mnist5k-cnn", "--device", "quantum"],
    "no weights": ["convert", "zoo:resnet20-cifar10"],
    "missing weights": ["convert", "zoo:resnet20-cifar10", "--weights", "no.safetensors"],
    "unknown option": ["convert", "zoo:mnist5k-cnn", "--timestep", "3"],
    "unknown command": ["covert", "zoo:mnist5k-cnn"],
    "bad mean": ["convert", "zoo:mnist5k-cnn", "--mean", "a,b"],
    "wrong mean length": ["convert", "zoo:mnist5k-cnn", "--mean", "1,2,3"],
    "bad shape": ["inspect", "zoo:mnist5k-cnn", "--input-shape", "0,1"],
    "wrong shape": ["convert", "zoo:mnist5k-cnn", "--input-shape", "3,9,9"],
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(here, capsys, case):
    failure(capsys, *BAD[case])


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [
        (["convert", "zoo:mnist5k-cn"], "mnist5k-cnn"),
        (["convert", "zoo:mnist5k-cnn", "--neuron", "iff"], "if"),
        (["convert", "zoo:mnist5k-cnn", "--calibrate", "percentle"], "percentile"),
        (["convert", "zoo:mnist5k-cnn", "--data", "mnist6k"], "mnist5k"),
        (["inspect", "torchvision:resnet19"], "resnet18"),
    ],
)
def test_the_nearest_name_is_suggested(here, capsys, asked, suggested):
    assert suggested in failure(capsys, *asked)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a model at all", bytes(range(256))])
def test_damaged_files_are_refused(here, capsys, content):
    for name in ("m.onnx", "a.safetensors"):
        Path(name).write_bytes(content)
    failure(capsys, "convert", "m.onnx", "--data", "mnist5k")
    failure(capsys, "evaluate", "a.safetensors")
    failure(capsys, "convert", "zoo:resnet20-cifar10", "--weights", "a.safetensors")


def test_weights_that_do_not_fit_are_named(here, capsys):
    torch.save(nn.Linear(3, 4).state_dict(), "w.pt")
    err = failure(capsys, "convert", "zoo:resnet20-cifar10", "--weights", "w.pt")
    assert "conv1.weight" in err


def _npz(count=30, channels=1, labels=None, value=None):
    x = np.zeros((count, 28, 28, channels), dtype=np.uint8) if value is None else value
    y = np.arange(count) % 10 if labels is None else labels
    for name in ("train", "test"):
        np.savez(f"{name}.npz", x=x, y=y)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: _npz(channels=3), "3"),
        (lambda: _npz(labels=np.full(30, 11)), "classes"),
        (lambda: _npz(count=0), ""),
        (lambda: _npz(value=np.full((30, 1, 28, 28), np.nan, np.float32)), "x"),
        (lambda: _npz(value=np.zeros((30, 1, 28, 28), np.float32)), "features.2"),
    ],
    ids=["channels", "labels", "no samples", "nan", "silent layer"],
)
def test_bad_data_is_named(here, capsys, make, says):
    make()
    if says == "features.2":  # a first layer that cannot fire on black images
        module = MODELS.create("mnist5k-cnn").module()
        with torch.no_grad():
            module.features[0].weight.zero_()
            module.features[1].bias.fill_(-1.0)
            module.features[1].running_mean.zero_()
            if module.features[0].bias is not None:
                module.features[0].bias.zero_()
        torch.save(module.state_dict(), "w.pt")
        options = ["--weights", "w.pt"]
    else:
        options = []
    data = "npz:train.npz,test.npz"
    err = failure(capsys, "convert", "zoo:mnist5k-cnn", "--data", data, *options)
    assert says in err


def test_an_existing_directory_needs_force(here, capsys):
    folder = here / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("precious")
    convert = ("convert", "zoo:mnist5k-cnn", "--timesteps", 2, *SMALL, "-o", "out")
    assert "--force" in failure(capsys, *convert)
    failure(capsys, *convert, "--force")  # not ours: never replaced
    assert (folder / "mine.txt").read_text() == "precious"


def test_an_interrupt_leaves_nothing(here, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("convsnn.workflows.evaluate.score.evaluate", interrupted)
    code, out, err = run(capsys, "convert", "zoo:mnist5k-cnn", *SMALL)
    assert code == 130
    assert out == ""
    assert "interrupted" in err
    assert not list(here.iterdir())


def test_progress_goes_to_stderr(capsys):
    with progress("working", 3) as advance:
        advance(3)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize("program", [["-m", "convsnn"], [str(ROOT / "cli.py")]])
def test_the_program_has_three_names(program):
    result = subprocess.run(
        [sys.executable, *program, "list", "neurons", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout)["neurons"][0]["name"]
