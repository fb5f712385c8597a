"""Growing a residual network: what it computes at first, and what it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from typer import Typer
from typer.testing import CliRunner

from convsnn.errors import ConfigError
from convsnn.load.weights import load_weights
from zoo.grow import grown, imitate, main
from zoo.models import MODELS
from zoo.models.resnet_cifar import CifarResNet


def trained(depth: int, seed: int) -> CifarResNet:
    """With statistics and gains of a network that has seen images."""
    draws = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = CifarResNet(depth)
    for name, value in net.state_dict().items():
        if "bn" in name and value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=draws) + 0.5)
    return net.eval()


@settings(max_examples=6)
@given(depths=st.sampled_from([(8, 14), (8, 20), (14, 20), (20, 20)]), seed=st.integers(0, 99))
def test_blocks_that_begin_at_zero_change_nothing(depths: tuple[int, int], seed: int) -> None:
    source, deeper = trained(depths[0], seed), CifarResNet(depths[1])
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        torch.testing.assert_close(grown(source, deeper, gain=0.0).eval()(x), source(x))
        if depths[0] < depths[1]:
            assert not torch.equal(grown(source, deeper, gain=0.5).eval()(x), source(x))


def test_a_network_does_not_grow_into_a_shallower_one() -> None:
    with pytest.raises(ConfigError, match="does not grow into"):
        grown(CifarResNet(20), CifarResNet(14), gain=0.0)


def test_it_learns_the_answers_of_the_trained_one() -> None:
    torch.manual_seed(0)
    source = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    deeper = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Linear(8, 3))
    x = torch.randn(64, 3, 2, 2)

    def gap() -> float:
        with torch.no_grad():
            return float((deeper(x) - source(x)).square().mean() / source(x).var())

    before = gap()
    imitate(deeper, source, x, epochs=150, seed=0)
    assert gap() < before / 4


def test_the_command_writes_a_network_that_fits(tmp_path: Path) -> None:
    app = Typer()
    app.command()(main)
    draws = np.random.default_rng(0)
    x, y = draws.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8), np.arange(32) % 10
    for part in ("train", "test"):
        np.savez(tmp_path / f"{part}.npz", x=x, y=y.astype(np.uint8))
    save_file(trained(20, 0).state_dict(), tmp_path / "source.safetensors")
    options = ["--source", "resnet20-cifar10", "--weights", str(tmp_path / "source.safetensors")]
    options += ["--data", f"npz:{tmp_path / 'train.npz'},{tmp_path / 'test.npz'}", "--epochs", "1"]
    out = tmp_path / "grown.safetensors"
    result = CliRunner().invoke(app, ["resnet32-cifar10", *options, "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "of the network that it grew from" in result.output
    load_weights(MODELS.create("resnet32-cifar10").module(weights=False), out)
    result = CliRunner().invoke(app, ["resnet14-cifar10", *options, "-o", str(tmp_path / "a")])
    assert result.exit_code == 2
    assert "resnet14" in result.output
