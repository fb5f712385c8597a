"""How the networks of the zoo are trained."""

from zoo.recipes.ann import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe"]
