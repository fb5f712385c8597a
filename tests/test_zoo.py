"""The zoo: every model keeps the contract, and the bundled weights are what their files say."""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.nn import functional as F
from typer.testing import CliRunner

from convsnn.errors import ConfigError, ExportError, LoadError
from zoo import train as recipe
from zoo.data import Preprocessing, open_data
from zoo.models import MODELS, base, describe
from zoo.models.resnet_cifar import Block
from zoo.recipes.ann import RECIPES, augmentation, optimizer_of

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("CONVSNN_DATA", REPOSITORY.parent / "shared" / "data"))
CHECKPOINTS = {20: "resnet20-12fca82f.th", 32: "resnet32-d509ac18.th"}
ENTRIES = [MODELS.create(name) for name in MODELS.names()]
BUNDLED = [entry for entry in ENTRIES if entry.weights]


def names(entries):
    return [entry.name for entry in entries]


def resnet_size(depth):
    blocks = (depth - 2) // 6
    size = 3 * 16 * 9 + 2 * 16
    before = 16
    for width in (16, 32, 64):
        first = before * width * 9 + width * width * 9 + 4 * width
        size += first + (blocks - 1) * (2 * width * width * 9 + 4 * width)
        before = width
    return size + 64 * 10 + 10


def vgg_size():
    widths = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
    convolutions = sum(a * b * 9 + b for a, b in pairwise(widths))
    return convolutions + 2 * sum(widths[1:]) + 512 * 10 + 10


SIZES = {f"resnet{depth}-cifar10": resnet_size(depth) for depth in (20, 32, 44, 56, 110)} | {
    "vgg16-cifar10": vgg_size(),
    "mnist5k-cnn": (9 * 16 + 32) + (16 * 32 * 9 + 64) + (32 * 32 * 9 + 64) + (32 * 49 * 10 + 10),
}


@pytest.mark.parametrize("entry", ENTRIES, ids=names(ENTRIES))
def test_every_model_answers_a_batch_in_eval_mode(entry):
    module = entry.module(weights=False)
    assert not any(part.training for part in module.modules())
    with torch.inference_mode():
        answers = module(torch.randn(2, *entry.input_shape))
    boxes = 10 if answers.dim() == 4 else 0  # two boxes of five numbers in each cell of a grid
    assert answers.shape[:2] == (2, entry.classes + boxes)
    assert answers.isfinite().all()


@pytest.mark.parametrize("entry", ENTRIES, ids=names(ENTRIES))
def test_every_model_can_be_fed_from_data(entry):
    assert isinstance(entry.preprocessing, Preprocessing)
    for values in (entry.preprocessing.mean, entry.preprocessing.std):
        assert len(values) in (0, 1, entry.input_shape[0])
    if entry.data:
        data = open_data(
            entry.data, input_shape=entry.input_shape, preprocessing=entry.preprocessing
        )
        assert data.test.classes == entry.classes


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_parameters_are_as_many_as_counted_by_hand(name, size):
    row = next(row for row in describe() if row["name"] == name)
    assert row["parameters"] == size
    assert row["thresholds"] == 0


def test_published_sizes():
    # He et al. 2016, table 6, in millions.
    stated = {20: "0.27", 32: "0.46", 44: "0.66", 56: "0.85", 110: "1.7"}
    for depth, millions in stated.items():
        digits = len(millions.partition(".")[2])
        assert f"{SIZES[f'resnet{depth}-cifar10'] / 1e6:.{digits}f}" == millions
    assert SIZES["resnet20-cifar10"] == 269_722


def test_describe_names_all_models_at_once_and_writes_as_json():
    started = time.perf_counter()
    rows = describe()
    assert time.perf_counter() - started < 2
    assert [row["name"] for row in rows] == MODELS.names()
    assert [row["name"] for row in rows if row["weights"] == "bundled"] == names(BUNDLED)
    assert json.loads(json.dumps(rows)) == rows


def test_learnable_thresholds_are_counted_apart(monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", {})

    @base.model(
        "spiking", "two", input_shape=(3,), classes=2, preprocessing=Preprocessing(), data=None
    )
    class Spiking(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(3, 2)
            self.inner.register_parameter("threshold", torch.nn.Parameter(torch.ones(5)))

    (row,) = describe()
    assert (row["parameters"], row["thresholds"]) == (8, 5)
    assert MODELS.describe("spiking") == "two"
    with pytest.raises(ConfigError, match="no weights are bundled for zoo model 'spiking'"):
        MODELS.create("spiking").module()


def test_an_unknown_model_suggests_the_nearest():
    with pytest.raises(ConfigError, match="unknown zoo model 'resnet20'") as caught:
        MODELS.create("resnet20")
    assert "resnet20-cifar10" in caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_weights_are_a_load_error(monkeypatch, tmp_path, content):
    monkeypatch.setattr(base, "WEIGHTS", tmp_path)
    if content is not None:
        (tmp_path / "mnist5k-cnn.safetensors").write_bytes(content)
    with pytest.raises(LoadError, match=r"mnist5k-cnn\.safetensors") as caught:
        MODELS.create("mnist5k-cnn").module()
    assert "python -m zoo.train mnist5k-cnn" in caught.value.hint


@settings(max_examples=20, deadline=None)
@given(half=st.integers(1, 4), side=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_block_without_residual_is_its_shortcut(half, side, seed):
    channels = 2 * half
    block = Block(channels, 2 * channels).eval()
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, channels, 2 * side, 2 * side, generator=torch.manual_seed(seed))
    y = block(x)
    before, kept, behind = y.split([half, channels, half], dim=1)
    assert torch.equal(kept, F.relu(x[:, :, ::2, ::2]))
    assert not before.any()
    assert not behind.any()


@pytest.mark.parametrize(("depth", "stated"), [(20, 0.904), (32, 0.913)])
def test_published_checkpoints_load_strictly_and_score_as_measured(depth, stated):
    checkpoint, images = DATA / "cifar10" / CHECKPOINTS[depth], DATA / "cifar10" / "test1000.npz"
    if not checkpoint.exists() or not images.exists():
        pytest.skip(f"{checkpoint} or {images.name} is not there; set CONVSNN_DATA")
    entry = MODELS.create(f"resnet{depth}-cifar10")
    module = entry.module(weights=False)
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    module.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    stored = np.load(images)
    x = torch.from_numpy(stored["x"]).permute(0, 3, 1, 2) / 255
    how = entry.preprocessing
    mean, std = (torch.tensor(values)[:, None, None] for values in (how.mean, how.std))
    y = torch.from_numpy(stored["y"]).long()
    # One image in a thousand may lie on the border between two classes.
    assert recipe.accuracy(module, (x - mean) / std, y) == pytest.approx(stated, abs=0.0011)


@pytest.fixture(scope="module", params=BUNDLED, ids=names(BUNDLED))
def bundled(request):
    """A bundled entry, its module, its test split and the metadata of its weights."""
    entry, spec = request.param, request.param.data
    if spec is None:
        folder = request.getfixturevalue("shared_data") / "mnist"
        spec = f"npz:{folder / 'train.npz'},{folder / 'test.npz'}"
    data = open_data(spec, input_shape=entry.input_shape, preprocessing=entry.preprocessing)
    xs, ys = zip(*data.test.batches(500), strict=True)
    with safe_open(entry.weights_path, "pt") as file:
        stated = file.metadata()
    return entry, entry.module(), (torch.cat(xs), torch.cat(ys)), stated


def onnx_path(entry):
    return entry.weights_path.with_suffix(".onnx")


def run_onnx(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def test_bundled_weights_score_what_their_file_states(bundled):
    _, module, (x, y), stated = bundled
    assert len(y) >= 1000
    assert recipe.accuracy(module, x, y) == pytest.approx(
        float(stated["test_accuracy"]), abs=1.001 / len(y)
    )
    assert float(stated["test_accuracy"]) >= 0.98


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_onnx_file_is_the_module_at_any_batch_size(bundled, batch):
    entry, module, (x, _), _ = bundled
    with torch.inference_mode():
        expected = module(x[:batch])
    assert (run_onnx(onnx_path(entry), x[:batch]) - expected).abs().max() <= 1e-5


def test_bundled_files_say_how_they_were_made_and_how_to_feed_them(bundled):
    entry, _, _, stated = bundled
    about = {p.key: p.value for p in onnx.load(onnx_path(entry)).metadata_props}
    assert about.get("convsnn.data") == entry.data  # no data set's place on some machine
    assert stated["data"] == (entry.data or "npz:...")
    kept = Preprocessing.from_json(json.loads(about["convsnn.preprocessing"]))
    assert kept == entry.preprocessing
    assert about["convsnn.command"] == stated["command"]
    assert stated["command"].startswith(f"python -m zoo.train {entry.name} ")
    assert {"torch", "torchvision"} <= json.loads(stated["versions"]).keys()


def test_bundled_files_are_small_and_hold_no_path_of_a_machine(bundled):
    for path in (bundled[0].weights_path, onnx_path(bundled[0])):
        content = path.read_bytes()
        assert len(content) < 1_000_000
        paths = (b"site-packages", b".py", b"/home/", b"/usr/", b"/root", b"/work", b"/tmp")
        for trace in (*paths, str(REPOSITORY).encode(), sys.prefix.encode()):
            assert trace not in content, trace
    proto = onnx.load(onnx_path(bundled[0]))
    assert not proto.doc_string
    for node in proto.graph.node:
        assert not node.doc_string
        assert {note.key for note in node.metadata_props} <= set(recipe.LAYER_NOTES)


def one_epoch(seed):
    torch.manual_seed(seed)
    module = MODELS.create("mnist5k-cnn").build()
    x, y = torch.rand(150, 1, 28, 28), torch.arange(150) % 10
    score = recipe.fit(
        module,
        x,
        y,
        recipe=recipe.Recipe(epochs=1, seed=seed),
        preprocessing=Preprocessing(),
        device=torch.device("cpu"),
    )
    assert 0 <= score <= 1
    return torch.nn.utils.parameters_to_vector(module.parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_one_update(name):
    made, entry = RECIPES[name], MODELS.create(name)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(entry.classes))
    images = torch.rand(2, *entry.input_shape)
    change = augmentation(made, entry.preprocessing, [0.0] * len(images[0]))
    seen = torch.stack([change(image) for image in images])
    assert seen.shape == images.shape
    module(seen)
    before = module[1].weight.clone()
    optimizer, schedule = optimizer_of(made, module, steps=10)
    module(seen).square().sum().backward()
    optimizer.step()
    schedule.step()
    assert not torch.equal(before, module[1].weight)


def test_training_is_repeated_to_the_last_bit_by_the_seed():
    assert torch.equal(one_epoch(0), one_epoch(0))
    assert not torch.equal(one_epoch(0), one_epoch(1))


def command(*arguments):
    app = typer.Typer()
    app.command()(recipe.main)
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.slow
def test_the_recipe_learns_in_one_epoch_and_writes_both_files(tmp_path):
    result = command("mnist5k-cnn", "--epochs", 1, "--seed", 3, "-o", tmp_path / "made")
    assert result.exit_code == 0, result.output
    weights, graph = (tmp_path / "made" / f"mnist5k-cnn.{end}" for end in ("safetensors", "onnx"))
    assert set((tmp_path / "made").iterdir()) == {weights, graph}
    with safe_open(weights, "pt") as file:
        about = file.metadata()
        module = MODELS.create("mnist5k-cnn").module(weights=False)
        module.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    assert about["command"] == "python -m zoo.train mnist5k-cnn --epochs 1 --seed 3"
    assert float(about["test_accuracy"]) > 0.8
    assert f"test accuracy {float(about['test_accuracy']):.2%}" in result.stdout
    x = torch.randn(3, 1, 28, 28)
    with torch.inference_mode():
        assert (run_onnx(graph, x) - module(x)).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist5k-cn"], "unknown zoo model 'mnist5k-cn'"),
        (["vgg16-cifar10"], "has no data set of its own"),
        (["mnist5k-cnn", "-o", __file__], "cannot make the folder"),
        (["mnist5k-cnn", "--epochs", "0"], "--epochs"),
        (["mnist5k-cnn", "--seed", str(2**64)], "--seed"),
    ],
)
def test_what_cannot_be_trained_ends_with_2_before_any_work(arguments, message):
    result = command(*arguments)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert message in result.stderr
    assert not result.stdout


def test_an_onnx_file_that_answers_otherwise_is_refused():
    entry = MODELS.create("mnist5k-cnn")
    made = recipe.Trained(entry.module(), 0.0, 0.0, "mnist5k", "")
    proto = recipe.onnx_file(entry, made)
    with torch.no_grad():
        made.module.classifier.bias += 1
    with pytest.raises(ExportError, match="off by 1"):
        recipe.require_equal(proto, made.module, torch.randn(2, 1, 28, 28))
