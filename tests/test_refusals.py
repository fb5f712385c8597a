"""What the torch entrance must not read wrongly: it is read right, or refused by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convsnn
from calibrate import parse_stages
from convsnn.errors import UnsupportedError
from convsnn.graph import run
from convsnn.load import load_module, load_onnx
from convsnn.spiking.kinds import refused_roles
from convsnn.workflows.convert.network import convert


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.l = nn.Linear(4, 4)
        self.p = nn.Parameter(torch.randn(4, 4))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


READ = {
    "clamp between tensors": lambda s, x: s.l(torch.clamp(x, torch.tensor(0.0), torch.tensor(6.0))),
    "zeros of the batch's size": lambda s, x: s.l(F.relu(x)) + torch.zeros(x.shape[0], 4),
    "a parameter expanded over the batch": lambda s, x: (
        F.relu(s.l(x))[:, None] + s.p.expand(x.shape[0], 4, 4).transpose(1, 2)
    ).flatten(1),
    "a number beside the output": lambda s, x: (F.relu(s.l(x)), 3),
    "a doubled value": lambda s, x: s.l((y := F.relu(x)) + y),
    "a parameter repeated over the batch": lambda s, x: F.relu(x) + s.p[:1].repeat(x.shape[0], 1),
    "a constant that widens": lambda s, x: (F.relu(x)[:, None] * s.p[None]).flatten(1),
}
REFUSED = {
    "division by the batch": lambda s, x: F.relu(s.l(x)) / x.shape[0],
    "division by zero": lambda s, x: F.relu(s.l(x)) / 0,
    "pooling over features": lambda s, x: F.max_pool1d(F.relu(s.l(x)), 2),
    "softmax over the batch": lambda s, x: torch.softmax(F.relu(s.l(x)), 0),
    "whole numbers": lambda s, x: s.l(F.relu(x).to(torch.int32).float()),
    "dropout that stays on": lambda s, x: s.l(F.dropout(F.relu(x), 0.5)),
    "samples mixed": lambda s, x: s.l(F.relu(x).reshape(-1, 2, 4).mean(1)),
    "clamp to nothing": lambda s, x: s.l(torch.clamp(x, 0, -float("inf"))),
    "uneven upsampling": lambda s, x: F.interpolate(
        F.relu(x)[:, None, None].expand(-1, 1, 5, 4), scale_factor=1.4, mode="bilinear"
    ),
}


@pytest.mark.parametrize("case", READ)
def test_is_read_right(case):
    torch.manual_seed(0)
    module, x = Net(READ[case]).eval(), torch.randn(6, 4)
    graph = load_module(module, x)
    assert graph.blockers() == ()
    wanted = module(x)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    torch.testing.assert_close(run(graph, x)[graph.outputs[0]], wanted.detach())
    net = convert(graph, x, [x], parse_stages("max"), steps=4)
    assert convsnn.simulate(net, x, steps=4).outputs[0].shape == (4, *wanted.shape)


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_by_name(case):
    graph = load_module(Net(REFUSED[case]).eval(), torch.randn(6, 4))
    assert graph.blockers()
    with pytest.raises(UnsupportedError):
        graph.require_convertible()


def test_burst_may_not_pass_a_ceiling():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU6(), nn.Linear(4, 2)).eval()
    x = torch.randn(8, 4)
    stages = parse_stages("max:factor=100")  # thresholds at the ceiling
    with pytest.raises(UnsupportedError, match="clipped at 6"):
        convert(module, x, [x], stages, neuron="burst")


def test_the_seed_reaches_the_input_spikes():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.randn(8, 4)
    for spec, seed in (("poisson", 7), ("poisson:seed=3", 3)):
        net = convert(module, x, [x], parse_stages("max"), encoder=spec, seed=7)
        assert f"seed={seed}" in net.encoder.spec()


def test_a_gate_is_named_where_only_binary_spikes_are_wanted():
    def gated(s, x):
        return s.l(F.relu(x) * torch.sigmoid(s.l(F.relu(x))))

    graph = load_module(Net(gated).eval(), torch.randn(6, 4))
    assert not graph.blockers()
    refused = graph.blockers(refused_roles("binary"))
    assert sorted(item.op for item in refused) == ["multiply", "sigmoid"]


LOW = -float("inf")
PADDED = {
    "zeros": lambda x: F.pad(x, (1, 2, 0, 1)),
    "a constant": lambda x: F.pad(x, (1, 0), value=2.5),
    "reflected": lambda x: F.pad(x, (2, 1, 1, 3), mode="reflect"),
    "replicated": lambda x: F.pad(x, (0, 2, 1, 0), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 1, 2, 0), mode="circular"),
    "minus infinity": lambda x: F.max_pool2d(F.pad(x, (0, 1, 1, 0), value=LOW), 3, 2, 1),
}


class Padded(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 3, 1), function

    def forward(self, x):
        return self.function(torch.relu(self.conv(x)) - 1)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("entrance", ["module", "onnx"])
@pytest.mark.parametrize("case", PADDED)
def test_padding_is_read_right(case, entrance, tmp_path):
    torch.manual_seed(0)
    module, x = Padded(PADDED[case]).eval(), torch.randn(2, 2, 6, 5)
    if entrance == "module":
        graph = load_module(module, x)
    else:
        path = tmp_path / "m.onnx"
        torch.onnx.export(module, (x,), path, dynamo=False, opset_version=19)
        graph = load_onnx(path)
    assert graph.blockers() == ()
    torch.testing.assert_close(run(graph, x)[graph.outputs[0]], module(x).detach())


def test_minus_infinity_elsewhere_is_refused_by_name():
    module = Padded(lambda x: F.avg_pool2d(F.pad(x, (1, 1), value=LOW), 2))
    graph = load_module(module.eval(), torch.randn(2, 2, 6, 6))
    assert [item.op for item in graph.blockers()] == ["avg_pool2d"]
