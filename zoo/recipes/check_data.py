"""What a recipe says of its data is possible: laws of noise, files of pairs, patches, bursts."""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np

from minigrad.noise import Noise
from zoo import noise, objectives
from zoo.patch_craft.search import MOST_REACH
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import (
    STORED,
    PatchCraft,
    Patches,
    Recipe,
    Sampler,
    Stage,
)


def check_sampled(stage: Stage, where: str, data: str | None) -> None:
    """A stage that draws its pairs from photographs."""
    sampler = stage.sampler
    if sampler.noise == STORED:
        raise RecipeError(
            f"{where}.sampler.noise: {STORED!r} needs a file of pairs as data, "
            f"got {data or 'the bundled photographs'}"
        )
    if sampler.shuffle:
        raise RecipeError(f"{where}.sampler.shuffle: only a file of pairs has an order to change")
    if sampler.pairs is not None and sampler.pairs % stage.batch % stage.micro_batches:
        raise RecipeError(
            f"{where}.sampler.pairs: the last batch of {sampler.pairs % stage.batch} cannot be "
            f"cut into {stage.micro_batches} micro_batches"
        )
    law = law_of(f"{where}.sampler.noise", sampler.noise)
    if law.repeats:
        raise RecipeError(
            f"{where}.sampler.noise: {law.name} is the same in every draw; it is for validation"
        )
    if stage.loss == "masked_mse" and not _hides_pixels(law):
        raise RecipeError(f"{where}.loss: masked_mse needs a law that hides pixels, not {law.name}")


def check_stored(stage: Stage, where: str, path: Path) -> None:
    """A stage that learns from the file of pairs at `path`: it has noisy pictures, and no more."""
    sampler = stage.sampler
    if sampler.noise != STORED:
        raise RecipeError(
            f"{where}.sampler.noise: the pairs of {path.name} are noisy as they are: expected "
            f"{STORED!r}, got {sampler.noise!r}; add --set {where}.sampler.noise={STORED}"
        )
    if objectives.entry(stage.objective).target not in ("noisy", "none"):
        raise RecipeError(
            f"{where}.objective: {stage.objective} needs clean targets, which {path.name} lacks"
        )
    if stage.loss == "masked_mse":
        raise RecipeError(f"{where}.loss: masked_mse needs masks, which {path.name} lacks")
    if sampler.scales != (1.0,):
        raise RecipeError(f"{where}.sampler.scales: only photographs can be had at other sizes")
    for name in ("recolour", "gray"):
        if getattr(sampler, name):
            raise RecipeError(
                f"{where}.sampler.{name}: it comes before the noise, which {path.name} has "
                f"already; add --set {where}.sampler.{name}={'false' if name == 'recolour' else 0}"
            )


def check_patches(stage: Stage, where: str, recipe: Recipe, how: Patches) -> None:
    """A stage that learns from patches of whole pictures."""
    positive("patches.draws", how.draws)
    if how.crop is not None:
        positive("patches.crop", how.crop)
    sampler = stage.sampler
    if sampler != Sampler(sampler.noise, size=sampler.size):
        raise RecipeError(f"{where}.sampler: only noise and size are used with patches")
    if sampler.noise == STORED:
        if recipe.data is None or not Path(recipe.data).is_dir():
            raise RecipeError(
                f"data: expected a folder of pairs of pictures, got "
                f"{recipe.data or 'the bundled photographs'}"
            )
        if recipe.validation.noise is not None:
            raise RecipeError(
                "validation.noise: pairs are judged as they are, expected none, got "
                f"{recipe.validation.noise!r}; add --set validation.noise=none"
            )
        return
    law = law_of(f"{where}.sampler.noise", sampler.noise)
    if law.scale != 1 or law.repeats:
        raise RecipeError(
            f"{where}.sampler.noise: expected a law that keeps the size and varies, got {law.name}"
        )
    if recipe.validation.size is None:
        raise RecipeError("validation.size: expected the side of the pictures to judge on")


def check_crafted(stage: Stage, where: str, recipe: Recipe, how: PatchCraft) -> None:
    """A stage that learns from patch-craft targets."""
    for name in ("patch", "skip", "stride", "frames", "size", "bins"):
        positive(f"patch_craft.{name}", getattr(how, name))
    for name in ("reach", "copies", "shift", "rotation"):
        at_least_zero(f"patch_craft.{name}", getattr(how, name))
    for name in ("second", "images"):
        if (value := getattr(how, name)) is not None:
            positive(f"patch_craft.{name}", value)
    if how.second is not None and how.skip == 1:
        raise RecipeError("patch_craft.second: a second search needs patch_craft.skip above 1")
    if max(how.reach, how.second or 0) > MOST_REACH:
        raise RecipeError(f"patch_craft.reach: expected at most {MOST_REACH}, got {how.reach}")
    if not 0 < how.std_num < inf:
        raise RecipeError(
            f"patch_craft.std_num: expected a finite number above 0, got {how.std_num}"
        )
    if how.patch < 2:
        raise RecipeError(f"patch_craft.patch: expected at least 2, got {how.patch}")
    if how.frames < 3 or how.frames % 2 == 0:
        raise RecipeError(f"patch_craft.frames: expected an odd number from 3, got {how.frames}")
    if not 0 <= how.hard <= 1:
        raise RecipeError(f"patch_craft.hard: expected a share, 0 to 1, got {how.hard}")
    stored = stage.sampler.noise == STORED
    if how.synthetic is not None:
        positive("patch_craft.synthetic", how.synthetic)
        if stored:
            raise RecipeError(
                f"{where}.sampler.noise: bursts made of photographs need a law, got {STORED!r}"
            )
        if how.patch > how.size:
            raise RecipeError(
                f"patch_craft.patch: a patch of {how.patch} pixels does not fit into frames of "
                f"{how.size} (patch_craft.size)"
            )
        if stage.sampler.size > how.size:
            raise RecipeError(
                f"{where}.sampler.size: a tile of {stage.sampler.size} pixels does not fit into "
                f"frames of {how.size} (patch_craft.size)"
            )
    elif recipe.data is None or not Path(recipe.data).is_dir():
        raise RecipeError(
            f"data: expected a folder of bursts, got {recipe.data or 'the bundled photographs'}; "
            "patch_craft.synthetic makes bursts of photographs"
        )
    if stage.sampler != recipe.stages[0].sampler:
        raise RecipeError(f"{where}.sampler: all stages learn from the same patch-craft pairs")
    if stage.micro_batches != 1:
        raise RecipeError(f"{where}.micro_batches: expected 1, since batches vary in size")
    if stage.loss == "masked_mse":
        raise RecipeError(f"{where}.loss: masked_mse needs masks, patch-craft has none")
    plain = Sampler(stage.sampler.noise, size=stage.sampler.size)
    if stage.sampler != plain:
        raise RecipeError(f"{where}.sampler: only noise and size are used with patch-craft")
    if not stored:
        law = law_of(f"{where}.sampler.noise", stage.sampler.noise)
        if law.scale != 1:
            raise RecipeError(
                f"{where}.sampler.noise: expected a law that keeps the size, got {law.name}"
            )
    elif recipe.validation.noise is not None:
        raise RecipeError(
            "validation.noise: bursts with noise of their own are judged as they are, "
            f"got {recipe.validation.noise!r}"
        )


def law_of(name: str, text: str) -> noise.Law:
    """The law that the setting `name` tells; RecipeError where it is none."""
    try:
        return noise.parse(text)
    except noise.LawError as error:
        raise RecipeError(f"{name}: {error}") from error


def _hides_pixels(law: noise.Law) -> bool:
    tried = np.zeros((1, 1, law.scale, law.scale), np.float32)
    return law.sample_with_mask(tried, Noise(0)).mask is not None


def positive(name: str, value: int) -> None:
    """Refuse a count below 1."""
    if value < 1:
        raise RecipeError(f"{name}: expected at least 1, got {value}")


def at_least_zero(name: str, value: float) -> None:
    """Refuse what is negative, infinite or no number."""
    # A comparison that is false for NaN as well.
    if not 0 <= value < float("inf"):
        raise RecipeError(f"{name}: expected a finite number of at least 0, got {value}")
