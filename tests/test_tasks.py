"""Tasks: which one targets decide, and every score against another library at every step."""

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images
from sklearn import metrics as sk

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import run
from convsnn.measure import evaluate
from convsnn.measure.tasks import TASKS, decide
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking

STEPS, SAMPLES = 3, 12
SHAPES = {
    "detect": (12, 2, 3),
    "classify": (8,),
    "multilabel": (4,),
    "regress": (3,),
    "segment": (3, 4, 5),
    "none": (3,),
}


def graph_of(shape, *, sigmoid=False):
    """A network with one hidden layer whose output has that shape."""
    m = Maker(np.random.default_rng(1), (2, 4, 5))
    if len(shape) == 3:
        return m.graph(m.conv(m.relu(m.conv("input", 4, padding=1)), shape[0], padding=1))
    x = m.linear(m.flatten(m.relu(m.conv("input", 4, padding=1))), shape[0])
    return m.graph(m.emit("sigmoid", x) if sigmoid else x)


def targets_of(name, seed=0):
    """Targets of a task for SAMPLES samples, some of its classes never there."""
    rng, shape = np.random.default_rng(seed), SHAPES[name]
    y = {
        "classify": lambda: rng.integers(0, 7, SAMPLES),
        "multilabel": lambda: rng.integers(0, 2, (SAMPLES, *shape)),
        "regress": lambda: rng.normal(size=(SAMPLES, *shape)).astype(np.float32),
        "segment": lambda: rng.integers(0, 2, (SAMPLES, *shape[1:])),
        "none": lambda: rng.normal(size=(SAMPLES, *shape)),
        "detect": lambda: boxes(rng),
    }[name]()
    return torch.from_numpy(np.asarray(y))


def boxes(rng):
    """Two boxes a sample, half of the second ones left out."""
    found = rng.uniform(0.1, 0.4, (SAMPLES, 2, 5)).astype(np.float32)
    found[..., 4] = rng.integers(0, 2, (SAMPLES, 2))
    found[::2, 1] = -1
    return found


def outputs_of(name, seed=0):
    """Outputs at every step; whole numbers, so that some are equal."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-3, 4, (STEPS, SAMPLES, *SHAPES[name]))
    return torch.from_numpy(whole.astype(np.float32))


def scored(name, outputs, targets):
    """By score, its value at every step."""
    task = TASKS.create(name)
    tally = task.tally(outputs, task.decided(outputs), targets)
    return {score.name: value for score, value in task.scores(tally)}


@pytest.fixture(autouse=True)
def _needs_pycocotools(request):
    if "detect" in request.node.name.split("[")[-1]:
        pytest.importorskip("pycocotools")


@pytest.mark.parametrize("name", TASKS.names())
def test_sums_are_those_of_any_split_and_nothing_adds_nothing(name):
    task, outputs, targets = TASKS.create(name), outputs_of(name), targets_of(name)

    def tally(rows):
        part = outputs[:, rows]
        return task.tally(part, task.decided(part), targets[rows])

    whole = tally(slice(None))
    parts = task.added(task.nothing(STEPS, SHAPES[name]), tally(slice(0, 5)))
    parts = task.added(parts, tally(slice(5, 12)))
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        if value.dim() == 2 and name == "detect":  # rows, which stand in any order
            assert sorted(parts[key].tolist()) == sorted(value.tolist())
            continue
        torch.testing.assert_close(parts[key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_top_1_and_top_5_are_those_of_a_sorted_list(seed):
    outputs, targets = outputs_of("classify", seed), targets_of("classify", seed)
    got = scored("classify", outputs, targets)
    for step in range(STEPS):
        order = np.argsort(-outputs[step].numpy(), axis=1, kind="stable")  # equal ones: first first
        for key, most in (("accuracy", 1), ("top5", 5)):
            right = [int(y) in row[:most] for y, row in zip(targets, order, strict=True)]
            assert float(got[key][step]) == pytest.approx(np.mean(right))


def test_top_1_and_top_5_are_torchmetrics_where_no_scores_are_equal():
    from torchmetrics.functional.classification import multiclass_accuracy

    outputs = torch.randn(1, 40, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(40) % 8
    got = scored("classify", outputs, targets)
    for key, most in (("accuracy", 1), ("top5", 5)):
        want = multiclass_accuracy(outputs[0], targets, num_classes=8, average="micro", top_k=most)
        assert float(got[key][0]) == pytest.approx(float(want))


def test_a_network_of_five_classes_has_no_top_5():
    outputs = torch.eye(5)[None]
    assert list(scored("classify", outputs, torch.arange(5))) == ["accuracy"]


@pytest.mark.parametrize("seed", range(2))
def test_multilabel_scores_are_scikit_learns(seed):
    outputs, targets = outputs_of("multilabel", seed), targets_of("multilabel", seed)
    got = scored("multilabel", outputs, targets)
    for step in range(STEPS):
        said = (outputs[step] > 0).numpy().astype(int)
        each = sk.f1_score(targets.numpy(), said, average=None, zero_division=0)
        assert float(got["f1"][step]) == pytest.approx(each.mean())
        assert [float(got[f"f1_{k}"][step]) for k in range(4)] == pytest.approx(each.tolist())
        right = (said == targets.numpy()).mean()
        assert float(got["label_accuracy"][step]) == pytest.approx(right)


@pytest.mark.parametrize("constant", [False, True])
def test_regression_scores_are_scikit_learns(constant):
    outputs, targets = outputs_of("regress"), targets_of("regress")
    if constant:
        targets[:, 1] = 2.5  # R2 has no value for it
    got = scored("regress", outputs, targets)
    for step in range(STEPS):
        y, found = targets.numpy(), outputs[step].numpy()
        columns = [0, 2] if constant else [0, 1, 2]
        r2 = np.mean([sk.r2_score(y[:, k], found[:, k]) for k in columns])
        assert float(got["r2"][step]) == pytest.approx(r2)
        assert float(got["mse"][step]) == pytest.approx(sk.mean_squared_error(y, found))
        assert float(got["mae"][step]) == pytest.approx(sk.mean_absolute_error(y, found))


def test_r2_has_no_value_for_one_sample_or_targets_that_never_change():
    outputs = torch.zeros(2, 3, 1)
    assert bool(scored("regress", outputs, torch.ones(3, 1))["r2"].isnan().all())
    one = scored("regress", outputs[:, :1], torch.ones(1, 1))
    assert bool(one["r2"].isnan().all())
    assert one["mse"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("ignored", [False, True])
def test_segmentation_scores_are_scikit_learns(ignored):
    outputs, targets = outputs_of("segment"), targets_of("segment")
    if ignored:
        targets[:, 0], targets[:, 1, 0] = 255, -1
    got = scored("segment", outputs, targets)
    kept = ((targets >= 0) & (targets != 255)).numpy()
    for step in range(STEPS):
        said, y = outputs[step].argmax(1).numpy()[kept], targets.numpy()[kept]
        each = sk.jaccard_score(y, said, average=None, labels=[0, 1, 2], zero_division=0)
        assert [float(got[f"iou_{k}"][step]) for k in range(3)] == pytest.approx(each.tolist())
        assert float(got["miou"][step]) == pytest.approx(each.mean())
        assert float(got["pixel_accuracy"][step]) == pytest.approx((said == y).mean())


def test_a_class_that_never_occurs_is_no_part_of_the_mean_iou():
    outputs = torch.zeros(1, 2, 3, 1, 2)
    outputs[:, :, 0, :, 0], outputs[:, :, 1, :, 1] = 1, 1
    got = scored("segment", outputs, torch.tensor([[[0, 1]], [[0, 0]]]))
    assert float(got["miou"][0]) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert bool(got["iou_2"].isnan().all())


ONE_HOT = torch.eye(4, dtype=torch.int64)[[0, 1, 2, 3, 0]]
NATURAL = {
    "class numbers": (torch.arange(5) % 4, (4,), "classify"),
    "labels": (torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]), (4,), "multilabel"),
    "booleans": (torch.tensor([[True, True], [False, True]]), (2,), "multilabel"),
    "one yes or no": (torch.tensor([0, 1, 1]), (1,), "multilabel"),
    "numbers": (torch.tensor([[0.5, 1, 2, 3]]), (4,), "regress"),
    "one number": (torch.tensor([0.5, 2.0]), (1,), "regress"),
    "maps": (torch.rand(2, 3, 4, 5), (3, 4, 5), "regress"),
    "masks": (torch.zeros(2, 4, 5, dtype=torch.uint8), (3, 4, 5), "segment"),
    "boxes": (torch.tensor([[[0.1, 0.2, 0.3, 0.4, 1], [-1.0] * 5]]), (12, 4, 5), "detect"),
}


@pytest.mark.parametrize("case", NATURAL)
def test_targets_decide_the_task(case):
    targets, shape, wanted = NATURAL[case]
    told = decide(targets, graph_of(shape))
    assert (told.task.name, told.unscored, told.said) == (wanted, "", wanted)


ASKED = {
    "one-hot rows": (ONE_HOT, (4,), ("classify", "multilabel", "regress")),
    "ones as floats": (torch.tensor([[1.0, 1, 0], [0, 0, 0]]), (3,), ("multilabel", "regress")),
    "whole numbers": (torch.tensor([[3, 1], [2, 7]]), (2,), ("regress",)),
    "class numbers as floats": (torch.tensor([0.0, 2, 1]), (3,), ("classify",)),
    "class numbers in a column": (torch.tensor([[0], [2], [1]]), (3,), ("classify",)),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_what_targets_leave_open_is_asked_for(case):
    targets, shape, choices = ASKED[case]
    graph = graph_of(shape)
    with pytest.raises(ConfigError) as caught:
        decide(targets, graph)
    for name in TASKS.names():
        if name == "none":
            assert decide(targets, graph, asked=name).unscored
            continue
        assert (name in str(caught.value)) == (name in choices)
        if name in choices:
            assert decide(targets, graph, asked=name).task.name == name
        else:
            with pytest.raises((ConfigError, LoadError)):
                decide(targets, graph, asked=name)


def test_targets_that_suit_nothing_are_said_to_and_labels_are_never_said_to_be_missing():
    told = decide(torch.rand(5, 2), graph_of((3,)))
    assert told.task.name == "none"
    assert told.said is None
    assert "float32 of shape (2,)" in told.unscored
    assert decide(None, graph_of((3,))).unscored == "no labels"
    two = graph_of((3,))
    two = type(two)(two.nodes, two.tensors, (two.nodes[-2].name, two.outputs[0]))
    text = decide(torch.arange(3), two).unscored
    assert all(name in text for name in two.outputs)
    with pytest.raises(ConfigError):
        decide(torch.arange(3), two, asked="classify")


def test_labels_beyond_the_classes_are_refused():
    for wrong in ([0, 1, 3], [0, -1, 2]):
        with pytest.raises(LoadError, match="3 classes"):
            decide(torch.tensor(wrong), graph_of((3,)))


def test_behind_a_sigmoid_a_label_is_there_from_one_half_on():
    targets = torch.tensor([[1, 1], [0, 1]])
    for sigmoid, bound in ((False, 0.0), (True, 0.5)):
        task = decide(targets, graph_of((2,), sigmoid=sigmoid)).task
        assert task.threshold == bound
        said = task.decided(torch.tensor([[[bound + 0.1, bound - 0.1]]]))
        assert said.tolist() == [[[1, 0]]]
    given = decide(targets, graph_of((2,), sigmoid=True), asked="multilabel:threshold=0.25")
    assert given.task.threshold == 0.25


@pytest.mark.parametrize("name", ["classify", "multilabel", "regress", "segment"])
@pytest.mark.parametrize("size", [5, 12])
def test_evaluate_scores_both_networks_at_every_step(name, size):
    graph, y = graph_of(SHAPES[name]), targets_of(name)
    net, x = to_spiking(graph, dyadic_plan(graph, 2)), images(graph, 2, SAMPLES)
    batches = [(x[i : i + size], y[i : i + size]) for i in range(0, SAMPLES, size)]
    got = evaluate(net, batches, steps=4)
    assert got.task.name == name
    outputs = simulate(net, x, steps=4).outputs[0]
    wanted = scored(name, outputs, y)
    original = scored(name, run(graph, x)[graph.outputs[0]][None], y)
    assert list(got.scores) == list(wanted)
    for key, series in got.scores.items():
        assert series.snn.tolist() == pytest.approx(wanted[key].tolist(), nan_ok=True)
        assert series.ann == pytest.approx(float(original[key][0]), nan_ok=True)
    assert (got.accuracy is None) == (name != "classify")


def test_an_original_that_only_guesses_is_doubted():
    task = TASKS.create("classify")
    right = torch.eye(4)[torch.arange(40) % 4][None]
    for labels, doubted in ((torch.arange(40) % 4, False), ((torch.arange(40) + 1) % 4, True)):
        assert bool(task.doubt(task.tally(right, task.decided(right), labels))) == doubted
    task, y = TASKS.create("regress"), torch.arange(10.0)[:, None]
    for answer, doubted in ((y + 0.1, False), (y * 0, True)):
        assert bool(task.doubt(task.tally(answer[None], None, y))) == doubted
    task, y = TASKS.create("multilabel"), torch.tensor([[1, 0], [0, 1], [0, 0], [0, 0]])
    for answer, doubted in ((y * 2.0 - 1, False), (1 - y * 2.0, True)):
        outputs = answer[None]
        assert bool(task.doubt(task.tally(outputs, task.decided(outputs), y))) == doubted
    task, y = TASKS.create("segment"), torch.tensor([[[0, 0, 0, 1]]])
    for answer, doubted in (([0, 0, 0, 1], False), ([0, 0, 0, 0], True)):
        outputs = torch.eye(2)[torch.tensor(answer)].T.reshape(1, 1, 2, 1, 4)
        assert bool(task.doubt(task.tally(outputs, task.decided(outputs), y))) == doubted
