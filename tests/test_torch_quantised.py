"""Modules that torch prepared for whole numbers: staircases, switched off, or refused by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization

from convsnn.errors import UnsupportedError
from convsnn.graph import Graph
from convsnn.load import load_module
from convsnn.load.verify import module_reference, verify_import
from convsnn.passes import EXACT, apply_exact

pytestmark = pytest.mark.filterwarnings("ignore")  # torch moves these to a project of their own


class Net(nn.Module):
    """A convolution, a batch norm, a ReLU, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU()
        self.head = nn.Linear(3 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.norm(self.conv(x))).flatten(1))


def prepared() -> tuple[nn.Module, Tensor]:
    """The network as quantisation-aware training leaves it, with its ReLU in whole steps."""
    torch.manual_seed(0)
    x = torch.rand(16, 1, 6, 6)
    net = quantization.fuse_modules_qat(Net().train(), [["conv", "norm", "act"]])
    net.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    net.head.qconfig = None
    net = quantization.prepare_qat(net)
    net(x)
    return net.eval(), x


def entered(net: nn.Module, x: Tensor) -> Graph:
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    graph = load_module(net, x)
    verify_import(graph, module_reference(net), x)
    assert all(torch.equal(state[name], now) for name, now in net.state_dict().items())
    return apply_exact(graph, x, EXACT)


def test_frozen_it_is_a_staircase_of_neurons() -> None:
    net, x = prepared()
    graph = entered(net.apply(quantization.disable_observer), x)
    graph.require_convertible()
    (site,) = graph.sites.values()
    assert site.ceiling is not None


def test_switched_off_it_is_the_network_without_rounding() -> None:
    net, x = prepared()
    graph = entered(net.apply(quantization.disable_fake_quant), x)
    graph.require_convertible()
    assert len(graph.sites) == 1


def test_while_it_follows_the_data_it_is_refused_with_the_way_out() -> None:
    net, x = prepared()
    with pytest.raises(UnsupportedError, match="would stay analog") as raised:
        load_module(net, x).require_convertible()
    assert "disable_observer" in raised.value.hint


def test_whole_number_layers_are_refused_by_name() -> None:
    net, x = prepared()
    with pytest.raises(
        UnsupportedError, match=r"'conv' \(ConvReLU2d\) computes with whole numbers"
    ):
        load_module(quantization.convert(net), x)


@pytest.mark.parametrize("axis", [None, 1])
def test_fake_quantisation_of_activations_is_read(axis: int | None) -> None:
    class Rounded(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.conv(x))
            if axis is None:
                x = torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 15)
            else:
                scale, zero = torch.tensor([0.1, 0.2, 0.15]), torch.zeros(3, dtype=torch.int32)
                x = torch.fake_quantize_per_channel_affine(x, scale, zero, axis, 0, 15)
            return self.head(x.flatten(1))

    torch.manual_seed(0)
    graph = entered(Rounded().eval(), torch.rand(4, 1, 6, 6))
    graph.require_convertible()
    assert any(site.levels == 15 for site in graph.sites.values())
