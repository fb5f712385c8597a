"""What a training run runs on: its device or devices, by `accelerate`, and its optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from convsnn.errors import MissingExtraError
from convsnn.train.settings import Settings


def is_main() -> bool:
    """Whether this process is the one that writes results, of those that train together."""
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not shared or torch.distributed.get_rank() == 0


def make_accelerator(settings: Settings, device: torch.device | str | None) -> Any:
    """The accelerator for these settings; MissingExtraError where the package is missing."""
    try:
        from accelerate import Accelerator  # an extra, and slow to import
        from accelerate.state import AcceleratorState
    except ImportError:
        raise MissingExtraError("accelerate", "train") from None
    # what a process trained before may have been on another device, or in another precision
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(True)
    modes = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
    on_cpu = device is not None and torch.device(device).type == "cpu"
    return Accelerator(mixed_precision=modes[settings.precision], cpu=on_cpu)


def make_optimizer(
    network: nn.Module, groups: Sequence[Mapping[str, Any]] | None, settings: Settings
) -> Optimizer:
    """The optimizer over `groups`, by default over all parameters of `network`.

    A group's "units", which broadcast to its parameters, say how large an update of each is beside
    the one that the optimizer makes, weight decay included.
    """
    known = [dict(g) for g in groups] if groups is not None else [{"params": network.parameters()}]
    known = [{**group, "params": list(group["params"])} for group in known]
    units: dict[Tensor, Tensor] = {}
    for group in known:
        if "units" in group:
            own = zip(group["params"], group.pop("units"), strict=True)
            units |= {parameter: unit.to(parameter) for parameter, unit in own}
    rate, decay = settings.learning_rate, settings.weight_decay
    made: Optimizer
    if settings.optimizer == "adamw":
        made = AdamW(known, lr=rate, weight_decay=decay)
    else:
        made = SGD(known, lr=rate, momentum=0.9, weight_decay=decay)
    _learn_in(units, made)
    return made


def _learn_in(units: Mapping[Tensor, Tensor], optimizer: Optimizer) -> None:
    """Make every update of a parameter as large as its unit says."""
    before: dict[Tensor, Tensor] = {}

    def keep(*_: object) -> None:
        before.update((p, p.detach().clone()) for p in units)

    @torch.no_grad()
    def scale(*_: object) -> None:
        for parameter, unit in units.items():
            parameter.copy_(torch.lerp(before.pop(parameter), parameter, unit))

    if units:
        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(scale)
