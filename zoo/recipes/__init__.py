"""How the networks of the zoo are trained: `ann` as they are, the others as spiking networks."""

from convsnn.registry import import_siblings
from zoo.recipes.ann import RECIPES, Recipe

import_siblings(__name__, __path__)

__all__ = ["RECIPES", "Recipe"]
