"""Tables as CSV: every digit, every column, places that can and cannot be written to."""

import csv
import io
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from judged import judge_sheets
from test_commands import failure, run
from torch import nn

import convsnn
from convsnn.report.document import to_json
from convsnn.report.files import write_text
from convsnn.report.sheets import Sheet, flat, write_sheets

numbers = st.floats(allow_nan=False, allow_infinity=False)
cells = st.one_of(st.none(), st.integers(), numbers, st.booleans(), st.text(), st.lists(numbers))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def scores():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    x, y = torch.rand(24, 1, 3, 3), torch.arange(24) % 3
    snn = convsnn.convert(net, (x[:12], y[:12]), timesteps=5, calibrate="max")
    return snn.evaluate((x[12:], y[12:]))


def read(path):
    header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    return [dict(zip(header, row, strict=True)) for row in rows]


@given(st.lists(st.fixed_dictionaries({}, optional={"a": cells, "b, c": cells, '"': cells})))
def test_what_is_written_is_read_back_to_the_last_bit(rows):
    complete = [{"a": 1, "b, c": None, '"': "\r\n"}, *rows]
    judge_sheets([Sheet("some", {"a": "s", "b, c": "", '"': "x"}, complete)])


def test_nested_values_get_dotted_names():
    row = {"a": 1, "b": {"c": 2, "d": {"e": [3]}}, "f": None}
    assert flat(row) == {"a": 1, "b.c": 2, "b.d.e": [3], "f": None}
    assert flat(row, keep=["b"]) == {"b.c": 2, "b.d.e": [3]}


def test_a_folder_gets_every_table_and_a_file_the_first(scores, here):
    written = scores.to_csv("tables")
    assert [path.name for path in written] == [
        "steps.csv",
        "layers.csv",
        "estimate.csv",
        "classes.csv",
        "confusion.csv",
    ]
    assert scores.to_csv("new/only.csv") == [here.joinpath("new/only.csv").relative_to(here)]
    assert (here / "new/only.csv").read_bytes() == (here / "tables/steps.csv").read_bytes()
    assert sorted(p.name for p in (here / "tables").iterdir()) == sorted(p.name for p in written)


def test_the_numbers_are_those_of_the_report(scores, here):
    scores.to_csv("tables")
    steps = read(here / "tables/steps.csv")
    assert [int(row["step"]) for row in steps] == [1, 2, 3, 4, 5]
    for column, series in (
        ("accuracy [fraction]", scores.accuracy),
        ("agreement [fraction]", scores.agreement),
        ("energy.counted [ANN = 1]", scores.energy),
    ):
        assert [float(row[column]) for row in steps] == list(series)
    (layer,) = read(here / "tables/layers.csv")
    known = scores.document["layers"][0]
    assert float(layer["threshold.mean [activation]"]) == known["threshold"]["mean"]
    assert float(layer["firing_rate [spikes per neuron and step]"]) == known["firing_rate"][-1]
    known = scores.document["classes"]
    assert [float(row["snn [fraction]"]) for row in read(here / "tables/classes.csv")] == known[
        "snn"
    ]
    confused = [int(row["samples"]) for row in read(here / "tables/confusion.csv")]
    assert confused == [n for key in ("ann", "snn") for row in known["confusion"][key] for n in row]
    ratio = scores.document["estimate"]["ratios"]["original"]["high"]
    known = [
        float(r["ratios.original.high [original = 1]"]) for r in read(here / "tables/estimate.csv")
    ]
    assert known == ratio


def test_files_of_others_stay_and_own_ones_are_replaced(scores, here):
    (here / "tables").mkdir()
    (here / "tables/notes.txt").write_text("mine")
    (here / "tables/steps.csv").write_text("old")
    scores.to_csv("tables")
    assert (here / "tables/notes.txt").read_text() == "mine"
    assert (here / "tables/steps.csv").read_text().startswith("step,")


def test_a_disk_that_fails_leaves_the_old_file(here, monkeypatch):
    (here / "old.csv").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(convsnn.ConvsnnError, match="No space left"):
        write_sheets([Sheet("s", {"a": ""}, [{"a": 1}])], here / "old.csv")
    assert [(p.name, p.read_text()) for p in here.iterdir()] == [("old.csv", "old")]


@pytest.mark.parametrize("place", ["a-file", "a-file/x.csv", "a-file/x", "taken.csv"])
def test_a_place_that_cannot_be_is_refused_before_the_work(here, capsys, place):
    (here / "a-file").write_text("mine")
    (here / "taken.csv").mkdir()
    error = failure(capsys, "list", "neurons", "--csv", place)
    assert place.partition("/")[0] in error


def test_a_command_writes_and_says_where(here, capsys):
    code, out, err = run(capsys, "list", "neurons", "--json", "--csv", "all.csv")
    assert code == 0
    assert "tables: all.csv" in err
    names = [row["name"] for row in read(here / "all.csv")]
    assert names == [row["name"] for row in json.loads(out)["neurons"]]
    _, _, err = run(capsys, "inspect", "zoo:mnist5k-cnn", "--csv", "layers.csv")
    assert "a directory would also get blockers" in err


def test_a_report_that_breaks_its_schema_fails_every_test_that_writes_it(scores, here):
    pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    report = dict(scores.document)
    write_text(here / "report.json", to_json(report))
    with pytest.raises(AssertionError, match="seed"):
        write_text(here / "report.json", to_json({**report, "seed": "none"}))


def test_a_table_with_a_column_of_nothing_fails_every_test_that_shows_it():
    with pytest.raises(AssertionError, match="no row has b"):
        judge_sheets([Sheet("s", {"a": "", "b": ""}, [{"a": math.pi}])])
