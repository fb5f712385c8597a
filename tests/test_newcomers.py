"""What meets somebody who types a command for the first time: waits, refusals, words, widths."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from convsnn.commands import main
from convsnn.commands.app import app
from convsnn.commands.hints import fitting, options_of
from convsnn.errors import ExportError
from convsnn.report.files import ResultDirectory
from zoo.models.base import WEIGHTS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_waits_for_no_library_that_it_does_not_need():
    slow = "torchvision", "torch._dynamo", "timm", "optuna", "matplotlib"
    code = f"import sys, convsnn.commands; print([n for n in {slow} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def begun(*args, **kwargs):
    raise AssertionError("work began")


WRITERS = {
    "convert": ("workflows.subject.opening.open_job", ["zoo:mnist5k-cnn"]),
    "compare": ("workflows.subject.opening.open_job", ["zoo:mnist5k-cnn"]),
    "tune": ("workflows.subject.opening.open_job", ["zoo:mnist5k-cnn"]),
    "figures": ("workflows.subject.opening.open_job", ["zoo:mnist5k-cnn"]),
    "evaluate": ("commands.evaluate.load_saved", ["artifact"]),
    "finetune": ("workflows.finetune.saved.open_saved", ["artifact"]),
    "train": ("workflows.train.training.open_course", ["ltmd-mnist"]),
    "coverage": ("workflows.coverage.judging.list_networks", []),
    "bench": ("workflows.bench.run.open_subject", []),
}


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("why", ["a file is in the way", "nothing may be written"])
def test_what_cannot_be_written_is_refused_before_any_work(here, capsys, monkeypatch, command, why):
    work, arguments = WRITERS[command]
    module, _, name = work.rpartition(".")
    monkeypatch.setattr(sys.modules[f"convsnn.{module}"], name, begun)
    (here / "there").mkdir() if why.startswith("nothing") else (here / "there").write_text("")
    if why.startswith("nothing"):  # root may write anywhere, so the answer is set
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "there")
    target = "there/out.md" if command == "coverage" else "there/out"
    code, out, err = run(capsys, command, *arguments, "-o", target)
    assert (code, out) == (2, "")
    assert "work began" not in err
    assert "there" in err


def test_a_new_result_is_renamed_to_its_place_so_the_folder_around_it_must_take_it(
    here, monkeypatch
):
    (here / "there" / "out").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "there")
    ResultDirectory(Path("there/out"), force=True).check()  # filled in place
    with pytest.raises(ExportError, match="there"):
        ResultDirectory(Path("there/new")).check()


def test_coverage_tells_how_to_judge_fewer_only_who_has_chosen_nothing(here, capsys, monkeypatch):
    monkeypatch.setattr("convsnn.workflows.coverage.judging._judge", lambda *_, **__: [])
    for chosen, told in (([], True), (["--minutes", "1"], False), (["-o", "t.md"], False)):
        _, _, err = run(capsys, "coverage", *chosen)
        assert "to judge" in err
        assert ("judge fewer" in err) == told, chosen


def test_tune_shows_a_bar_on_a_terminal_and_lines_in_a_log(here, capsys, monkeypatch):
    small = ["--timesteps", 2, "--calibration-samples", 20, "--trial-samples", 10, "--trials", 2]
    code, _, log = run(capsys, "tune", WEIGHTS / "mnist5k-cnn.onnx", *small, "-o", "log")
    assert code == 0, log
    assert "[2/2] error" in log
    monkeypatch.setenv("FORCE_COLOR", "1")  # what a terminal gets
    code, _, shown = run(capsys, "tune", WEIGHTS / "mnist5k-cnn.onnx", *small, "-o", "shown")
    assert code == 0, shown
    assert "[2/2] error" not in shown
    assert "trials" in shown
    assert "1/2" in shown


@pytest.mark.parametrize("bare", [True, False])
def test_coverage_says_at_once_what_it_will_do(here, capsys, monkeypatch, bare):
    command = sys.modules["convsnn.workflows.coverage.judging"]
    monkeypatch.setattr(command, "list_networks", lambda *_: ["timm:a", "timm:b", "torchvision:c"])
    monkeypatch.setattr(command, "judge_all", begun)
    _, _, err = run(capsys, "coverage", *([] if bare else ["--match", "*a*"]))
    said = err[: err.index("work began")]
    assert "3 networks to judge: 2 of timm, 1 of torchvision" in said
    assert ("--match" in said) == bare


@pytest.mark.parametrize("command", ["train", "convert", "finetune"])
def test_hints_name_options_of_the_command_that_is_run(command):
    known = options_of(app, command)
    both = "change the images with --resize H,W, or use data of the network's size"
    found = fitting(both, command=command, known=known)
    assert ("--resize" in found) == (command != "train")
    assert found.endswith("use data of the network's size")
    memory = fitting("choose --batch-size, or --set batch_size=N", command=command, known=known)
    assert memory == ("--set batch_size=N" if command == "train" else "choose --batch-size")
    assert "convert" in fitting(
        "convert the network with --neuron if", command=command, known=known
    )
    unknown = fitting("give --no-such-option", command=command, known=known)
    assert unknown == f"see convsnn {command} --help"


def test_train_names_no_option_of_convert_where_images_do_not_fit(here, capsys):
    for name in ("train", "test"):
        np.savez(f"{name}.npz", x=np.zeros((4, 9, 9, 1), np.uint8), y=np.arange(4) % 2)
    code, _, err = run(capsys, "train", "ltmd-mnist", "--data", "npz:train.npz,test.npz")
    assert code == 2
    assert "(1, 9, 9) do not fit the network's input (1, 28, 28)" in err
    assert "hint: use data of the network's size" in err
    assert "--resize" not in err


@pytest.fixture
def arrays(here):
    """train.npz and test.npz of 28x28 images, and a network.onnx that says nothing of its data."""
    for name in ("train", "test"):
        np.savez(f"{name}.npz", x=np.zeros((20, 28, 28, 1), np.uint8), y=np.arange(20) % 10)
    model = onnx.load(WEIGHTS / "mnist5k-cnn.onnx")
    del model.metadata_props[:]
    onnx.save(model, "network.onnx")
    return here


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty", "flipped", "objects"])
def test_a_damaged_npz_is_called_so_by_name_without_a_word_of_pickle(arrays, capsys, damage):
    whole = Path("train.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[200] ^= 255
    made = {"cut": whole[: len(whole) // 2], "foreign": b"text " * 99, "empty": b""}
    Path("bad.npz").write_bytes(made.get(damage, bytes(flipped)))
    if damage == "objects":
        np.savez("bad.npz", x=np.array([{}, "a"], dtype=object))
    code, _, err = run(capsys, "convert", "network.onnx", "--data", "npz:bad.npz,test.npz")
    assert code == 2
    assert "bad.npz" in err.splitlines()[0]
    assert ("Python objects" if damage == "objects" else "damaged") in err
    assert "pickle" not in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting"),
        ("[]", "it has no 'data'"),
        ('{"data": 3}', "is not text"),
        ('{"data": "mnist5k", "preprocessing": {"mean": "x"}}', "mean='x'"),
        ('{"data": "mnist5k", "preprocessing": 3}', "must be an object"),
        ('{"data": "nothing"}', "unknown data set 'nothing'"),
        ('{"data": "npz:no.npz,test.npz"}', "no.npz does not exist"),
    ],
)
def test_a_bad_file_beside_the_model_is_named(arrays, capsys, text, says):
    Path("network.data.json").write_text(text)
    code, _, err = run(capsys, "convert", "network.onnx")
    assert code == 2
    assert says in err
    assert "network.data.json" in err


def test_an_artifact_finds_its_data_from_elsewhere_or_says_how_to_name_it(
    arrays, capsys, monkeypatch
):
    small = ["--timesteps", 1, "--samples", 5, "--calibration-samples", 5, "--calibrate", "max"]
    data = ["--data", "npz:train.npz,test.npz"]
    assert run(capsys, "convert", "network.onnx", *data, *small)[0] == 0
    Path("away").mkdir()
    monkeypatch.chdir("away")
    assert run(capsys, "evaluate", "../network-snn")[0] == 0  # it knows where its data was
    Path("../train.npz").rename("../elsewhere.npz")
    code, _, err = run(capsys, "evaluate", "../network-snn")
    assert code == 2
    assert "train.npz" in err
    assert "--data" in err
    Path("../elsewhere.npz").rename("../train.npz")
    moved = ["--data", "npz:../train.npz,../test.npz"]
    assert run(capsys, "evaluate", "../network-snn", *moved)[0] == 0


@pytest.mark.parametrize("device", ["gpu", "cuda1", "meta", "xpu"])
def test_an_unknown_device_is_answered_with_the_few_there_are(here, capsys, device):
    code, _, err = run(capsys, "convert", "zoo:mnist5k-cnn", "--device", device)
    assert code == 2
    assert f"--device {device} is not known" in err
    assert "hint: choose auto, cpu, cuda or cuda:N" in err
    assert "xla" not in err


@pytest.mark.parametrize("command", ["convert", "evaluate"])
def test_the_verdict_on_max_drop_is_the_last_line(arrays, capsys, command):
    small = ["--timesteps", 1, "--samples", 5, "--max-drop", -101]
    made = [*small, "--calibration-samples", 5, "--calibrate", "max"]
    code, _, err = run(capsys, "convert", "zoo:mnist5k-cnn", *made, "-o", "out")
    if command == "evaluate":
        code, _, err = run(capsys, "evaluate", "out", *small)
    assert code == 1
    assert err.splitlines()[-1].startswith("gate failed: accuracy fell by")


@pytest.mark.parametrize("command", [None, *WRITERS, "diagnose", "inspect", "list"])
def test_help_cuts_no_word_at_80_columns(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, *([] if command is None else [command]), "--help")
    assert code == 0
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80
    for option in options_of(app, command) if command else ():
        assert option in out


def test_messages_break_between_words_on_a_terminal_and_not_at_all_in_a_file(
    here, capsys, monkeypatch
):
    command = ["convert", "zoo:mnist5k-cnn", "--data", "nothing"]
    _, _, whole = run(capsys, *command)
    assert len(whole.splitlines()) == 2
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    _, _, shown = run(capsys, *command)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.split() == whole.split()


@pytest.mark.parametrize("full", [True, False])
def test_coverage_has_a_column_of_gaps_where_networks_were_compared(here, capsys, full):
    Path("models").mkdir()
    Path("models/cnn.onnx").write_bytes((WEIGHTS / "mnist5k-cnn.onnx").read_bytes())
    given = ["--folder", "models", *(["--full"] if full else [])]
    code, out, err = run(capsys, "coverage", *given)
    assert code == 0, err
    assert ("gap" in out.splitlines()[0]) == full
    assert "onnx:cnn.onnx" in out
