"""The verbs from Python: each a function that is called with objects and gives an object back."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from convsnn.commands import main
from convsnn.errors import ConfigError
from convsnn.report.comparison import page as comparison_page
from convsnn.report.comparison.document import remarks
from convsnn.spiking.network import Spiking
from convsnn.train.distillation import Tuning
from convsnn.train.settings import Settings as TrainingSettings
from convsnn.workflows.bench import Settings, bench
from convsnn.workflows.compare import compare
from convsnn.workflows.coverage import coverage
from convsnn.workflows.finetune import finetune_saved
from convsnn.workflows.subject.opening import Opening
from convsnn.workflows.train import train
from convsnn.workflows.tune import tune
from zoo.models.base import WEIGHTS

MODEL = WEIGHTS / "mnist5k-cnn.onnx"
SMALL = Opening(MODEL, calibration_samples=40, batch_size=20, device="cpu")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory where no page is drawn, which takes longer than all else."""
    monkeypatch.setattr("convsnn.workflows.evaluate.score.render_html", lambda _: "")
    monkeypatch.setattr(comparison_page, "render_comparison_page", lambda _: "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(result):
    """Whether an object can be looked at: one line, a table, a table in a notebook."""
    assert "\n" not in repr(result)
    assert repr(result).startswith(f"{type(result).__name__}(")
    assert len(str(result).splitlines()) > 2
    assert result._repr_html_().startswith("<pre>")
    assert json.loads(result.to_json()) == json.loads(json.dumps(result.document))
    return True


def test_compare_keeps_its_networks_which_every_command_opens(here, capsys):
    found = compare(SMALL, methods=["p-norm", "max-0.5"], timesteps=4, samples=30)
    assert shown(found)
    assert set(found.names) == {"p-norm", "max-0.5"}
    assert not found.failed
    assert found.folder == Path("mnist5k-cnn-compare")
    rows = {row["name"]: row for row in found.document["methods"]}
    assert rows[found.best]["score"]["4"] == max(row["score"]["4"] for row in rows.values())
    assert f"kept in {found.place(found.best)}" in " ".join(str(found).split())
    for name in found.names:
        assert isinstance(found.open(name), Spiking)
        assert main(["evaluate", str(found.place(name)), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["snn"]["accuracy"] == rows[name]["scores"]
        assert report["method"] == found.open(name).provenance["method"]
    with pytest.raises(ConfigError, match="no row 'mse'"):
        found.place("mse")
    kept = {name: found.place(name).read_bytes() for name in found.names}
    found.place("p-norm").unlink()  # a row without its network is made anew, to the same one
    again = compare(SMALL, methods="p-norm,max-0.5", timesteps=4, samples=30)
    assert {name: again.place(name).read_bytes() for name in again.names} == kept


def test_compare_takes_a_module_and_images(here):
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(9, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    )
    images = torch.rand(30, 1, 3, 3), torch.arange(30) % 3
    found = compare(Opening(module, images, calibration_samples=20), methods="rmp", timesteps=2)
    assert found.names == ["rmp"]
    added = compare(
        Opening(module, images, calibration_samples=20), methods="none", timesteps=2,
        add=[found.place("rmp")], folder=Path("added"),
    )  # fmt: skip
    (row,), (before,) = added.document["methods"], found.document["methods"]
    assert row["scores"] == before["scores"]
    assert added.place(row["name"]) == found.place("rmp").resolve()


def test_what_is_made_for_one_number_of_steps_is_made_anew_for_every_column(here):
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(9, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    )
    images = torch.rand(60, 1, 3, 3), torch.arange(60) % 3

    def subject() -> Opening:
        return Opening(module, images, calibration_samples=20)

    found = compare(subject(), methods="opt,layers,mse", timesteps=4)
    rows = {row["name"]: row for row in found.document["methods"]}
    assert (rows["opt"]["each"], rows["layers"]["each"], rows["mse"]["each"]) == (True, True, False)
    assert rows["opt"]["scores"][2] is None
    assert None not in rows["mse"]["scores"]
    for steps in (1, 2):
        alone = compare(subject(), methods="opt,layers", timesteps=steps, folder=Path(f"at{steps}"))
        for row in alone.document["methods"]:
            assert rows[row["name"]]["score"][str(steps)] == row["score"][str(steps)]
            assert rows[row["name"]]["energy"][str(steps)] == row["energy"][str(steps)]
    assert any("Made anew for each" in line for line in remarks(found.document))


def test_training_images_of_a_comparison_are_changed_where_it_is_asked(here):
    def trained(folder, **more):
        return compare(
            SMALL, methods="none", timesteps=2, samples=10, finetune="fixed", finetune_steps=1,
            epochs=1, training_samples=60, folder=Path(folder), **more,
        )  # fmt: skip

    plain, changed = trained("plain"), trained("changed", augment="shift")
    (row,) = changed.document["methods"]
    assert row["how"].endswith("--augment shift")
    weights = [found.open("finetune-fixed").plan.weights for found in (plain, changed)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(ConfigError, match="--augment would change nothing"):
        compare(SMALL, methods="rmp", augment="shift")


def test_tune_gives_what_convert_takes(here):
    pytest.importorskip("optuna")
    found = tune(SMALL, timesteps=4, trials=1, trial_samples=10)
    assert shown(found)
    assert found.method.neuron == found.neuron
    assert found.neuron in found.options
    assert json.loads((found.folder / "best.json").read_text()) == json.loads(found.to_json())


def test_train_and_finetune_give_networks(here):
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("test", 20)):
        x = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        np.savez(f"{name}.npz", x=x, y=np.arange(count) % 10)
    data = "npz:train.npz,test.npz"
    found = train("ltmd-mnist-short-lif", device="cpu", changes={"data": data, "epochs": 1})
    assert shown(found)
    assert found.document["runs"][0]["accuracy"] == found.runs[0].accuracy
    with pytest.raises(ConfigError, match="different whole numbers"):
        train("ltmd-mnist-short-lif", seeds=[1, 1], changes={"data": data})

    rows = compare(SMALL, methods="rmp", timesteps=2, samples=10)
    tuned = finetune_saved(
        rows.place("rmp"), settings=TrainingSettings(steps=1, epochs=1, schedule="steps:1/0.1"),
        tuning=Tuning("fixed"), training_samples=60, samples=10, device="cpu",
    )  # fmt: skip
    assert shown(tuned)
    assert tuned.net.provenance["method"]["training"]["schedule"] == "steps:1/0.1"
    assert (tuned.folder / "network.safetensors").is_file()


def test_finetune_follows_the_schedule_that_is_asked(here, capsys):
    rows = compare(SMALL, methods="rmp", timesteps=2, samples=10)
    quick = ["finetune", str(rows.place("rmp")), "--epochs", "2", "--training-samples", "60",
             "--batch-size", "20", "--timesteps", "1", "--samples", "10", "--json"]  # fmt: skip
    asked = ["--learning-rate-schedule", "steps:1/0.01"]
    assert main([*quick, *asked, "-o", "out"]) == 0
    training = json.loads(capsys.readouterr().out)["method"]["training"]
    assert training["schedule"] == "steps:1/0.01"
    assert main([*quick, "--learning-rate-schedule", "rising", "-o", "other"]) == 2
    assert "schedule 'rising'" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_bench_and_coverage_give_their_tables(here):
    threads = torch.get_num_threads()
    measured = bench(
        [str(MODEL)],
        Settings(peers=(), timesteps=(2,), batch_sizes=(2,), precisions=("float32",), repeats=1,
                 device=torch.device("cpu"), peak=False, threads=1),
        output=Path("bench.json"),
    )  # fmt: skip
    assert shown(measured)
    assert not measured.failed
    assert Path("bench.json").read_text() == measured.to_json()
    assert torch.get_num_threads() == threads
    with pytest.raises(ConfigError, match="positive number"):
        Settings(minutes=0)

    (here / "models").mkdir()
    (here / "models" / "cnn.onnx").write_bytes(MODEL.read_bytes())
    judged = coverage(folder=Path("models"))
    assert shown(judged)
    assert [row.verdict for row in judged.rows] == ["exact"]
    assert (judged.left, judged.failed) == (0, False)


def test_what_is_said_reaches_python_as_warnings_and_log(here, caplog):
    with warnings.catch_warnings(), caplog.at_level("INFO", logger="convsnn"):
        warnings.simplefilter("ignore")
        compare(SMALL, methods="rmp", timesteps=2, samples=10)
    assert any("[1/1]" in record.message for record in caplog.records)
