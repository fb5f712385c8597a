"""`convsnn coverage`: what is counted is right, one bad network is a row, no network falls back."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convsnn.workflows.coverage.judging as judging
from convsnn.commands import main
from convsnn.errors import ConfigError, LoadError
from convsnn.load import load_module
from convsnn.load.verify import module_reference
from convsnn.measure.census import Census, count
from convsnn.measure.onnx_census import count_onnx
from convsnn.workflows.coverage.networks import (
    _draw_statistics,
    build,
    build_real,
    file_digest,
    list_networks,
    reduced,
)
from convsnn.workflows.coverage.rows import RowFile
from convsnn.workflows.coverage.table import grouped, render_markdown, summarise
from convsnn.workflows.coverage.verdict import (
    EXACT,
    FAILED,
    OPTION,
    REFUSED,
    UNCOUNTED,
    Extent,
    Row,
    _gap,
    judge,
)
from convsnn.workflows.coverage.worker import Limits, judge_all
from zoo.models.base import WEIGHTS

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "zoo" / "COVERAGE.md"

SAMPLE = (
    "torchvision:alexnet", "torchvision:vgg11_bn", "torchvision:squeezenet1_1",
    "torchvision:resnet18", "torchvision:mnasnet0_5", "torchvision:regnet_x_400mf",
    "timm:test_resnet", "timm:mobilenetv1_100", "timm:repvgg_a0", "timm:dla46_c",
    "timm:resnetv2_50", "timm:vovnet39a",
)  # fmt: skip
LARGER = (
    "torchvision:densenet121", "torchvision:googlenet", "torchvision:inception_v3",
    "torchvision:shufflenet_v2_x0_5", "torchvision:mobilenet_v2", "torchvision:resnext50_32x4d",
    "torchvision:wide_resnet50_2", "torchvision:fcn_resnet50", "timm:inception_v4",
    "timm:hrnet_w18_small", "timm:res2net50_26w_4s", "timm:selecsls42b", "timm:xception41",
    "timm:regnetx_002", "timm:dla60_res2net", "timm:mnasnet_100", "timm:legacy_xception",
)  # fmt: skip


# The table that is committed, and networks that must not fall out of it.


def converting() -> set[str]:
    """The networks that zoo/COVERAGE.md says convert."""
    text = TABLE.read_text(encoding="utf-8")
    part = re.search(r"^## Converts.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert part is not None
    return set(re.findall(r"^\| ((?:torchvision|timm):\S+) \|", part[0], re.MULTILINE))


def test_the_committed_table_names_every_family_of_the_sample():
    assert {*SAMPLE, *LARGER} <= converting()


@pytest.mark.parametrize("network", SAMPLE)
def test_a_network_of_the_table_still_converts(network):
    row = judge(network, Extent())
    assert row.verdict in (EXACT, OPTION), row.reason
    assert row.sites == row.census.sites > 0


@pytest.mark.parametrize("network", ["torchvision:squeezenet1_1", "timm:test_resnet"])
def test_a_network_of_the_table_still_runs(network):
    row = judge(network, Extent(full=True))
    assert (row.verdict, row.checked) == (EXACT, "full"), row.reason
    assert row.gap is not None
    assert row.gap <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("network", LARGER)
def test_a_network_of_the_table_still_converts_in_full(network):
    row = judge(network, Extent(full=True))
    assert row.verdict in (EXACT, OPTION), row.reason


def test_drawn_batch_norms_give_every_layer_behind_them_the_same_scale():
    torch.manual_seed(0)
    layers = [
        part for _ in range(60) for part in (nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())
    ]
    module, x, hooks = nn.Sequential(*layers).eval(), torch.randn(64, 16), []
    for part in module:
        if isinstance(part, nn.BatchNorm1d):
            hooks.append(part.register_forward_pre_hook(_draw_statistics))
    with torch.no_grad():
        module(x)
        for hook in hooks:
            hook.remove()
        for part in module:
            x = part(x)
            if isinstance(part, nn.ReLU):
                assert 0.3 < float(x.square().mean().sqrt()) < 5


# Counting, against networks whose counts are known by construction.


class Doing(nn.Module):
    """A convolution, a function, and a fully connected layer."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function, self.head = nn.Conv2d(3, 4, 3), function, nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.function(self.conv(x)).mean((2, 3)))


def census(function):
    return count(Doing(function).to("meta"), (3, 8, 8))


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (F.relu, "relu"),
        (nn.ReLU(inplace=True), "relu"),
        (torch.relu_, "relu"),
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: x.clamp_min_(0), "relu"),
        (nn.Threshold(0, 0), "relu"),
        (F.relu6, "clip 6"),
        (nn.Hardtanh(0, 2), "clip 2"),
        (lambda x: x.clamp(0, 1), "clip 1"),
        (nn.LeakyReLU(0.1), "leaky relu"),
        (nn.PReLU(4).to("meta"), "prelu"),
        (lambda x: torch.maximum(x, torch.zeros_like(x)), "relu"),
        (lambda x: torch.max(torch.zeros(4, 1, 1), x), "relu"),
        (lambda x: torch.maximum(x, x.new_full((), 0.0)), "relu"),
        (lambda x: x.clamp(min=torch.zeros(())), "relu"),
        (lambda x: x.clamp(torch.zeros(()), torch.ones(())), "clip ?"),
    ],
)
def test_rectifiers_are_counted_in_every_spelling(function, kind):
    found = census(function)
    assert found == Census(rectifiers={kind: 1})
    assert found.rectified


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (F.gelu, Census(activations={"gelu": 1})),
        (nn.Hardswish(inplace=True), Census(activations={"hardswish": 1})),
        (nn.Hardtanh(-1, 1), Census(others={"clamp [-1, 1]": 1})),
        (lambda x: x * x.sigmoid(), Census(activations={"sigmoid": 1}, products=1)),
        (lambda x: x * torch.full((4, 1, 1), 2.0), Census()),
        (nn.GroupNorm(2, 4).to("meta"), Census(norms={"group norm": 1})),
        (nn.BatchNorm2d(4).to("meta"), Census(norms={"batch norm": 1})),
        (nn.InstanceNorm2d(4), Census(norms={"instance norm": 1})),
        (lambda x: x.abs(), Census(others={"abs": 1})),
        (lambda x: x + F.relu(torch.ones(4, 1, 1)), Census()),  # of a constant: nothing to convert
        (lambda x: x * torch.zeros_like(x), Census()),
        (lambda x: torch.maximum(x, torch.ones_like(x)), Census(others={"maximum": 1})),
        (lambda x: torch.maximum(x, torch.zeros(4, 1, 1).add_(1)), Census(others={"maximum": 1})),
        (lambda x: x.clamp(min=torch.ones(())), Census(others={"clamp [?, None]": 1})),
        (lambda x: torch.where(x > 0, x, 0), Census(others={"where": 1})),
        (lambda x: x.masked_fill(x < 0, 0), Census(others={"masked_fill": 1})),
        (lambda x: x * (x > 0), Census(products=1)),
    ],
)
def test_all_that_is_no_rectifier_is_counted_as_what_it_is(function, expected):
    found = census(function)
    assert found == expected
    assert not found.rectified


def test_what_is_written_into_a_part_of_a_buffer_stays_counted():
    def function(x):
        buffer = torch.zeros(x.shape)
        buffer[:, :2] = x[:, :2]
        return F.relu(buffer)

    assert census(function).rectifiers == {"relu": 1}


def test_a_readout_is_counted_only_where_something_reads_it():
    end = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Softmax(1)).to("meta")
    assert count(end, (4,)) == Census(rectifiers={"relu": 1})
    within = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.Linear(3, 2)).to("meta")
    assert count(within, (4,)) == Census(activations={"softmax": 1})


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["relu", "clip 6", "gelu", "batch norm", "plain"]), max_size=8))
def test_counts_add_up_over_a_chain(kinds):
    made = {
        "relu": nn.ReLU,
        "clip 6": nn.ReLU6,
        "gelu": nn.GELU,
        "batch norm": lambda: nn.BatchNorm2d(3),
        "plain": lambda: nn.Conv2d(3, 3, 1),
    }
    chain = nn.Sequential(nn.Conv2d(3, 3, 1), *[made[kind]() for kind in kinds]).to("meta")
    found = count(chain, (3, 4, 4))
    assert found.sites == kinds.count("relu") + kinds.count("clip 6")
    assert sum(found.activations.values()) == kinds.count("gelu")
    assert sum(found.norms.values()) == kinds.count("batch norm")
    assert found.rectified == (found.sites > 0 and "gelu" not in kinds)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("opset", [9, 17])
def test_a_file_is_counted_like_the_module_it_was_written_from(opset, tmp_path):
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU6(), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(144, 2), nn.Softmax(1),
    ).eval()  # fmt: skip
    path = tmp_path / "m.onnx"
    torch.onnx.export(module, (torch.zeros(1, 3, 8, 8),), path, dynamo=False, opset_version=opset)
    found = count_onnx(path)
    assert found == count(module.to("meta"), (3, 8, 8))
    assert found.rectifiers == {"relu": 1, "clip 6": 1, "leaky relu": 1}


def written(path, *nodes, **tensors):
    """An ONNX file at `path`: x (N, 3, 4, 4), `nodes`, the mean of y, and `tensors` as they are."""
    values = [onnx.numpy_helper.from_array(np.asarray(t), name) for name, t in tensors.items()]
    graph = onnx.helper.make_graph(
        [*nodes, onnx.helper.make_node("GlobalAveragePool", ["y"], ["z"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 4, 4])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 3, 1, 1])],
        values,
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


NODE = onnx.helper.make_node
ZERO, ONE = np.zeros((), np.float32), np.ones((), np.float32)
GREATER = NODE("Greater", ["x", "zero"], ["mask"])
# Each is a ReLU; how many of them can be told without the import, and what else is seen of them.
SPELLINGS = {
    "Max": ((NODE("Max", ["x", "zero"], ["y"]),), Census({"relu": 1})),
    "Max of a constant's": ((NODE("Max", ["zero", "x"], ["y"]),), Census({"relu": 1})),
    "ThresholdedRelu": ((NODE("ThresholdedRelu", ["x"], ["y"], alpha=0.0),), Census({"relu": 1})),
    "Where": ((GREATER, NODE("Where", ["mask", "x", "zero"], ["y"])), Census(others={"Where": 1})),
    "Mul": (
        (GREATER, NODE("Cast", ["mask"], ["m"], to=1), NODE("Mul", ["x", "m"], ["y"])),
        Census(products=1),
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_relu_in_a_file_is_counted_or_said_to_be_uncounted(spelling, tmp_path):
    nodes, expected = SPELLINGS[spelling]
    path = written(tmp_path / "m.onnx", *nodes, zero=ZERO)
    assert count_onnx(path) == expected
    row = judge("onnx:m.onnx", Extent(full=True, folder=str(tmp_path)))
    assert (row.verdict, row.sites, row.checked) == (EXACT, 1, "full"), row.reason
    assert row.reason == ("" if expected.sites else UNCOUNTED)
    assert row.gap is not None
    assert row.gap <= 1e-4


@pytest.mark.parametrize(
    "node",
    [
        NODE("Max", ["x", "one"], ["y"]),
        NODE("Max", ["x", "text"], ["y"]),
        NODE("ThresholdedRelu", ["x"], ["y"]),  # its alpha is 1
    ],
)
def test_a_bound_that_is_not_zero_makes_no_relu(node, tmp_path):
    path = written(tmp_path / "m.onnx", node, one=ONE, text=np.array(["0"], dtype=object))
    assert count_onnx(path) == Census(others={node.op_type: 1})


def test_a_bound_beside_the_file_is_not_looked_for(tmp_path, monkeypatch):
    path = written(tmp_path / "m.onnx", NODE("Max", ["x", "zero"], ["y"]), zero=np.zeros(3, "f4"))
    model = onnx.load(path)
    onnx.external_data_helper.convert_model_to_external_data(
        model, location="w.bin", size_threshold=0, convert_attribute=False
    )
    onnx.save(model, path)
    monkeypatch.chdir(tmp_path)
    assert count_onnx(path) == Census(others={"Max": 1})


def test_a_damaged_file_cannot_be_counted(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\xff\xfe nothing")
    with pytest.raises(LoadError, match=r"m\.onnx"):
        count_onnx(tmp_path / "m.onnx")


# Verdicts.


def test_a_refused_network_names_the_kinds_and_why(tmp_path):
    written(tmp_path / "m.onnx", NODE("Hardmax", ["x"], ["h"]), NODE("Exp", ["h"], ["y"]))
    row = judge("onnx:m.onnx", Extent(folder=str(tmp_path)))
    assert row.verdict == REFUSED
    assert "Hardmax x1" in row.reason
    assert set(row.because) == {part.rpartition(" x")[0] for part in row.reason.split(", ")}
    assert not row.census.rectified


def test_a_network_with_gates_converts_and_its_kind_is_named():
    row = judge("torchvision:mobilenet_v3_small", Extent())
    assert (row.verdict, row.kind) == (EXACT, "graded, partly analog")
    assert row.census.activations["hardswish"] == 19
    assert not row.census.rectified


def test_a_count_that_differs_is_a_failure_not_a_conversion(monkeypatch):
    one_more = Census(rectifiers={"relu": 99})
    monkeypatch.setattr("convsnn.workflows.coverage.verdict.count", lambda *_: one_more)
    row = judge("torchvision:alexnet", Extent())
    assert row.verdict == FAILED
    assert "7 sites, but 99 activations" in row.reason


class Spelled(nn.Module):
    """A small network whose two activations are `function`."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.function = function

    def forward(self, x):
        return self.head(self.function(self.second(self.function(self.first(x)))))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.where(x > 0, x, 0), UNCOUNTED),
        (lambda x: x * (x > 0), UNCOUNTED),
        (lambda x: torch.maximum(x, torch.zeros_like(x)), ""),
        (lambda x: torch.maximum(x, 0.1 * x), f"signed neurons; {UNCOUNTED}"),
    ],
)
def test_a_module_of_spelled_rectifiers_is_run_in_full(function, reason, monkeypatch):
    def made(*_):
        torch.manual_seed(0)
        return Spelled(function).eval()

    for name, stand_in in {
        "family": lambda _: "f",
        "build": lambda _: made().to("meta"),
        "build_real": made,
        "input_shape": lambda *_: (6,),
        "reduced": lambda shape, _: shape,
    }.items():
        monkeypatch.setattr(f"convsnn.workflows.coverage.verdict.{name}", stand_in)
    row = judge("timm:spelled", Extent(full=True))
    wanted = OPTION if reason.startswith("signed") else EXACT
    assert (row.verdict, row.reason, row.checked, row.sites) == (wanted, reason, "full", 2)
    assert row.gap is not None


@pytest.mark.parametrize(
    ("census", "allowed"),
    [
        (Census({"relu": 3}), {3}),
        (Census({"relu": 3}, others={"where": 1}, products=1), {3, 4, 5}),
        (Census({"clip 1": 2}, others={"floor": 1}), {1, 2, 3}),
    ],
)
def test_pieces_excuse_only_as_many_sites_as_they_may_make(census, allowed):
    assert {sites for sites in range(9) if census.allows(sites)} == allowed


def test_what_needs_more_than_the_plain_neuron_names_it(monkeypatch):
    monkeypatch.setattr("convsnn.workflows.coverage.verdict._OPTIONS", {"relu": "this option"})
    row = judge("torchvision:alexnet", Extent())
    assert (row.verdict, row.reason) == (OPTION, "this option")


def test_no_weight_can_be_read_wrongly_without_notice():
    x = torch.randn(2, 3, 64, 64)
    module = build_real("timm:test_resnet", x)
    graph, reference = load_module(module, x), module_reference(module)
    assert _gap(graph, reference, x) <= 1e-5
    for name, tensor in graph.tensors.items():
        wrong = replace(graph, tensors={**graph.tensors, name: tensor * 1.05})
        assert _gap(wrong, reference, x) > 1e-4, name


def test_an_unforeseen_error_is_a_row_with_its_type(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("convsnn.workflows.coverage.verdict.load_module", broken)
    row = judge("torchvision:alexnet", Extent())
    assert (row.verdict, row.reason) == (FAILED, "ZeroDivisionError: first line")
    assert row.parameters == 61_100_840  # what was found before stays known


def test_networks_without_storage_have_the_same_parameters():
    for network in ("torchvision:squeezenet1_1", "torchvision:regnet_x_400mf"):
        empty, real = build(network), build_real(network, torch.randn(2, 3, 64, 64))
        assert all(p.is_meta for p in [*empty.parameters(), *empty.buffers()])
        shapes = {name: p.shape for name, p in real.named_parameters()}
        assert {name: p.shape for name, p in empty.named_parameters()} == shapes
    assert reduced((3, 224, 224), empty) == (3, 96, 96)


def test_real_weights_are_the_same_every_time():
    x = torch.randn(2, 3, 64, 64)
    first, second = (build_real("timm:test_resnet", x).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    means = [value for name, value in first.items() if name.endswith("running_mean")]
    assert all(float(mean.abs().max()) > 0 for mean in means)


# Processes that die or never end. `/bin/sh` and its like stand for an interpreter that breaks.


def test_a_network_that_takes_too_long_is_a_row():
    rows = list(judge_all(["timm:test_resnet"], Extent(), jobs=1, limits=Limits(0.2)))
    assert [(row.verdict, row.reason) for row in rows] == [(FAILED, "not done after 0.2 s")]


def test_a_process_that_dies_is_a_row_for_each_network(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nread line\necho last words >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    names = [f"timm:{i}" for i in range(5)]
    rows = list(judge_all(names, Extent(), jobs=2, limits=Limits(60)))
    assert sorted(row.network for row in rows) == names
    assert {row.reason for row in rows} == {"the process died (3): last words"}


@pytest.mark.slow
def test_a_network_beyond_the_memory_is_a_row():
    limits = Limits(300, memory=1_500_000_000)
    extent = Extent(full=True, max_parameters=10**9)
    networks = ["torchvision:vgg19", "timm:test_resnet"]
    rows = {r.network: r for r in judge_all(networks, extent, jobs=1, limits=limits)}
    assert rows["torchvision:vgg19"].verdict == FAILED
    assert "memory" in rows["torchvision:vgg19"].reason.lower()
    assert rows["timm:test_resnet"].verdict == EXACT


def test_a_file_that_cannot_be_read_is_counted_as_no_kind_of_network(tmp_path):
    weights = onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "missing.bin"
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "xz"
    ]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["y"]),
        onnx.helper.make_node("Relu", ["y"], ["z"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights])
    (tmp_path / "lost.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert count_onnx(tmp_path / "lost.onnx").rectified
    row = judge("onnx:lost.onnx", Extent(folder=str(tmp_path)))
    assert (row.verdict, row.reason.partition(":")[0]) == (REFUSED, "LoadError")
    assert summarise([row, ROWS[0]]).rectified == 1


# The file of rows.

ROWS = [
    Row("timm:a", "one", (3, 8, 8), 10, Census({"relu": 2}), 2, EXACT, checked="full", gap=1e-7),
    Row("timm:b", "one", census=Census({"relu": 1}), verdict=FAILED, reason="E: a|b"),
    Row("timm:c", "two", verdict=REFUSED, reason="gelu x2", because={"gelu": "no ReLU"}),
    Row("timm:d", "two", verdict=REFUSED, reason="gelu x9", because={"gelu": "no ReLU"}),
    Row("timm:e", "one", verdict=REFUSED, reason="gelu x1", because={"gelu": "no ReLU"}),
    Row("timm:f", "one", census=Census({"prelu": 1}), verdict=OPTION, reason="--way"),
]


def test_rows_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    file = RowFile(path, {"full": True})
    assert file.open(resume=True) == {}
    for row in ROWS:
        file.add(row)
    assert RowFile(path, {"full": True}).open(resume=True) == {row.network: row for row in ROWS}


def test_half_a_line_is_forgotten_and_the_file_stays_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    file = RowFile(path, {})
    file.open(resume=False)
    file.add(ROWS[0])
    path.write_text(path.read_text() + '{"network": "timm:')
    again = RowFile(path, {})
    assert list(again.open(resume=True)) == ["timm:a"]
    again.add(ROWS[1])
    assert list(RowFile(path, {}).open(resume=True)) == ["timm:a", "timm:b"]


@pytest.mark.parametrize("kept", [0, 1, 7])
@pytest.mark.parametrize("resume", [False, True])
def test_a_file_that_ends_in_its_first_line_is_begun_anew(tmp_path, kept, resume):
    made_by, path = {"full": True, "max_parameters": 3}, tmp_path / "rows.jsonl"
    path.write_text(json.dumps(made_by)[:kept])
    file = RowFile(path, made_by)
    assert file.open(resume=resume) == {}
    file.add(ROWS[0])
    assert list(RowFile(path, made_by).open(resume=True)) == ["timm:a"]


LINE = json.dumps(ROWS[0].to_json())


@pytest.mark.parametrize(
    "text",
    [
        "[]\n", "3\n", "null\n" + LINE + "\n", "my notes", "my notes\n", "[" * 100_000 + "\n",
        "{}\n[]\n", "{}\n" + LINE.replace('"timm:a"', "[]") + "\n",
        "{}\n" + LINE.replace('{"relu": 2}', "3") + "\n", "{}\n\xff\n",
    ],
)  # fmt: skip
def test_a_damaged_file_of_rows_is_named_and_left_alone(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(LoadError, match=r"rows\.jsonl"):
        RowFile(path, {}).open(resume=True)
    assert path.read_bytes() == text.encode("latin-1")


def test_a_file_without_a_folder_takes_on_the_first(tmp_path):
    path, first = tmp_path / "rows.jsonl", {"full": True, "folder": "/a"}
    file = RowFile(path, {"full": True})
    file.open(resume=False)
    old = {name: value for name, value in ROWS[0].to_json().items() if name != "digest"}
    path.write_text(path.read_text() + json.dumps(old) + "\n")
    assert RowFile(path, {"full": True}).open(resume=True) == {"timm:a": ROWS[0]}
    assert list(RowFile(path, first).open(resume=True)) == ["timm:a"]
    assert list(RowFile(path, {"full": True}).open(resume=True)) == ["timm:a"]
    with pytest.raises(ConfigError, match="other folder"):
        RowFile(path, {"full": True, "folder": "/b"}).open(resume=True)


def test_rows_of_another_run_are_neither_lost_nor_mixed(tmp_path):
    path = tmp_path / "rows.jsonl"
    RowFile(path, {"full": True}).open(resume=False)
    with pytest.raises(ConfigError, match="earlier run"):
        RowFile(path, {"full": True}).open(resume=False)
    with pytest.raises(ConfigError, match="other full"):
        RowFile(path, {"full": False}).open(resume=True)
    path.write_text('{"full": true}\n{"network": 3}\n')
    with pytest.raises(LoadError, match=r"rows\.jsonl"):
        RowFile(path, {"full": True}).open(resume=True)


# The table.


def test_the_summary_counts_by_activations():
    found = summarise(ROWS)
    assert found.verdicts == {EXACT: 1, OPTION: 1, REFUSED: 3, FAILED: 1}
    assert (found.full, found.rectified, found.rectified_convert) == (1, 3, 2)
    assert found.share == pytest.approx(2 / 3)
    layer_normed = replace(ROWS[0], census=Census({"relu": 2}, norms={"layer norm": 1}))
    assert summarise([layer_normed]).share is None


def test_a_family_that_is_refused_whole_is_one_entry():
    assert grouped(ROWS) == {"gelu": ["timm:two (all 2)", "timm:e"]}


def test_the_table_says_where_sites_could_not_be_counted():
    spelled = Row("timm:s", census=Census(products=2), sites=2, verdict=EXACT, reason=UNCOUNTED)
    text = render_markdown([spelled, ROWS[0]], command="convsnn coverage", versions={})
    assert f"| timm:s | exact; {UNCOUNTED} | 2 sites |" in text
    assert "| timm:a | exact | relu 2 |" in text


def test_the_markdown_names_every_network_once_or_by_its_family():
    text = render_markdown(ROWS, command="convsnn coverage", versions={"torch": "2.15"})
    for name in "abef":
        assert text.count(f"timm:{name} |") + text.count(f"timm:{name},") == 1
    assert "| E: a\\|b |" in text
    assert "with --way" in text
    assert "66.67 %" in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if "|" in line}
    assert widths == {6, 3}


# The command.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of two ONNX files, one of them damaged; the working directory is above it."""
    monkeypatch.chdir(tmp_path)
    inside = tmp_path / "models" / "deep"
    inside.mkdir(parents=True)
    (inside / "cnn.onnx").write_bytes((WEIGHTS / "mnist5k-cnn.onnx").read_bytes())
    (tmp_path / "models" / "bad.onnx").write_bytes(b"\xff\xfe")
    return tmp_path


def run(capsys, *arguments):
    code = main(["coverage", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_folder_is_converted_and_can_be_resumed(folder, capsys, monkeypatch):
    options = ("--folder", "models", "--full", "--output", "table.md")
    code, out, err = run(capsys, *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    rows = {row["network"]: row for row in found["networks"]}
    assert list(rows) == ["onnx:bad.onnx", "onnx:deep/cnn.onnx"]
    assert rows["onnx:deep/cnn.onnx"]["verdict"] == EXACT
    assert rows["onnx:deep/cnn.onnx"]["checked"] == "full"
    nodes = onnx.load(WEIGHTS / "mnist5k-cnn.onnx").graph.node
    assert rows["onnx:deep/cnn.onnx"]["sites"] == sum(n.op_type == "Relu" for n in nodes)
    assert rows["onnx:bad.onnx"]["verdict"] == REFUSED
    assert found["summary"]["verdicts"] == {EXACT: 1, OPTION: 0, REFUSED: 1, FAILED: 0}
    text = Path("table.md").read_text()
    assert "| onnx:deep/cnn.onnx | exact |" in text
    assert "convsnn coverage --folder models --full" in text

    asked = []
    monkeypatch.setattr(judging, "judge_all", lambda names, *_, **__: asked.extend(names) or [])
    code, out, err = run(capsys, *options, "--json", "--resume")
    assert code == 0, err
    assert asked == []
    assert json.loads(out)["networks"] == found["networks"]
    code, out, err = run(capsys, *options)
    assert code == 2
    assert "--resume" in err


def judged(monkeypatch, **faults):
    """Stands in for the judges: what they are asked for; names among `faults` fail."""
    asked = []

    def stand_in(names, extent, **_):
        asked[:] = names
        for name in names:
            file = Path(extent.folder) / name.partition(":")[2]
            fault = faults.get(file.stem, "")
            verdict = FAILED if fault else REFUSED
            yield Row(name, verdict=verdict, reason=fault or "gelu x1", digest=file_digest(file))

    monkeypatch.setattr(judging, "judge_all", stand_in)
    return asked


def test_only_what_failed_or_changed_is_judged_again(folder, capsys, monkeypatch):
    options = ("--folder", "models", "--output", "table.md")
    asked = judged(monkeypatch, bad="not done after 600 s")
    assert run(capsys, *options)[0] == 1
    assert asked == ["onnx:bad.onnx", "onnx:deep/cnn.onnx"]
    asked = judged(monkeypatch)
    assert run(capsys, *options, "--resume")[0] == 0
    assert asked == ["onnx:bad.onnx"]
    assert "| onnx:bad.onnx |" not in Path("table.md").read_text()
    assert run(capsys, *options, "--resume")[0] == 0
    assert asked == []
    Path("models/deep/cnn.onnx").write_bytes(b"other")
    assert run(capsys, *options, "--resume")[0] == 0
    assert asked == ["onnx:deep/cnn.onnx"]


def test_rows_of_one_folder_are_not_taken_for_another(folder, capsys, monkeypatch):
    judged(monkeypatch)
    (folder / "others").mkdir()
    (folder / "others" / "bad.onnx").write_bytes(b"")
    assert run(capsys, "--folder", "models", "--output", "table.md")[0] == 0
    code, out, err = run(capsys, "--folder", "others", "--output", "table.md", "--resume")
    assert (code, out) == (2, "")
    assert "other folder" in err
    same = str(folder / "models")
    assert run(capsys, "--folder", same, "--output", "table.md", "--resume")[0] == 0


def test_a_digest_covers_the_weights_beside_the_file(tmp_path):
    path = written(tmp_path / "m.onnx", NODE("Max", ["x", "w"], ["y"]), w=np.zeros(3, "f4"))
    alone = file_digest(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=0)
    found = [alone, file_digest(path)]
    for data in (b"changed", b"again"):
        (tmp_path / "w").write_bytes(data)
        found.append(file_digest(path))
    (tmp_path / "w").unlink()
    found.append(file_digest(path))
    assert len(set(found)) == 5
    assert "" not in found
    assert file_digest(tmp_path / "none.onnx") == ""


def test_a_failed_network_is_told_by_the_exit_code(folder, capsys, monkeypatch):
    failed = Row("onnx:deep/cnn.onnx", verdict=FAILED, reason="KeyError: 'x'")
    monkeypatch.setattr(judging, "judge_all", lambda *_, **__: iter([failed]))
    code, out, err = run(capsys, "--folder", "models", "--match", "*cnn.onnx")
    assert code == 1
    assert "KeyError: 'x'" in out
    assert "1 failed" in out
    assert "[1/1] onnx:deep/cnn.onnx failed" in err


def test_an_interrupt_keeps_the_rows_and_says_so(folder, capsys, monkeypatch):
    def interrupted(*_, **__):
        digest = file_digest(Path("models/bad.onnx"))
        yield Row("onnx:bad.onnx", verdict=REFUSED, reason="damaged", digest=digest)
        raise KeyboardInterrupt

    monkeypatch.setattr(judging, "judge_all", interrupted)
    code, out, err = run(capsys, "--folder", "models", "--output", "table.md")
    assert (code, out) == (130, "")
    assert "go on with --resume" in err
    assert not Path("table.md").exists()
    asked = []
    monkeypatch.setattr(judging, "judge_all", lambda names, *_, **__: asked.extend(names) or [])
    code, out, err = run(capsys, "--folder", "models", "--output", "table.md", "--resume")
    assert asked == ["onnx:deep/cnn.onnx"]  # and nobody judged it
    assert code == 0
    assert "1 of 2 networks are left" in err
    assert "onnx:bad.onnx" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--libraries", "keras"], "there is no library 'keras'"),
        (["--folder", "nowhere"], "is no folder"),
        (["--folder", "models", "--match", "zzz*"], "no network fits"),
        (["--folder", "models", "--output", "table.txt"], "is no .md file"),
        (["--folder", "models", "--output", "nowhere/table.md"], "no folder 'nowhere'"),
        (["--folder", "models", "--output", "notes.md"], "is no table of coverage"),
        (["--folder", "models", "--resume"], "--resume needs the --output"),
        (["--folder", "models", "--jobs", "0"], "jobs"),
    ],
)
def test_what_cannot_be_run_is_said_before_any_work(folder, capsys, options, message):
    Path("notes.md").write_text("# My notes\n")
    before = sorted(Path().rglob("*"))
    code, out, err = run(capsys, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before


def test_the_list_holds_classification_and_plain_segmentation_in_order():
    names = list_networks(["torchvision"], None, "*")
    assert names == sorted(names)
    assert {"torchvision:resnet18", "torchvision:fcn_resnet50"} <= set(names)
    for part in ("raft", "deeplab", "rcnn", "quantized", "r3d", "mvit_v"):
        assert not [name for name in names if part in name]
    assert list_networks(["timm"], None, "test_resnet") == ["timm:test_resnet"]


def test_a_time_limit_leaves_the_rest_for_later(tmp_path, capsys):
    table = tmp_path / "t.md"
    options = ["coverage", "--match", "torchvision:alexnet", "-o", str(table)]
    assert main([*options, "--minutes", "0"]) == 0
    assert "Not judged yet: 1 network." in table.read_text()
    assert "--resume" in capsys.readouterr().err
