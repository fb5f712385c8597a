"""Images shown to a saved network: the answers of a network whose answers are known by colour."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_commands import run
from torch import nn

import convsnn
from convsnn.commands.app import app
from convsnn.commands.hints import options_of
from convsnn.errors import ConfigError, ConvsnnWarning, LoadError
from convsnn.measure.early_exit import run_early
from convsnn.measure.margins import Margins
from convsnn.simulate import Program
from convsnn.workflows.predict import Predictions, predict
from convsnn.workflows.predict.answers import settled_at
from zoo.data import Preprocessing, open_data

NAMES = ["blue", "green", "red"]  # as class folders are numbered
STEPS = 8
PREPROCESSING = {"mean": [0.1], "std": [0.5]}


class Colours(nn.Module):
    """Scores of blue, green and red: the mean of each channel of (B, 3, H, W)."""

    def __init__(self, order=(2, 1, 0)):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1, bias=False), nn.ReLU()
        self.pool, self.head = nn.AvgPool2d(8), nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
            self.head.weight.copy_(torch.eye(3)[list(order)])

    def forward(self, x):
        return self.head(self.pool(self.relu(self.conv(x))).flatten(1))


def picture(rng, colour, size=(8, 8)):
    """An image uint8 (H, W, 3) in which one colour is stronger."""
    x = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
    x[..., 2 - NAMES.index(colour)] += 60
    return x


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of image files by class: 12 of each to train on, 3 to test."""
    root, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for colour in NAMES:
            place = root / split / colour
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(picture(rng, colour)).save(place / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def snn(folder):
    return convsnn.convert(
        Colours().eval(), f"folder:{folder}", STEPS, calibrate="max", readout="mean",
        preprocessing=PREPROCESSING, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def artifact(snn, tmp_path_factory):
    return snn.save(tmp_path_factory.mktemp("saved") / "network.safetensors")


@pytest.fixture(scope="module")
def test_part(folder):
    settings = Preprocessing.from_json(PREPROCESSING)
    return open_data(f"folder:{folder}", input_shape=(3, 8, 8), preprocessing=settings).test


def test_a_folder_is_answered_as_evaluate_would(folder, artifact, snn, test_part, capsys):
    code, out, err = run(capsys, "predict", artifact, folder / "test", "--json", "--top", 2)
    assert code == 0, err
    found = json.loads(out)
    rows = found["predictions"]
    assert found["labels"] == NAMES == snn.network.provenance["labels"]
    assert [row["image"] for row in rows] == [
        str(folder / "test" / name / f"{number}.png") for name in NAMES for number in range(3)
    ]
    assert [row["label"] for row in rows] == [name for name in NAMES for _ in range(3)]
    ((x, y),) = test_part.batches(99)
    assert [row["answer"] for row in rows] == y.tolist()
    every = snn.run(x).outputs[0]  # (T, B, classes), by a way of its own
    for number, row in enumerate(rows):
        scores, order = every[-1, number].topk(2)
        assert [best["class"] for best in row["top"]] == order.tolist()
        assert [best["score"] for best in row["top"]] == pytest.approx(scores.tolist(), rel=1e-5)
        answers = every[:, number].argmax(1).tolist()
        assert set(answers[row["settled"] - 1 :]) == {row["answer"]}
        assert row["settled"] == 1 or answers[row["settled"] - 2] != row["answer"]
        assert row["steps"] == STEPS


def test_every_form_of_an_image_gives_the_same_answer(folder, artifact, snn, tmp_path):
    path = folder / "test" / "green" / "1.png"
    x = np.asarray(Image.open(path))
    np.save(tmp_path / "one.npy", x)
    np.save(tmp_path / "several.npy", np.stack([x, x[::-1]]))
    np.save(tmp_path / "floats.npy", (x / 255).transpose(2, 0, 1))
    np.savez(tmp_path / "data.npz", x=x[None], y=[1])
    Image.fromarray(x).convert("RGBA").save(tmp_path / "clear.PNG")
    (wanted,) = predict(artifact, path).document["predictions"]
    found = predict(artifact, tmp_path)
    rows = found.document["predictions"]
    assert [os.path.basename(row["image"]) for row in rows] == [
        "clear.PNG", "data.npz", "floats.npy", "one.npy", "several.npy[0]", "several.npy[1]"
    ]  # fmt: skip
    assert all(row["top"][0]["class"] == 1 for row in rows)
    for row in (*rows[:2], *rows[3:5]):
        assert {**row, "image": ""} == {**wanted, "image": ""}
    for way in (snn, snn.network, str(artifact)):
        assert predict(way, [path]).document["predictions"] == [wanted]
    ready = (torch.from_numpy((x / 255).transpose(2, 0, 1)).float()[None] - 0.1) / 0.5
    (row,) = snn.predict(ready).document["predictions"]
    assert row["top"][0]["score"] == pytest.approx(wanted["top"][0]["score"], rel=1e-5)
    assert row["image"] == "0"
    assert int(snn(ready).argmax()) == row["answer"]
    assert convsnn.load(artifact).predict(path, top=1).answers == [1]


def test_it_shows_what_it_is(folder, artifact, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(folder)
    code, out, _ = run(capsys, "predict", artifact, "test/red/0.png", "test/blue", "--top", 3)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["image", "answer", "score", "next", "settled", "at"]
    assert lines[1].split()[:3] == ["test/red/0.png", "red", "(2)"]
    assert len(lines) == 1 + 4 + 2
    assert f"after {STEPS} time steps" in out
    found = predict(artifact, "test/red")
    assert isinstance(found, Predictions)
    assert repr(found) == f"Predictions(3 image(s), {STEPS} steps)"
    assert found.labels == ["red"] * 3
    assert "red (2)" in found._repr_html_()


def test_fewer_steps_batches_and_names_of_ones_own(folder, artifact, tmp_path):
    place = folder / "test"
    whole = predict(artifact, place, batch_size=50).document["predictions"]
    assert predict(artifact, place, batch_size=2).document["predictions"] == whole
    assert all(row["steps"] == 3 for row in predict(artifact, place, timesteps=3).document[
        "predictions"])  # fmt: skip
    (tmp_path / "names.txt").write_text("sea\n\nleaf\nrose\n", encoding="utf-8")
    assert predict(artifact, place / "red", labels=tmp_path / "names.txt").labels == ["rose"] * 3
    assert predict(artifact, place / "red", labels=["a", "b", "c"]).labels == ["c"] * 3
    with pytest.raises(ConfigError, match="2 names are given for 3 classes"):
        predict(artifact, place, labels=["a", "b"])
    with pytest.raises(LoadError, match="cannot be read"):
        predict(artifact, place, labels=tmp_path / "none.txt")


def test_early_exit_leaves_where_evaluate_would(folder, artifact, snn, test_part, capsys):
    code, out, err = run(capsys, "predict", artifact, folder / "test", "--early-exit", 90, "--json")
    assert code == 0, err
    found = json.loads(out)
    exits = found["early_exit"]
    assert (exits["promised"], exits["fitted_on"]["samples"]) == (0.9, 36)
    assert exits["fitted_on"]["source"] == f"folder:{folder}"
    rows = found["predictions"]
    code, out, _ = run(capsys, "evaluate", artifact, "--early-exit", 90, "--json")
    needed = json.loads(out)["early_exit"]["margins"]
    margins = Margins(tuple(float("inf") if m is None else m for m in needed), 0.9, 36, 0, 0.0, 0.0)
    wanted = run_early(Program(snn.network), test_part.batches(99), margins)
    assert [row["steps"] for row in rows] == wanted.steps.tolist()
    assert [row["settled"] for row in rows] == wanted.steps.tolist()
    assert [row["answer"] for row in rows] == wanted.answers.tolist()
    assert exits["mean_steps"] == pytest.approx(float(wanted.steps.double().mean()))
    assert exits["mean_steps"] < STEPS
    every = snn.run(next(test_part.batches(99))[0]).outputs[0]
    for number, row in enumerate(rows):
        scores = every[row["steps"] - 1, number].sort(descending=True).values
        assert [b["score"] for b in row["top"]] == pytest.approx(scores.tolist(), rel=1e-5)
    assert "time steps on average" in str(predict(artifact, folder / "test", early_exit=90))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--early-exit", 99.9], "too few to promise"),
        (["--early-exit", 20], "more than 50"),
        (["--early-exit", 90, "--data", "folder:nowhere"], "does not exist"),
        (["--early-exit", 90, "--task", "none"], "the task is 'none'"),
        (["--exit-data", "digits"], "needs --early-exit"),
        (["--data", "digits"], "needs --early-exit"),
        (["--timesteps", 0], "from 1 to"),
        (["--task", "segment"], "segment"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_what_cannot_be_promised_or_run_is_refused(folder, artifact, capsys, options, says):
    code, out, err = run(capsys, "predict", artifact, folder / "test", *options)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())


def test_early_exit_is_refused_where_nothing_is_known_to_fit_on(folder, capsys):
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made = convsnn.convert(Colours().eval(), images, 4, calibrate="max", device="cpu")
    assert made.network.provenance["labels"] is None
    with pytest.warns(ConvsnnWarning, match="nobody knows how files become its input"):
        found = made.predict(folder / "test" / "red")
    assert found.answers == [2, 2, 2]
    assert found.labels == [None] * 3
    assert "2" in str(found)
    with pytest.raises(ConfigError, match="does not say which data"):
        made.predict(images[:2], early_exit=90)
    (row,) = made.predict(images[:1], early_exit=80, data=images).document["predictions"]
    assert row["steps"] <= 4
    waiting = convsnn.convert(
        Colours().eval(), images, 4, calibrate="max", schedule="layers", device="cpu"
    )
    with pytest.raises(ConfigError, match="no answer before its last step"):
        waiting.predict(images[:1], early_exit=80, data=images)
    (row,) = waiting.predict(images[:1]).document["predictions"]
    assert (row["settled"], row["steps"]) == (None, 4)


BROKEN = {
    "missing.png": (None, "does not exist"),
    "text.png": (b"no image", "text.png cannot be read as an image"),
    "cut.png": (b"\x89PNG\r\n\x1a\n\x00\x00", "cut.png cannot be read as an image"),
    "text.npy": (b"no array", "text.npy is damaged, or no .npy file"),
    "empty.npz": (b"", "empty.npz is damaged, or no .npz file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_image_that_cannot_be_read_is_named(folder, artifact, tmp_path, capsys, name):
    content, says = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, out, err = run(
        capsys, "predict", artifact, folder / "test" / "red" / "0.png", tmp_path / name
    )
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert "pickle" not in err


def test_arrays_that_are_no_images_are_refused(artifact, tmp_path):
    for array, says in (
        (np.zeros((8, 8, 3), dtype=np.int64), "holds int64"),
        (np.array([{}], dtype=object), "damaged, or no .npy file"),
        (np.full((3, 8, 8), np.nan), "NaN"),
        (np.zeros((0, 8, 8, 3), dtype=np.uint8), "empty"),
        (np.float32(3), "axes"),
        (np.zeros((2, 9, 9, 3), dtype=np.uint8), "do not fit the network's input"),
    ):
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        with pytest.raises((LoadError, ConfigError), match=r"x\.npy") as caught:
            predict(artifact, tmp_path / "x.npy")
        assert says in str(caught.value)
    np.savez(tmp_path / "x.npz", images=np.zeros(3))
    with pytest.raises(LoadError, match="no array 'x'"):
        predict(artifact, tmp_path / "x.npz")


def test_another_size_is_named_with_the_way_out(artifact, tmp_path, capsys):
    rng = np.random.default_rng(1)
    for name, mode in (("large.png", "RGB"), ("grey.png", "L")):
        Image.fromarray(picture(rng, "red", (20, 16))).convert(mode).save(tmp_path / name)
        code, _, err = run(capsys, "predict", artifact, tmp_path / name)
        assert code == 2
        assert f"{tmp_path / name}: samples of shape" in err
        assert "--resize H,W" in err
    code, out, err = run(capsys, "predict", artifact, tmp_path, "--resize", "8,8", "--json")
    assert code == 0, err
    rows = json.loads(out)["predictions"]
    assert rows[1]["label"] == "red"
    assert len({best["score"] for best in rows[0]["top"]}) == 1  # grey has no colour


def test_a_folder_gives_what_it_shows_and_nothing_else(folder, artifact, tmp_path, capsys):
    rng = np.random.default_rng(2)
    for name in ("b/red.png", "a/blue.png", ".hidden/green.png", "a/.green.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(rng, "green")).save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    rows = predict(artifact, tmp_path).document["predictions"]
    assert [row["image"] for row in rows] == [
        str(tmp_path / "a" / "blue.png"), str(tmp_path / "b" / "red.png")
    ]  # fmt: skip
    (tmp_path / "none").mkdir()
    code, _, err = run(capsys, "predict", artifact, tmp_path / "none")
    assert code == 2
    assert "holds no images" in err
    code, _, err = run(capsys, "predict", artifact, tmp_path / "a" / "pipe.png")
    assert code == 2
    assert "is no plain file" in err


def test_colour_is_shown_in_grey_with_a_note_where_the_network_takes_grey(tmp_path, capsys):
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    nn.init.ones_(net[0].weight)
    rng = np.random.default_rng(3)
    for split in ("train", "test"):
        x = rng.integers(0, 256, (20, 4, 4), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", x=x, y=np.arange(20) % 2)
    data = f"npz:{tmp_path / 'train.npz'},{tmp_path / 'test.npz'}"
    made = convsnn.convert(net, data, 4, calibrate="max", device="cpu")
    made.save(tmp_path / "net.safetensors")
    grey = rng.integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "rgb.png")
    np.save(tmp_path / "grey.npy", grey)
    names = [tmp_path / name for name in ("grey.png", "rgb.png", "grey.npy")]
    code, out, err = run(capsys, "predict", tmp_path / "net.safetensors", *names, "--json")
    assert code == 0
    assert "1 image(s) in colour were shown in grey" in err
    rows = [{**row, "image": ""} for row in json.loads(out)["predictions"]]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["label"] is None


@pytest.mark.parametrize("task", ["multilabel", "regress", "none"])
def test_other_tasks_are_answered_as_what_they_are(folder, artifact, snn, test_part, task):
    found = predict(artifact, folder / "test", task=task)
    rows = found.document["predictions"]
    outputs = snn.run(next(test_part.batches(99))[0]).outputs[0]
    for number, row in enumerate(rows):
        last = outputs[-1, number]
        if task == "multilabel":
            assert row["answer"] == (last > 0).nonzero()[:, 0].tolist()
            assert row["label"] == [NAMES[label] for label in row["answer"]]
            assert 1 <= row["settled"] <= STEPS
        else:
            assert row["answer"] == pytest.approx(last.tolist(), rel=1e-5)
            assert row["settled"] is None
        assert "top" not in row
    assert len(str(found).splitlines()) == 1 + len(rows) + 2
    assert json.loads(found.to_json())["task"] == task


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=8))
def test_settling_is_the_first_step_from_which_nothing_changes(steps):
    decided = torch.tensor(steps).reshape(len(steps), 3, 2)
    for sample, at in enumerate(settled_at(decided).tolist()):
        rows = decided[:, sample].tolist()
        stays = [t for t in range(1, len(rows) + 1) if all(r == rows[-1] for r in rows[t - 1 :])]
        assert at == min(stays)


def test_help_cuts_no_word_at_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, "predict", "--help")
    assert code == 0
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert all(option in out for option in options_of(app, "predict"))


@pytest.mark.parametrize("labels", [7, [1, 2, 3], ["a"], {"a": 1}, None])
def test_names_of_a_file_that_do_not_fit_are_left_out(snn, folder, labels):
    net = snn.network
    net = replace(net, provenance={**net.provenance, "labels": labels})
    assert predict(net, folder / "test" / "red").labels == [None] * 3
