"""A network of every ReLU family as torch's exporters write it, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from convsnn.graph import run
from convsnn.load import load_module, load_onnx, onnx_reference

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporters' own
]

NEWEST = 0  # torch's newer exporter, at the opset it chooses itself
# network, size of its input, opset; 18 and above by the newer exporter
FAMILIES = [
    ("torchvision:alexnet", 96, 20),
    ("torchvision:vgg11_bn", 64, NEWEST),
    ("torchvision:resnet18", 64, 9),
    ("torchvision:resnext50_32x4d", 64, 17),
    ("torchvision:regnet_x_400mf", 64, 11),
    ("torchvision:inception_v3", 107, 17),
    ("timm:inception_v4", 107, 11),
    ("torchvision:squeezenet1_1", 64, NEWEST),
    ("timm:mobilenetv1_100", 64, NEWEST),
    ("torchvision:mobilenet_v2", 64, 9),
    ("torchvision:mnasnet0_5", 64, 11),
    ("timm:repvgg_a0", 64, 13),
    ("timm:dla34", 64, 17),
    ("timm:hrnet_w18_small", 64, 11),
    ("timm:res2net50_14w_8s", 64, 17),
    ("timm:vovnet39a", 64, 9),
    ("timm:selecsls42", 64, NEWEST),
    ("timm:legacy_xception", 64, 13),
    ("timm:resnetv2_18", 64, 20),
    ("torchvision:fcn_resnet50", 64, 9),
    ("timm:resnetblur18", 64, 17),
    ("timm:darknet17", 64, 17),
]


def network(name: str) -> nn.Module:
    """The network in eval mode, with seeded weights and batch norms that do something."""
    torch.manual_seed(0)
    library, _, leaf = name.partition(":")
    if library == "timm":
        model = timm.create_model(leaf)
    else:
        options: dict[str, Any] = {"weights": None}
        if leaf == "inception_v3":
            options |= {"init_weights": False}
        if leaf.startswith("fcn"):
            options |= {"weights_backbone": None}
        model = torchvision.models.get_model(leaf, **options)
        if leaf.startswith("vgg"):  # 100 million weights of one layer check nothing more
            first = nn.Linear(model.classifier[0].in_features, 32)
            model.classifier = nn.Sequential(first, nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    for key, buffer in model.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize(("name", "size", "opset"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_exported_family_matches(name: str, size: int, opset: int, tmp_path: Path) -> None:
    dynamo = opset == NEWEST or opset >= 18
    if dynamo:
        pytest.importorskip("onnxscript", reason="torch's newer exporter needs onnxscript")
    module, path = network(name), tmp_path / "m.onnx"
    more: dict[str, Any] = {"verbose": False} if dynamo else {}
    if opset != NEWEST:
        more["opset_version"] = opset
    torch.onnx.export(module, (torch.randn(1, 3, size, size),), path, dynamo=dynamo, **more)
    graph = load_onnx(path)
    assert graph.blockers() == ()
    assert len(graph.sites) == len(load_module(module, torch.randn(2, 3, size, size)).sites)
    x = torch.rand(2, 3, size, size)
    values = run(graph, x)
    for output, expected in zip(graph.outputs, onnx_reference(path)(x), strict=True):
        assert (values[output] - expected).abs().max() <= 1e-4 * expected.abs().max()
