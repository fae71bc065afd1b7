"""Recipes by name."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from pathlib import Path

from zoo.recipes import dbsn, gaussian, hdn, noise2noise, patch_craft, psl_ae
from zoo.recipes.config import RecipeError, from_toml
from zoo.recipes.schema import Recipe

_LARGEST = 1_000_000  # bytes of a recipe file

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *noise2noise.RECIPES,
        *gaussian.RECIPES,
        *patch_craft.RECIPES,
        *dbsn.RECIPES,
        *hdn.RECIPES,
        *psl_ae.RECIPES,
    )
}


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of the recipes that match a shell pattern, sorted."""
    return sorted(fnmatch.filter(RECIPES, pattern))


def get(name: str | Path) -> Recipe:
    """The recipe of that name, or the one in a TOML file (a path that ends in .toml).

    A relative `data`, `start`, `teacher` or `noise_model` in a file is meant from the folder of
    that file.

    Raises RecipeError: unknown name (the nearest are told), unreadable or wrong file.
    """
    if str(name) in RECIPES:
        return RECIPES[str(name)]
    path = Path(name)
    if path.suffix == ".toml":
        recipe = from_toml(_text(path), where=str(path))
        if recipe.data is not None:
            recipe = dataclasses.replace(recipe, data=str((path.parent / recipe.data).resolve()))

        def below(name: str) -> str:  # else the name of bundled weights
            found = path.parent / name
            return str(found.resolve()) if found.exists() else name

        return recipe.with_weights(below)
    near = difflib.get_close_matches(str(name), RECIPES, n=3, cutoff=0.3) or sorted(RECIPES)
    raise RecipeError(
        f"unknown recipe {str(name)!r}: nearest are {', '.join(near)}; or give a .toml file"
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise RecipeError(f"{path}: larger than {_LARGEST:,} bytes, not a recipe")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot read the recipe: {error}") from error
