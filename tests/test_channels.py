"""Channels are followed from the layer that made them to the neurons."""

import pytest
import torch
from torch import nn

from convsnn.load import load_module


class Moved(nn.Module):
    def __init__(self, layer, move):
        super().__init__()
        self.layer, self.move = layer, move

    def forward(self, x):
        return torch.relu(self.move(self.layer(x)))


def image(move):
    return Moved(nn.Conv2d(2, 7, 1), move), (2, 3, 5)


def tokens(move):
    return Moved(nn.Linear(4, 7), move), (5, 4)


@pytest.mark.parametrize(
    ("made", "axis"),
    [
        (image(lambda x: x), 0),
        (image(lambda x: x.permute(0, 2, 3, 1)), 2),
        (image(lambda x: x.flatten(2)), 0),
        (image(lambda x: x.flatten(2).transpose(1, 2)), 1),
        (image(lambda x: x.mean((2, 3))), 0),
        (image(lambda x: x.permute(0, 2, 3, 1).mean(1)), 1),
        (image(lambda x: x.permute(0, 2, 3, 1).reshape(-1, 15, 7)), 1),
        (image(lambda x: torch.cat([x, x + 1], 2)), 0),
        (tokens(lambda x: x), 1),
        (tokens(lambda x: x[:, 1:]), 1),
        (tokens(lambda x: torch.cat([x, 2 * x], 1)), 1),
        (tokens(lambda x: x.transpose(1, 2)), 0),
        (tokens(lambda x: x.transpose(1, 2) - 1), 0),
        (tokens(lambda x: x.mean(1)), 0),
    ],
)
def test_axis_of_the_channels(made, axis):
    module, shape = made
    (site,) = load_module(module.eval(), torch.randn(2, *shape)).sites.values()
    assert (site.channel_axis, site.channels) == (axis, 7)


def test_flattened_images_have_a_channel_for_each_neuron():
    module, shape = image(lambda x: x.flatten(1))
    (site,) = load_module(module.eval(), torch.randn(2, *shape)).sites.values()
    assert (site.channel_axis, site.channels) == (0, 105)
