"""Checkpoints of a training run: one safetensors file, JSON in its header, nothing unpickled.

Tensors are `network/NAME`, `optimizer/PLACE/NAME`, `mean/NAME` and `random/DEVICE`; the header
holds what the loop has to know to go on. A file is written beside its target and renamed, so that a
kill at any time leaves the last whole one. It names digests of what it belongs to, the network, the
settings and the data, and is refused elsewhere.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from convsnn.errors import ConfigError, ExportError, LoadError
from convsnn.train.averaging import RunningMean

FORMAT = 3
_AGAIN = "remove it to start again, or give the checkpoint of an earlier epoch"
_KEY = "convsnn-training"
_UNREADABLE = (
    OSError, SafetensorError, RuntimeError, ValueError, TypeError, LookupError, AttributeError,
)  # fmt: skip
T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """What was read: the loop's own state, and tensors by their names in the file."""

    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def read(self, kind: type[T]) -> T:
        """The state as `kind`, whose fields it holds; LoadError where it does not."""
        try:
            return kind(**self.state)
        except (TypeError, ValueError) as error:
            raise LoadError(f"the checkpoint is damaged: {error}", hint=_AGAIN) from None

    def restore(
        self,
        network: nn.Module,
        optimizer: Optimizer | None = None,
        mean: RunningMean | None = None,
    ) -> None:
        """Put the values back; LoadError where they do not fit."""
        try:
            network.load_state_dict(_group(self.tensors, "network"))
            if optimizer is not None:
                _fill(optimizer, _group(self.tensors, "optimizer"))
            if mean is not None:
                mean.restore(_group(self.tensors, "mean"))
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise LoadError(
                f"the checkpoint does not fit the network: {first}", hint=_AGAIN
            ) from None

    def restore_random(self) -> None:
        """Put back the state of torch's random numbers."""
        random = _group(self.tensors, "random")
        try:
            torch.set_rng_state(random["cpu"])
            for name, state in random.items():
                if name.startswith("cuda") and torch.cuda.is_available():
                    torch.cuda.set_rng_state(state, name)
        except (RuntimeError, LookupError, TypeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise LoadError(f"the checkpoint is damaged: {first}", hint=_AGAIN) from None


def fingerprint(network: nn.Module, settings: Mapping[str, Any], data: str) -> dict[str, str]:
    """Digests of a network's form, of what it is trained with, and of what it is trained on."""
    form = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    return {"network": _digest(form), "settings": _digest(settings), "data": _digest(data)}


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def save(
    path: Path,
    network: nn.Module,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    *,
    mean: Mapping[str, Tensor],
    of: Mapping[str, str],
) -> None:
    """Write all that a run needs to go on; ExportError where that cannot be."""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in _flat(optimizer).items()}
    tensors |= {f"mean/{name}": tensor for name, tensor in mean.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors |= {f"random/cuda:{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    header = json.dumps({"format": FORMAT, "of": dict(of), "state": state}, allow_nan=False)
    put(path, safetensors.torch.save(plain, {_KEY: header}), what="the checkpoint")


def put(path: Path, content: bytes, *, what: str) -> None:
    """Write all of `content` or nothing; ExportError, which says `what` it was, where it cannot
    be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise ExportError(f"cannot write {what} '{path}': {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, *, of: Mapping[str, str]) -> Checkpoint:
    """Read a checkpoint of the run with fingerprint `of`.

    Raises LoadError where the file is damaged, ConfigError where it belongs to another network, to
    other settings or to other data.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY, "")
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        header = json.loads(text)
        number, owner, state = header["format"], header["of"], dict(header["state"])
        other = [what for what in of if number == FORMAT and owner.get(what) != of[what]]
    except (*_UNREADABLE, RecursionError) as error:
        raise LoadError(
            f"'{path}' is no whole checkpoint of a training run: {error}", hint=_AGAIN
        ) from None
    if number != FORMAT:
        raise ConfigError(
            f"the checkpoint '{path}' was written by another version of convsnn",
            hint="go on with that version, or train into another directory",
        )
    if other:
        raise ConfigError(
            f"the checkpoint '{path}' belongs to other {' and '.join(other)}",
            hint="train with the data and settings it was started with, or into another directory",
        )
    return Checkpoint(state, tensors)


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    cut = len(group) + 1
    return {name[cut:]: t for name, t in tensors.items() if name.startswith(f"{group}/")}


def _flat(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by place of the parameter; numbers become tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{place}/{name}": torch.as_tensor(value)
        for place, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def _fill(optimizer: Optimizer, flat: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        place, _, name = key.partition("/")
        state.setdefault(int(place), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
