"""How a command ends: refused before the work, interrupted, or with nobody to read its result."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from convsnn import __version__
from convsnn.commands import main
from convsnn.commands.faults import explain
from convsnn.commands.signals import as_interrupts
from convsnn.errors import ConfigError, ConvsnnError, ExportError
from convsnn.registry import Registry
from convsnn.report.files import ResultDirectory, write_text
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.launched import launched
from zoo.data import absolute, is_there

NET = "zoo:mnist5k-cnn"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_and_leaves_no_parts(number: signal.Signals, tmp_path: Path) -> None:
    given = signal.signal(number, signal.SIG_DFL)  # under nohup it would be ignored
    with as_interrupts() as came:
        with contextlib.suppress(KeyboardInterrupt), ResultDirectory(tmp_path / "out") as inside:
            write_text(inside / "report.json", "{}")
            os.kill(os.getpid(), number)
            pytest.fail("the signal was not heard")
        assert signal.getsignal(number) is signal.SIG_IGN
    assert (came, list(tmp_path.iterdir())) == ([number], [])
    assert signal.getsignal(number) is signal.SIG_DFL
    signal.signal(number, given)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with as_interrupts() as came:
            os.kill(os.getpid(), signal.SIGHUP)
        assert came == []
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--timesteps", "1" + "0" * 23], "--timesteps may be 1000000 at most"),
        (["--seed", "1" + "0" * 23], "--seed may be"),
        (["--batch-size", "1" + "0" * 23], "--batch-size may be"),
        (["--samples", "1" + "0" * 23], "--samples may be"),
        (["--resize", "1" + "0" * 23], "not usable"),
        (["--input-shape", "1" + "0" * 23], "--input-shape"),
        (["--max-drop", "nan"], "--max-drop must be a finite number"),
        (["--max-drop", "inf"], "--max-drop must be a finite number"),
        (["--data", ""], "--data is empty"),
        (["--data="], "--data is empty"),
        (["--calibrate", ""], "--calibrate is empty"),
        (["-o", ""], "-o is empty"),
        (["--neuron", "i" * 5000], "--neuron has 5000 letters"),
        (["-o", "a\udcff"], "is no UTF-8"),
        (["-o", "a" * 300], "File name too long"),
        (["--device", "cpu:7"], "a CPU has no number"),
        (["--calibrate", "mse+mse"], "sets all thresholds anew"),
        (["--calibrate", "max+percentile"], "sets all thresholds anew"),
        (["--calibrate", "max:potential=9"], "potential is a fraction"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_work(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", NET, *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "reading" not in shown.err  # nothing was begun
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_takes_no_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file"))
    assert main(["list", "neurons"]) == 2
    assert "TORCHINDUCTOR_CACHE_DIR" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", [">&-", "> /dev/full", "| true"])
def test_a_result_that_nobody_gets_is_no_failed_gate(how: str) -> None:
    if "full" in how and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    line = f"set -o pipefail; (sleep 0; {sys.executable} -m convsnn list neurons) {how}"
    found = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert "Exception ignored" not in found.stderr


def test_memory_that_ran_out_names_what_was_being_done() -> None:
    def raised(module: str) -> ConvsnnError:
        frame: dict[str, object] = {"__name__": module}
        try:
            exec("def work():\n    raise MemoryError", frame)
            frame["work"]()  # type: ignore[operator]
        except MemoryError as error:
            return explain(error)
        raise AssertionError

    assert "reading the data" in str(raised("zoo.data.npz"))
    assert "calibrating" in str(raised("calibrate.mse"))
    assert "simulating" in str(raised("convsnn.simulate.loop"))
    assert "training" in str(raised("convsnn.train.loop"))
    assert "batch" not in raised("convsnn.load.weights").hint


def test_errors_of_the_machine_are_no_faults_of_ours() -> None:
    full = explain(OSError(28, "No space left on device", "/x"))
    assert "'/x': No space left" in str(full)
    assert "report it" not in full.hint
    assert "report it" in explain(ZeroDivisionError()).hint


def result(folder: Path, number: int, *, force: bool = False) -> None:
    with ResultDirectory(folder, force=force) as inside:
        write_text(inside / "report.json", f'{{"schema": 1, "convsnn": "x", "n": {number}}}')
        write_text(inside / f"{number}.txt", "")


@pytest.mark.parametrize("why", ["here", "above", "mounted"])
def test_a_directory_that_cannot_be_replaced_is_filled(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (out / "sub" if why == "above" else out).mkdir(parents=True)
    if why == "mounted":
        monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == out)
    monkeypatch.chdir(out / "sub" if why == "above" else out if why == "here" else tmp_path)
    place = Path(".") if why == "here" else out
    if why == "above":
        (out / "sub").rmdir()  # the shell stands in a directory that is gone: os.curdir fails
        monkeypatch.chdir(out)
    known = out.stat().st_ino
    result(place, 1)
    assert sorted(path.name for path in out.iterdir()) == ["1.txt", "report.json"]
    with pytest.raises(ConfigError, match="not empty"):
        result(place, 2)
    result(place, 2, force=True)
    assert sorted(path.name for path in out.iterdir()) == ["2.txt", "report.json"]
    with pytest.raises(ZeroDivisionError), ResultDirectory(place, force=True):
        raise ZeroDivisionError
    assert sorted(path.name for path in out.iterdir()) == ["2.txt", "report.json"]
    assert out.stat().st_ino == known


def test_names_too_long_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="too long"):
        ResultDirectory(tmp_path / ("a" * 300)).check()


def test_numbers_of_a_spec_are_finite() -> None:
    registry: Registry[object] = Registry("thing")

    @registry.register("x")
    def make(*, a: float = 0.0, b: int = 0) -> object:
        return a, b

    for spec in ("x:a=nan", "x:a=inf", "x:b=1" + "0" * 30):
        with pytest.raises(ConfigError, match="not usable"):
            registry.create(spec)
    assert registry.create("x:a=1.5,b=-3") == (1.5, -3)


def test_devices_of_a_cpu_have_no_number() -> None:
    with pytest.raises(ConfigError, match="a CPU has no number"):
        pick_device("cpu:7")


def test_places_of_data_mean_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.npz", "b,c"):
        (tmp_path / name).write_bytes(b"")
    assert absolute("npz:a.npz,b.npz") == f"npz:{tmp_path}/a.npz,{tmp_path}/b.npz"
    assert absolute("folder:b,c") == f"folder:{tmp_path}/b,c"
    assert (absolute("digits"), is_there("digits")) == ("digits", True)
    assert is_there("npz:a.npz,a.npz")
    assert not is_there("npz:a.npz,nowhere.npz")


def test_the_version_is_said_without_torch():
    code = (
        "import sys; from convsnn.commands import main; assert main(['--version']) == 0; "
        "assert not {'torch', 'numpy', 'onnx'} & set(sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (told.stdout, told.stderr) == (f"convsnn {__version__}\n", "")


@pytest.mark.parametrize("count", [None, 3])
def test_processes_are_counted_as_torch_counts_them(monkeypatch, count):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if count is not None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("WORLD_SIZE", str(count))
    assert launched() == (count or 1)
    assert torch.distributed.is_torchelastic_launched() == (count is not None)


def test_an_interruption_while_the_commands_are_read_is_one(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["convsnn.commands.main"], "_app", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "error: interrupted; nothing is left half written\n"
