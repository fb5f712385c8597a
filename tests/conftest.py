"""What tests share: the folder of study data, and small random networks of exact arithmetic.

"Dyadic" networks have weights, inputs and thresholds that are small multiples of 2^-k, so that
every sum is exact in float32 and results can be compared to the last bit.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from judged import judged
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.ops import OPS
from convsnn.spiking.plan import Plan, SitePlan

torch.set_num_threads(1)  # the networks are small: threads would only wait for each other
settings.register_profile("convsnn", deadline=None, print_blob=True)  # machines differ in speed
settings.load_profile("convsnn")

ROOT = Path(__file__).resolve().parent.parent
Rng = np.random.Generator


@pytest.fixture(scope="session", autouse=True)
def _results_are_judged() -> Iterator[None]:
    with judged():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real networks and images; skips the test where it is not there."""
    folder = Path(os.environ.get("CONVSNN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the study data is not there (set CONVSNN_DATA)")
    return folder


def dyadic(rng: Rng, shape: tuple[int, ...], *, reach: int = 4, bits: int = 2) -> Tensor:
    """Whole numbers in [-reach, reach] times 2^-bits."""
    return torch.from_numpy(rng.integers(-reach, reach + 1, shape)).float() / 2**bits


def real(rng: Rng, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers of about the size that keeps activations near one."""
    fan_in = int(np.prod(shape[1:])) or 1
    return torch.from_numpy(rng.normal(0, fan_in**-0.5, shape)).float()


@dataclass
class Maker:
    """Builds a graph node by node; `exact` chooses dyadic parameters."""

    rng: Rng
    shape: tuple[int, ...]
    exact: bool = True
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes.append(Node("input", "input", (), {"shape": list(self.shape)}))
        self.values["input"] = torch.zeros(1, *self.shape)

    def draw(self, *shape: int) -> Tensor:
        """Random parameters."""
        return dyadic(self.rng, shape) if self.exact else real(self.rng, shape)

    def tensor(self, value: Tensor) -> str:
        """Enter a constant; returns its name."""
        name = f"t{len(self.tensors)}"
        self.tensors[name] = value
        return name

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node; returns its name."""
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs, attrs))
        known = {**self.tensors, **self.values}
        self.values[name] = OPS[op].run(*[known[i] for i in inputs], **attrs)
        return name

    def size(self, name: str) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.values[name].shape[1:])

    def pick(self, *choices: Any) -> Any:
        """One of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def conv(
        self, x: str, out: int, kernel: int = 3, *, stride: int = 1, padding: int = 0,
        groups: int = 1,
    ) -> str:  # fmt: skip
        """A convolution with bias."""
        weight = self.tensor(self.draw(out, self.size(x)[0] // groups, kernel, kernel))
        bias = self.tensor(self.draw(out) / 2)
        return self.emit(
            "conv", x, weight, bias, stride=[stride] * 2, padding=[padding] * 4,
            dilation=[1, 1], groups=groups,
        )  # fmt: skip

    def conv_transpose(self, x: str, out: int, *, stride: int = 2, groups: int = 1) -> str:
        """A transposed convolution with bias, kernel 3, padding 1."""
        weight = self.tensor(self.draw(self.size(x)[0], out // groups, 3, 3))
        bias = self.tensor(self.draw(out) / 2)
        return self.emit(
            "conv_transpose", x, weight, bias, stride=[stride] * 2, padding=[1] * 4,
            output_padding=[stride - 1] * 2, dilation=[1, 1], groups=groups,
        )  # fmt: skip

    def linear(self, x: str, out: int) -> str:
        """A fully connected layer with bias."""
        weight = self.tensor(self.draw(out, self.size(x)[-1]))
        return self.emit("linear", x, weight, self.tensor(self.draw(out) / 2))

    def batch_norm(self, x: str) -> str:
        """A batch norm with statistics away from the trivial ones."""
        channels = self.size(x)[0]
        gamma, beta, mean = (torch.from_numpy(self.rng.normal(0, 1, channels)) for _ in range(3))
        variance = torch.from_numpy(self.rng.uniform(0.3, 2, channels))
        names = [self.tensor(t.float()) for t in (gamma + 1.5, beta, mean, variance)]
        return self.emit("batch_norm", x, *names, epsilon=1e-5)

    def flatten(self, x: str) -> str:
        """(C, H, W) to (C H W)."""
        return self.emit("reshape", x, shape=[int(np.prod(self.size(x)))])

    def activation(self, x: str) -> str:
        """ReLU, sometimes with a ceiling."""
        return self.emit("clip", x, ceiling=2.0) if self.rng.random() < 0.25 else self.relu(x)

    def relu(self, x: str) -> str:
        """ReLU."""
        return self.emit("relu", x)

    def max_pool(
        self, x: str, kernel: int = 2, stride: int = 2, padding: int = 0, dilation: int = 1
    ) -> str:
        """Max pooling with square windows."""
        return self.emit(
            "max_pool", x, kernel=[kernel] * 2, stride=[stride] * 2, padding=[padding] * 4,
            dilation=[dilation] * 2, ceil_mode=False,
        )  # fmt: skip

    def avg_pool(self, x: str) -> str:
        """Means of 2 x 2."""
        return self.emit("avg_pool", x, kernel=[2, 2], stride=[2, 2], padding=[0] * 4)

    def graph(self, *outputs: str) -> Graph:
        """The graph so far."""
        return Graph(tuple(self.nodes), dict(self.tensors), outputs)


def _plain(maker: Maker, x: str) -> str:
    stride = maker.pick(1, 2) if min(maker.size(x)[1:]) > 3 else 1
    return maker.activation(maker.conv(x, maker.pick(2, 4), stride=stride, padding=1))


def _grouped(maker: Maker, x: str) -> str:
    channels = maker.size(x)[0]
    return maker.activation(maker.conv(x, 2 * channels, padding=1, groups=channels))


def _residual(maker: Maker, x: str) -> str:
    inner = maker.activation(maker.conv(x, 4, padding=1))
    shortcut = x if maker.rng.random() < 0.5 else maker.conv(x, maker.size(x)[0], 1)
    inner = maker.conv(inner, maker.size(shortcut)[0], padding=1)
    return maker.activation(maker.emit("add", inner, shortcut))


def _concat(maker: Maker, x: str) -> str:
    left = maker.activation(maker.conv(x, 2, padding=1))
    right = x if maker.rng.random() < 0.5 else maker.activation(maker.conv(x, 2, 1))
    return maker.emit("concat", left, right, dim=1)


def _avg(maker: Maker, x: str) -> str:
    return maker.avg_pool(x) if min(maker.size(x)[1:]) >= 2 else x


def _max(maker: Maker, x: str) -> str:
    if min(maker.size(x)[1:]) < 3:
        return x
    return maker.max_pool(x, maker.pick(2, 3), maker.pick(1, 2), maker.pick(0, 1))


def _swap(maker: Maker, x: str) -> str:
    return maker.emit("permute", x, dims=[0, 1, 3, 2])


_BLOCKS: tuple[Callable[[Maker, str], str], ...] = (
    _plain, _grouped, _residual, _concat, _avg, _max, _swap,
)  # fmt: skip


def random_graph(seed: int, *, exact: bool = True, blocks: int = 3) -> Graph:
    """A random convolutional network with residual sums, concatenations, groups and pools."""
    rng = np.random.default_rng(seed)
    maker = Maker(rng, (int(rng.integers(1, 4)), *(int(s) for s in rng.integers(4, 8, 2))), exact)
    x = maker.activation(maker.conv("input", maker.pick(2, 4), padding=1))
    for _ in range(blocks):
        x = maker.pick(*_BLOCKS)(maker, x)
    hidden = maker.relu(maker.linear(maker.flatten(x), 5))
    return maker.graph(maker.linear(hidden, 3))


def dyadic_plan(graph: Graph, seed: int, *, timed_bias: bool = False) -> Plan:
    """Dyadic thresholds, initial potentials, sometimes shifts and, where wanted, biases of the
    first three steps, of a layer or a channel."""
    rng, later, sites = np.random.default_rng(seed), np.random.default_rng((seed, 1)), {}
    for name, site in graph.sites.items():
        rows = site.channels if rng.random() < 0.5 else 1
        values = torch.from_numpy(rng.integers(2, 9, rows)).float() / 4  # at most 2, the ceiling
        threshold = site.per_channel(values) if rows > 1 else values[0]
        potential = threshold * float(rng.choice([0.0, 0.25, 0.5]))
        shift = dyadic(rng, tuple(threshold.shape), bits=3) if rng.random() < 0.3 else None
        wide = (3, rows, *[1] * (len(site.shape) - 1)) if site.channel_axis == 0 else None
        timed = (
            dyadic(later, wide, bits=3) if wide and timed_bias and later.random() < 0.3 else None
        )
        sites[name] = SitePlan(threshold, potential, shift, timed_bias=timed)
    return Plan(sites)


def images(graph: Graph, seed: int, batch: int) -> Tensor:
    """Dyadic images between -1 and 1."""
    shape = tuple(graph.input.attrs["shape"])
    return dyadic(np.random.default_rng(seed), (batch, *shape), reach=8, bits=3)
