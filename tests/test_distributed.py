"""Evaluation by several processes: the same numbers as by one, one voice, one error."""

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsnn.commands import main
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


@pytest.mark.slow
def test_what_cannot_run_is_said_once(converted):
    for arguments in (
        ("evaluate", "missing"),
        ("evaluate", "out", "--no-such-option"),
        ("convert", "zoo:mnist5k-cnn", "-o", "three"),
    ):
        done = together(*arguments)
        assert done.returncode != 0
        assert done.stderr.count("error: ") == 1, done.stderr
        assert done.stdout == ""
    assert not (converted / "three").exists()
