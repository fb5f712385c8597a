"""Detectors: shapes that move, Gen1's files, training to the page, and what is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_recordings import as_lists, dat_file

import convsnn
from convsnn.commands import main
from convsnn.errors import ConfigError, LoadError
from convsnn.load import load_module
from convsnn.measure import evaluate
from convsnn.measure.boxes import misfit
from convsnn.measure.tasks.detect import Detect
from convsnn.report.training.document import half_interval, summarise, verdict
from convsnn.report.training.study import lines
from convsnn.train.direct import prepare, scores
from convsnn.workflows.train.course import open_course
from zoo.data import Preprocessing, choose, class_names, open_data
from zoo.data.gen1 import SENSOR, WINDOW
from zoo.data.recordings import read_part
from zoo.data.shapes import MOMENT_US, MOMENTS, recorded, scene, shapes
from zoo.models import MODELS
from zoo.recipes.spiking import RECIPES

FIELDS = ("x", "y", "w", "h")
BOX = [("ts", "<u8"), *((name, "<f4") for name in FIELDS), ("class_id", "u1")]
BOX += [("confidence", "<f4"), ("track_id", "<u4")]


def test_scenes_are_always_the_same_and_their_boxes_hold_what_moved() -> None:
    train, test = shapes()
    assert train.other is not None
    assert test.other is not None
    assert (misfit(train.other, 2), misfit(test.other, 2)) == ("", "")
    assert {int(n) for n in train.other[..., 4].unique()} == {-1, 0, 1}
    assert as_lists(train.read(3)) == as_lists(shapes()[0].read(3)) == as_lists(recorded(0, 3))
    assert as_lists(train.read(3)) != as_lists(test.read(3))
    events = train.read(3)
    assert (np.diff(events.t) >= 0).all()
    assert int(events.t.max()) <= MOMENTS * MOMENT_US
    inside = total = 0
    for number in range(40):
        boxes, placed = scene(0, number)
        assert (boxes[:, 4] >= 0).sum() == len(placed)
        e = recorded(0, number)
        late = e.t == MOMENTS * MOMENT_US  # the last picture, in which boxes are what they are
        x, y = (e.x[late] + 0.5) / 32, (e.y[late] + 0.5) / 32
        edge = 3 / 32
        near = [
            (x > l - edge) & (x < l + w + edge) & (y > t - edge) & (y < t + h + edge)
            for l, t, w, h, number in boxes  # noqa: E741
            if number >= 0
        ]
        inside += np.any(near, 0).sum()
        total += late.sum()
    assert inside > 0.97 * total  # the rest is noise
    with pytest.raises(ConfigError, match="takes no"):
        shapes("5")


def write_gen1(root: Path, boxes: Any, *, times: Any = range(0, 1_000_000, 2_500)) -> Path:
    """Both splits of a recording with an event every 2.5 ms, and its boxes."""
    for split in ("train", "test"):
        (root / split).mkdir(parents=True, exist_ok=True)
        events = [(t, t // 2_500 % 304, t // 2_500 % 240, t // 2_500 % 2) for t in times]
        (root / split / "a_td.dat").write_bytes(dat_file(events))
        np.save(root / split / "a_bbox.npy", np.asarray(boxes))
    return root


def rows(*found: tuple[float, ...]) -> Any:
    """Boxes of time, x, y, w, h and class."""
    return np.array([(*one, 1.0, 7) for one in found], dtype=BOX)


GOOD = (700_000, 10, 20, 60, 40, 0)


def opened(root: Path) -> Any:
    settings = Preprocessing(scale=1.0)
    return open_data(f"gen1:{root}", input_shape=(2, *SENSOR), preprocessing=settings, steps=4)


def test_gen1_gives_the_events_before_a_labelled_time_and_its_boxes(tmp_path: Path) -> None:
    held = rows(
        GOOD,
        (700_000, 290, 200, 60, 90, 1),  # over the edge: 14x40 are left
        (700_000, 310, 10, 60, 60, 0),  # beyond it
        (700_000, 10, 10, 9, 80, 0),  # too thin
        (300_000, 10, 20, 60, 40, 0),  # too early
        (800_000, 0, 0, 304, 240, 1),
    )
    data = opened(write_gen1(tmp_path / "gen1", held))
    assert len(data.train) == len(data.test) == 2
    assert class_names(data.train) == ["car", "pedestrian"]
    targets = data.train.targets.numpy()
    wanted = [[10 / 304, 20 / 240, 60 / 304, 40 / 240, 0],
              [290 / 304, 200 / 240, 14 / 304, 40 / 240, 1]]  # fmt: skip
    np.testing.assert_allclose(targets[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(targets[1], [[0, 0, 1, 1, 1], [-1] * 5])
    x, _ = next(data.train.batches(2))
    assert tuple(x.shape) == (2, 4, 2, *SENSOR)
    assert float(x.sum()) == 2 * WINDOW / 2_500
    part = read_part(tmp_path / "gen1/train/a_td.dat", 600_000, 700_000, sensor=SENSOR)
    assert (int(part.t[0]), int(part.t[-1]), len(part.t)) == (600_000, 697_500, 40)
    assert not len(read_part(tmp_path / "gen1/train/a_td.dat", 5, 6, sensor=SENSOR).t)
    newer = np.zeros(1, [("t", "<i8"), *BOX[1:6], ("class_confidence", "<f4")])
    for name, value in zip(("t", *FIELDS, "class_id"), GOOD, strict=True):
        newer[name] = value
    assert len(opened(write_gen1(tmp_path / "newer", newer)).train) == 1


def test_gen1_takes_recordings_whose_boxes_all_lie_beyond_the_sensor(tmp_path: Path) -> None:
    root = write_gen1(tmp_path, rows(GOOD))
    for split in ("train", "test"):
        (root / split / "b_td.dat").write_bytes((root / split / "a_td.dat").read_bytes())
        np.save(root / split / "b_bbox.npy", rows((700_000, 310, 10, 60, 60, 0)))
    data = opened(root)
    assert (len(data.train), len(data.test)) == (1, 1)
    np.save(root / "test" / "a_bbox.npy", rows((700_000, -70, 10, 60, 60, 1)))
    with pytest.raises(LoadError, match="all boxes of test lie outside of the sensor"):
        opened(root)


def plain(root: Path) -> None:
    np.save(root / "train/a_bbox.npy", np.zeros((3, 5)))


def without_class(root: Path) -> None:
    kept = [name for name, _ in BOX if name != "class_id"]
    np.save(root / "train/a_bbox.npy", rows(GOOD)[kept])


def pickled(root: Path) -> None:
    np.save(root / "train/a_bbox.npy", np.array([{}]), allow_pickle=True)


def cut(root: Path, name: str, count: int) -> None:
    path = root / "train" / name
    path.write_bytes(path.read_bytes()[:-count])


def lost(root: Path, name: str) -> None:
    (root / "train" / name).unlink()


def boxes(*found: tuple[float, ...]) -> Any:
    return lambda root: np.save(root / "train/a_bbox.npy", rows(*found))


def events(*found: tuple[int, ...]) -> Any:
    return lambda root: (root / "train/a_td.dat").write_bytes(dat_file(found))


DAMAGED: Mapping[str, tuple[Any, str]] = {
    "no structured array": (plain, "no list of boxes"),
    "boxes without a class": (without_class, "boxes without class_id"),
    "an unknown class": (boxes(GOOD, (*GOOD[:5], 3)), "box 1 of .* is of class 3"),
    "boxes of nowhere": (boxes(GOOD, (700_000, np.nan, 1, 50, 50, 0)), "box 1 of .* no place"),
    "all boxes outside": (boxes((700_000, 400, 10, 50, 50, 0)), "outside of the sensor"),
    "no box large enough": (boxes((700_000, 10, 10, 5, 5, 0)), "no box of train"),
    "pickled boxes": (pickled, "damaged"),
    "boxes cut off": (lambda root: cut(root, "a_bbox.npy", 5), "damaged"),
    "no boxes beside": (lambda root: lost(root, "a_bbox.npy"), "cannot be read: No such file"),
    "no recordings": (lambda root: lost(root, "a_td.dat"), r"holds no \*_td.dat"),
    "an event cut off": (lambda root: cut(root, "a_td.dat", 3), "no events of eight bytes"),
    "a recording cut off": (lambda root: cut(root, "a_td.dat", 8 * 200), "ends at 497500 us, but"),
    "an empty recording": (events(), "holds no events"),
    "events out of order": (
        events(*((t, 1, 1, 1) for t in (0, 690_000, 650_000, 680_000, 900_000))), "do not rise"
    ),
    "events outside": (events((650_000, 305, 1, 1), (900_000, 1, 1, 1)), "outside of the sensor"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_wrong_with_gen1_files_is_said(tmp_path: Path, case: str) -> None:
    damage, text = DAMAGED[case]
    root = write_gen1(tmp_path, rows(GOOD))
    damage(root)
    with pytest.raises(LoadError, match=text) as caught:
        opened(root)
    assert "pickle" not in f"{caught.value}{caught.value.hint}"


def test_the_detector_is_the_paper_s() -> None:
    entry = MODELS.create("lt-snn-yolo-gen1")
    module = entry.build()
    assert module.shape == (2 + 2 * 5, 6, 8)
    assert module.head[2].out_features == 576
    convolutions = [m for m in module.features if type(m).__name__ == "Conv2d"]
    assert [(m.out_channels, m.kernel_size[0]) for m in convolutions] == [
        (32, 3), (64, 3), (128, 3), (64, 1), (128, 3), (256, 3), (128, 1), (256, 3), (512, 3),
        (256, 1), (512, 3), (256, 1), (1024, 3), (512, 1), (1024, 3),
    ]  # fmt: skip
    assert entry.thresholds == len(convolutions)


QUICK = ("--set", "epochs=1", "--set", "training_samples=32", "--set", "timesteps=2",
         "--device", "cpu", "--samples", "12")  # fmt: skip


def test_a_detector_is_trained_scored_shown_and_scored_again_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    out = tmp_path / "out"
    code = main(
        ["train", "lt-snn-yolo-short", *QUICK, "--set", "held_out=0.25", "-o", str(out),
         "--csv", str(tmp_path / "tables"), "--json"]
    )  # fmt: skip
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "overlap" in said.err
    document, report = json.loads(said.out), json.loads((out / "report.json").read_text())
    assert (document["task"], report["task"], report["headline"]) == ("detect", "detect", "map50")
    (run,) = document["runs"]
    assert run["accuracy"] == report["metrics"]["map50"]["snn"]
    assert report["snn"]["accuracy"] is None
    assert 0 <= run["epochs"][0]["held_out"] <= 1
    drawn = run["examples"]
    assert len(drawn) == 6
    page = (out / "training.html").read_text()
    for one in drawn:
        assert set(one["pictures"]) == {"target", "ann", "snn"}
        assert one["pictures"]["target"] in page
    assert "mAP at overlap 0.5 on the test images" in page
    assert drawn[0]["pictures"]["target"] in (out / "report.html").read_text()
    assert "map50.2" in next((tmp_path / "tables").glob("runs*.csv")).read_text()
    code = main(["evaluate", str(out), "--device", "cpu", "--samples", "12", "--json"])
    again = json.loads(capsys.readouterr().out)
    assert code == 0
    assert again["metrics"] == report["metrics"]
    each = [one["label"] for one in report["metrics"].values() if one["group"]]
    assert set(each) <= {"square", "disc"}
    assert each
    net = convsnn.load(out).network
    assert net.provenance["labels"] == ["square", "disc"]
    with pytest.raises(ConfigError, match="7 classes, and the classes of shapes are 2: square, d"):
        convsnn.SNN(net).evaluate(task="detect:boxes=1", samples=2)


def frames(folder: Path, y: Any, *, test: Any = None) -> str:
    """Two files of sequences with these targets, of the second those of `test` if given."""
    for name, targets in (("train", y), ("test", y if test is None else test)):
        x = np.zeros((len(targets), 2, 2, 32, 32), np.uint8)
        np.savez(folder / f"{name}.npz", x=x, y=np.asarray(targets))
    return f"frames:{folder / 'train.npz'},{folder / 'test.npz'}"


BOXED = np.tile(np.array([0.1, 0.1, 0.3, 0.3, 1], np.float32), (4, 1, 1))
EMPTY = np.full_like(BOXED, -1)
OUTSIDE = BOXED + np.array([0.9, 0, 0, 0, 0], np.float32)
REFUSED: Mapping[str, tuple[str, Any, str]] = {
    "a detector on classes": ("lt-snn-yolo-short", np.arange(4), "has no boxes but"),
    "boxes outside": ("lt-snn-yolo-short", OUTSIDE, "outside of the image"),
    "boxes of unknown class": ("lt-snn-yolo-short", BOXED + 0.001, "has no class but"),
    "classes from boxes": ("lt-snn-yolo-short loss=mean-ce", BOXED, "no class numbers but"),
    "classes from a grid": ("lt-snn-yolo-short loss=mean-ce", np.arange(4) % 2, "class scores"),
    "no box at all": ("lt-snn-yolo-short", EMPTY, "(train) holds no box"),
    "other boxes than the network's": (
        "lt-snn-yolo-short loss=yolo:boxes=1",
        BOXED,
        "12 channels with boxes=1 are 7 classes",
    ),
    "boxes that are moved": ("lt-snn-yolo-short augment=shift", BOXED, "do not move"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_detector_learns_from_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    pytest.importorskip("pycocotools")
    named, y, text = REFUSED[case]
    recipe, *changes = named.split()
    out = tmp_path / "out"
    code = main(
        ["train", recipe, "--data", frames(tmp_path, y), "--set", "timesteps=2", "-o", str(out),
         "--device", "cpu", *(part for one in changes for part in ("--set", one))]
    )  # fmt: skip
    assert code == 2
    assert text in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_test_part_without_a_box_is_refused_before_training(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    recipe = RECIPES["lt-snn-yolo-short"]
    data = frames(tmp_path, BOXED, test=EMPTY)
    with pytest.raises(LoadError, match=r"\(test\) holds no box"):
        open_course("mine", recipe.override({"data": data, "timesteps": 2}))


def test_a_detector_scored_on_samples_without_a_box_is_kept_and_has_no_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    out, y = tmp_path / "out", EMPTY.copy()
    scored = choose(y, 1, seed=RECIPES["lt-snn-yolo-short"].seed)
    y[[number not in scored for number in range(4)]] = BOXED[0]
    code = main(
        ["train", "lt-snn-yolo-short", *QUICK[:-1], "1", "--set", "training_samples=4",
         "--data", frames(tmp_path, y), "-o", str(out), "--csv", str(tmp_path / "tables")]
    )  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert code == 0
    wanted = "- mAP at overlap 0.5 on the test images after 2 steps: none of the scored samples"
    assert wanted in said
    document = json.loads((out / "training.json").read_text())
    assert document["runs"][0]["accuracy"] == document["accuracy"]["mean"] == [None, None]
    assert wanted in (out / "training.html").read_text()
    assert (out / "report.html").exists()
    runs = next((tmp_path / "tables").glob("runs*.csv")).read_text()
    assert "nan" not in runs.lower()


def test_runs_without_a_score_stay_out_of_the_mean() -> None:
    epoch = {"number": 1, "loss": 1.0, "accuracy": 0.5, "thresholds": {"a": 1.0}, "rates": {"a": 0}}
    runs = [
        {"seed": seed, "accuracy": [score], "seconds": 1.0, "epochs": [epoch]}
        for seed, score in enumerate((0.5, None, 0.7))
    ]
    made = {"command": "", "name": "n", "recipe": {"model": "m"}, "data": {}, "task": "detect"}
    document = summarise(runs, **made)
    assert document["accuracy"]["mean"] == [pytest.approx(0.6)]
    assert document["accuracy"]["half_interval"] == [half_interval([0.5, 0.7])]
    assert verdict(document).startswith("60.00 % mAP at overlap 0.5 on the test images after 1 st")
    assert "mean of 2 seeds" in verdict(document)
    assert verdict(document).endswith("; 1 run scored on samples without a box")
    assert verdict(summarise(runs[:2], **made)).endswith(
        "one run; 1 run scored on samples without a box"
    )
    assert lines({"rows": {"x": summarise(runs[1:2], **made)}})[0][1] == "-"


def test_recipes_of_detectors_differ_in_the_threshold_alone() -> None:
    for name in ("lt-snn-yolo", "lt-snn-yolo-short", "lt-snn-yolo-short-low"):
        learned, fixed = RECIPES[name].to_json(), RECIPES[f"{name}-fixed"].to_json()
        differs = {key for key in learned if learned[key] != fixed[key]}
        assert differs == {"threshold", "source"}


def test_a_detector_of_images_is_converted_scored_and_asked_for_its_boxes() -> None:
    pytest.importorskip("pycocotools")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d(4),
        torch.nn.Conv2d(8, 12, 3, padding=1),
    ).eval()  # fmt: skip
    last = module[3]
    with torch.no_grad():  # in the middle of each cell a box of its size, of class 1
        last.weight.mul_(0.05)
        last.bias.copy_(torch.tensor([0, 1] + 2 * [0.9, 0.5, 0.5, 0.5, 0.5]))
    x = torch.rand(12, 1, 16, 16)
    y = torch.tensor([[[0.25, 0.5, 0.25, 0.25, 1.0], [-1.0] * 5]]).repeat(12, 1, 1)
    snn = convsnn.convert(module, (x, y), timesteps=8)
    found = snn.evaluate((x, y), examples=2).document
    assert (found["task"], found["headline"]) == ("detect", "map50")
    assert found["metrics"]["map50"]["ann"] > 0
    assert set(found["examples"]["samples"][0]["pictures"]) == {"target", "ann", "snn"}
    (one, *_) = snn.predict(x[:2]).document["predictions"]
    assert one["answer"] == [1] * len(one["boxes"])
    assert one["label"] is None
    named = snn.predict(x[:2], labels=["cat", "dog"])
    (one, *_) = named.document["predictions"]
    assert one["label"] == ["dog"] * len(one["boxes"])
    assert [box["label"] for box in one["boxes"]] == one["label"]
    assert "dog, dog" in str(named)
    with pytest.raises(ConfigError, match="2 names are given for 7 classes"):
        snn.predict(x[:2], labels=["cat", "dog"], task="detect:boxes=1")
    knows = replace(snn.network, provenance={**snn.network.provenance, "labels": ["cat", "dog"]})
    for asked in (convsnn.SNN(knows).predict, convsnn.SNN(knows).evaluate):
        with pytest.raises(ConfigError, match="7 classes, and the classes of the network are 2"):
            asked(x[:2], task="detect:boxes=1")
    assert len(one["boxes"]) >= 12
    left, top, width, height = one["boxes"][0]["box"]
    assert width == pytest.approx(0.25, abs=0.05)
    assert 0 <= left <= 1 - width + 1e-6
    assert 0 <= top <= 1 - height + 1e-6


def test_boxes_are_no_class_numbers_where_these_are_asked_for() -> None:
    with pytest.raises(ConfigError):
        open_data("shapes", input_shape=(2, 32, 32), preprocessing=Preprocessing())


def test_a_detector_in_training_scores_what_its_artifact_does() -> None:
    pytest.importorskip("pycocotools")
    entry, recipe = MODELS.create("lt-snn-yolo-short"), RECIPES["lt-snn-yolo-short"]
    torch.manual_seed(0)
    module = entry.module(weights=False)
    with torch.no_grad():  # so that some of what an untrained network says is likely
        module.head[2].bias.copy_(torch.rand(192))
    made = prepare(load_module(module, torch.zeros(2, *entry.input_shape)), recipe)
    data = open_data("shapes", input_shape=(2, 32, 32), preprocessing=Preprocessing(), steps=3)
    x, _ = next(data.test.batches(8))
    network = made.network.eval()
    with torch.no_grad():
        said = Detect().find(network.predict(network(x.movedim(1, 0), steps=3))[-1])
    y = torch.zeros(8, 1, 5)
    for number in range(8):  # the best that is said in the end is what is there
        left, top, right, bottom = said.of(number).corners[0].tolist()
        y[number, 0] = torch.tensor([left, top, right - left, bottom - top, 0])
        y[number, 0, 4] = said.of(number).label[0]
    got = scores(made.network, [(x.movedim(1, 0), y)], steps=3, task="detect")
    net = made.to_spiking(encoder="frames:steps=3")
    wanted = evaluate(net, [(x, y)], steps=3, task="detect").scores["map50"]
    assert got == pytest.approx(wanted.snn.tolist())
    assert got[-1] > 0.1
    nothing = torch.full_like(y, -1)
    assert scores(made.network, [(x.movedim(1, 0), nothing)], steps=3, task="detect") == [None] * 3
