"""The networks that `convsnn coverage` runs: what there is, and how one of them is built.

A network is named `torchvision:NAME`, `timm:NAME` or `onnx:FILE` (a path inside the folder).
"""

import fnmatch
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from convsnn.errors import ConfigError

LIBRARIES = ("torchvision", "timm")
_SEGMENTATION = "fcn_"  # of what is not classification, this is a plain network of ReLU
_REDUCED = 96  # pixels; a multiple of 32, and more than Inception v3 needs


def list_networks(libraries: Sequence[str], folder: Path | None, match: str) -> list[str]:
    """All networks of `libraries` and the ONNX files below `folder` whose name fits `match`.

    The glob is held against the full name and against the part behind the colon. Raises
    ConfigError where a library is unknown, the folder is none, or nothing fits.
    """
    found: list[str] = []
    for library in libraries:
        if library not in LIBRARIES:
            raise ConfigError(
                f"there is no library '{library}'", hint=f"known: {', '.join(LIBRARIES)}"
            )
        found += [f"{library}:{name}" for name in _names(library)]
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"--folder '{folder}' is no folder")
        files = sorted(path for path in folder.rglob("*.onnx") if path.is_file())
        found += [f"onnx:{path.relative_to(folder).as_posix()}" for path in files]
    fits = [
        name
        for name in found
        if fnmatch.fnmatchcase(name, match) or fnmatch.fnmatchcase(name.partition(":")[2], match)
    ]
    if not fits:
        raise ConfigError(f"no network fits '{match}'", hint="try --match 'resnet*'")
    return fits


def _names(library: str) -> list[str]:
    if library == "timm":
        import timm  # slow to import; only this library needs it

        return sorted(timm.list_models())
    from torchvision import models

    heads = models.list_models(module=models.segmentation)
    return sorted(
        [*models.list_models(module=models), *(n for n in heads if n.startswith(_SEGMENTATION))]
    )


def family(network: str) -> str:
    """The library's own source file of a network: `resnet`, `vision_transformer`."""
    library, _, name = network.partition(":")
    if library == "onnx":
        return Path(name).parent.as_posix()
    if library == "timm":
        import timm

        return str(timm.models.model_entrypoint(name).__module__.rpartition(".")[2])
    from torchvision import models

    return str(models.get_model_builder(name).__module__.rpartition(".")[2])


def file_digest(path: Path) -> str:
    """SHA-256 of an ONNX file and of the weights kept beside it; "" where it cannot be read."""
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data)
        for beside in _weight_files(path, data):
            digest.update(beside.name.encode(errors="surrogateescape"))
            if beside.is_file():  # one that is missing is refused, until it is put there
                with beside.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return ""
    return digest.hexdigest()


def _weight_files(path: Path, data: bytes) -> list[Path]:
    """The files in and below the model's folder that hold its weights."""
    try:
        tensors = onnx.ModelProto.FromString(data).graph.initializer
        names = {ExternalDataInfo(t).location for t in tensors if uses_external_data(t)}
    except (DecodeError, ValueError):  # damaged: its own bytes are all there is
        return []
    folder = path.resolve().parent
    usable = [name for name in names if isinstance(name, str) and name and "\0" not in name]
    found = sorted((folder / name).resolve() for name in usable)
    return [file for file in found if file.is_relative_to(folder)]


def build(network: str) -> nn.Module:
    """The module in eval mode, on the meta device: it has shapes and no weights."""
    library, _, name = network.partition(":")
    try:
        with torch.device("meta"):
            return _create(library, name).eval()
    except NotImplementedError:  # it computes its sizes with tensors, and needs their values
        with _EmptyOnMeta():
            return _create(library, name).to("meta").eval()


def build_real(network: str, example: Tensor) -> nn.Module:
    """The module in eval mode with weights drawn from a fixed seed.

    They are drawn so that an error in reading any layer shows in the output and rounding does not:
    signals neither vanish nor grow (He et al. 2015; the statistics of batch norm are those of what
    arrives from `example`, (B, C, H, W), moved a little), and no branch starts at zero.
    """
    library, _, name = network.partition(":")
    torch.manual_seed(0)
    module = _create(library, name).eval()
    with torch.no_grad(), ExitStack() as hooks:
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for part in module.modules():
            if isinstance(part, _BatchNorm):
                hooks.callback(part.register_forward_pre_hook(_draw_statistics).remove)
        module(example)
    return module


def _draw_statistics(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Give a batch norm near what it is about to see, so that all behind it sees the same scale.

    Most values end above 0: a rectifier behind centred ones enlarges what rounding does by 1.2, in
    a hundred layers a hundred million times (Yang et al. 2019).
    """
    assert isinstance(norm, _BatchNorm)
    if norm.affine:
        norm.weight.uniform_(0.5, 1.5)
    if norm.running_mean is not None and norm.running_var is not None:
        dims = [dim for dim in range(inputs[0].dim()) if dim != 1]
        variance, mean = torch.var_mean(inputs[0], dims, correction=0)
        least = float(inputs[0].square().mean()) / 100  # what hardly moves is not blown up
        variance = variance.clamp(min=least)
        spread = variance.sqrt()
        norm.running_mean.copy_(mean - spread * (1 + 0.1 * torch.randn_like(spread)))
        norm.running_var.copy_(variance * torch.empty_like(spread).uniform_(0.5, 1.5))


class _EmptyOnMeta(TorchFunctionMode):
    """Gives `torch.empty`, where layers get their weights from, no storage; the rest has some."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.empty and given.get("device") is None:
            given["device"] = "meta"
        return func(*args, **given)


def _create(library: str, name: str) -> nn.Module:
    made: nn.Module
    if library == "timm":
        import timm

        made = timm.create_model(name, pretrained=False)
        return made
    from torchvision import models

    # The truncated normal weights of these two take a minute to draw, and are drawn anew.
    options: dict[str, Any] = {"init_weights": False} if name in _SLOW_TO_DRAW else {}
    if name.startswith(_SEGMENTATION):
        options["weights_backbone"] = None
    made = models.get_model(name, weights=None, **options)
    return made


_SLOW_TO_DRAW = ("googlenet", "inception_v3")


def input_shape(network: str, module: nn.Module) -> tuple[int, ...]:
    """The input (C, H, W) that a network of a library was made for."""
    library, _, name = network.partition(":")
    if library == "timm":
        import timm

        config = timm.data.resolve_model_data_config(module)
        return tuple(int(n) for n in config["input_size"])
    from torchvision import models

    preset = models.get_model_weights(name).DEFAULT.transforms()
    crop = int(getattr(preset, "crop_size", [224])[0])
    size = int(getattr(module, "image_size", crop))  # its weights may be for a larger version
    return (3, size, size)


def reduced(shape: tuple[int, ...], module: nn.Module) -> tuple[int, ...]:
    """A smaller input that `module`, on the meta device, takes as well; else `shape` itself."""
    smaller = (shape[0], *(min(n, _REDUCED) for n in shape[1:]))
    if smaller == shape:
        return shape
    try:
        with torch.device("meta"), torch.no_grad():
            module(torch.empty(2, *smaller))
    except Exception:  # a network refuses a size by whatever error it likes
        return shape
    return smaller
