"""What new images are expected to lose, told from training images held out from calibration."""

import json
from math import sqrt
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_report import sample

import convsnn
from convsnn.commands import main
from convsnn.measure.sharing import Alone
from convsnn.measure.tasks import TASKS
from convsnn.report.document import validate
from convsnn.report.page.summary import expected_in_words
from convsnn.simulate import Engine
from convsnn.workflows.evaluate import expected
from convsnn.workflows.evaluate.expected import Expecting, loss, plan_expected
from convsnn.workflows.evaluate.held_out import Ahead, held_out
from convsnn.workflows.subject.given import as_part
from convsnn.workflows.subject.images import Chosen
from zoo.data import DataSet, draw


def answers(lost: int, won: int, both: int) -> tuple[torch.Tensor, torch.Tensor]:
    right = torch.tensor([[False] * lost + [True] * (won + both)])
    before = torch.tensor([True] * lost + [False] * won + [True] * both)
    return right, before


def test_the_interval_is_that_of_agresti_and_min() -> None:
    drop, low, high = (float(each) for each in loss(*answers(6, 2, 92)))
    assert drop == pytest.approx(4 / 100)
    reach = 1.959964 * sqrt(6 + 2 + 1 - 16 / 102) / 102
    assert (low, high) == pytest.approx((4 / 102 - reach, 4 / 102 + reach))


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60))
def test_what_was_lost_lies_in_the_interval_which_turns_with_the_sides(
    lost: int, won: int, both: int
) -> None:
    drop, low, high = (float(each) for each in loss(*answers(lost, won, both)))
    assert low <= drop <= high
    assert low < high  # equal answers on some images do not prove equal ones on all
    back = [float(each) for each in loss(*answers(won, lost, both))]
    assert back == pytest.approx([-drop, -high, -low])


def test_the_images_are_none_that_were_calibrated_on() -> None:
    part = as_part(torch.rand(50, 1, 2, 2), split="train")
    used = Chosen(part, draw(part, 30, seed=3), 10, torch.device("cpu"))
    left = held_out(used, 15, seed=3)
    assert left is not None
    assert len(left.indices) == 15
    assert not set(left.indices) & set(used.indices)
    everything = Chosen(part, draw(part, 50, seed=3), 10, torch.device("cpu"))
    assert held_out(everything, 15, seed=3) is None


def test_nothing_is_expected_from_images_that_are_scored_or_have_no_classes() -> None:
    bare = as_part(torch.rand(50, 1, 2, 2), split="train")
    data = DataSet("given", bare, as_part(torch.rand(5, 1, 2, 2), split="test"))
    assert plan_expected(data, lambda: None, seed=0, bound=None) is None
    same = as_part((torch.rand(50, 1, 2, 2), torch.zeros(50, dtype=torch.int64)), split="train")
    assert plan_expected(DataSet("given", same, same), lambda: None, seed=0, bound=None) is None


@pytest.mark.parametrize("schedule", ["steps", "layers"])
def test_convert_says_what_it_expects_before_it_scores(
    schedule: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(expected, "SHARE", 1)
    code = main(
        ["convert", "zoo:mnist5k-cnn", "--timesteps", "4", "--samples", "40", "--schedule",
         schedule, "--calibration-samples", "40", "--calibrate", "mse", "-o", str(tmp_path / "o")]
    )  # fmt: skip
    captured = capsys.readouterr()
    assert code == 0
    assert "expected after 4 steps: drop" in captured.err
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    validate(report)
    found = report["expected"]
    assert (found["samples"], found["split"], found["bound"]) == (40, "train", 2.0)
    run = [step for step, drop in enumerate(found["drop"], 1) if drop is not None]
    assert run == report["schedule"]["scored"]
    assert all(found["low"][s - 1] < found["high"][s - 1] for s in run)
    words = expected_in_words(report)
    assert words.startswith("expected on 40 held-out samples of mnist5k (train)")
    assert " ".join(words.split()) in " ".join(captured.out.split())
    page = (tmp_path / "o" / "report.html").read_text()
    assert "Expected on 40 held-out samples" in page


def test_labels_in_every_form_count_and_those_of_other_networks_are_left_alone() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    x, labels = torch.rand(60, 4), torch.arange(60) % 3
    net = convsnn.convert(module, x, timesteps=2, calibrate="mse").network
    task = TASKS.create("classify")
    ahead = Ahead(2, 400, task, Engine(), Alone())
    found = []
    for targets in (labels, labels[:, None], torch.eye(3)[labels].long(), labels + 1):
        part = as_part((x, targets), split="train")
        images = Chosen(part, list(range(60)), 20, torch.device("cpu"))
        found.append(Expecting(lambda _, chosen=images: chosen, 2.0)(net, ahead))
    assert found[0]["expected"]["drop"] == found[1]["expected"]["drop"]
    assert found[0]["expected"]["drop"] == found[2]["expected"]["drop"]
    assert found[3] == {}


def test_reports_without_it_say_nothing() -> None:
    assert expected_in_words(sample(["relu"], 4)) == ""
