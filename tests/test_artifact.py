"""The artifact: what is saved comes back to the last bit, and nothing damaged is ever taken."""

import copy
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from convsnn.errors import ExportError, LoadError
from convsnn.export import is_artifact, load_artifact, save_artifact
from convsnn.load.torch_module import load_module
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan


class Residual(nn.Module):
    """Two uses of one convolution, a sum, a slice of the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        x = torch.relu(self.conv(x) + x)
        return self.head(x.mean((2, 3)))[:, 1:]


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, 8), nn.ReLU6(), nn.Linear(8, 3), nn.Softmax(1),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Any]]] = {
    "direct": (small, (1, 8, 8), {}),
    "poisson": (
        small, (1, 8, 8),
        {"encoder": "poisson:seed=3,scale=1.1", "neuron": "if:reset=zero"},
    ),
    "residual": (Residual, (4, 5, 5), {"readout": "rising"}),
    "one axis": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3, stride=2), nn.ReLU(), nn.Conv1d(3, 2, 2)),
        (2, 11), {},
    ),
}  # fmt: skip


def spiking(name: str = "direct") -> Spiking:
    build, shape, options = NETS[name]
    torch.manual_seed(len(name))
    graph = load_module(build(), torch.randn(2, *shape))
    shared = torch.rand(64) * 0.2
    sites = {
        site.name: SitePlan(
            # a different threshold per channel, strided so that it is not contiguous
            site.per_channel((torch.rand(2 * site.channels) + 0.5)[::2]).expand(site.shape),
            shared[: site.channels].reshape(site.per_channel(torch.ones(site.channels)).shape),
        )
        for site in graph.sites.values()
    }
    record = ({"stage": "test", "q": 99.9, "layers": ["ä", None, True]},)
    return to_spiking(
        graph, Plan(sites, record=record), provenance={"seed": 0, "t": 1 / 3}, **options
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "net.safetensors"
    save_artifact(spiking(), path)
    return path


def parts(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors, read without the code under test."""
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        tensors = {name: file.get_tensor(name).clone() for name in names}
        return json.loads(file.metadata()["convsnn"]), tensors


def pack(path: Path, header: Any, tensors: dict[str, Tensor]) -> Path:
    path.write_bytes(safetensors.torch.save(tensors, {"convsnn": json.dumps(header)}))
    return path


@pytest.mark.parametrize("name", NETS)
def test_a_round_trip_simulates_to_the_last_bit(name: str, tmp_path: Path) -> None:
    net, path = spiking(name), tmp_path / "net.safetensors"
    save_artifact(net, path)
    again = load_artifact(path)
    assert again.graph.nodes == net.graph.nodes
    assert again.graph.outputs == net.graph.outputs
    assert again.plan.record == net.plan.record
    assert (again.neuron, again.encoder) == (net.neuron, net.encoder)
    assert again.readout == net.readout
    assert again.provenance == net.provenance
    x = torch.randn(3, *NETS[name][1])
    wanted, got = simulate(net, x, steps=6), simulate(again, x, steps=6)
    assert any(bool(spikes.any()) for spikes in wanted.spikes.values())
    for one, other in zip(wanted.outputs, got.outputs, strict=True):
        assert torch.equal(one, other)
    for kind in ("spikes", "synaptic_operations"):
        assert getattr(wanted, kind).keys() == getattr(got, kind).keys()
        for layer, counts in getattr(wanted, kind).items():
            assert torch.equal(counts, getattr(got, kind)[layer])


def test_equal_networks_give_equal_bytes(saved: Path, tmp_path: Path) -> None:
    net, path = spiking(), tmp_path / "again.safetensors"
    nodes = tuple(
        replace(node, attrs=dict(reversed(list(node.attrs.items())))) for node in net.graph.nodes
    )
    tensors = dict(reversed(list(net.graph.tensors.items())))
    sites = dict(reversed(list(net.plan.sites.items())))
    shuffled = replace(
        net,
        graph=replace(net.graph, nodes=nodes, tensors=tensors),
        plan=replace(net.plan, sites=sites),
        provenance=dict(reversed(list(net.provenance.items()))),
    )
    for same in (net, shuffled, load_artifact(saved)):
        save_artifact(same, path)
        assert path.read_bytes() == saved.read_bytes()


def test_aliased_and_trained_tensors_are_saved(tmp_path: Path) -> None:
    net, path = spiking("residual"), tmp_path / "net.safetensors"
    weight = net.graph.tensors["conv.weight"]
    turned = weight.clone().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert not turned.is_contiguous()
    both = {**net.graph.tensors, "conv.weight": turned.requires_grad_(), "alias": turned}
    save_artifact(replace(net, graph=replace(net.graph, tensors=both)), path)
    tensors = load_artifact(path).graph.tensors
    assert torch.equal(tensors["conv.weight"], weight)
    assert torch.equal(tensors["alias"], weight)
    assert not tensors["conv.weight"].requires_grad


def test_the_file_is_safetensors_with_one_sorted_metadata_key(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert metadata.keys() == {"convsnn"}
    header = json.loads(metadata["convsnn"])
    assert list(header) == sorted(header)
    assert (header["format"], header["kind"]) == (1, "spiking network")
    sites = spiking().graph.sites
    assert {f"threshold/{site}" for site in sites} <= names
    assert {f"potential/{site}" for site in sites} <= names
    assert {name.partition("/")[0] for name in names} == {"graph", "threshold", "potential"}


def test_what_a_plan_may_hold_besides_is_saved(tmp_path: Path) -> None:
    net, path = spiking("residual"), tmp_path / "net.safetensors"
    site, planned = next(iter(net.plan.sites.items()))
    shifted = replace(planned, shift=torch.full((4, 1, 1), 0.25))
    plan = replace(
        net.plan,
        sites={**net.plan.sites, site: shifted},
        weights={"head.weight": net.graph.tensors["head.weight"] * 2},
    )
    changed = replace(net, plan=plan)
    save_artifact(changed, path)
    x = torch.randn(2, 4, 5, 5)
    wanted = simulate(changed, x, steps=4).outputs[0]
    assert torch.equal(simulate(load_artifact(path), x, steps=4).outputs[0], wanted)
    assert not torch.equal(simulate(net, x, steps=4).outputs[0], wanted)


@pytest.mark.parametrize(
    ("provenance", "said"),
    [({"path": Path("x")}, "provenance.*Path"), ({"nan": float("nan")}, "provenance")],
)
def test_provenance_must_be_plain_json(
    provenance: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=said):
        save_artifact(replace(spiking(), provenance=provenance), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    net = spiking()
    site = next(iter(net.plan.sites))
    bad = SitePlan(torch.tensor(-1.0), torch.tensor(0.0))
    with pytest.raises(ExportError, match=f"'{site}'.*positive"):
        save_artifact(
            replace(net, plan=replace(net.plan, sites={**net.plan.sites, site: bad})),
            tmp_path / "net.safetensors",
        )
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nowhere"):
        save_artifact(spiking(), tmp_path / "nowhere" / "net.safetensors")
    with pytest.raises(ExportError, match="not a plain file"):
        save_artifact(spiking(), tmp_path)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="does not exist"):
        load_artifact(tmp_path / "nix.safetensors")
    with pytest.raises(LoadError, match="not a plain file"):
        load_artifact(tmp_path)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    with pytest.raises(LoadError, match="is empty"):
        load_artifact(empty)
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"conv.weight": torch.ones(2)}, weights)
    with pytest.raises(LoadError, match=r"no spiking network, but 1 .*conv\.weight") as e:
        load_artifact(weights)
    assert "weights" in e.value.hint
    checkpoint = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.ones(2)}, checkpoint)
    with pytest.raises(LoadError, match="no whole safetensors file"):
        load_artifact(checkpoint)
    for path in (tmp_path, tmp_path / "nix", empty, weights, checkpoint):
        assert not is_artifact(path)


def test_an_artifact_is_known_by_its_header_even_a_newer_one(saved: Path, tmp_path: Path) -> None:
    assert is_artifact(saved)
    header, tensors = parts(saved)
    newer = pack(tmp_path / "newer", {**header, "format": 2, "kind": "?"}, tensors)
    assert is_artifact(newer)
    with pytest.raises(LoadError, match="format version 2 is newer") as error:
        load_artifact(newer)
    assert header["versions"]["convsnn"] in error.value.hint


def _node(header: dict[str, Any], name: str) -> list[Any]:
    return next(node for node in header["topology"]["nodes"] if node[0] == name)


def _attrs(name: str, **attrs: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: _node(header, name)[3].update(attrs)


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update({key: value})


HEADERS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another kind": (_set("kind", "cake"), "holds 'cake'"),
    "no format": (_set("format", True), "format version"),
    "a field lost": (lambda h: h.pop("encoder"), "'encoder' is missing"),
    "a wrong record": (_set("record", [1]), "record"),
    "an unknown neuron": (_set("neuron", "iff"), "unknown neuron 'iff'"),
    "a wrong option": (_set("neuron", "if:reset=never"), "reset=never"),
    "an unknown encoder": (_set("encoder", "morse"), "unknown encoder 'morse'"),
    "an unknown readout": (_set("readout", "last"), "unknown readout 'last'"),
    "an unknown op": (lambda h: _node(h, "1").__setitem__(1, "swish"), "unknown op 'swish'"),
    "an op that blocks": (
        lambda h: _node(h, "3").__setitem__(1, "opaque"), "layer '3'|'3' \\(opaque\\)"
    ),
    "no nodes": (_set("topology", {"outputs": ["7"]}), "list of nodes"),
    "a short node": (lambda h: _node(h, "1").pop(), "node 2 of the topology"),
    "inputs as text": (lambda h: _node(h, "1").__setitem__(2, "0"), "node 2 of the topology"),
    "attrs as a list": (lambda h: _node(h, "1").__setitem__(3, [1]), "node 2 of the topology"),
    "an input from nowhere": (lambda h: _node(h, "1").__setitem__(2, ["x"]), "'1'.*'x'"),
    "no input at all": (lambda h: _node(h, "1").__setitem__(2, []), "'1' depends on no input"),
    "an attribute too many": (_attrs("1", slope=0.1), "layer '1'.*slope"),
    "an attribute lost": (lambda h: _node(h, "0")[3].pop("stride"), "layer '0'.*stride"),
    "an attribute of another type": (_attrs("2", kernel="two"), "'2'|damaged"),
    "an attribute that is too large": (_attrs("3", shape=[2**70]), "'3'|damaged"),
    "groups of none": (_attrs("0", groups=0), "layer '0'"),
    "a second input": (
        lambda h: h["topology"]["nodes"].insert(0, ["other", "input", [], {"shape": [1]}, ""]),
        "exactly one data input.*other, input",
    ),
    "a negative input": (_attrs("input", shape=[1, -8, 8]), "input 'input'"),
    "an input of another shape": (_attrs("input", shape=[1, 9, 13]), "'3'.*does not fit"),
    "a ceiling below the threshold": (_attrs("5", ceiling=0.01), "'5'.*ceiling"),
    "a ceiling that is no number": (_attrs("5", ceiling=float("nan")), "damaged"),
    "another seed on record": (lambda h: h["provenance"].update(seed=1), "checksum"),
    "no object": (lambda h: h.clear(), "format version"),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_a_damaged_header_is_refused(case: str, saved: Path, tmp_path: Path) -> None:
    damage, said = HEADERS[case]
    header, tensors = parts(saved)
    damage(header)
    with pytest.raises(LoadError, match=said) as error:
        load_artifact(pack(tmp_path / "damaged", header, tensors))
    assert "damaged" in str(error.value)  # the path
    assert error.value.hint
    assert "\n" not in str(error.value)


TENSORS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "a weight lost": (lambda t: t.pop("graph/4.weight"), r"'4\.weight' does not come before"),
    "a threshold lost": (lambda t: t.pop("threshold/1"), "'threshold/1' is missing"),
    "a potential lost": (lambda t: t.pop("potential/1"), "'potential/1' is missing"),
    "a stranger": (lambda t: t.update({"junk": torch.ones(1)}), "'junk' has no place"),
    "a site of no layer": (lambda t: t.update({"threshold/x": torch.ones(1)}), "'threshold/x'"),
    "a zero threshold": (lambda t: t["threshold/1"].zero_(), "'1'.*positive"),
    "an infinite threshold": (lambda t: t["threshold/1"].fill_(torch.inf), "'1'.*finite"),
    "a potential of NaN": (lambda t: t["potential/1"].fill_(torch.nan), "'1'.*not finite"),
    "a replaced weight of nothing": (
        lambda t: t.update({"weight/x": torch.ones(1)}),
        "'x' does not fit the network",
    ),
    "a weight of NaN": (lambda t: t["graph/0.weight"].fill_(torch.nan), r"0\.weight.*finite"),
    "a threshold that does not fit": (
        lambda t: t.update({"threshold/1": torch.ones(4)}), r"threshold/1.*\(4,\) does not fit"
    ),
    "a threshold of too many axes": (
        lambda t: t.update({"threshold/1": torch.ones(1, 1, 1, 1)}), "does not fit"
    ),
    "an empty threshold": (lambda t: t.update({"threshold/1": torch.ones(0)}), "does not fit"),
    "a weight that does not fit": (
        lambda t: t.update({"graph/4.weight": torch.ones(8, 63)}), "layer '4'.*does not fit"
    ),
    "a weight of whole numbers": (
        lambda t: t.update({"graph/0.weight": t["graph/0.weight"].int()}), "int32"
    ),
    "a weight of another float type": (
        lambda t: t.update({"graph/0.bias": t["graph/0.bias"].half()}), "more than one float type"
    ),
    "another weight": (lambda t: t["graph/0.weight"].mul_(2), "checksum"),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_damaged_tensors_are_refused(case: str, saved: Path, tmp_path: Path) -> None:
    damage, said = TENSORS[case]
    header, tensors = parts(saved)
    damage(tensors)
    with pytest.raises(LoadError, match=said):
        load_artifact(pack(tmp_path / "damaged", header, tensors))


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(data=st.binary(max_size=300))
@example(data=(2).to_bytes(8, "little") + b"{}")
@example(data=(2**63).to_bytes(8, "little") + b"{}")
@FUZZ
def test_random_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "random.safetensors"
    path.write_bytes(data)
    assert not is_artifact(path)
    with pytest.raises(LoadError):
        load_artifact(path)


@given(cut=st.floats(0, 1, exclude_max=True))
@FUZZ
def test_a_truncated_artifact_is_refused(cut: float, saved: Path, tmp_path: Path) -> None:
    data, path = saved.read_bytes(), tmp_path / "cut.safetensors"
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(LoadError):
        load_artifact(path)


@given(where=st.integers(0, 10**6), flip=st.integers(1, 255))
@settings(FUZZ, max_examples=400)
def test_no_flipped_byte_changes_a_network(
    where: int, flip: int, saved: Path, tmp_path: Path
) -> None:
    data = bytearray(saved.read_bytes())
    data[where % len(data)] ^= flip
    path, again = tmp_path / "flipped.safetensors", tmp_path / "again.safetensors"
    path.write_bytes(data)
    is_artifact(path)
    try:
        net = load_artifact(path)
    except LoadError:
        return
    save_artifact(net, again)  # such as a JSON escape that reads the same
    assert again.read_bytes() == saved.read_bytes()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every value within a JSON document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


@given(data=st.data(), junk=JSON)
@settings(FUZZ, max_examples=400)
def test_no_value_put_into_the_header_is_taken(
    data: st.DataObject, junk: Any, saved: Path, tmp_path: Path
) -> None:
    header, tensors = parts(saved)
    whole = {"header": copy.deepcopy(header)}
    place = data.draw(st.sampled_from(_places(header)))
    holder: Any = whole
    for key in ("header", *place)[:-1]:
        holder = holder[key]
    holder[("header", *place)[-1]] = junk
    path = pack(tmp_path / "changed.safetensors", whole["header"], tensors)
    if json.dumps(whole["header"], sort_keys=True) == json.dumps(header, sort_keys=True):
        load_artifact(path)
        return
    with pytest.raises(LoadError):
        load_artifact(path)


def test_deeply_nested_headers_are_refused(saved: Path, tmp_path: Path) -> None:
    _, tensors = parts(saved)
    path = tmp_path / "deep.safetensors"
    path.write_bytes(safetensors.torch.save(tensors, {"convsnn": "[" * 100_000}))
    with pytest.raises(LoadError):
        load_artifact(path)


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"older")
    net = load_artifact(saved)
    save_artifact(net, path)
    assert os.listdir(tmp_path) == ["net.safetensors"]
    before = simulate(load_artifact(path), torch.ones(2, 1, 8, 8), steps=3).outputs[0]
    loaded = load_artifact(path)
    with path.open("r+b") as file:  # what is loaded no longer hangs on the file
        file.write(bytes(path.stat().st_size))
    after = simulate(loaded, torch.ones(2, 1, 8, 8), steps=3).outputs[0]
    assert torch.equal(before, after)
