"""Boxes: what a grid says of them, YOLO's loss, mean average precision, each against a slow way."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsnn.errors import ConfigError, MissingExtraError
from convsnn.measure.boxes import MOST, corners, find, head_misfit, iou, misfit
from convsnn.measure.tasks import TASKS
from convsnn.train import LOSSES
from convsnn.train.boxes import NO_OBJECT, PLACES, yolo
from convsnn.workflows.train import detecting

ROWS, COLUMNS, CLASSES = 3, 4, 2
EMPTY = [-1.0] * 5
side = st.floats(0.05, 0.9)
box = st.tuples(side, side, st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, CLASSES - 1))


def placed(found):
    """A drawn box brought inside the image."""
    left, top, width, height, number = found
    return [left, top, min(width, 1 - left), min(height, 1 - top), float(number)]


def said(boxes, *, confidence=1.0, slot=0):
    """The outputs of a grid that says these boxes, one sample."""
    grid = torch.zeros(CLASSES + 10, ROWS, COLUMNS)
    for left, top, width, height, number in boxes:
        x, y = (left + width / 2) * COLUMNS, (top + height / 2) * ROWS
        row, column = min(int(y), ROWS - 1), min(int(x), COLUMNS - 1)
        grid[int(number), row, column] = 1
        first = CLASSES + 5 * slot
        values = [confidence, x - column, y - row, width**0.5, height**0.5]
        grid[first : first + 5, row, column] = torch.tensor(values)
    return grid[None]


@settings(max_examples=20, deadline=None)
@given(box.map(placed), st.integers(0, 1))
def test_what_a_cell_says_is_found_where_it_is_and_costs_nothing(one, slot):
    outputs = said([one], slot=slot)
    found = find(outputs, 2, least=0.5)
    assert found.label.tolist() == [one[4]]
    wanted = corners(torch.tensor(one))
    torch.testing.assert_close(found.corners[0].float(), wanted, atol=1e-5, rtol=1e-5)
    targets = torch.tensor([[one, EMPTY]])
    assert float(yolo(outputs, targets, 2)) == pytest.approx(0, abs=1e-6)
    loss = LOSSES.create("yolo")
    assert float(loss.right(outputs, targets)) == pytest.approx(1, abs=1e-4)
    assert float(iou(wanted, wanted)) == pytest.approx(1)


def test_of_boxes_on_one_another_the_best_stays_and_other_classes_do():
    first, near, far = [0.1, 0.1, 0.3, 0.3, 0], [0.12, 0.1, 0.3, 0.3, 0], [0.6, 0.6, 0.3, 0.3, 1]
    outputs = said([first, far]) + said([near], slot=1, confidence=0.8)
    outputs[:, :CLASSES].clamp_(max=1)
    found = find(outputs, 2, least=0.05)
    assert sorted(found.score.tolist()) == [1.0, 1.0]
    assert sorted(found.label.tolist()) == [0, 1]
    assert len(find(outputs, 2, least=1.1).score) == 0
    both = torch.cat([outputs, said([near])])
    assert find(both, 2, least=0.05).of(1).rows()[:, [0, 5, 6]].tolist() == [[1, 1, 0]]
    many = torch.ones(1, 6, 20, 20)
    many[:, 1:] = 0.5
    many[:, 4:] = 0.05
    assert len(find(many, 1, least=0.1).score) == MOST


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 99))
def test_a_head_is_refused_with_the_number_of_boxes_that_it_has(boxes, classes, channels):
    wrong, hint = head_misfit(channels, boxes, classes)
    if channels == classes + 5 * boxes:
        assert (wrong, hint) == ("", "")
        return
    assert f"{channels} channels with boxes={boxes}" in wrong
    fits = [n for n in range(1, 20) if classes + 5 * n == channels]
    assert hint.startswith(f"with boxes={fits[0]} they are" if fits else "a cell is the scores")


def slow(outputs, targets):
    """YOLO's loss box by box."""
    total = 0.0
    for grid, rows in zip(outputs.double(), targets.double(), strict=True):
        objects: dict[tuple[int, int], torch.Tensor] = {}
        for row in rows:
            if row[4] < 0:
                continue
            x, y = row[0] + row[2] / 2, row[1] + row[3] / 2
            cell = min(int(y * ROWS), ROWS - 1), min(int(x * COLUMNS), COLUMNS - 1)
            known = objects.get(cell)
            if known is None or row[2] * row[3] > known[2] * known[3]:
                objects[cell] = row
        for i in range(ROWS):
            for j in range(COLUMNS):
                each = grid[CLASSES:, i, j].reshape(2, 5)
                empty = {0, 1}
                if (i, j) in objects:
                    row = objects[i, j]
                    around = []
                    for _, x, y, w, h in each.tolist():
                        middle = (j + x) / COLUMNS, (i + y) / ROWS
                        edges = [m - s**2 / 2 for m, s in zip(middle, (w, h), strict=True)]
                        edges += [m + s**2 / 2 for m, s in zip(middle, (w, h), strict=True)]
                        around.append(float(iou(torch.tensor(edges), corners(row))))
                    best = max((0, 1), key=lambda k: (around[k], -k))
                    empty.remove(best)
                    c, x, y, w, h = each[best].tolist()
                    gx = (row[0] + row[2] / 2) * COLUMNS - j
                    gy = (row[1] + row[3] / 2) * ROWS - i
                    total += PLACES * ((x - gx) ** 2 + (y - gy) ** 2)
                    total += PLACES * ((w - row[2] ** 0.5) ** 2 + (h - row[3] ** 0.5) ** 2)
                    total += (c - around[best]) ** 2
                    one = torch.eye(CLASSES)[int(row[4])]
                    total += ((grid[:CLASSES, i, j] - one) ** 2).sum()
                total += NO_OBJECT * sum(float(each[k, 0]) ** 2 for k in empty)
    return float(total) / len(outputs)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(box.map(placed), max_size=3), min_size=1, max_size=2), st.integers(0, 99))
def test_the_loss_is_the_one_box_by_box(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(len(samples), CLASSES + 10, ROWS, COLUMNS, generator=generator)
    targets = torch.tensor([[*boxes, *[EMPTY] * (3 - len(boxes))] for boxes in samples])
    assert float(yolo(outputs, targets, 2)) == pytest.approx(slow(outputs, targets), rel=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_what_stands_in_rows_that_fill_up_changes_nothing(value):
    outputs = torch.randn(2, CLASSES + 10, ROWS, COLUMNS, generator=torch.manual_seed(1))
    outputs.requires_grad_()
    boxes = torch.tensor([[EMPTY, [0.0, 0.0, 0.2, 0.2, 1], EMPTY], [EMPTY] * 3])
    filled = boxes.clone()
    filled[..., :4][boxes[..., 4] == -1] = value
    loss = LOSSES.create("yolo")
    found = []
    for targets in (boxes, filled):
        cost = yolo(outputs, targets, 2)
        (slope,) = torch.autograd.grad(cost, outputs)
        found.append((cost, slope, loss.right(outputs, targets)))
    assert bool(torch.isfinite(found[0][0]))
    for plain, other in zip(*found, strict=True):
        assert torch.equal(plain, other)
    assert misfit(filled, CLASSES) == ""


def test_over_time_the_loss_is_of_the_mean_or_of_every_step_and_draws_to_the_threshold():
    torch.manual_seed(0)
    logits = torch.randn(3, 2, CLASSES + 10, ROWS, COLUMNS)
    boxes = torch.tensor([[[0.1, 0.2, 0.3, 0.2, 1]], [EMPTY]])
    each = torch.stack([yolo(one, boxes, 2) for one in logits]).mean()
    thresholds = (torch.tensor(0.5), torch.tensor([1.0, 2.0]))
    drawn = (logits - 1.0).square().mean()
    for spec, wanted in (
        ("yolo", yolo(logits.mean(0), boxes, 2)),
        ("yolo:over=steps", each),
        ("yolo:over=steps,beta=0.1", 0.1 * each + 0.9 * drawn),
    ):
        got = LOSSES.create(spec)(logits, boxes, thresholds=thresholds)
        torch.testing.assert_close(got, wanted)
    loss = LOSSES.create("yolo")
    assert loss.right(logits.mean(0), boxes)[1] == 1  # nothing to be met
    for wrong in (torch.tensor([0, 1]), torch.zeros(2, 5)):
        with pytest.raises(ConfigError, match="boxes"):
            loss(logits, wrong)
    with pytest.raises(ConfigError, match="grid"):
        loss(logits[:, :, :10], boxes)
    with pytest.raises(ConfigError):
        LOSSES.create("yolo:beta=2")


def precision(boxes, *, targets):
    """By name, the scores of `boxes` (score, box) of one sample at one step."""
    task = TASKS.create("detect")
    tally = task.nothing(1, (12, ROWS, COLUMNS))
    for outputs, rows in zip(boxes, targets, strict=True):
        tally = task.added(tally, task.tally(outputs[None], None, torch.tensor([rows])))
    return {score.name: float(value) for score, value in task.scores(tally)}, task, tally


GOOD, WRONG, OTHER = (
    [0.1, 0.1, 0.3, 0.3, 0.0], [0.6, 0.1, 0.3, 0.3, 0.0], [0.1, 0.6, 0.3, 0.3, 0.0],
)  # fmt: skip


def test_mean_average_precision_is_that_of_a_curve_drawn_by_hand():
    pytest.importorskip("pycocotools")
    outputs = said([GOOD], confidence=0.9) + said([WRONG], confidence=0.8)
    outputs += said([OTHER], confidence=0.7)
    got, *_ = precision([outputs], targets=[[GOOD, OTHER]])
    # right, wrong, right: precision 1 up to half of the boxes, then 2 / 3; 101 points
    assert got["map50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)
    assert got["ap50_0"] == pytest.approx(got["map50"])
    perfect, *_ = precision([said([GOOD]), said([])], targets=[[GOOD], [EMPTY]])
    assert (perfect["map50"], perfect["map"]) == (pytest.approx(1), pytest.approx(1))
    other = [*GOOD[:4], 1.0]
    mixed, *_ = precision([said([GOOD]), said([other])], targets=[[GOOD], [GOOD]])
    assert mixed["map50"] == pytest.approx(51 / 101)  # class 1 has no boxes and does not count
    assert "ap50_1" not in mixed
    none, task, tally = precision([said([GOOD])], targets=[[EMPTY]])
    assert none["map50"] != none["map50"]  # nothing to be found
    assert not task.doubt(tally)
    _, task, tally = precision([said([WRONG])], targets=[[GOOD]])
    assert "next to nothing" in task.doubt(tally)


class Pair:
    """One of two threads that stand for processes and hand each other what they add up."""

    count = 2

    def __init__(self, number, table, barrier):
        self.number, self.table, self.barrier = number, table, barrier

    def add(self, value):
        self.table[self.number] = value
        self.barrier.wait(10)
        found = self.table[0] + self.table[1]
        self.barrier.wait(10)
        return found


def test_several_processes_have_the_rows_of_all():
    pytest.importorskip("pycocotools")
    samples = [(said([GOOD]), [GOOD]), (said([WRONG], confidence=0.6), [GOOD]),
               (said([OTHER], confidence=0.8), [OTHER])]  # fmt: skip
    whole, task, _ = precision([o for o, _ in samples], targets=[r for _, r in samples])
    parts = [
        precision([o for o, _ in chosen], targets=[r for _, r in chosen])[2]
        for chosen in (samples[:2], samples[2:])
    ]
    table, barrier = [None, None], Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(task.of_all, parts[n], Pair(n, table, barrier)) for n in (0, 1)]
    for one in made:
        scores = {score.name: float(value) for score, value in task.scores(one.result())}
        assert scores == pytest.approx(whole)


REFUSED = {
    "no class": ([[0.1, 0.1, 0.2, 0.2, 0.5]], "box 0 of sample 0 has no class"),
    "a class too many": ([[0.1, 0.1, 0.2, 0.2, 2.0]], "of class 2, but the network has 2"),
    "outside": ([[0.9, 0.1, 0.2, 0.2, 0.0]], "outside of the image"),
    "before": ([[-0.1, 0.1, 0.2, 0.2, 0.0]], "outside of the image"),
    "flat": ([EMPTY, [0.1, 0.1, 0.0, 0.2, 0.0]], "box 1 of sample 0 has no width"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_boxes_that_cannot_be_are_named(case):
    rows, text = REFUSED[case]
    assert text in misfit(torch.tensor([rows]), 2)
    assert text in TASKS.create("detect").misfit(torch.tensor([rows]), (12, 3, 4))
    assert misfit(torch.tensor([[GOOD, EMPTY]]), 2) == ""


def test_without_pycocotools_the_extra_is_named_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MissingExtraError) as caught:
        detecting.require_boxes([], 2)
    assert "convsnn[detect]" in caught.value.hint
    task = TASKS.create("detect")
    with pytest.raises(MissingExtraError):
        task.tally(said([GOOD])[None], None, torch.tensor([[GOOD]]))
