"""What meets somebody who types a command for the first time: waits, refusals, words, widths."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convsnn.commands import main


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
    "convert": ("open_job", ["zoo:mnist5k-cnn"]),
    "compare": ("open_job", ["zoo:mnist5k-cnn"]),
    "tune": ("open_job", ["zoo:mnist5k-cnn"]),
    "figures": ("open_job", ["zoo:mnist5k-cnn"]),
    "evaluate": ("open_saved", ["artifact"]),
    "finetune": ("open_saved", ["artifact"]),
    "train": ("open_course", ["ltmd-mnist"]),
    "coverage": ("list_networks", []),
    "bench": ("bench_models", []),
}


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("why", ["a file is in the way", "nothing may be written"])
def test_what_cannot_be_written_is_refused_before_any_work(here, capsys, monkeypatch, command, why):
    work, arguments = WRITERS[command]
    monkeypatch.setattr(sys.modules[f"convsnn.commands.{command}"], work, begun)
    (here / "there").mkdir() if why.startswith("nothing") else (here / "there").write_text("")
    if why.startswith("nothing"):  # root may write anywhere, so the answer is set
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "there")
    target = "there/out.md" if command == "coverage" else "there/out"
    code, out, err = run(capsys, command, *arguments, "-o", target)
    assert (code, out) == (2, "")
    assert "work began" not in err
    assert "there" in err
