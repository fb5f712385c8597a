"""The search for a neuron's constants: what is searched, how it goes on, what it may look at."""

import csv
import io
import json
import math
import pickle
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_report import Page

from calibrate.tuning import Study, Trial, space_of, start_of, with_options
from convsnn.commands import main
from convsnn.errors import CalibrationError, ConfigError, LoadError
from convsnn.neurons import NEURONS
from convsnn.neurons.msat import SETS
from convsnn.registry import split_spec
from convsnn.report.tuned import render_tuned, verdict
from convsnn.report.tuning.page import render_tuning_page
from convsnn.workflows.subject import job, samples
from convsnn.workflows.subject.images import Chosen
from convsnn.workflows.tune.error import Score, fixed_methods, scored_steps, split
from zoo.data import draw
from zoo.models.base import WEIGHTS

MODEL = str(WEIGHTS / "mnist5k-cnn.onnx")  # quicker to open than a module
NEURON = "msat:reference=2"
TUNE = [
    "tune", MODEL, "--timesteps", "8", "--calibration-samples", "40",
    "--trial-samples", "20", "--batch-size", "20", "-o", "out",
]  # fmt: skip


def bowl(neuron):
    """An error that is least at alpha = 0.3, c = 2."""
    _, options = split_spec(neuron)
    alpha, c = float(options["alpha"]), float(options["c"])
    return 0.01 + math.log(alpha / 0.3) ** 2 + math.log(c / 2) ** 2


# What is searched


def test_the_space_follows_the_neuron():
    assert set(space_of(NEURON)) == {"alpha", "ka", "ki", "c", "tau_mp", "tau_rd", "reference"}
    assert set(space_of("msat")) == set(space_of(NEURON)) - {"reference"}
    assert set(space_of("msat:reference=none")) == set(space_of("msat"))
    assert set(space_of("msat:dtt=false")) == {"c", "tau_rd"}
    assert set(space_of("msat:det=false")) == {"alpha", "ka", "ki", "tau_mp"}


@pytest.mark.parametrize("name", SETS)
def test_the_published_constants_can_be_started_from(name):
    spec = f"msat:set={name}"
    assert start_of(spec, space_of(spec)) == vars(SETS[name])


@pytest.mark.parametrize(
    ("spec", "words"),
    [("if", "nothing to tune"), ("msat:c=1000", "c=1000 is outside"), ("masat", "unknown neuron")],
)
def test_what_cannot_be_tuned_is_refused(spec, words):
    with pytest.raises(ConfigError, match=words):
        space_of(spec)


def test_the_text_is_the_neuron():
    text = with_options("msat:set=resnet20,reference=2", {"alpha": 0.123456, "reference": 1.98765})
    made = NEURONS.create(text, threshold=1.0)
    assert (made.constants.alpha, made.reference) == (0.123, 1.99)
    assert made.constants.tau_mp == SETS["resnet20"].tau_mp


# The search


def search(path, count, objective=bowl, seed=0):
    study = Study(NEURON, path, seed=seed)
    for _ in range(count - len(study.trials())):
        study.step(objective)
    return study


def test_the_first_trial_is_the_neuron_as_given_and_later_ones_are_better(tmp_path):
    study = search(tmp_path / "log", 30)
    first = NEURONS.create(study.trials()[0].neuron, threshold=1.0)
    assert first == NEURONS.create(NEURON, threshold=1.0)
    best = study.best()
    assert best.error == min(trial.error for trial in study.trials())
    assert best.error == bowl(best.neuron)  # of the rounded text, not of what was rounded
    assert best.error < 0.3 * study.trials()[0].error


def test_going_on_gives_what_an_uninterrupted_search_gives(tmp_path):
    whole = search(tmp_path / "whole", 16).trials()
    search(tmp_path / "parts", 1)

    def interrupt(neuron):
        raise KeyboardInterrupt

    for count in (5, 12):
        search(tmp_path / "parts", count)
        with pytest.raises(KeyboardInterrupt):
            Study(NEURON, tmp_path / "parts", seed=0).step(interrupt)
    assert search(tmp_path / "parts", 16).trials() == whole
    assert search(tmp_path / "other", 16, seed=1).trials() != whole


def test_an_interruption_in_the_first_trial_does_not_lose_the_start(tmp_path):
    def interrupt(neuron):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Study(NEURON, tmp_path / "log", seed=0).step(interrupt)
    assert search(tmp_path / "log", 3).trials() == search(tmp_path / "other", 3).trials()


def test_a_setting_that_cannot_be_run_counts_and_is_never_best(tmp_path):
    study = search(tmp_path / "log", 3, lambda neuron: None)
    assert [trial.error for trial in study.trials()] == [None] * 3
    with pytest.raises(CalibrationError, match="could be run"):
        study.best()
    study = search(tmp_path / "log", 4)
    assert study.best() == Trial(study.trials()[3].neuron, study.trials()[3].error)


def test_the_journal_is_json_and_nothing_is_unpickled(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    search(tmp_path / "log", 2)
    for line in (tmp_path / "log").read_text().splitlines():
        json.loads(line)
    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert len(search(tmp_path / "log", 3).trials()) == 3


def test_a_damaged_journal_is_refused(tmp_path):
    search(tmp_path / "log", 2)
    lines = (tmp_path / "log").read_text().splitlines()
    (tmp_path / "log").write_text("\n".join([lines[0], "nonsense", *lines[2:]]) + "\n")
    with pytest.raises(LoadError, match="cannot be gone on with"):
        Study(NEURON, tmp_path / "log", seed=0)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "null",
        "7",
        "{}",
        '{"op_code": 99, "worker_id": "w"}',
        '{"op_code": 4, "worker_id": "w"}',
        '{"op_code": 0, "worker_id": "w", "study_name": "other", "directions": [9]}',
        '{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "x"}',
        '{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": null, "state": 1,'
        ' "value": 0.5}',
        '{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": null, "state": 1,'
        ' "value": 0.5, "user_attrs": {"neuron": "msat:c=2"}}',
        '{"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": null, "state": 1,'
        ' "value": "a", "user_attrs": {"neuron": "msat:c=2"}}',
    ],
)
def test_any_line_that_optuna_does_not_write_is_a_plain_error(tmp_path, line):
    search(tmp_path / "log", 1)
    with (tmp_path / "log").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(LoadError, match="cannot be gone on with") as caught:
        Study(NEURON, tmp_path / "log", seed=0)
    assert "--force" in caught.value.hint


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The journal and the trials of a search that nobody stopped."""
    path = tmp_path_factory.mktemp("whole") / "log"
    trials = search(path, 4).trials()
    return path.read_bytes(), trials


@given(st.data())
@settings(max_examples=8)
def test_a_journal_cut_anywhere_is_gone_on_with_to_the_same_trials(whole, tmp_path_factory, data):
    content, trials = whole
    path = tmp_path_factory.mktemp("cut") / "log"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert search(path, 4).trials() == trials


def test_the_last_line_cut_by_five_bytes_loses_one_trial_only(tmp_path, whole):
    content, trials = whole
    (tmp_path / "log").write_bytes(content[:-5])
    assert Study(NEURON, tmp_path / "log", seed=0).trials() == trials[:3]


@pytest.mark.parametrize("seed", [4_294_968, 5_000_000, 2**70])
def test_any_seed_can_be_searched_with(tmp_path, seed):
    assert len(search(tmp_path / "log", 2, seed=seed).trials()) == 2


# What is measured


def test_the_three_uses_share_nothing_and_each_begins_with_all_classes():
    """On data that is stored class by class."""

    class Stored:
        labels = tuple(index // 100 for index in range(1000))

        def __len__(self):
            return len(self.labels)

    part = Stored()
    images = Chosen(part, draw(part, 240, seed=3), 20, torch.device("cpu"))
    opened = job.Job(*[None] * 8, 3, 20)  # nothing else of it is looked at
    parts = split(replace(opened, images=images), trials=60)
    uses = [use.indices for use in (parts.job.images, parts.trials, parts.check)]
    assert [len(use) for use in uses] == [120, 60, 60]
    assert sorted(index for use in uses for index in use) == sorted(images.indices)
    for use in uses:
        assert len({part.labels[index] for index in use[:30]}) >= 7
    with pytest.raises(ConfigError, match="too few"):
        split(replace(opened, images=images), trials=120)


def test_every_step_counts_alike():
    assert Score({32: 0.04, 64: 0.01}, None).objective == pytest.approx(0.02)
    assert Score({32: 0.0}, None).objective < 1e-8


def test_steps_and_fixed_thresholds():
    assert scored_steps(128) == [32, 64, 128]
    assert scored_steps(100) == [32, 64]
    assert scored_steps(20) == [20]
    assert [m.calibrate for _, m in fixed_methods("max:potential=0.5+bias")] == [
        f"max:factor={factor},potential=0.5" for factor in (1.0, 0.7, 0.5)
    ]


def test_the_verdict_is_plain():
    def row(neuron, *errors):
        steps = dict(zip(("32", "64"), errors, strict=True))
        return {"name": f"fixed, {errors[0]}", "neuron": neuron, "error": steps}

    fixed = [row("if", 0.4, 0.2), row("if", 0.5, 0.1)]
    good = verdict([row("msat", 0.4, 0.1), *fixed])
    assert good["at_least_as_good"] == {"32": True, "64": True}
    assert "NOT" not in good["text"]
    bad = verdict([row("msat", 0.3, 0.11), *fixed])
    assert bad["at_least_as_good"] == {"32": True, "64": False}
    assert "NOT at least as good" in bad["text"]
    assert "after 64 steps its error is 0.110, that of a threshold 0.5 0.100" in bad["text"]


@pytest.mark.parametrize("agreement", [None, {"32": 0.9}])
def test_the_table_promises_no_column_that_it_has_not(agreement):
    rows = [{"name": "tuned", "neuron": "msat", "error": {"32": 0.1}, "agreement": agreement}]
    data = {part: {"samples": 9} for part in ("calibration", "trials", "check")}
    document = {"model": {"name": "m"}, "trials": 1, "data": data, "rows": rows}
    console = Console(width=80, file=io.StringIO())
    console.print(render_tuned({**document, "verdict": {"text": "good"}}))
    text = console.file.getvalue()
    assert ("answers equal" in text) == ("agree 32" in text) == (agreement is not None)


# The command


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tune_writes_what_can_be_pasted_and_goes_on(here, capsys):
    assert main([*TUNE, "--trials", "2"]) == 0
    out = capsys.readouterr().out
    document = json.loads((here / "out" / "best.json").read_text())
    assert f"--calibrate max --neuron {document['neuron']} --readout mean\n" in out
    assert [row["name"] for row in document["rows"]][:2] == ["tuned", "as given"]
    assert document["trials"] == 2
    assert f"agree {max(document['rows'][0]['agreement'])}" in out  # as in the page
    assert len({tuple(part.items()) for part in document["data"].values()}) == 2  # sizes 40 and 20
    assert main([*TUNE, "--trials", "3", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["trials"] == 3
    assert "[3/3]" in captured.err
    assert "[2/3]" not in captured.err
    with (here / "out" / "history.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["trial"] for row in table] == ["1", "2", "3"]
    assert min(float(row["error"]) for row in table) == json.loads(captured.out)["error"]
    document = json.loads(captured.out)
    assert document["history"] == [float(row["error"]) for row in table]
    text = (here / "out" / "tuning.html").read_text()
    page = Page(text)
    how = f"--calibrate max --neuron {document['neuron']} --readout mean"
    assert text == render_tuning_page(document, how)
    assert f"convsnn convert MODEL {how}" in page.text
    assert page.tags.count("svg") == 2
    assert not {"link", "image", "iframe", "object"} & set(page.tags)
    assert document["verdict"]["text"] in " ".join(page.text.split())
    assert all(row["name"] in page.text for row in document["rows"])
    assert "None" not in page.text
    assert main([*TUNE, "--trials", "3", "--seed", "1"]) == 2
    err = capsys.readouterr().err
    assert "seed: 0 there, 1 now" in err
    assert "reading" not in err  # said before the network is read
    assert main([*TUNE, "--trials", "1", "--seed", "1", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 1


def test_force_starts_anew_though_no_setting_has_changed(here, capsys, monkeypatch):
    monkeypatch.setattr(
        "convsnn.workflows.tune.search.measure", lambda *_, **__: Score({8: 0.1}, None)
    )
    monkeypatch.setattr(
        "convsnn.workflows.tune.search.verdict", lambda _: {"text": "", "at_least_as_good": {}}
    )
    given = [*TUNE, "--trials", "1", "--seed", "5000000", "--json"]
    assert main(given) == 0
    with (here / "out" / "trials.log").open("a") as file:
        file.write("null\n")
    capsys.readouterr()
    assert main(given) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "trials.log" in error["message"]
    assert "--force" in error["hint"]
    assert main([*given, "--force"]) == 0
    captured = capsys.readouterr()
    assert "[1/1]" in captured.err
    assert json.loads(captured.out)["trials"] == 1


def test_test_images_are_never_read_and_uses_do_not_overlap(here, capsys, monkeypatch):
    real = samples.open_data
    read = []

    class Poisoned:
        def __init__(self, part):
            self.classes, self.source, self.split = part.classes, part.source, part.split
            self.targets, self.labels, self.steps = part.targets, part.labels, part.steps

        def batches(self, *_, **__):
            raise AssertionError("a test image was read")

    class Watched:
        def __init__(self, part):
            self.part = part

        def __getattr__(self, name):
            return getattr(self.part, name)

        def __len__(self):
            return len(self.part)

        def batches(self, size, indices=None):
            read.append(tuple(indices))
            return self.part.batches(size, indices=indices)

    def opened(*arguments, **named):
        data = real(*arguments, **named)
        return replace(data, train=Watched(data.train), test=Poisoned(data.test))

    monkeypatch.setattr(samples, "open_data", opened)
    monkeypatch.setenv("CONVSNN_DEBUG", "1")
    assert main([*TUNE, "--trials", "1"]) == 0
    uses = {chosen for chosen in read if len(chosen) in (20, 40)}
    assert len(uses) == 3
    assert len({index for use in uses for index in use}) == sum(len(use) for use in uses)


def test_without_optuna_the_extra_is_named(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([*TUNE, "--trials", "1"]) == 2
    err = capsys.readouterr().err
    assert "optuna is not installed" in err
    assert "convsnn[tune]" in err
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--neuron", "if"], "nothing to tune"),
        (["--minutes", "nan"], "--minutes"),
        (["--timesteps", "0"], "--timesteps"),
        (["--calibrate", "maxx"], "unknown calibration stage"),
        (["--trial-samples", "5000"], "too few"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(here, capsys, arguments, words):
    assert main([*TUNE, *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (here / "out").exists()
