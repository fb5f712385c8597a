"""Trains a network of the zoo by its recipe: `python -m zoo.train mnist5k-cnn`.

Trains on the train split only. What the recipe holds out of it is watched; nothing is chosen by
it. The test split is scored once, after the last epoch. The same
command gives the same weights to the last bit on the same machine, versions and thread count.
"""

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

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

from convsnn.errors import ConfigError, ConvsnnError, ExportError, MissingExtraError
from convsnn.train.checkpoint import put
from zoo.data import Part, Preprocessing, open_data
from zoo.models import MODELS, Entry
from zoo.models.base import WEIGHTS
from zoo.recipes.ann import RECIPES, Recipe, augmentation, optimizer_of

LAYER_NOTES = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")


@dataclass(frozen=True)
class Trained:
    """A trained network in eval mode, its accuracies as fractions, and the command that made it."""

    module: nn.Module
    held_out_accuracy: float | None
    test_accuracy: float
    data: str
    command: str


@torch.inference_mode()
def accuracy(
    module: nn.Module, x: Tensor, y: Tensor, *, device: str | torch.device = "cpu"
) -> float:
    """Fraction of right answers in eval mode; x (N, *input shape), y (N,)."""
    module.eval()
    answers = torch.cat([module(part.to(device)).argmax(1).cpu() for part in x.split(500)])
    return float((answers == y).double().mean())


def fit(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    recipe: Recipe,
    preprocessing: Preprocessing,
    device: torch.device,
) -> float | None:
    """Train `module` in place on x (N, C, H, W) and y (N,); the accuracy on the held-out part."""
    order = torch.randperm(len(x))
    size = int(len(x) * recipe.held_out)
    held, used = order[:size], order[size:]
    # What a shift uncovers is black, which after normalisation is the smallest value.
    augment = augmentation(recipe, preprocessing, x.amin((0, 2, 3)).tolist())
    module.to(device)
    steps = recipe.epochs * -(-len(used) // recipe.batch_size)
    optimizer, schedule = optimizer_of(recipe, module, steps=steps)
    score = None
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=steps)
        for epoch in range(recipe.epochs):
            module.train()
            for chosen in used[torch.randperm(len(used))].split(recipe.batch_size):
                seen = torch.stack([augment(image) for image in x[chosen]])
                answers = module(seen.to(device))
                wanted = y[chosen].to(device)
                loss = cross_entropy(answers, wanted, label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.advance(task)
            told = f"epoch {epoch + 1}"
            if size:
                score = accuracy(module, x[held], y[held], device=device)
                told += f", held out {score:.2%}"
            progress.update(task, description=told)
    return score


def train(entry: Entry, *, recipe: Recipe, data: str | None, device: torch.device) -> Trained:
    """Train the network of `entry` on `data` (default: its own); ConfigError without images."""
    spec = data or entry.data
    if spec is None:
        raise ConfigError(
            f"zoo model '{entry.name}' has no data set of its own",
            hint="name one with --data, like mnist:ROOT, cifar10:ROOT or npz:TRAIN.npz,TEST.npz",
        )
    opened = open_data(spec, input_shape=entry.input_shape, preprocessing=entry.preprocessing)
    torch.manual_seed(recipe.seed)
    module = entry.module(weights=False)
    held_out = fit(
        module,
        *whole(opened.train),
        recipe=recipe,
        preprocessing=entry.preprocessing,
        device=device,
    )
    command = f"python -m zoo.train {entry.name} --epochs {recipe.epochs} --seed {recipe.seed}"
    if data is not None:
        command += f" --data {_kind(data)}"
    score = accuracy(module, *whole(opened.test), device=device)
    return Trained(module.cpu(), held_out, score, spec, command)


def _kind(spec: str) -> str:
    """A data spec without the places of the machine it was used on."""
    name, colon, _ = spec.partition(":")
    return name + (":..." if colon else "")


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
        **({"convsnn.data": entry.data} if entry.data else {}),
        "convsnn.preprocessing": json.dumps(entry.preprocessing.to_json()),
        "convsnn.command": trained.command,
    }
    onnx.helper.set_model_props(proto, about)
    onnx.checker.check_model(proto, full_check=True)
    require_equal(proto, trained.module, example)
    return proto


def whole(part: Part) -> tuple[Tensor, Tensor]:
    """All images (N, *input shape) and class numbers (N,) of `part`; ConfigError without these."""
    xs, ys = zip(*part.batches(500), strict=True)
    if ys[0] is None or part.classes is None:
        raise ConfigError(f"{part.source} has no class numbers, and training needs them")
    return torch.cat(xs), torch.cat(ys)


def _forget_where_it_was_made(proto: onnx.ModelProto) -> None:
    # The exporter notes the stack of every op, with the absolute paths of the machine; what it
    # notes of the modules stays, for it names the layers.
    graph = proto.graph
    for node in graph.node:
        notes = {e.key: e.value for e in node.metadata_props if e.key in LAYER_NOTES}
        node.ClearField("metadata_props")
        for key, value in notes.items():
            node.metadata_props.add(key=key, value=value)
        node.doc_string = ""
    graph.doc_string = proto.doc_string = ""
    graph.ClearField("metadata_props")
    for part in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
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


def save(entry: Entry, trained: Trained, *, folder: Path) -> tuple[Path, Path]:
    """Write `<name>.safetensors` and `<name>.onnx` into `folder`, which exists.

    ExportError where that is impossible.
    """
    proto = onnx_file(entry, trained)
    about = {
        "command": trained.command,
        "data": _kind(trained.data),
        "held_out_accuracy": ""
        if trained.held_out_accuracy is None
        else str(trained.held_out_accuracy),
        "test_accuracy": str(trained.test_accuracy),
        "versions": json.dumps({m.__name__: str(m.__version__) for m in (torch, torchvision)}),
    }
    paths = folder / f"{entry.name}.safetensors", folder / f"{entry.name}.onnx"
    put(paths[0], safetensors.torch.save(trained.module.state_dict(), about), what="the weights")
    put(paths[1], proto.SerializeToString(deterministic=True), what="the network")
    return paths


def main(
    name: Annotated[str, typer.Argument(help="a zoo model, such as mnist5k-cnn")],
    data: Annotated[
        str | None,
        typer.Option(help="mnist:ROOT, npz:TRAIN,TEST, events:FILE and the like; default: its own"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="instead of the recipe's number")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="where it trains")] = "cpu",
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="where the files go", show_default="zoo/weights")
    ] = WEIGHTS,
) -> None:
    """Train a model of the zoo and write its weights as safetensors and ONNX."""
    try:
        entry = MODELS.create(name)
        _require_savable(folder)
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("torch sees no CUDA device here", hint="train with --device cpu")
        recipe = replace(RECIPES.get(name, Recipe()), seed=seed)
        recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
        trained = train(entry, recipe=recipe, data=data, device=torch.device(device))
        paths = save(entry, trained, folder=folder)
    except ConvsnnError as error:
        typer.echo(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"test accuracy {trained.test_accuracy:.2%} of {trained.data}, scored once")
    for path in paths:
        typer.echo(f"wrote {path}")


if __name__ == "__main__":
    typer.run(main)
