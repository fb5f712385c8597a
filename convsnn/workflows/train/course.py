"""A recipe with its data opened, and the network it trains."""

from dataclasses import dataclass

import torch

from convsnn.errors import ConfigError, LoadError
from convsnn.load import load_module
from convsnn.measure.tasks.detect import Detect
from convsnn.train.direct import Untrained, prepare
from convsnn.train.samples import Samples
from convsnn.workflows.train import detecting
from convsnn.workflows.train.lessons import labelled_images, missing_labels
from zoo.data import DataSet, Preprocessing, open_data
from zoo.models import MODELS, Entry
from zoo.recipes.spiking import SpikingRecipe


@dataclass(frozen=True)
class Course:
    """A recipe with its data opened: `images` (or sequences) to train on, labels included. `task`
    is there where these are boxes."""

    name: str
    recipe: SpikingRecipe
    entry: Entry
    spec: str
    data: DataSet
    preprocessing: Preprocessing
    images: Samples
    task: Detect | None = None

    @property
    def kind(self) -> str:
        """The name of what the network is trained for."""
        return "classify" if self.task is None else self.task.name


def open_course(name: str, recipe: SpikingRecipe) -> Course:
    """Open the recipe's data; ConfigError or LoadError where nothing can be learned from it."""
    entry = MODELS.create(recipe.model)
    if recipe.data is None:
        raise ConfigError(
            f"recipe '{name}' names no data",
            hint=f"name it with --data, for samples of shape {entry.input_shape}: "
            "npz:TRAIN.npz,TEST.npz, mnist:ROOT, cifar10:ROOT and the like; for sequences "
            "frames:TRAIN.npz,TEST.npz, events:TRAIN.npz,TEST.npz or nmnist:ROOT",
        )
    settings = entry.preprocessing.override(binning=recipe.binning())
    opened = open_data(
        recipe.data,
        input_shape=entry.input_shape,
        preprocessing=settings,
        steps=recipe.timesteps,
    )
    if opened.train.steps is None:
        settings = entry.preprocessing
    task = detecting.task_of(recipe.loss)
    if task is None:
        _require_classes(opened, entry)
    else:
        detecting.require_boxes((opened.train, opened.test), entry.classes)
    images = labelled_images(
        opened.train, recipe.training_samples, recipe.augment, seed=recipe.seed,
        boxes=task is not None,
    )  # fmt: skip
    return Course(name, recipe, entry, recipe.data, opened, settings, images, task)


def _require_classes(data: DataSet, entry: Entry) -> None:
    part = data.train
    if part.classes is None or data.test.classes is None:
        raise LoadError(
            f"{part.source} has no {missing_labels(part)}, which training needs",
            hint="give labelled data with --data",
        )
    largest = max(part.classes, data.test.classes)
    if largest > entry.classes:
        raise LoadError(
            f"the data has {largest} classes, but '{entry.name}' has {entry.classes}",
            hint="use data with labels that count from 0, or another model",
        )


def untrained(course: Course, *, seed: int) -> Untrained:
    """The recipe's network with weights drawn from `seed`."""
    torch.manual_seed(seed)
    module = course.entry.module(weights=False)
    graph = load_module(module, torch.zeros(2, *course.entry.input_shape))
    return prepare(graph, course.recipe)
