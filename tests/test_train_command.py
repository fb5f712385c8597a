"""`convsnn train`: results to evaluate, seeds together, going on after a kill, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convsnn.commands import main
from convsnn.commands.train import _seeds
from convsnn.report.training.document import half_interval, render_training_page, summarise

SHORT = ("--device", "cpu", "--samples", "30")
QUICK = (*SHORT, "--set", "epochs=2", "--set", "training_samples=64", "--set", "timesteps=2")


@pytest.fixture
def arrays(tmp_path: Path) -> str:
    """Bright and dark images of two classes, which anything learns, as a data spec."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 96), ("test", 40)):
        y = rng.integers(0, 2, count)
        x = rng.integers(0, 80, (count, 28, 28, 1)) + 170 * y[:, None, None, None]
        np.savez(tmp_path / f"{name}.npz", x=x.astype(np.uint8), y=y)
    return f"npz:{tmp_path / 'train.npz'},{tmp_path / 'test.npz'}"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and the document on stdout."""
    code = main(["train", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_seeds_give_a_mean_with_an_interval_and_networks_to_evaluate(
    tmp_path: Path, arrays: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, document = run(
        capsys,
        "lt-snn-mnist-short-table2-sgp",
        *QUICK,
        "--data",
        arrays,
        "--seeds",
        "0,1",
        "-o",
        str(out),
    )
    assert code == 0
    finals = [one["accuracy"][-1] for one in document["runs"]]
    assert document["accuracy"]["mean"][-1] == pytest.approx(sum(finals) / 2)
    spread = abs(finals[0] - finals[1])
    assert document["accuracy"]["half_interval"][-1] == pytest.approx(12.706 * spread / 2)
    assert document["runs"][0]["epochs"][1].keys() >= {"loss", "accuracy", "thresholds", "rates"}
    assert document == json.loads((out / "training.json").read_text())
    assert "Thresholds" in (out / "training.html").read_text()
    report = json.loads((out / "seed-1" / "report.json").read_text())
    assert report["snn"]["accuracy"] == document["runs"][1]["accuracy"]
    assert report["model"]["thresholds"] == 4
    assert report["data"]["calibration"]["split"] == "train"
    assert any("never trained as an ANN" in text for text in report["warnings"])
    assert not list(tmp_path.glob("*.training"))
    again = main(["evaluate", str(out / "seed-1"), "--device", "cpu", "--samples", "30", "--json"])
    assert again == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["snn"]["accuracy"] == report["snn"]["accuracy"]


def test_the_paper_s_form_is_an_artifact_that_scores_the_same(
    tmp_path: Path, arrays: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = main(
        ["train", "ltmd-mnist", *QUICK, "--data", arrays, "--set", "held_out=0.1", "-o", str(out)]
    )
    said = capsys.readouterr()
    assert code == 0
    (one,) = json.loads((out / "training.json").read_text())["runs"]
    report = json.loads((out / "report.json").read_text())
    assert report["method"]["neuron"].startswith("ltmd:")
    assert any("lateral input" in text for text in report["not_counted"])
    assert any("send their potentials" in text for text in report["warnings"])
    assert main(["evaluate", str(out), "--device", "cpu", "--samples", "30", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["snn"]["accuracy"] == report["snn"]["accuracy"] == one["accuracy"]
    assert one["thresholds"] == 5
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128)
    linear = (1152 + 1) * 128 + (128 + 1) * 10
    assert one["parameters"] == convolutions + linear + 2 * 5  # two lateral kernels
    assert len(one["accuracy"]) == 2
    assert "one run" in said.out


def test_thresholds_that_are_not_positive_leave_a_checkpoint_and_it_is_said(
    tmp_path: Path, arrays: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    negative = ["--set", "threshold=ltmd:k=-0.1", "--set", "epochs=1", "-o", str(out)]
    assert main(["train", "ltmd-mnist", *QUICK, "--data", arrays, *negative]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "not a network for convsnn evaluate" in said
    assert (out / "checkpoint.safetensors").stat().st_size > 0
    assert not (out / "network.safetensors").exists()
    (one,) = json.loads((out / "training.json").read_text())["runs"]
    assert len(one["accuracy"]) == 2


def test_a_run_that_was_killed_goes_on_to_the_same_numbers(
    tmp_path: Path,
    arrays: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["lt-snn-mnist-short-stsg", *QUICK, "--data", arrays]
    _, whole = run(capsys, *asked, "-o", str(tmp_path / "whole"))

    def stop(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("convsnn.workflows.train.training.show_epoch", stop)
        assert main(["train", *asked, "-o", str(tmp_path / "cut")]) == 130
    capsys.readouterr()
    assert not (tmp_path / "cut").exists()
    code, refused = run(capsys, *asked, "-o", str(tmp_path / "cut"))
    assert code == 2
    assert "--resume" in refused["error"]["hint"]
    code, other = run(capsys, *asked, "--set", "decay=0.4", "-o", str(tmp_path / "cut"), "--resume")
    assert code == 2
    assert "other settings" in other["error"]["message"]
    _, gone_on = run(capsys, *asked, "-o", str(tmp_path / "cut"), "--resume")
    for mine, theirs in zip(gone_on["runs"][0]["epochs"], whole["runs"][0]["epochs"], strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    assert gone_on["accuracy"] == whole["accuracy"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["ltmd-mnits"], "unknown recipe", "ltmd-mnist"),
        (["ltmd-mnist"], "names no data", "--data"),
        (["ltmd-mnist-short-lif", "--set", "epoch=1"], "no key 'epoch'", "epochs"),
        (["ltmd-mnist-short-lif", "--set", "timesteps=0"], "timesteps must be", ""),
        (["ltmd-mnist-short-lif", "--seeds", "0,0"], "different whole numbers", "--seeds 0,1,2"),
        (["ltmd-mnist-short-lif", "--seeds", "one"], "different whole numbers", ""),
        (["ltmd-mnist-short-lif", "--minutes", "0"], "positive minutes", ""),
        (["ltmd-mnist-short-lif", "--resume"], "no training run", "leave out --resume"),
        (["ltmd-mnist-short-lif", "--data", "digits"], "8", ""),
    ],
)
def test_what_cannot_be_trained_is_refused(
    arguments: list[str],
    message: str,
    hint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, document = run(capsys, *arguments, *SHORT, "-o", str(tmp_path / "out"))
    assert code == 2
    assert message in document["error"]["message"]
    assert hint in document["error"]["hint"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", ["one", "many", "none"])
def test_labels_that_teach_nothing_are_refused(
    labels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.zeros((20, 28, 28, 1), dtype=np.uint8)
    y = {"one": np.ones(20, int), "many": np.arange(20), "none": None}[labels]
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", x=x, **({} if y is None else {"y": y}))
    spec = f"npz:{tmp_path / 'a.npz'},{tmp_path / 'b.npz'}"
    code, document = run(capsys, "ltmd-mnist", "--data", spec, *SHORT, "-o", str(tmp_path / "out"))
    wanted = {"one": "of class 1", "many": "has 20 classes", "none": "has no labels"}[labels]
    assert code == 2
    assert wanted in document["error"]["message"]


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "recipes", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["recipes"]}
    assert rows["ltmd-mnist"]["model"] == "ltmd-mnist"
    assert rows["ltmd-mnist-short-dropout"]["data"] == "mnist5k"
    assert main(["list", "recipes"]) == 0
    assert "ltmd-table4-vgg16-lif" in capsys.readouterr().out.replace("\n", "")


def test_seeds_are_read_as_numbers() -> None:
    assert _seeds("3, 1") == [3, 1]


def test_the_interval_is_student_s() -> None:
    assert half_interval([0.5]) is None
    assert half_interval([0.9, 0.92, 0.94]) == pytest.approx(4.303 * 0.02 / 3**0.5)
    twelve = [0.0, 1.0] * 6  # t of 11 degrees of freedom is 2.20099
    deviation = (12 * 0.25 / 11) ** 0.5
    assert half_interval(twelve) == pytest.approx(2.20099 * deviation / 12**0.5, rel=1e-4)


def test_a_page_of_a_network_with_many_layers_draws_every_line() -> None:
    layers = {f"layers.{i}": 1.0 + i for i in range(20)}
    epochs = [
        {"number": n, "loss": 1.0, "accuracy": 0.5, "held_out": None, "learning_rate": 1e-3,
         "seconds": 1.0, "thresholds": layers, "rates": layers}
        for n in (1, 2)
    ]  # fmt: skip
    run = {"seed": 0, "accuracy": [0.5], "seconds": 2.0, "epochs": epochs, "reason": "<b>"}
    part = {"source": "x", "split": "train", "samples": 5}
    page = render_training_page(
        summarise(
            [run], command="convsnn train", name="a & b", recipe={"model": "m"},
            data={"training": part, "evaluation": part},
        )
    )  # fmt: skip
    assert "a &amp; b" in page
    assert "&lt;b&gt;" in page
    assert page.count("<svg") == 3
