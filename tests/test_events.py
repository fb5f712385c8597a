"""Event cameras: events become the frames that the papers' rules say, and networks see each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convsnn.commands import main
from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError, ConvsnnError, LoadError
from convsnn.graph import run
from convsnn.load import load_module
from convsnn.measure import evaluate
from convsnn.simulate import simulate
from convsnn.train.direct import Form, prepare
from convsnn.train.samples import Sequences
from zoo.data import Binning, Preprocessing, open_data
from zoo.data.binning import Events, frames
from zoo.models import MODELS
from zoo.models.base import model
from zoo.recipes.spiking import RECIPES, SpikingRecipe, enrol

MIXED = "augment=shift-flip-mix"
TIMES = [0, 12, 25, 40, 59, 60, 99]
SHAPE = {"sensor": (4, 4), "plane": (4, 4), "channels": 2}


def one(times: list[int], x: Any = 0, y: Any = 0, p: Any = 1) -> Events:
    t = np.array(times, dtype=np.int64)
    return Events(t, *(np.broadcast_to(np.array(v, dtype=np.int64), t.shape) for v in (x, y, p)))


def counted(times: list[int], steps: int, by: Any) -> list[int]:
    """Events in each frame."""
    made = frames(one(times), steps, Binning(by, "count"), **SHAPE)
    return made.sum((1, 2, 3)).astype(int).tolist()


# --- events to frames --------------------------------------------------------------------------


def test_events_fall_into_the_frames_of_the_three_rules() -> None:
    assert counted(TIMES, 5, "time") == [2, 1, 2, 1, 1]
    assert counted(TIMES, 3, "count") == [2, 2, 2]  # the seventh is left over
    assert counted(TIMES, 3, 30) == [3, 2, 1]  # 0, 0, 0, 1, 1, 2 and 99 too late
    assert counted(TIMES[::-1], 3, "count") == [2, 2, 2]
    assert counted([], 3, "count") == counted([], 3, "time") == [0, 0, 0]


@given(
    times=st.lists(st.integers(0, 10**9), min_size=1, max_size=40),
    steps=st.integers(1, 12),
    late=st.integers(0, 10**9),
)
def test_equal_stretches_lose_no_event_and_know_neither_clock_nor_order(
    times: list[int], steps: int, late: int
) -> None:
    found = counted(times, steps, "time")
    assert sum(found) == len(times)
    assert found == counted([t + late for t in reversed(times)], steps, "time")
    first, length = min(times), max(times) - min(times) + 1
    wanted = [0] * steps
    for t in times:
        wanted[(t - first) * steps // length] += 1
    assert found == wanted


def test_pixels_hold_polarity_and_what_they_are_asked_for() -> None:
    events = one([0, 1, 2, 9], x=[1, 1, 3, 0], y=[2, 2, 0, 0], p=[1, 1, 0, 0])
    made = {v: frames(events, 2, Binning("time", v), **SHAPE) for v in ("binary", "count", "share")}
    assert made["binary"].dtype == np.uint8
    assert np.argwhere(made["binary"]).tolist() == [[0, 0, 0, 3], [0, 1, 2, 1], [1, 0, 0, 0]]
    assert made["count"][0, 1, 2, 1] == 2
    assert made["share"][0].max() == made["share"][1].max() == 1
    assert made["share"][0, 0, 0, 3] == 0.5
    both = frames(events, 2, Binning(), sensor=(4, 4), plane=(4, 4), channels=1)
    assert both.sum() == 3


def test_a_large_sensor_is_brought_to_the_frame_by_joining_pixels() -> None:
    events = one([0, 0, 0], x=[0, 63, 127], y=[0, 64, 127])
    made = frames(events, 1, Binning(), sensor=(128, 128), plane=(48, 48), channels=1)
    assert np.argwhere(made[0, 0]).tolist() == [[0, 0], [24, 23], [47, 47]]


# --- files -------------------------------------------------------------------------------------


def save_events(path: Path, *, count: int = 20, side: int = 8, seed: int = 0, **other: Any) -> Path:
    """Recordings of two classes: class 1 has its events right, and in the second half."""
    rng = np.random.default_rng(seed)
    labels, rows, offsets = np.arange(count) % 2, [], [0]
    for label in labels:
        n = int(rng.integers(40, 60))
        t = np.sort(rng.integers(0, 500, n)) + 499 * label
        x = rng.integers(0, side // 2, n) + side // 2 * label
        rows.append(np.stack([t, x, rng.integers(0, side, n), rng.integers(0, 2, n)], 1))
        rows[-1][0, 0], rows[-1][-1, 0] = 0, 999
        offsets.append(offsets[-1] + n)
    held = {
        "events": np.concatenate(rows).astype(np.int32),
        "columns": np.array(["t", "x", "y", "p"]),
        "offsets": np.array(offsets),
        "labels": labels.astype(np.uint8),
        **other,
    }
    np.savez(path, **{k: v for k, v in held.items() if v is not None})
    return path


def opened(spec: str, *, shape: Any = (2, 8, 8), steps: int | None = 4, **settings: Any) -> Any:
    return open_data(spec, input_shape=shape, preprocessing=Preprocessing(**settings), steps=steps)


def test_lists_of_events_open_as_sequences_and_equal_their_frames(tmp_path: Path) -> None:
    train = save_events(tmp_path / "train.npz")
    test = save_events(tmp_path / "test.npz", count=6, seed=1)
    binning = Binning("count", "share")
    data = opened(f"events:{train},{test}", binning=binning)
    assert (len(data.train), len(data.test), data.train.steps, data.train.classes) == (20, 6, 4, 2)
    x, y = next(data.test.batches(6))
    assert x.shape == (6, 4, 2, 8, 8)
    stored = {}
    for name, part in (("a", data.train), ("b", data.test)):
        xs, ys = next(part.batches(100))
        stored[name] = tmp_path / f"{name}.npz"
        np.savez(stored[name], x=xs.numpy(), y=ys.numpy())
    again = opened(f"frames:{stored['a']},{stored['b']}")
    other, labels = next(again.test.batches(6))
    assert torch.equal(other, x)
    assert torch.equal(labels, y)
    known = Preprocessing(binning=binning)
    assert Preprocessing.from_json(json.loads(json.dumps(known.to_json()))) == known


def test_of_one_file_a_tenth_is_kept_and_always_the_same(tmp_path: Path) -> None:
    path = save_events(tmp_path / "all.npz", count=30)
    first, second = opened(f"events:{path}"), opened(f"events:{path}")
    assert (len(first.train), len(first.test)) == (27, 3)
    seen = torch.cat([next(part.batches(30))[0] for part in (first.train, first.test)])
    assert len(seen.flatten(1).unique(dim=0)) == 30
    assert torch.equal(next(first.test.batches(3))[0], next(second.test.batches(3))[0])


def test_published_recordings_of_nmnist_are_read_byte_by_byte(tmp_path: Path) -> None:
    def five(x: int, y: int, p: int, t: int) -> list[int]:
        return [x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]

    raw = five(3, 4, 1, 70000) + five(0, 240, 0, 0) + five(33, 32, 0, 70100 - 2**13)
    for split in ("Train", "Test"):
        for digit in (0, 7):
            folder = tmp_path / split / str(digit)
            folder.mkdir(parents=True)
            (folder / "00001.bin").write_bytes(bytes(raw))
    data = opened(f"nmnist:{tmp_path}", shape=(2, 34, 34), steps=2)
    x, y = next(data.train.batches(2))
    assert y.tolist() == [0, 7]
    assert x[1].nonzero().tolist() == [[0, 1, 4, 3], [1, 0, 32, 33]]
    (tmp_path / "Test" / "7" / "00001.bin").write_bytes(bytes(raw[:-1]))
    broken = opened(f"nmnist:{tmp_path}", shape=(2, 34, 34), steps=2)
    with pytest.raises(LoadError, match="no events of five bytes"):
        list(broken.test.batches(2))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"columns": np.array(["t", "x", "y", "z"])}, "no polarity"),
        ({"columns": np.array(["t", "x", "row", "p"])}, "the columns are t, x, row, p"),
        ({"offsets": np.array([0, 5])}, "do not divide"),
        ({"size": np.array([4, 8])}, "outside a sensor of 4x8"),
        ({"events": np.zeros((3, 4))}, "are no list"),
        ({"labels": np.zeros(3, int)}, "3 labels"),
        ({"offsets": None}, "no array 'offsets'"),
    ],
)
def test_damaged_lists_are_refused_by_name(tmp_path: Path, other: Any, message: str) -> None:
    path = save_events(tmp_path / "a.npz", **other)
    with pytest.raises(ConvsnnError, match=message) as caught:
        opened(f"events:{path},{path}")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("shape", "steps", "wanted", "message"),
    [
        ((5, 4, 2, 8, 8), 5, (2, 8, 8), "sequences of 4 frames, but the network runs 5"),
        ((5, 4, 8, 8), 4, (2, 8, 8), "no polarity"),
        ((5, 8, 8), 4, (2, 8, 8), "3 axes"),
        ((5, 4, 3, 8, 8), 4, (2, 8, 8), "do not fit the network's input"),
        ((5, 4, 2, 8, 8), None, (2, 8, 8), "holds sequences of 4 frames, not images"),
    ],
)
def test_frames_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, shape: Any, steps: int | None, wanted: Any, message: str
) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(shape, np.uint8))
    with pytest.raises(ConvsnnError, match=message) as caught:
        opened(f"frames:{tmp_path / 'a.npz'},{tmp_path / 'a.npz'}", shape=wanted, steps=steps)
    assert caught.value.hint


def test_networks_that_events_do_not_fill_are_refused(tmp_path: Path) -> None:
    path = save_events(tmp_path / "a.npz", size=np.array([8, 8]))
    with pytest.raises(ConfigError, match="one or two channels, not 3"):
        opened(f"events:{path},{path}", shape=(3, 8, 8))
    with pytest.raises(ConfigError, match="do not fill the network's 9x9"):
        opened(f"events:{path},{path}", shape=(2, 9, 9))
    with pytest.raises(ConfigError, match="binned by time"):
        Binning(by=0)


def test_real_recordings_open_and_hold_what_the_file_says(
    shared_data: Path, tmp_path: Path
) -> None:
    file = shared_data / "nmnist" / "nmnist_small_events.npz"
    if not file.exists():
        pytest.skip("the recordings of N-MNIST are not there")
    with np.load(file) as held:
        offsets, labels = held["offsets"][:61], held["labels"][:60]
        rows, columns = held["events"][: offsets[-1]], held["columns"]
    path = tmp_path / "real.npz"
    np.savez(path, events=rows, offsets=offsets, labels=labels, columns=columns)
    data = opened(
        f"events:{path},{path}", shape=(2, 34, 34), steps=15, binning=Binning("time", "count")
    )
    x, y = next(data.train.batches(60))
    assert x.flatten(1).sum(1).tolist() == np.diff(offsets).tolist()
    assert y.tolist() == labels.tolist()
    assert x.sum((0, 2, 3, 4)).min() > 0  # all three saccades, so every frame


# --- networks ----------------------------------------------------------------------------------


class Tiny(nn.Module):
    """A convolution and two linear layers for events of 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.fc1, self.fc2 = nn.Linear(64, 16), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.norm(self.conv(x))).flatten(1)
        return self.fc2(torch.relu(self.fc1(hidden)))


@pytest.fixture
def recipe() -> Iterator[str]:
    """The name of a recipe for `Tiny`, enrolled as one of the zoo's."""
    model(
        "tiny-events", "for this test", input_shape=(2, 8, 8), classes=2,
        preprocessing=Preprocessing(scale=1.0),
    )(Tiny)  # fmt: skip
    enrol("tiny-events", SpikingRecipe(model="tiny-events", epochs=10, batch_size=10))
    yield "tiny-events"
    del RECIPES["tiny-events"], MODELS._entries["tiny-events"]


def test_a_simulation_shows_each_step_its_own_frame() -> None:
    torch.manual_seed(0)
    graph = load_module(Tiny().eval(), torch.zeros(2, 2, 8, 8))
    made = prepare(graph, Form(threshold="lt-snn:initial=0.2"))
    made.network.eval()
    net = made.to_spiking(encoder="frames:steps=5")
    x = (torch.rand(6, 5, 2, 8, 8) < 0.3).float()
    with torch.no_grad():
        wanted = made.network.predict(made.network(x.movedim(1, 0), steps=5))
    got = simulate(net, x, steps=5)
    assert torch.allclose(got.outputs[0], wanted, atol=1e-5)
    assert torch.allclose(simulate(net, x, steps=5, chunk=2).outputs[0], got.outputs[0], atol=1e-6)
    sent = got.spikes[graph.input.name]
    assert torch.equal(sent, x.flatten(2).sum(2).T.to(sent))
    with pytest.raises(ConfigError, match="show nothing at step 6"):
        simulate(net, x, steps=6)
    with pytest.raises(ConfigError, match="takes inputs"):
        simulate(net, x[:, 0], steps=5)
    found = evaluate(net, [(x, torch.zeros(6, dtype=torch.int64))], steps=5)
    assert torch.equal(found.ann_predictions, run(net.graph, x.mean(1))[graph.outputs[0]].argmax(1))
    still = prepare(graph, Form(threshold="lt-snn:initial=0.2")).to_spiking()
    alike = x[:, :1].expand(-1, 5, -1, -1, -1)
    same = simulate(still, x[:, 0], steps=5).outputs[0]
    assert torch.allclose(simulate(net, alike, steps=5).outputs[0], same, atol=1e-5)


def test_frames_of_a_sequence_are_moved_alike() -> None:
    x = (torch.rand(4, 3, 2, 16, 16) < 0.2).float()
    whole = Sequences(lambda numbers: x[list(numbers)], torch.tensor([0, 1, 0, 1]), "shift-flip")
    plain = whole.batch([2, 0], generator=None)
    assert torch.equal(plain.x, x[[2, 0]].movedim(1, 0))
    assert plain.labels.tolist() == [0, 0]
    same = Sequences(lambda n: x[list(n)][:, :1].repeat(1, 3, 1, 1, 1), whole.labels, whole.augment)
    moved = same.batch(range(4), generator=torch.Generator().manual_seed(1)).x
    assert torch.equal(moved[0], moved[2])
    assert not torch.equal(moved[0], x[:, 0])


@pytest.mark.parametrize("outputs", ["spike", "potential"])
def test_a_recipe_learns_from_sequences_and_its_network_is_scored_again(
    tmp_path: Path, recipe: str, outputs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [save_events(tmp_path / f"{n}.npz", count=40, seed=s) for s, n in enumerate("ab")]
    spec = f"events:{paths[0]},{paths[1]}"
    out = tmp_path / "out"
    asked = ["train", recipe, "--data", spec, "--device", "cpu", "-o", str(out), "--json"]
    asked += ["--set", "threshold=lt-snn:initial=0.3", "--set", "learning_rate=0.01"]
    asked += ["--set", "held_out=0.2", "--set", "augment=shift"]
    assert main([*asked, "--set", f"outputs={outputs}"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["runs"][0]["accuracy"][-1] >= 0.9
    assert document["runs"][0]["epochs"][-1]["held_out"] >= 0.9
    report = json.loads((out / "report.json").read_text())
    assert report["method"]["encoder"] == "frames:steps=4"
    assert any("mean of each sample's frames" in text for text in report["warnings"])
    again = ["evaluate", str(out), "--device", "cpu", "--json", "--examples", "2"]
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out)["snn"] | {"seconds": 0} == report["snn"] | {
        "seconds": 0
    }
    for refused, message in (
        (["diagnose", str(out), "--json"], "was not converted"),
        (["finetune", str(out), "--timesteps", "2", "--json"], "fine-tuned"),
        ([*again, "--timesteps", "5"], "show nothing at step 5"),
    ):
        assert main(refused) == 2
        assert message in json.loads(capsys.readouterr().out)["error"]["message"]


def test_conversion_and_training_for_other_steps_refuse_sequences_by_name(
    tmp_path: Path, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((4, 3, 2, 8, 8), np.uint8), y=np.arange(4) % 2)
    spec = f"frames:{path},{path}"
    for refused, message in (
        (["train", recipe, "--data", spec], "sequences of 3 frames, but the network runs 4"),
        (["train", recipe, "--data", spec, "--set", "frames_by=often"], "frames_by is time"),
        (
            ["train", recipe, "--data", spec, "--set", "timesteps=3", "--set", MIXED],
            "cannot be mixed",
        ),
        (["convert", "zoo:mnist5k-cnn", "--data", spec], "3 frames, but the network runs 32"),
        (["convert", "zoo:mnist5k-cnn", "--encoder", "frames"], "holds images"),
    ):
        assert main([*refused, "--json"]) == 2
        assert message in json.loads(capsys.readouterr().out)["error"]["message"]


def test_the_recipes_for_event_cameras_name_networks_of_two_polarities() -> None:
    wanted = {"ltmd-nmnist": 15, "ltmd-dvscifar10": 7, "lt-snn-vgg9": 30}
    for name, steps in wanted.items():
        assert RECIPES[name].timesteps == steps
        assert MODELS.create(RECIPES[name].model).input_shape[0] == 2
        assert RECIPES[name].binning() == Binning("time", "binary")
    assert ENCODERS.create("frames:steps=7").spec() == "frames:steps=7"
