"""SpikingJelly: a network converted by its own `ann2snn`, run as documented and as fast as it can.

Its converter calibrates; then our thresholds go into its scalers, so that both run one network.
"""

import contextlib
import copy
import io
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from convsnn.errors import MissingExtraError, SimulationError
from convsnn.neurons.fused import compiler
from convsnn.spiking.network import Spiking
from convsnn.workflows.bench.peers.base import Contender, Run, require_plain
from convsnn.workflows.bench.peers.layers import as_module

CHUNK = 8  # steps that the multi-step mode takes at once, so that its memory stays flat


def modules() -> tuple[ModuleType, ModuleType]:
    """Its `ann2snn` and `functional`; MissingExtraError where it is not installed."""
    try:
        from spikingjelly.activation_based import ann2snn, functional
    except ImportError:
        raise MissingExtraError("SpikingJelly", "bench") from None
    return ann2snn, functional


def converted(net: Spiking, x: Tensor) -> nn.Module:
    """`net` as SpikingJelly converts it, with the thresholds of `net`."""
    require_plain(net)
    ann2snn, _ = modules()
    recipe = ann2snn.RateCodingRecipe([x], mode="99.9%")
    with contextlib.redirect_stderr(io.StringIO()):  # a bar of its own for every batch
        made = ann2snn.Converter(recipe=recipe, device=x.device).convert(as_module(net.body))
    made = made.to(x.device).eval()
    parts = dict(made.named_modules())
    ends = [n.target for n in made.graph.nodes if str(n.target).endswith(".scaler1")]
    if len(ends) != len(net.plan.sites):
        raise SimulationError(f"SpikingJelly made {len(ends)} of {len(net.plan.sites)} layers")
    for name, site in zip(ends, net.plan.sites.values(), strict=True):
        threshold = site.threshold.to(x)
        parts[name].scale = threshold
        parts[name.replace(".scaler1", ".scaler0")].scale = 1 / threshold
    return made


def documented(net: Spiking, x: Tensor) -> list[Contender]:
    """Step by step in float32, as its examples run a converted network."""
    return [Contender("step by step", "float32", lambda: _stepwise(converted(net, x), x))]


def tuned(net: Spiking, x: Tensor) -> list[Contender]:
    """What a user can do by hand: bfloat16, channels-last, many steps at once, torch.compile."""
    made = converted(net, x)
    form = torch.channels_last if x.dim() == 4 else torch.contiguous_format
    low, small = torch.bfloat16, x.to(torch.bfloat16, memory_format=form)
    wide = x.contiguous(memory_format=form)

    def cast(dtype: torch.dtype) -> nn.Module:
        return copy.deepcopy(made).to(dtype).to(memory_format=form)

    found: list[tuple[str, str, Callable[[], Run]]] = [
        ("channels-last, step by step", "float32", lambda: _stepwise(cast(x.dtype), wide)),
        ("channels-last, step by step", "bfloat16", lambda: _stepwise(cast(low), small)),
        ("channels-last, multi-step", "bfloat16", lambda: _multistep(cast(low), small)),
        ("multi-step", "float32", lambda: _multistep(copy.deepcopy(made), x)),
    ]
    if compiler() is None:
        found += [
            ("compiled", "float32", lambda: _stepwise(cast(x.dtype), wide, fast=True)),
            ("compiled, channels-last", "bfloat16", lambda: _stepwise(cast(low), small, fast=True)),
        ]
    return [Contender(*each) for each in found]


def _stepwise(made: nn.Module, x: Tensor, *, fast: bool = False) -> Run:
    _, functional = modules()
    functional.set_step_mode(made, "s")
    step = torch.compile(made) if fast else made

    def run(steps: int) -> Tensor:
        functional.reset_net(made)
        with torch.no_grad():
            out = step(x)
            for _ in range(1, steps):
                out = out + step(x)
        return out / steps

    return run


def _multistep(made: nn.Module, x: Tensor) -> Run:
    _, functional = modules()
    functional.set_step_mode(made, "m")

    def run(steps: int) -> Tensor:
        functional.reset_net(made)
        out: Tensor | float = 0.0
        with torch.no_grad():
            for first in range(0, steps, CHUNK):
                length = min(CHUNK, steps - first)
                out = out + made(x.expand(length, *x.shape)).sum(0)
        assert isinstance(out, Tensor)
        return out / steps

    return run
