"""Mutated artifacts: each loads as it was saved or is refused by a ConvsnnError, and soon.

Mutations are drawn from a seed: bytes of the file, the header with a checksum that fits again,
tensors of other shapes, types and values, and edits of the topology. CONVSNN_FUZZ=800 tries so many
instead of the few of every day; a finding becomes a case of FOUND.
"""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import dyadic_plan, random_graph
from test_artifact import parts
from torch import Tensor

from convsnn.errors import ConvsnnError, LoadError
from convsnn.export import load_artifact, save_artifact
from convsnn.export.artifact import _digest
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking
from convsnn.workflows.subject.saved import load_saved
from zoo.data import Preprocessing

TRIED = int(os.environ.get("CONVSNN_FUZZ", "120"))
SEED = int(os.environ.get("CONVSNN_FUZZ_SEED", "12"))
SLOWEST = 60.0  # seconds of work: far above what a sound file takes, far below a hang

PROVENANCE: dict[str, Any] = {
    "command": "convsnn convert x",
    "model": {
        "name": "x", "source": "x.onnx", "sha256": "", "parameters": 3, "thresholds": 0,
        "input_shape": [1, 8, 8],
    },
    "data": None,
    "preprocessing": {"scale": 255.0, "mean": [0.5], "std": [0.5]},
    "versions": {"torch": "2"},
    "calibration": {"source": "x", "split": "train", "samples": 4},
    "method": {"calibration": "max", "neuron": "if", "encoder": "direct", "max_pool": "exact",
               "readout": "mean"},
    "seed": 0,
    "timesteps": 4,
    "batch_size": 4,
    "engine": {"precision": "float32", "weight_bits": None, "compile": None},
    "samples": None,
}  # fmt: skip
STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, -3, 1.5, 10**23, -(10**30), 2**63, 1e308, "", "a", "1", "nan", "\0",
    "a" * 5000, "if:reset=zero", "mse", [], {}, [[]], [0], [-1], [10**12], {"a": 1}, [None, "b"],
)  # fmt: skip

Parts = tuple[dict[str, Any], dict[str, Tensor]]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("whole")
    for number in range(4):
        graph = random_graph(number, blocks=2)
        spec = "if:reset=zero" if number == 1 else "if"
        plan = dyadic_plan(graph, number)
        net = to_spiking(graph, plan, neuron=spec, provenance=PROVENANCE, encoder="direct")
        save_artifact(net, folder / f"{number}.safetensors")
    return sorted(folder.iterdir())


def pack(header: Any, tensors: dict[str, Tensor], *, sign: bool) -> bytes:
    if sign and isinstance(header, dict):
        header = {**header, "sha256": _digest(header, tensors)}
    apart = {name: tensor.clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(apart, {"convsnn": json.dumps(header)})


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with a key into it, however deep."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def change_bytes(rng: random.Random, whole: bytes, _: Parts) -> bytes:
    changed = bytearray(whole)
    for _number in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def change_front(rng: random.Random, whole: bytes, _: Parts) -> bytes:
    changed = bytearray(whole)
    changed[rng.randrange(8)] = rng.randrange(256)
    return bytes(changed)


def cut(rng: random.Random, whole: bytes, _: Parts) -> bytes:
    return whole[: rng.randrange(len(whole))] + rng.randbytes(rng.choice([0, 0, 9]))


def change_header(rng: random.Random, _: bytes, held: Parts) -> bytes:
    header, tensors = held
    for _number in range(rng.randint(1, 3)):
        container, key = rng.choice(places(header))
        if isinstance(container, dict) and rng.random() < 0.2:
            container.pop(key, None)
        else:
            container[key] = rng.choice(STRANGE)
    return pack(header, tensors, sign=rng.random() < 0.9)


def change_provenance(rng: random.Random, _: bytes, held: Parts) -> bytes:
    header, tensors = held
    container, key = rng.choice(places(header["provenance"]))
    container[key] = rng.choice(STRANGE)
    return pack(header, tensors, sign=True)


def change_tensor(rng: random.Random, _: bytes, held: Parts) -> bytes:
    header, tensors = held
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    kind = rng.randrange(9)
    if kind == 0:
        tensors[name] = tensor.new_full(tensor.shape, rng.choice([float("nan"), float("inf")]))
    elif kind == 1:
        tensors[name] = tensor.new_full(tensor.shape, rng.choice([0.0, -1.0, 1e38, 1e-45, -1e38]))
    elif kind == 2:
        kinds = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]
        tensors[name] = tensor.to(rng.choice(kinds))
    elif kind == 3:
        tensors[name] = tensor.reshape(-1)[: max(1, tensor.numel() // 2)].clone()
    elif kind == 4:
        tensors[name] = tensor[None].clone()
    elif kind == 5:
        tensors[name] = torch.zeros(0)
    elif kind == 6:
        del tensors[name]
    elif kind == 7:
        other = rng.choice(sorted(tensors))
        tensors[name], tensors[other] = tensors[other], tensors[name]
    else:
        tensors[rng.choice(["graph/x", "weight/x", "shift/x", "x", "/", "lateral/x"])] = tensor
    return pack(header, tensors, sign=True)


def change_topology(rng: random.Random, _: bytes, held: Parts) -> bytes:
    header, tensors = held
    nodes = header["topology"]["nodes"]
    node = rng.choice(nodes)
    kind = rng.randrange(8)
    if kind == 0:
        nodes.remove(node)
    elif kind == 1:
        rng.shuffle(nodes)
    elif kind == 2:
        node[1] = rng.choice(
            ["relu", "conv", "linear", "add", "concat", "reshape", "x", "max_pool"]
        )
    elif kind == 3 and node[2]:
        node[2][rng.randrange(len(node[2]))] = rng.choice([n[0] for n in nodes] + ["", "x"])
    elif kind == 4:
        nodes.append(json.loads(json.dumps(node)))
    elif kind == 5 and node[3]:
        node[3][rng.choice(sorted(node[3]))] = rng.choice(STRANGE)
    elif kind == 6:
        header["topology"]["outputs"] = rng.choice([[], ["x"], [node[0]], [node[0]] * 3])
    else:
        node[3][rng.choice(["shape", "dims", "ceiling", "kernel"])] = rng.choice(STRANGE)
    return pack(header, tensors, sign=True)


MUTATIONS: tuple[Callable[[random.Random, bytes, Parts], bytes], ...] = (
    change_bytes, change_front, cut, change_header, change_provenance, change_tensor,
    change_topology,
)  # fmt: skip


def outcome(path: Path) -> str:
    """What a command makes of a file: a network that runs, or a refusal; else the test fails."""
    start = time.process_time()
    try:
        net = load_artifact(path)
        shape = tuple(net.graph.input.attrs["shape"])
        simulate(net, torch.zeros(1, *shape), steps=2)
        Preprocessing.from_json(load_saved(path).provenance["preprocessing"])
    except ConvsnnError as error:
        found = type(error).__name__
    else:
        found = "loaded"
    assert time.process_time() - start < SLOWEST
    return found


def mutated(number: int, originals: list[Path]) -> bytes:
    rng = random.Random(f"{SEED} {number}")
    path = originals[number % len(originals)]
    return MUTATIONS[number % len(MUTATIONS)](rng, path.read_bytes(), parts(path))


@pytest.mark.parametrize("part", range(4))
def test_mutated_artifacts_load_or_are_refused(
    part: int, originals: list[Path], tmp_path: Path
) -> None:
    found: dict[str, int] = {}
    for number in range(part, TRIED, 4):
        path = tmp_path / "m.safetensors"
        path.write_bytes(mutated(number, originals))
        try:
            kind = outcome(path)
        except Exception as error:
            raise AssertionError(
                f"mutation {number} of seed {SEED} ({MUTATIONS[number % len(MUTATIONS)].__name__}) "
                f"raised {type(error).__name__}: {error}"
            ) from error
        found[kind] = found.get(kind, 0) + 1
    print(found)
    assert sum(found.values()) == len(range(part, TRIED, 4))
    assert sorted(os.listdir(tmp_path)) == ["m.safetensors"]


WRONG: dict[str, tuple[Any, ...]] = {
    "batch_size": (None, 0, -1, 1.5, "a", 10**23, True, []),
    "seed": (None, -1, "a", 1.5, 2**63, {}),
    "timesteps": (None, 0, -3, "4", 2.0, 10**23, [4]),
    "samples": (0, -1, "all", 1.5, []),
    "method": (None, 1, "mse", [], {"neuron": None}, {"max_pool": "most"}, {"calibration": 3}),
    "model": (None, [], "x", {"parameters": -1}, {"sha256": 7}, {"input_shape": [0]}),
    "calibration": (None, [], {"samples": -1}, {"samples": "a"}, {"source": 1}),
    "preprocessing": (3, [], "a"),
    "data": (3, [], {}),
    "data_place": (3, "x", {"given": 1}),
    "engine": (3, {"precision": "int4"}, {"weight_bits": 99}, {"compile": "yes"}),
    "command": (3, []),
    "versions": (3, "2"),
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in WRONG.items() for v in vs])
def test_provenance_is_believed_only_in_its_form(
    key: str, value: Any, originals: list[Path], tmp_path: Path
) -> None:
    header, tensors = parts(originals[0])
    header["provenance"][key] = value
    path = tmp_path / "p.safetensors"
    path.write_bytes(pack(header, tensors, sign=True))
    with pytest.raises(LoadError, match=key):
        load_artifact(path)


@pytest.mark.parametrize("key", ["model", "seed", "calibration.samples", "method.neuron"])
def test_provenance_that_lacks_a_part_says_which(
    key: str, originals: list[Path], tmp_path: Path
) -> None:
    header, tensors = parts(originals[0])
    outer, _, inner = key.partition(".")
    del (header["provenance"][outer] if inner else header["provenance"])[inner or outer]
    path = tmp_path / "p.safetensors"
    path.write_bytes(pack(header, tensors, sign=True))
    with pytest.raises(LoadError, match=f"{key} is missing"):
        load_saved(path)


def test_a_bias_of_the_wrong_length_is_found_when_it_is_opened(
    originals: list[Path], tmp_path: Path
) -> None:
    header, held = parts(originals[0])
    node = next(node for node in header["topology"]["nodes"] if node[1] == "conv")
    path = tmp_path / "b.safetensors"
    changed = {**held, f"graph/{node[2][2]}": torch.zeros(1)}
    path.write_bytes(pack(header, changed, sign=True))
    with pytest.raises(LoadError, match="does not fit"):
        load_artifact(path)
