"""Recipes of the zoo's original networks: what `python -m zoo.train NAME` does.

Those of MSAT's two networks are its authors' own for CIFAR-10 and -100 (the docstring of
`zoo.models.msat` states them); they are meant for a GPU, where they take hours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from zoo.data import Preprocessing


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    `augment` is "affine", light shifts, turns and zooms, or "cifar": crops of the image padded by
    4, flips, AutoAugment's policy for CIFAR-10 and one erased square of 16 x 16.
    """

    epochs: int = 40
    seed: int = 0
    batch_size: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    augment: Literal["affine", "cifar"] = "affine"
    held_out: float = 0.1


_MSAT = Recipe(
    epochs=300,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    augment="cifar",
    held_out=0.0,
)
_MSAT_VGG = replace(_MSAT, label_smoothing=0.1)

RECIPES: dict[str, Recipe] = {
    "mnist5k-cnn": Recipe(),
    "mnist5k-vit": Recipe(learning_rate=2e-3),
    "mnist5k-convnext": Recipe(epochs=25),
    "mnist5k-mobilenet": Recipe(epochs=25),
    "mnist-vgg": Recipe(epochs=6, batch_size=128),
    "nmnist-cnn": Recipe(),
    "msat-resnet20-cifar10": _MSAT,
    "msat-resnet20-cifar100": _MSAT,
    # For depth, on the few images at hand: 55 layers of neurons, whatever accuracy they reach.
    "resnet56-cifar10": replace(_MSAT, epochs=60),
    "vgg16-cifar10": _MSAT_VGG,
    "vgg16-cifar100": _MSAT_VGG,
}


def optimizer_of(recipe: Recipe, module: nn.Module, *, steps: int) -> tuple[Optimizer, LRScheduler]:
    """The optimizer, and its learning rate over `steps` updates: one cycle, or half a cosine."""
    parameters, rate = module.parameters(), recipe.learning_rate
    if recipe.optimizer == "adamw":
        adamw = torch.optim.AdamW(parameters, rate, weight_decay=recipe.weight_decay)
        return adamw, OneCycleLR(adamw, rate, steps)
    sgd = torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=recipe.weight_decay)
    return sgd, CosineAnnealingLR(sgd, steps)


def augmentation(
    recipe: Recipe, preprocessing: Preprocessing, black: list[float]
) -> Callable[[Tensor], Tensor]:
    """What is done to one preprocessed image (C, H, W); `black` is its smallest value per
    channel, which fills what a shift uncovers."""
    from torchvision.transforms import InterpolationMode, v2  # costs a second to import

    if recipe.augment == "affine":
        affine: Callable[[Tensor], Tensor] = v2.RandomAffine(
            10, (0.08, 0.08), (0.9, 1.1), interpolation=InterpolationMode.BILINEAR, fill=black
        )
        return affine
    mean = torch.tensor(preprocessing.mean or (0.0,)).reshape(-1, 1, 1)
    std = torch.tensor(preprocessing.std or (1.0,)).reshape(-1, 1, 1)
    before = v2.Compose(
        [
            v2.RandomCrop(32, padding=4),
            v2.RandomHorizontalFlip(),
            v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        ]
    )
    erase = v2.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))

    def changed(image: Tensor) -> Tensor:
        # the policy works on 8-bit images
        raw = ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        again: Tensor = erase((before(raw).float() / 255 - mean) / std)
        return again

    return changed
