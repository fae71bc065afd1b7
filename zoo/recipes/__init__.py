"""Published settings by name: `get("n2n-demo")`, `list_recipes("n2n*")`, or a TOML file."""

from __future__ import annotations

from zoo.recipes.config import RecipeError, from_toml, override, to_toml
from zoo.recipes.schema import (
    Checkpoints,
    Elbo,
    Likelihood,
    Optimiser,
    PatchCraft,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    Validation,
)
from zoo.recipes.table import get, list_recipes

__all__ = [
    "Checkpoints",
    "Elbo",
    "Likelihood",
    "Optimiser",
    "PatchCraft",
    "Recipe",
    "RecipeError",
    "Sampler",
    "Schedule",
    "Stage",
    "Validation",
    "from_toml",
    "get",
    "list_recipes",
    "override",
    "to_toml",
]
