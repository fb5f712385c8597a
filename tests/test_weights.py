"""Weights files and factories: the right ones are taken, all others are refused with a reason."""

import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convsnn.errors import LoadError
from convsnn.load.weights import load_factory, load_weights

DATA = Path(os.environ.get("CONVSNN_DATA", Path(__file__).parent.parent / "../shared/data"))


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )
    for value in module[1].state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return module.eval()


def same(one: nn.Module, other: nn.Module) -> bool:
    x = torch.arange(32.0).reshape(2, 1, 4, 4)
    return torch.equal(one(x), other(x))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".th", ".bin", ".PT"])
def test_every_kind_of_file_is_read(suffix: str, tmp_path: Path) -> None:
    source, target, path = small(1), small(2), tmp_path / f"w{suffix}"
    write = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    write(source.state_dict(), path)
    assert not same(source, target)
    load_weights(target, path)
    assert same(source, target)


def _prefixed(prefix: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda state: OrderedDict((prefix + name, value) for name, value in state.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "best": 0.9},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": state, "model": "resnet20"},
        _prefixed("module."),
        _prefixed("_orig_mod."),
        _prefixed("module._orig_mod."),
        lambda state: {"state_dict": _prefixed("module.")(state)},
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
        lambda state: {k: v.double() if v.is_floating_point() else v for k, v in state.items()},
    ],
)
def test_the_usual_wrappings_are_taken_off(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    source, target, path = small(1), small(2), tmp_path / "w.pt"
    torch.save(wrap(source.state_dict()), path)
    load_weights(target, path)
    assert same(source, target)


def test_half_precision_is_cast_to_the_module(tmp_path: Path) -> None:
    target, path = small(2), tmp_path / "w.safetensors"
    half = small(1).half()
    safetensors.torch.save_file(half.state_dict(), path)
    load_weights(target, path)
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, half[0].weight.float())


def test_a_module_whose_own_names_begin_like_a_wrapper(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    source = nn.Sequential(OrderedDict(module=small(1)))
    target = nn.Sequential(OrderedDict(module=small(2)))
    torch.save(source.state_dict(), path)
    load_weights(target, path)
    assert same(source, target)


def test_a_pickle_that_runs_code_does_not_run_it(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {marker}",)

    path = tmp_path / "evil.pt"
    torch.save({"state_dict": {"a": Evil()}}, path)
    with pytest.raises(LoadError, match=r"more than plain weights.*(os|posix|nt)\.system") as error:
        load_weights(small(), path)
    assert "nothing is unpickled" in error.value.hint
    assert "safetensors" in error.value.hint
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Evil(), protocol=protocol))
        with pytest.raises(LoadError, match="pickle of more than plain weights"):
            load_weights(small(), path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the file does run code where it is let
    assert marker.exists()


def test_a_whole_pickled_module_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(small(), path)
    with pytest.raises(LoadError, match=r"it asks for torch\.nn\.modules\.container\.Sequential"):
        load_weights(small(), path)


def test_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"nix\.pt' does not exist"):
        load_weights(small(), tmp_path / "nix.pt")
    with pytest.raises(LoadError, match="not a plain file"):
        load_weights(small(), tmp_path)
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(LoadError, match="known by its name") as error:
        load_weights(small(), tmp_path / "w.onnx")
    assert ".safetensors" in error.value.hint
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"empty{suffix}"
        path.touch()
        with pytest.raises(LoadError, match="empty"):
            load_weights(small(), path)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([1, 2], "a list"),
        ({}, "an empty dictionary"),
        (torch.ones(2), "a Tensor"),
        ({"state_dict": {"a": 1.0}, "epoch": 3}, r"'state_dict' \(dict\), 'epoch' \(int\)"),
        ({"a": torch.ones(1), "b": None}, r"'b' \(NoneType\), not a dictionary of tensors"),
        ({1: torch.ones(1)}, r"1 \(Tensor\)"),
    ],
)
def test_what_is_no_dictionary_of_tensors(held: Any, said: str, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(LoadError, match=said):
        load_weights(small(), tmp_path / "w.pt")


def test_names_and_shapes_that_do_not_fit_are_all_named(tmp_path: Path) -> None:
    state, path = small().state_dict(), tmp_path / "w.pt"
    del state["4.bias"]
    state["4.weight"] = torch.ones(3, 9)
    state["0.weight"] = state["0.weight"].to(torch.int8)
    state["0.bias"] = state["0.bias"].to_sparse()
    state |= {f"extra.{i}": torch.ones(1) for i in range(14)}
    torch.save(state, path)
    target, before = small(5), small(5)
    with pytest.raises(LoadError) as error:
        load_weights(target, path)
    text = str(error.value)
    assert "missing: 4.bias;" in text
    assert "4.weight is (3, 9), not (3, 8)" in text
    assert "0.weight is torch.int8, not a float type" in text
    assert "0.bias is sparse" in text
    assert "extra.9 and 4 more" in text
    assert "extra.10" not in text
    assert same(target, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_weights_that_are_not_finite_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    state, path = small().to(dtype).state_dict(), tmp_path / "w.pt"
    state["0.weight"].view(-1)[:2] = torch.tensor([torch.nan, -torch.inf])
    torch.save(state, path)
    target, before = small(5), small(5)
    with pytest.raises(LoadError, match=r"0\.weight \(2 of 18\)"):
        load_weights(target, path)
    assert same(target, before)


FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(data=st.binary(max_size=200), suffix=st.sampled_from([".pt", ".safetensors"]))
@example(data=b"abc", suffix=".pt")
@example(data=b"\x80\x02.", suffix=".pt")
@example(data=b"PK\x03\x04", suffix=".pt")
@FUZZ
def test_random_bytes_are_refused(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"random{suffix}"
    path.write_bytes(data)
    with pytest.raises(LoadError):
        load_weights(small(), path)


@given(cut=st.floats(0, 1, exclude_max=True), kind=st.sampled_from([".pt", ".th", ".safetensors"]))
@FUZZ
def test_truncated_files_are_refused(cut: float, kind: str, tmp_path: Path) -> None:
    state, path = small().state_dict(), tmp_path / f"cut{kind}"
    if kind == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:  # ".th" stands for the older format, which is no zip archive
        torch.save(state, path, _use_new_zipfile_serialization=kind == ".pt")
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(LoadError):
        load_weights(small(), path)


class Block(nn.Module):
    """The basic block of the CIFAR-10 ResNets whose trained weights lie beside the project."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if out.shape != x.shape:
            extra = (out.shape[1] - x.shape[1]) // 2
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
        return torch.relu(out + x)


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="needs the folder in CONVSNN_DATA")
def test_a_published_checkpoint_classifies_real_images() -> None:
    module = ResNet20().eval()
    load_weights(module, DATA / "cifar10" / "resnet20-12fca82f.th")
    images = np.load(DATA / "cifar10" / "test1000.npz")
    x = torch.from_numpy(images["x"][:200]).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        answers = module((x - mean[:, None, None]) / std[:, None, None]).argmax(1)
    assert float((answers == torch.from_numpy(images["y"][:200])).double().mean()) > 0.85


SOURCE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=4):
        super().__init__(nn.Linear(2, width), nn.ReLU())

def build_small():
    return Net(3)

def build_wide(width, depth, *, bias):
    return Net(width)

def explode():
    return torch.ones(2) @ torch.ones(3)

def leave():
    raise SystemExit("goodbye")

ready = Net(5)
number = 3
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "user_nets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "small.py").write_text(SOURCE)
    (package / "broken.py").write_text("import torch\n\nwidth = 1 / 0\n")
    (package / "needy.py").write_text("import a_package_nobody_has\n")
    (package / "typo.py").write_text("def build(:\n    pass\n")
    (package / "script.py").write_text("import sys\nsys.exit(3)\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "user_nets"]:
        del sys.modules[name]


@pytest.mark.parametrize(("name", "width"), [("build_small", 3), ("Net", 4), ("ready", 5)])
def test_a_function_a_class_or_a_module_is_taken(name: str, width: int, project: Path) -> None:
    before = list(sys.path)
    module = load_factory(f"user_nets.small:{name}")
    assert isinstance(module, nn.Module)
    assert module(torch.ones(1, 2)).shape == (1, width)
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "said", "hint"),
    [
        ("user_nets.small", "not of the form", "build"),
        ("user_nets/small.py:build", "not of the form", "without .py"),
        (":build", "not of the form", "import"),
        ("user_nets.small:", "not of the form", "import"),
        ("user_net.small:build", "no module 'user_net'", "user_nets"),
        ("user_nets.smal:build", "no module 'smal' in 'user_nets'", "small"),
        ("user_nets.small.py:build", "no module 'py' in 'user_nets.small'", "leave out .py"),
        ("user_nets.small:build_smal", "has no 'build_smal'", "build_small"),
        ("user_nets.small:number", "is of type int, neither a module nor a factory", ""),
        ("user_nets.small:build_wide", "needs arguments: width, depth, bias", "takes none"),
        ("user_nets.small:explode", r"raised RuntimeError at small\.py:16", ""),
        ("user_nets.small:leave", r"raised SystemExit at small\.py:19: goodbye", ""),
        ("user_nets.broken:build", r"raised ZeroDivisionError at broken\.py:3", ""),
        ("user_nets.needy:build", r"ModuleNotFoundError at needy\.py:1.*nobody_has", ""),
        ("user_nets.typo:build", r"raised SyntaxError at typo\.py:1", ""),
        ("user_nets.script:build", r"raised SystemExit at script\.py:2", ""),
        (
            "collections:OrderedDict",
            "returned an object of type OrderedDict, not a torch.nn.Module",
            "",
        ),
    ],
)
def test_what_is_no_factory_is_refused(spec: str, said: str, hint: str, project: Path) -> None:
    before = list(sys.path)
    with pytest.raises(LoadError, match=said) as error:
        load_factory(spec)
    assert hint in error.value.hint
    assert sys.path == before


def test_an_interrupt_is_not_swallowed(project: Path) -> None:
    (project / "user_nets" / "slow.py").write_text("def build():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_factory("user_nets.slow:build")


def test_a_factory_of_an_installed_package() -> None:
    assert isinstance(load_factory("torchvision.models:squeezenet1_1"), nn.Module)
