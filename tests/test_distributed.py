"""Work shared by several processes: the same numbers as by one, one voice, one error."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsnn import compare
from convsnn.commands import main
from convsnn.errors import ConfigError
from convsnn.export import load_artifact
from convsnn.measure.sharing import Alone, Share, part_of
from convsnn.workflows.running.processes import Group, processes

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

FAILING = """
import torch
from convsnn.workflows.running.processes import processes
from convsnn.errors import ConvsnnError, LoadError

try:
    with processes() as group:
        assert int(group.add(torch.tensor(group.number + 1))) == 3
        assert int(group.least(torch.tensor(group.number + 5))) == 5
        assert group.agree([group.number + 7]) == [7]
        print("speaks")
        if group.number == WHO:
            raise LoadError("image 7 is broken", hint="look at it")
        group.add(torch.zeros(3))
        raise AssertionError("went on")
except ConvsnnError as error:
    print(f"{type(error).__name__}: {error} ({error.hint})")
    raise SystemExit(2)
"""


ATTEMPTING = """
import torch
from convsnn.workflows.running.processes import processes
from convsnn.errors import ConvsnnError, LoadError

with processes() as group:
    for who in (0, 1):
        try:
            with group.attempt():
                if group.number == who:
                    raise LoadError("a row is broken")
                group.add(torch.zeros(3))
                raise AssertionError("went on")
        except ConvsnnError as error:
            print(type(error).__name__, error, group.broken)
    try:
        with group.attempt():
            raise LoadError("broken for both")
    except LoadError as error:
        print(error)
    assert int(group.most(torch.tensor(group.number))) == 1
    assert int(group.first(torch.tensor(group.number))) == 0
    try:
        with group.attempt():
            if group.number == 1:
                raise ValueError("a fault")
            group.add(torch.zeros(3))
    except ConvsnnError as error:
        print(error, group.broken)
    assert group.number == 0
"""


@given(total=st.integers(0, 200), batch=st.integers(1, 40), count=st.integers(1, 9))
def test_parts_are_whole_batches_and_cover_every_sample_once(total, batch, count):
    parts = [part_of(Group(n, count), total, batch_size=batch) for n in range(count)]
    assert [i for part in parts for i in part] == list(range(total))
    assert all(part.start % batch == 0 or not part for part in parts)
    assert len(parts[0]) > 0 or total == 0  # its report is the one that is written
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * batch


@pytest.mark.parametrize("alone", [Alone(), Group()])
def test_alone_nothing_is_exchanged(alone: Share):
    value = torch.arange(3)
    assert alone.add(value) is value
    assert alone.least(value) is value
    assert alone.most(value) is value
    assert alone.first(value) is value
    assert alone.agree([4, 5]) == [4, 5]


def test_without_torchrun_there_is_one_process():
    with processes() as group:
        assert (group.number, group.count) == (0, 1)
        group.done()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_an_error_in_any_process_ends_all_with_one_message(tmp_path, number):
    script = tmp_path / "failing.py"
    script.write_text(FAILING.replace("WHO", str(number)))
    done = subprocess.run([*LAUNCH, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    where = "" if number == 0 else "process 1 of 2: "
    name = "LoadError" if number == 0 else "ConvsnnError"
    said = f"{name}: {where}image 7 is broken (look at it)"
    assert done.stdout.splitlines() == ["speaks", said], done.stderr


@pytest.mark.slow
def test_an_attempt_fails_in_all_processes_and_work_goes_on(tmp_path):
    script = tmp_path / "attempting.py"
    script.write_text(ATTEMPTING)
    done = subprocess.run([*LAUNCH, str(script)], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == [
        "LoadError a row is broken False",
        "ConvsnnError process 1 of 2: a row is broken False",
        "broken for both",
        "process 1 of 2: unexpected ValueError: a fault True",
    ], done.stderr


@pytest.fixture
def converted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ("--timesteps", "6", "--samples", "110", "--calibration-samples", "60", "-o", "out")
    assert main(["convert", "zoo:mnist5k-cnn", *options]) == 0
    capsys.readouterr()
    return tmp_path


def together(*arguments):
    command = [*LAUNCH, "-m", "convsnn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(converted, capsys):
    one = json.loads((converted / "out" / "report.json").read_text())
    done = together("evaluate", "out", "--json", "-o", "two")
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    for key in ("data", "ann", "energy", "estimate", "layers", "sources", "precision"):
        assert two[key] == one[key], key
    for key in ("accuracy", "agreement"):
        assert two["snn"][key] == one["snn"][key], key
    assert two["engine"]["processes"] == 2
    assert json.loads((converted / "two" / "report.json").read_text())["snn"] == two["snn"]
    exits = ("evaluate", "out", "--early-exit", "95", "--json")
    assert main([*exits]) == 0
    alone = json.loads(capsys.readouterr().out)["early_exit"]
    done = together(*exits)
    assert done.returncode == 0, done.stderr
    shared = json.loads(done.stdout)["early_exit"]
    assert {**shared, "seconds": 0} == {**alone, "seconds": 0}
    # fewer batches than processes: one of them has nothing to do
    few = together("evaluate", "out", "--json", "--samples", "9")
    assert few.returncode == 0, few.stderr
    assert json.loads(few.stdout)["data"]["evaluation"]["samples"] == 9


def assert_same_networks(one, two):
    mine, theirs = load_artifact(one), load_artifact(two)
    assert mine.readout == theirs.readout
    for name, weight in mine.plan.weights.items():
        torch.testing.assert_close(theirs.plan.weights[name], weight, rtol=1e-6, atol=1e-6)
    for name, planned in mine.plan.sites.items():
        for key, value in planned.tensors().items():
            found = theirs.plan.sites[name].tensors()[key]
            torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-6)


SAME = ("data", "model", "method", "ann", "energy", "estimate", "layers", "expected", "precision")


@pytest.mark.slow
def test_two_processes_convert_to_the_network_of_one(converted):
    one = json.loads((converted / "out" / "report.json").read_text())
    options = ("--timesteps", "6", "--samples", "110", "--calibration-samples", "60", "--json")
    done = together("convert", "zoo:mnist5k-cnn", *options, "-o", "both")
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    for key in SAME:
        assert two[key] == one[key], key
    for key in ("accuracy", "agreement"):
        assert two["snn"][key] == one["snn"][key], key
    assert (one["engine"]["processes"], two["engine"]["processes"]) == (1, 2)
    both = converted / "both"
    assert_same_networks(converted / "out/network.safetensors", both / "network.safetensors")


@pytest.mark.slow
def test_two_processes_compare_to_the_table_of_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ("--timesteps", "4", "--samples", "40", "--calibration-samples", "60", "--json")
    rows = ("compare", "zoo:mnist5k-cnn", "--methods", "p-norm,layers", *options)
    code = main([*rows, "-o", "one"])
    one = json.loads(capsys.readouterr().out)
    Path("two").mkdir()
    for kept in ("settings.json", "p-norm.json", "p-norm.safetensors"):
        shutil.copy(Path("one", kept), Path("two", kept))
    done = together(*rows, "-o", "two")
    assert done.returncode == code, done.stderr
    two = json.loads(done.stdout)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["ann"] == one["ann"]
    for key in ("methods", "failed", "left_out"):
        assert [timeless(row) for row in two[key]] == [timeless(row) for row in one[key]], key
    assert {path.name for path in Path("two").iterdir()} == {
        path.name for path in Path("one").iterdir()
    }
    for row in two["methods"]:
        assert_same_networks(Path("one", row["network"]), Path("two", row["network"]))


def test_rows_that_are_trained_are_made_in_one_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("convsnn.workflows.compare.comparison.launched", lambda: 2)
    with pytest.raises(ConfigError, match="rows that are trained are made in one process"):
        compare("zoo:mnist5k-cnn", methods="mse", finetune="lt-snn")
    assert not list(tmp_path.iterdir())


def timeless(row):
    return {key: value for key, value in row.items() if "seconds" not in key}


@pytest.mark.slow
def test_what_cannot_run_is_said_once(converted):
    for arguments in (
        ("evaluate", "missing"),
        ("convert", "zoo:mnist5k-cnn", "--no-such-option"),
        ("tune", "zoo:mnist5k-cnn", "-o", "three"),
    ):
        done = together(*arguments)
        assert done.returncode != 0
        assert done.stderr.count("error: ") == 1, done.stderr
        assert done.stdout == ""
    assert not (converted / "three").exists()
