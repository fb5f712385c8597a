"""What the torch entrance must not read wrongly: it is read right, or refused by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convsnn
from calibrate import parse_stages
from convsnn.errors import UnsupportedError
from convsnn.graph import run
from convsnn.load import load_module


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
    "a constant that widens": lambda s, x: (F.relu(x)[:, None] * s.p[None]).flatten(1),
}
REFUSED = {
    "a parameter repeated over the batch": lambda s, x: F.relu(x) + s.p[:1].repeat(x.shape[0], 1),
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
    net = convsnn.convert(graph, x, [x], parse_stages("max"), steps=4)
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
        convsnn.convert(module, x, [x], stages, neuron="burst")


def test_the_seed_reaches_the_input_spikes():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.randn(8, 4)
    for spec, seed in (("poisson", 7), ("poisson:seed=3", 3)):
        net = convsnn.convert(module, x, [x], parse_stages("max"), encoder=spec, seed=7)
        assert f"seed={seed}" in net.encoder.spec()
