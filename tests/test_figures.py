"""The figures of MSAT: which conversions they rest on, what is written, going on after a stop."""

import json
import sys
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from test_commands import failure, run

from convsnn.errors import ConfigError
from convsnn.report.document import validate
from convsnn.report.figures.page import RUNS, draw_figures, rate_steps, render_figures, standalone
from convsnn.report.sheets import Sheet
from convsnn.workflows.figures.drawing import Drawn, methods

TINY = ["--timesteps", 4, "--samples", 10, "--calibration-samples", 20, "--no-verify"]
PICTURES = ["figure-2", "figure-3", "figure-4-confidence", "figure-4-dynamic", "figure-5"]


def redraw(capsys, folder, *more):
    return run(capsys, "figures", "zoo:mnist5k-cnn", *TINY, "-o", folder, *more)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A directory of figures."""
    from convsnn.commands import main

    folder = tmp_path_factory.mktemp("figures") / "out"
    assert main(["figures", "zoo:mnist5k-cnn", *map(str, TINY), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def reports(drawn):
    return {name: json.loads((drawn / f"{name}.json").read_text()) for name in RUNS}


def test_the_conversions_are_those_of_the_paper():
    made = methods("msat:set=resnet20", "confidence:value=0.7")
    assert set(made) == set(RUNS)
    assert [(m.calibrate, m.neuron) for m in made.values()] == [
        ("max", "if"),
        ("max:factor=0.7", "if"),
        ("max", "msat:set=resnet20,dtt=false"),
        ("max", "msat:set=resnet20"),
        ("max+confidence:value=0.7", "msat:set=resnet20"),
    ]
    assert methods("msat", "confidence")["evoked"].neuron == "msat:dtt=false"


@pytest.mark.parametrize("neuron", ["if", "burst", "msat:dtt=false", "msat:det=true", "msta"])
def test_only_whole_msat_can_be_drawn(neuron):
    with pytest.raises(ConfigError) as caught:
        methods(neuron, "confidence")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("total", "steps"), [(1, [1]), (16, [16]), (32, [16, 32]), (64, [16, 64]), (256, [16, 64])]
)
def test_rates_are_shown_where_the_paper_shows_them(total, steps):
    assert rate_steps(total) == steps


def test_everything_is_written_and_whole(drawn, reports):
    names = {"figures.html", "settings.json", *(f"{n}.json" for n in RUNS)}
    assert {p.name for p in drawn.iterdir()} == names | {f"{n}.svg" for n in PICTURES}
    for name in PICTURES:
        text = (drawn / f"{name}.svg").read_text()
        assert ElementTree.fromstring(text.encode()).tag.endswith("svg")
        assert "#0a0b" not in text
        assert "--first:" in text
    page = (drawn / "figures.html").read_text()
    assert page.count("<svg") == len(PICTURES)
    assert page.count("<script") == 1  # the one of all pages
    assert f"{100 * reports['dynamic']['snn']['accuracy'][-1]:.2f}" in page
    assert reports["evoked"]["method"]["neuron"] == "msat:reference=2,dtt=false"
    for report in reports.values():
        validate(report)
        assert report["data"]["calibration"]["split"] == "train"


def test_a_stopped_run_goes_on(drawn, reports, capsys):
    (drawn / "lower.json").unlink()
    (drawn / "evoked.json").write_text('{"schema": 1')
    (drawn / "figures.html").unlink()
    code, out, err = redraw(capsys, drawn)
    assert (code, Path(out.strip())) == (0, drawn / "figures.html")
    last = err[err.index("the drawings are in") :]
    assert " ".join(last.split()).endswith("(open figures.html)")
    assert drawn.name in last
    assert err.count("kept from before") == 3
    for name in ("lower", "evoked"):
        again = json.loads((drawn / f"{name}.json").read_text())
        assert again["snn"]["accuracy"] == reports[name]["snn"]["accuracy"]
        assert again["layers"] == reports[name]["layers"]


def test_other_settings_do_not_mix(drawn, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {p: p.read_bytes() for p in drawn.iterdir()}
    error = failure(capsys, "figures", "zoo:mnist5k-cnn", *TINY, "-o", drawn, "--seed", 3)
    assert "other settings (seed: 0 there, 3 now)" in error
    assert "--force" in error
    assert "reading" not in error  # said before the network is read
    assert "batch_size" in failure(
        capsys, "figures", "zoo:mnist5k-cnn", *TINY, "-o", drawn, "--batch-size", 5
    )
    assert {p: p.read_bytes() for p in drawn.iterdir()} == before


@pytest.fixture
def npz_data(tmp_path, monkeypatch):
    """A working directory, and a function that writes the data set anew there."""
    monkeypatch.chdir(tmp_path)

    def write(seed):
        rng = np.random.default_rng(seed)
        for name, count in (("train", 30), ("test", 20)):
            x = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
            np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(count) % 10)
        return "npz:train.npz,test.npz"

    return write


def test_data_that_changed_in_its_place_is_noticed(npz_data, capsys, monkeypatch):
    made = []

    def report(folder, job, name, method, **_):
        path = folder / f"{name}.json"
        made.append((name, path.exists()))
        path.write_text("{}")

    def empty(folder, reports):
        return Drawn({}, reports, folder)

    monkeypatch.setattr("convsnn.workflows.figures.drawing._report", report)
    monkeypatch.setattr("convsnn.workflows.figures.drawing._draw", empty)
    monkeypatch.setattr(Drawn, "sheets", lambda _: [Sheet("scores", {"step": ""}, [])])
    given = ("--data", npz_data(0))
    assert redraw(capsys, "out", *given)[0] == 0
    assert redraw(capsys, "out", *given)[0] == 0
    assert [kept for _, kept in made] == [False] * 5 + [True] * 5
    npz_data(1)
    error = failure(capsys, "figures", "zoo:mnist5k-cnn", *TINY, "-o", "out", *given)
    assert "training_digest" in error
    assert "test_digest" in error
    for _ in range(2):  # the second time with unchanged settings
        made.clear()
        assert redraw(capsys, "out", *given, "--force")[0] == 0
        assert [kept for _, kept in made] == [False] * 5


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_said_before_any_work(package, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    error = failure(capsys, "figures", "zoo:mnist5k-cnn", *TINY)
    assert f"{package} is not installed" in error
    assert "convsnn[report]" in error
    assert "reading" not in error


def test_what_is_not_ours_is_left_alone(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    for target in ("mine", "mine/letter"):
        failure(capsys, "figures", "zoo:mnist5k-cnn", *TINY, "-o", target, "--force")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter"]


def test_without_labels_agreement_is_drawn(reports):
    bare = deepcopy(reports)
    for report in bare.values():
        report["ann"]["accuracy"] = report["snn"]["accuracy"] = report["headline"] = None
        report["metrics"] = {}
    drawings = draw_figures(bare)
    assert "agreement with the ANN" in drawings["figure-3"]
    settings = {"command": "convsnn figures <x>"}
    page = render_figures(bare, drawings, settings)
    assert "&lt;x&gt;" in page
    assert "The ANN is right" not in page


def test_the_same_reports_give_the_same_pictures(reports):
    drawings = draw_figures(reports)
    assert drawings == draw_figures(reports)
    assert "T = 4" in drawings["figure-5"]
    assert all("0.7 V" in standalone(drawings[name]) for name in ["figure-3"])
    ids = [part.split('"')[0] for text in drawings.values() for part in text.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
