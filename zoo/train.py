"""The recipe behind the bundled weights: `python -m zoo.train mnist5k-cnn`.

Trains on the train split only, with light shifts, turns and zooms. A tenth of it is held out and
watched; nothing is chosen by it. The test split is scored once, after the last epoch. The same
command gives the same weights to the last bit on the same machine, versions and thread count.
"""

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import onnx
import onnxruntime
import safetensors.torch
import torch
import torchvision
import typer
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.transforms import InterpolationMode, v2

from convsnn.errors import ConfigError, ConvsnnError, ExportError, MissingExtraError
from zoo.data import Part, open_data
from zoo.models import MODELS, Entry
from zoo.models.base import WEIGHTS


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    epochs: int = 40
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    held_out: float = 0.1


@dataclass(frozen=True)
class Trained:
    """A trained network in eval mode, its accuracies as fractions, and the command that made it."""

    module: nn.Module
    held_out_accuracy: float
    test_accuracy: float
    command: str


@torch.inference_mode()
def accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    """Fraction of right answers in eval mode; x (N, *input shape), y (N,)."""
    module.eval()
    answers = torch.cat([module(part).argmax(1) for part in x.split(500)])
    return float((answers == y).double().mean())


def fit(module: nn.Module, x: Tensor, y: Tensor, *, recipe: Recipe) -> float:
    """Train `module` in place on x (N, C, H, W) and y (N,); the accuracy on the held-out part."""
    order = torch.randperm(len(x))
    size = int(len(x) * recipe.held_out)
    held, used = order[:size], order[size:]
    # What a shift uncovers is black, which after normalisation is the smallest value.
    black = x.amin((0, 2, 3)).tolist()
    augment = v2.RandomAffine(
        10, (0.08, 0.08), (0.9, 1.1), interpolation=InterpolationMode.BILINEAR, fill=black
    )
    optimizer = torch.optim.AdamW(
        module.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * -(-len(used) // recipe.batch_size)
    schedule = OneCycleLR(optimizer, recipe.learning_rate, steps)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=steps)
        for epoch in range(recipe.epochs):
            module.train()
            for chosen in used[torch.randperm(len(used))].split(recipe.batch_size):
                seen = torch.stack([augment(image) for image in x[chosen]])
                loss = cross_entropy(module(seen), y[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.advance(task)
            score = accuracy(module, x[held], y[held])
            progress.update(task, description=f"epoch {epoch + 1}, held out {score:.2%}")
    return score


def train(entry: Entry, *, recipe: Recipe) -> Trained:
    """Train the network of `entry` on its data set; ConfigError where it has none of images."""
    if entry.data is None or len(entry.input_shape) != 3:
        raise ConfigError(
            f"zoo model '{entry.name}' has no data set of images to be trained on",
            hint="train one that has: "
            + ", ".join(name for name in MODELS.names() if MODELS.create(name).data),
        )
    data = open_data(entry.data, input_shape=entry.input_shape, preprocessing=entry.preprocessing)
    torch.manual_seed(recipe.seed)
    module = entry.module(weights=False)
    held_out = fit(module, *_whole(data.train), recipe=recipe)
    command = f"python -m zoo.train {entry.name} --epochs {recipe.epochs} --seed {recipe.seed}"
    return Trained(module, held_out, accuracy(module, *_whole(data.test)), command)


def onnx_file(entry: Entry, trained: Trained) -> onnx.ModelProto:
    """The network as ONNX with a free batch, how to feed it in `metadata_props`, no local paths.

    ExportError unless ONNX Runtime answers like torch.
    """
    example = torch.randn(2, *entry.input_shape)
    program = torch.onnx.export(
        trained.module,
        (example,),
        dynamo=True,
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    _forget_where_it_was_made(proto)
    about = {
        "convsnn.data": entry.data or "",
        "convsnn.preprocessing": json.dumps(entry.preprocessing.to_json()),
        "convsnn.command": trained.command,
    }
    onnx.helper.set_model_props(proto, about)
    onnx.checker.check_model(proto, full_check=True)
    require_equal(proto, trained.module, example)
    return proto


def _whole(part: Part) -> tuple[Tensor, Tensor]:
    xs, ys = zip(*part.batches(500), strict=True)
    if ys[0] is None:
        raise ConfigError(f"{part.source} has no labels, and training needs them")
    return torch.cat(xs), torch.cat(ys)


def _forget_where_it_was_made(proto: onnx.ModelProto) -> None:
    # The exporter notes the stack of every op, with the absolute paths of the machine.
    graph = proto.graph
    graph.doc_string = proto.doc_string = ""
    graph.ClearField("metadata_props")
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        part.ClearField("metadata_props")


def require_equal(proto: onnx.ModelProto, module: nn.Module, x: Tensor) -> None:
    """ExportError unless ONNX Runtime answers x (B, *input shape) like `module` does."""
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    with torch.inference_mode():
        expected = module(x)
    gap = float((torch.from_numpy(session.run(None, {"x": x.numpy()})[0]) - expected).abs().max())
    if not gap <= 1e-4 * float(expected.abs().max()):
        raise ExportError(f"the ONNX file answers otherwise than the network: off by {gap:g}")


def _require_savable(folder: Path) -> None:
    # Asked before training, which takes long.
    if importlib.util.find_spec("onnxscript") is None:
        raise MissingExtraError("onnxscript", "export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"cannot make the folder {folder}: {error.strerror}", hint="choose another with -o"
        ) from None


def _put(path: Path, content: bytes) -> None:
    # Written beside the target, then renamed: never half a file.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        raise ExportError(
            f"cannot write {path}: {error.strerror}", hint="choose another folder with -o"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def save(entry: Entry, trained: Trained, *, folder: Path) -> tuple[Path, Path]:
    """Write `<name>.safetensors` and `<name>.onnx` into `folder`, which exists.

    ExportError where that is impossible.
    """
    proto = onnx_file(entry, trained)
    about = {
        "command": trained.command,
        "data": entry.data or "",
        "held_out_accuracy": str(trained.held_out_accuracy),
        "test_accuracy": str(trained.test_accuracy),
        "versions": json.dumps({m.__name__: str(m.__version__) for m in (torch, torchvision)}),
    }
    paths = folder / f"{entry.name}.safetensors", folder / f"{entry.name}.onnx"
    _put(paths[0], safetensors.torch.save(trained.module.state_dict(), about))
    _put(paths[1], proto.SerializeToString(deterministic=True))
    return paths


def main(
    name: Annotated[str, typer.Argument(help="a zoo model with a data set, such as mnist5k-cnn")],
    epochs: Annotated[int, typer.Option(min=1)] = Recipe.epochs,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = Recipe.seed,
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="where the files go", show_default="zoo/weights")
    ] = WEIGHTS,
) -> None:
    """Train a model of the zoo and write its weights as safetensors and ONNX."""
    try:
        entry = MODELS.create(name)
        _require_savable(folder)
        trained = train(entry, recipe=Recipe(epochs, seed))
        paths = save(entry, trained, folder=folder)
    except ConvsnnError as error:
        typer.echo(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"test accuracy {trained.test_accuracy:.2%} of {entry.data}, scored once")
    for path in paths:
        typer.echo(f"wrote {path}")


if __name__ == "__main__":
    typer.run(main)
