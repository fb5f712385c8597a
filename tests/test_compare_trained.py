"""Trained networks beside conversions: fine-tuned here, gone on with, or added as they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker
from rich.console import Console

from calibrate.methods import choose_methods
from convsnn.commands import main
from convsnn.errors import ConfigError
from convsnn.export import load_artifact, save_artifact
from convsnn.measure.energy import ann_joules
from convsnn.report.comparison import page as comparison_page
from convsnn.report.comparison.document import compare_reports, family
from convsnn.report.comparison.table import render_comparison
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.train.methods import METHODS
from convsnn.workflows.compare import finetuned as compare_finetuned
from convsnn.workflows.compare.finetuned import choose_finetuning, plan_finetuning
from convsnn.workflows.compare.rows import Conversion
from convsnn.workflows.compare.runs import Bench
from zoo.models.base import WEIGHTS

MODEL = str(WEIGHTS / "mnist5k-cnn.onnx")
SCORED = ["--samples", "40", "--batch-size", "20", "--device", "cpu"]
SMALL = [*SCORED, "--calibration-samples", "60"]
TRAINING = ["--epochs", "2", "--training-samples", "100"]
TUNE = ["--finetune-steps", "2", *TRAINING]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory where no page is drawn, which takes longer than all else."""
    monkeypatch.setattr("convsnn.workflows.evaluate.score.render_html", lambda _: "")
    monkeypatch.setattr(comparison_page, "render_comparison_page", lambda _: "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, str]:
    """Exit code, document and messages of a command."""
    code = main([*(str(a) for a in arguments), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def compare(
    capsys: pytest.CaptureFixture[str], *arguments: object, methods: str = "none", out: str = "out"
) -> tuple[int, Any, str]:
    """Compare on few images."""
    given = ("compare", MODEL, "--timesteps", 4, "--methods", methods, *SMALL, "-o", out)
    return run(capsys, *given, *arguments)


def without_times(rows: list[Any]) -> list[Any]:
    """What must not depend on when and how often a command was run."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


# Fine-tuning


def test_a_trained_row_is_what_convert_and_finetune_give(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document, err = compare(capsys, "--finetune", "lt-snn", *TUNE, methods="max-0.5")
    assert code == 0, err
    free, trained = document["methods"]
    assert (free["kind"], free["training_seconds"], free["trained_steps"]) == (
        "binary spikes, training-free", 0.0, None,
    )  # fmt: skip
    assert (trained["kind"], trained["trained_steps"]) == ("binary spikes, trained", 2)
    assert trained["training_seconds"] > 0
    assert trained["name"] == "finetune-lt-snn"

    how = ("--calibrate", trained["calibrate"], "--readout", trained["readout"])
    start = ("convert", MODEL, "--timesteps", 2, *SMALL, *how)
    assert run(capsys, *start, "-o", "start")[0] == 0
    tune = ("finetune", "start", "--timesteps", 2, *TRAINING, "--device", "cpu", "-o", "tuned")
    assert run(capsys, *tune)[0] == 0
    _, report, _ = run(capsys, "evaluate", "tuned", "--timesteps", 4, *SCORED)
    assert trained["scores"] == report["snn"]["accuracy"]
    assert trained["energy"]["4"] == report["energy"]["counted"][-1]
    assert load_artifact(here / "out" / "finetune-lt-snn.safetensors").plan.record[-1]["stage"] == (
        "finetune"
    )
    # the network that was kept is a row like any other, with the same numbers
    _, again, _ = compare(capsys, "--add", "out/finetune-lt-snn.safetensors", out="again")
    (added,) = again["methods"]
    assert again["ann"] == document["ann"]
    for key in ("scores", "energy", "kind", "trained_steps", "firing_rate", "same_network"):
        assert added[key] == trained[key], key
    assert added["training_seconds"] == pytest.approx(trained["training_seconds"], abs=1e-3)


def test_an_interrupted_training_goes_on_from_its_checkpoint(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--finetune", "ltmd", *TUNE)
    code, whole, _ = compare(capsys, *asked, methods="max-0.5", out="whole")
    assert code == 0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compare_finetuned, "show_epoch", stop)
        stopped = main(["compare", MODEL, "--timesteps", "4", "--methods", "max-0.5", *SMALL,
                        "-o", "out", *asked])  # fmt: skip
    assert stopped == 130
    capsys.readouterr()
    (training,) = (here / "out").glob("training-*")
    kept = {path: path.read_bytes() for path in training.rglob("*.safetensors")}
    assert [path.name for path in sorted(kept)] == ["last.safetensors", "start.safetensors"]
    # other settings have a place of their own: neither is in the other's way
    code, _, err = compare(capsys, "--finetune", "ltmd", *TUNE[:-4], "--epochs", 1,
                           "--training-samples", 60)  # fmt: skip
    assert code == 0, err
    assert all(path.read_bytes() == before for path, before in kept.items())
    code, document, err = compare(capsys, *asked, methods="max-0.5")
    assert code == 0, err
    assert "epoch 2/2" in err
    assert "epoch 1/2" not in err
    assert without_times(document["methods"]) == without_times(whole["methods"])
    assert not (training / "ltmd").exists()
    _, _, err = compare(capsys, *asked, methods="max-0.5")
    assert err.count("taken from") == 2
    assert "epoch" not in err


def test_every_way_to_train_has_a_row() -> None:
    assert set(choose_finetuning("all")) == METHODS.keys()
    assert choose_finetuning("fixed, lt-snn") == ["lt-snn", "fixed"]
    rows = plan_finetuning("all", timesteps=8, seed=0)
    titles = [row.title for row in rows]
    assert len(set(titles)) == len(titles)
    described = rows[0].describe()
    known = Conversion(choose_methods("mse")[0], 8).describe()
    assert described.keys() == known.keys()
    assert "4" in described["how"]  # the steps, where none are named
    assert plan_finetuning("all", timesteps=2, seed=0)[0].describe()["trained_steps"] == 2


def test_other_settings_are_another_row() -> None:
    def identity(**given: Any) -> object:
        (row,) = plan_finetuning("fixed", timesteps=8, seed=0, **given)
        return row.identity()

    changes: list[dict[str, Any]] = [
        {}, {"steps": 3}, {"epochs": 3}, {"minutes": 1.0}, {"samples": 50},
    ]  # fmt: skip
    assert len({json.dumps(identity(**given)) for given in changes}) == len(changes)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--epochs", "3"], "--epochs would change nothing"),
        (["--finetune", "lt-snm"], "unknown method 'lt-snm'"),
        (["--finetune", "fixed", "--finetune-steps", "5"], "more than the --timesteps 4"),
        (["--finetune", "fixed", "--minutes", "0"], "positive minutes"),
        ([], "nothing to compare"),
        (["--add", "nowhere"], "holds no spiking network"),
        (["--finetune", "fixed", "--data", "npz:a.npz,a.npz"], "no labels"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    np.savez(here / "a.npz", x=np.zeros((80, 28, 28, 1), dtype=np.uint8))
    code, document, _ = compare(capsys, *arguments)
    assert code == 2
    assert says in document["error"]["message"]
    assert not (here / "out").exists()


def test_a_budget_counts_trainings_apart_from_conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    (long,) = plan_finetuning("fixed", timesteps=8, seed=0, minutes=5)
    (short,) = (Conversion(method, 8) for method in choose_methods("mse"))
    bench = Bench(None)  # type: ignore[arg-type]
    assert bench._over(short, 60.0, 50.0) == ""
    assert "a method takes 5.0" in bench._over(long, 60.0, 0.0)
    bench.elapsed[True].append(30.0)  # it ended long before what it was allowed
    assert bench._over(long, 60.0, 0.0) == ""
    bench.elapsed[False].append(20.0)
    assert bench._over(short, 60.0, 50.0) != ""


# Adding what is there


def save_network(folder: Path, *, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10,
                 **about: Any) -> Any:  # fmt: skip
    """A network of one hidden layer that some other program might have trained."""
    maker = Maker(np.random.default_rng(3), shape, exact=False)
    hidden = maker.relu(maker.linear(maker.flatten("input"), 12))
    graph = maker.graph(maker.linear(hidden, classes))
    plan = Plan({name: SitePlan(torch.tensor([1.0]), torch.tensor([0.5])) for name in graph.sites})
    model = {"name": "other", "source": "other", "sha256": "", "parameters": 1, "thresholds": 0,
             "input_shape": list(shape)}  # fmt: skip
    known = {
        "command": "", "model": model, "data": "mnist5k", "versions": {}, "seed": 0, "timesteps": 4,
        "calibration": {"source": "x", "split": "train", "samples": 8}, "batch_size": 50,
        "method": {"calibration": "by hand", "neuron": "if", "encoder": "direct",
                   "max_pool": "exact", "readout": "mean"},
    }  # fmt: skip
    folder.mkdir()
    net = to_spiking(graph, plan, provenance={**known, **about})
    save_artifact(net, folder / "network.safetensors")
    return net


def test_another_network_is_scored_as_evaluate_does_and_its_energy_rebased(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = {"method": "ltmd", "seconds": 7.5, "timesteps": 3}
    method = {"calibration": "x", "neuron": "if", "encoder": "direct", "readout": "mean",
              "max_pool": "exact", "training": training}  # fmt: skip
    # other preprocessing than the compared network's, which is not to be taken for its own
    net = save_network(here / "other", method=method, preprocessing={"mean": [0.7], "std": [0.1]})
    code, document, err = compare(capsys, "--add", "other", methods="max-0.5")
    assert code == 0, err
    ours, row = document["methods"]
    _, report, _ = run(capsys, "evaluate", "other", *SCORED)
    assert row["scores"] == report["snn"]["accuracy"]
    share = ann_joules(net.graph) / document["ann"]["energy_joules"]
    assert share < 0.5
    assert row["energy"]["4"] == pytest.approx(share * report["energy"]["counted"][-1])
    assert ours["energy"]["4"] > row["energy"]["4"]
    assert row["kind"] == "binary spikes, trained, uses labels"
    assert (row["training_seconds"], row["trained_steps"]) == (7.5, 3)
    assert (row["calibration_seconds"], row["same_network"]) == (None, False)
    assert row["title"] == "other for 3 steps"
    assert "did not start from the compared network" in row["warnings"][-1]
    # where it is alone, the compared network is measured all the same
    _, alone, _ = compare(capsys, "--add", "other")
    assert alone["ann"] == document["ann"]
    assert without_times(alone["methods"]) == without_times([row])


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"classes": 9}, "has outputs of shape (9,), but"),
        ({"shape": (1, 26, 28)}, "has inputs of shape (1, 26, 28), but"),
        ({"method": {"calibration": "mse"}}, "does not say how it was made"),
        ({}, "is added twice"),
    ],
)
def test_what_is_not_for_the_same_task_is_refused_by_name(
    here: Path, capsys: pytest.CaptureFixture[str], made: dict[str, Any], says: str
) -> None:
    save_network(here / "odd", **made)
    twice = ["--add", "odd/network.safetensors"] if not made else []
    code, document, _ = compare(capsys, "--add", "odd", *twice)
    assert code == 2
    assert "'odd'" in document["error"]["message"]
    assert says in document["error"]["message"]
    assert not (here / "out").exists()


def test_a_training_without_one_network_says_which_or_why(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "trained").mkdir()
    for reasons, message, hint in (
        (["", ""], "a network for each of its seeds", "trained/seed-1"),
        (["its neurons send potentials"], "its neurons send potentials", ""),
    ):
        runs = [{"seed": seed, "reason": reason} for seed, reason in enumerate(reasons)]
        (here / "trained" / "training.json").write_text(json.dumps({"runs": runs}))
        code, document, _ = compare(capsys, "--add", "trained")
        assert code == 2
        assert message in document["error"]["message"]
        assert hint in document["error"]["hint"]


def test_networks_of_one_name_and_a_late_readout(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (here / name).mkdir()
    save_network(here / "a" / "same")
    net = save_network(here / "b" / "same")
    late = to_spiking(net.graph, net.plan, provenance=net.provenance, readout="mean:delay=4")
    save_artifact(late, here / "b" / "same" / "network.safetensors")
    code, document, _ = compare(capsys, "--add", "a/same", "--add", "b/same")
    assert code == 1
    assert [row["title"] for row in document["methods"]] == ["a/same"]
    (failed,) = document["failed"]
    assert failed["title"] == "b/same"
    assert "leaves out 4 steps, of 4" in failed["message"]


# What people see


def report_of(name: str, **about: Any) -> dict[str, Any]:
    """As much of a report as a comparison looks at."""
    method = {
        "name": name, "title": name, "spikes": "binary", "trained": False, "labels": False,
        "delay": 0, "same_network": True, "published": [], "trained_steps": None, "differs": "",
        "kind": "binary spikes, training-free", **about,
    }  # fmt: skip
    layer = {"neurons": 4, "sin_ratio": [0.1] * 4, "firing_rate": [0.2] * 4}
    return {
        "timesteps": 4,
        "method": {"readout": "mean"},
        "snn": {"accuracy": [0.5] * 4, "seconds": 1.0},
        "energy": {"counted": [0.1] * 4},
        "ann": {"accuracy": 0.9, "energy_joules": 1.0, "macs": 1},
        "layers": [layer],
        "sources": [],
        "data": {"evaluation": {"samples": 10}},
        "comparison": {
            "method": method, "calibration_seconds": 1.0,
            "training_seconds": 61.0 if method["trained"] else 0.0,
        },
    }  # fmt: skip


def test_rows_of_a_kind_stand_together_and_trained_ones_say_how_long() -> None:
    trained = {"trained": True, "kind": "binary spikes, trained"}
    late = {"delay": 2, "kind": "binary spikes, training-free, 2 delay steps"}
    reports = [
        report_of("d", **late), report_of("c", **trained), report_of("b"),
        report_of("e", **trained), report_of("a"),
    ]  # fmt: skip
    part = {"source": "x", "split": "test", "samples": 10}
    header = {"timesteps": 4, "model": {"name": "m"}, "data": {"evaluation": part}}
    document = compare_reports(reports, header=header, ann=reports[0]["ann"])
    assert [row["name"] for row in document["methods"]] == ["a", "b", "d", "c", "e"]
    assert [family(row) for row in document["methods"]][2:4] == ["binary", "binary, trained"]
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_comparison(document))
    lines = console.export_text().splitlines()
    start = lines.index("binary spikes, trained:")
    assert lines[start + 1].split()[-2:] == ["train.", "simul."]
    assert lines[start + 2].split()[-2:] == ["61", "1.0"]
    assert lines[lines.index("binary spikes, training-free:") + 1].split()[-2] == "calib."


def test_none_is_no_method_and_stands_alone() -> None:
    assert list(choose_methods("none")) == []
    with pytest.raises(ConfigError, match="unknown method 'none'"):
        choose_methods("none,mse")
