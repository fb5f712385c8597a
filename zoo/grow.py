"""Grows a trained residual network into a deeper one: for networks of a depth nobody has trained.

    python -m zoo.grow resnet56-cifar10 --source resnet32-cifar10 --weights resnet32.th \
        --data npz:TRAIN.npz,TEST.npz -o resnet56.safetensors

New blocks are put between those of the trained network, evenly over each stage. Each adds `gain`
times a batch-normalised value to what passes through it, so that the deeper network begins close to
the trained one; all of it then learns the trained one's answers on training images, without labels.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import safetensors.torch
import torch
import typer
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from convsnn.errors import ConfigError, ConvsnnError
from convsnn.load.weights import load_weights
from convsnn.train.checkpoint import put
from convsnn.train.samples import moved
from zoo.data import open_data
from zoo.models import MODELS
from zoo.train import accuracy, whole

_BLOCK = re.compile(r"(layer\d+)\.(\d+)\.(.+)")
BATCH = 128
RATE = 0.02


def grown(source: nn.Module, deeper: nn.Module, *, gain: float) -> nn.Module:
    """`deeper` with the weights of `source`, whose blocks are spread over its stages.

    Both are networks of `zoo.models.resnet_cifar`. Raises ConfigError unless `deeper` has at least
    as many blocks in every stage.
    """
    places = _places(source.state_dict(), deeper.state_dict())
    taken = {}
    for name, value in source.state_dict().items():
        found = _BLOCK.fullmatch(name)
        if found is not None:
            stage, number, rest = found.groups()
            name = f"{stage}.{places[stage][int(number)]}.{rest}"
        taken[name] = value
    deeper.load_state_dict({**deeper.state_dict(), **taken})
    for name, parameter in deeper.named_parameters():
        if name not in taken and name.endswith("bn2.weight"):
            nn.init.constant_(parameter, gain)
    return deeper


def _places(source: Mapping[str, Tensor], deeper: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """For each stage, where the blocks of the source stand in the deeper network."""
    has, wants = _blocks(source), _blocks(deeper)
    if not has or has.keys() != wants.keys() or any(wants[stage] < has[stage] for stage in has):
        raise ConfigError(
            f"a network with blocks {has} does not grow into one with {wants}",
            hint="give a shallower residual network of the same family as --source",
        )
    return {
        stage: [number * wants[stage] // count for number in range(count)]
        for stage, count in has.items()
    }


def _blocks(state: Mapping[str, Tensor]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in state:
        if match := _BLOCK.fullmatch(name):
            stage, number, _ = match.groups()
            found[stage] = max(found.get(stage, 0), int(number) + 1)
    return found


def imitate(module: nn.Module, source: nn.Module, x: Tensor, *, epochs: int, seed: int) -> None:
    """Train `module` in place to answer images x (N, C, H, W), shifted and flipped, as `source`."""
    draws = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(x) // BATCH)
    optimizer = torch.optim.SGD(module.parameters(), RATE, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    orders = [torch.randperm(len(x), generator=draws) for _ in range(epochs)]
    batches = [chosen for order in orders for chosen in order.split(BATCH)]
    black = x.amin((0, 2, 3))[:, None, None]
    source.eval()
    module.train()
    for chosen in track(batches, "imitating", console=Console(stderr=True)):
        seen = moved(x[chosen], fill=black, flip=True, generator=draws)
        with torch.no_grad():
            wanted = source(seen)
        loss = mse_loss(module(seen), wanted) / wanted.var()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    module.eval()


def main(
    name: Annotated[str, typer.Argument(help="the deeper network, such as resnet56-cifar10")],
    source: Annotated[str, typer.Option(help="the trained one, such as resnet32-cifar10")],
    weights: Annotated[Path, typer.Option(help="its checkpoint")],
    data: Annotated[str, typer.Option(help="npz:TRAIN,TEST, cifar10:ROOT and the like")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the safetensors file to write")],
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    gain: Annotated[float, typer.Option(help="what new blocks begin with", min=0, max=1)] = 0.2,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
) -> None:
    """Grow a residual network from a shallower one that is trained."""
    try:
        entry, trained = MODELS.create(name), MODELS.create(source)
        teacher = trained.module(weights=False)
        load_weights(teacher, weights)
        torch.manual_seed(seed)
        module = grown(teacher, entry.module(weights=False), gain=gain)
        opened = open_data(data, input_shape=entry.input_shape, preprocessing=entry.preprocessing)
        imitate(module, teacher, whole(opened.train)[0], epochs=epochs, seed=seed)
        scores = [accuracy(m, *whole(opened.test)) for m in (teacher, module)]
        put(out, safetensors.torch.save(module.state_dict()), what="the weights")
    except ConvsnnError as error:
        typer.echo(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"test accuracy {scores[1]:.2%}, of the network that it grew from {scores[0]:.2%}")
    typer.echo(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
