"""Networks of torchvision as torch's two exporters write them, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from convsnn.graph import run
from convsnn.load.onnx import load_onnx, onnx_reference
from convsnn.spiking.kinds import kind_of, refused_roles

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporters' own
]


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {"aux_logits": False, "init_weights": False}
    model = getattr(torchvision.models, name)(
        weights=None, **(options if name == "googlenet" else {})
    )
    for key, buffer in model.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def export(name: str, path: Path, opset: int | None, *, dynamo: bool) -> Path:
    if dynamo:
        pytest.importorskip("onnxscript", reason="torch's newer exporter needs onnxscript")
    more: dict[str, Any] = {} if opset is None else {"opset_version": opset}
    if dynamo:
        more["verbose"] = False
    torch.onnx.export(network(name), (torch.randn(1, 3, 64, 64),), path, dynamo=dynamo, **more)
    return path


@pytest.mark.parametrize(
    ("name", "opset", "dynamo"),
    [
        ("resnet18", None, True),
        ("resnet18", 9, False),
        ("resnet18", 17, False),
        ("squeezenet1_1", 20, True),
        ("mobilenet_v2", 13, False),
        ("shufflenet_v2_x0_5", None, True),
        ("shufflenet_v2_x0_5", 11, False),
        ("googlenet", None, True),
        ("densenet121", 11, False),
    ],
)
def test_exported_network_matches(
    name: str, opset: int | None, dynamo: bool, tmp_path: Path
) -> None:
    path = export(name, tmp_path / "m.onnx", opset, dynamo=dynamo)
    graph = load_onnx(path)
    assert graph.blockers() == ()
    for batch in (1, 3):
        x = torch.rand(batch, 3, 64, 64)
        with torch.no_grad():
            value = run(graph, x)[graph.outputs[0]]
        expected = onnx_reference(path)(x)[0]
        assert value.shape == expected.shape
        assert (value - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnet_b0", "mobilenet_v3_small"])
def test_networks_with_other_activations_are_equal_and_name_them(name: str, tmp_path: Path) -> None:
    path = export(name, tmp_path / "m.onnx", None, dynamo=True)
    graph, x = load_onnx(path), torch.randn(2, 3, 64, 64)
    assert not graph.blockers()
    assert kind_of(graph, []) == "graded, partly analog"
    found = graph.blockers(refused_roles("binary"))
    assert len(found) == len(graph.smooth) > 0
    assert all(b.layer and b.reason for b in found)
    value, expected = run(graph, x)[graph.outputs[0]], onnx_reference(path)(x)[0]
    assert (value - expected).abs().max() <= 1e-4 * expected.abs().max()
