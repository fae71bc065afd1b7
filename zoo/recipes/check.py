"""Whether a recipe can be run: what the types of its fields do not say."""

from __future__ import annotations

import dataclasses
from math import inf
from pathlib import Path
from typing import get_type_hints

import numpy as np

from minigrad.noise import Noise
from zoo import noise, objectives, registry
from zoo.data.images import SUFFIXES
from zoo.objectives.distillation import SHARE
from zoo.patch_craft.search import MOST_REACH
from zoo.recipes.config import RecipeError, checked, unknown_key
from zoo.recipes.schema import STORED, Likelihood, PatchCraft, Recipe, Sampler, Stage


def check(recipe: Recipe) -> None:
    """Raise RecipeError for the first setting that cannot work; the message names it."""
    _check_model(recipe)
    if not recipe.stages:
        raise RecipeError("stages: expected at least one stage, got none")
    pairs = _is_file_of_pairs(recipe.data)
    for number, stage in enumerate(recipe.stages):
        where = f"stages.{number}"
        _check_stage(stage, where)
        crafted = objectives.entry(stage.objective).target == "crafted"
        if crafted != (recipe.patch_craft is not None):
            having = "without" if crafted else "with"
            raise RecipeError(
                f"{where}.objective: 'patch-craft' and the recipe's table `patch_craft` belong "
                f"together, got {stage.objective!r} {having} it"
            )
        if recipe.patch_craft is not None:
            _check_crafted(stage, where, recipe, recipe.patch_craft)
        elif pairs:
            _check_stored(stage, where, Path(str(recipe.data)))
        else:
            _check_sampled(stage, where, recipe.data)
    _check_teacher(recipe)
    judged = recipe.validation
    _positive("validation.every", judged.every)
    _positive("validation.images", judged.images)
    _positive("validation.batch", judged.batch)
    _positive("checkpoint.every", recipe.checkpoint.every)
    _at_least_zero("seed", recipe.seed)
    _at_least_zero("validation.seed", judged.seed)
    for name, value in (("size", judged.size), ("noise", judged.noise)):
        if pairs and value is not None:
            raise RecipeError(
                f"validation.{name}: expected none, since {recipe.data} is judged as it is, "
                f"got {value!r}; add --set validation.{name}=none"
            )
    if judged.size is not None:
        _positive("validation.size", judged.size)
    if judged.noise is not None:
        _law("validation.noise", judged.noise)


def _check_model(recipe: Recipe) -> None:
    """The name, and the arguments by the types that the constructor declares."""
    try:
        entry = registry.entry(recipe.model)
    except registry.UnknownModelError as error:
        raise RecipeError(str(error)) from error
    hints, known = get_type_hints(entry.make.__init__), entry.arguments
    for key, value in recipe.model_args.items():
        if key not in known:
            raise RecipeError(unknown_key("model_args", key, known))
        checked(hints[key], value, f"model_args.{key}")


def _check_teacher(recipe: Recipe) -> None:
    taught = any("teacher" in objectives.entry(s.objective).settings for s in recipe.stages)
    if taught and recipe.teacher is None:
        raise RecipeError(
            "teacher: distillation needs the weights of a blind-spot network; add --set teacher=RUN"
        )
    if recipe.teacher is not None and not taught:
        raise RecipeError("teacher: only the objective 'distillation' has one")


def _is_file_of_pairs(path: str | None) -> bool:
    """Whether `data` is a file, and not a folder of pictures."""
    if path is None or not Path(path).is_file():
        return False
    if Path(path).suffix.lower() in SUFFIXES:
        raise RecipeError(f"data: {path}: a single picture; expected a folder, or a file of pairs")
    return True


def _check_stage(stage: Stage, where: str) -> None:
    for name in ("steps", "batch", "micro_batches", "log_every"):
        _positive(f"{where}.{name}", getattr(stage, name))
    if stage.batch % stage.micro_batches:
        raise RecipeError(
            f"{where}.micro_batches: expected a divisor of the batch of {stage.batch} images, "
            f"got {stage.micro_batches}"
        )
    try:
        objectives.entry(stage.objective)
    except ValueError as error:
        raise RecipeError(f"{where}.{error}") from error
    known = objectives.entry(stage.objective).losses
    if stage.loss not in known:
        raise RecipeError(
            f"{where}.loss: {stage.objective} knows {', '.join(known)}, not {stage.loss!r}"
        )
    _check_likelihood(stage, where)
    _check_optimiser(stage, where)
    sampler = stage.sampler
    _positive(f"{where}.sampler.size", sampler.size)
    if sampler.pairs is not None:
        _positive(f"{where}.sampler.pairs", sampler.pairs)
    if not sampler.scales or not all(0.1 <= scale <= 1 for scale in sampler.scales):
        raise RecipeError(
            f"{where}.sampler.scales: expected sizes from 0.1 to 1, got {list(sampler.scales)}"
        )
    if not 0 <= sampler.gray <= 1:
        raise RecipeError(f"{where}.sampler.gray: expected 0 to 1, got {sampler.gray}")
    if sampler.swap and objectives.entry(stage.objective).target != "noisy":
        raise RecipeError(f"{where}.sampler.swap: only noise2noise pairs can be exchanged")


def _check_likelihood(stage: Stage, where: str) -> None:
    how, settings = stage.likelihood, objectives.entry(stage.objective).settings
    for name, default in dataclasses.asdict(Likelihood()).items():
        value = getattr(how, name)
        if not isinstance(default, bool):
            _at_least_zero(f"{where}.likelihood.{name}", value)
        if value != default and name not in settings:
            raise RecipeError(f"{where}.likelihood.{name}: not for {stage.objective}")
    if how.minimum == 0:
        raise RecipeError(f"{where}.likelihood.minimum: expected a number above 0, got 0")
    if stage.objective == "distillation" and stage.batch // stage.micro_batches % SHARE:
        raise RecipeError(
            f"{where}.batch: distillation needs a multiple of {SHARE} images a micro-batch, got "
            f"{stage.batch} in {stage.micro_batches}"
        )


def _check_sampled(stage: Stage, where: str, data: str | None) -> None:
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
    law = _law(f"{where}.sampler.noise", sampler.noise)
    if law.repeats:
        raise RecipeError(
            f"{where}.sampler.noise: {law.name} is the same in every draw; it is for validation"
        )
    if stage.loss == "masked_mse" and not _hides_pixels(law):
        raise RecipeError(f"{where}.loss: masked_mse needs a law that hides pixels, not {law.name}")


def _check_stored(stage: Stage, where: str, path: Path) -> None:
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


def _check_crafted(stage: Stage, where: str, recipe: Recipe, how: PatchCraft) -> None:
    """A stage that learns from patch-craft targets."""
    for name in ("patch", "skip", "stride", "frames", "size", "bins"):
        _positive(f"patch_craft.{name}", getattr(how, name))
    for name in ("reach", "copies", "shift", "rotation"):
        _at_least_zero(f"patch_craft.{name}", getattr(how, name))
    for name in ("second", "images"):
        if (value := getattr(how, name)) is not None:
            _positive(f"patch_craft.{name}", value)
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
        _positive("patch_craft.synthetic", how.synthetic)
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
        law = _law(f"{where}.sampler.noise", stage.sampler.noise)
        if law.scale != 1:
            raise RecipeError(
                f"{where}.sampler.noise: expected a law that keeps the size, got {law.name}"
            )
    elif recipe.validation.noise is not None:
        raise RecipeError(
            "validation.noise: bursts with noise of their own are judged as they are, "
            f"got {recipe.validation.noise!r}"
        )


def _check_optimiser(stage: Stage, where: str) -> None:
    optimiser, schedule = stage.optimiser, stage.schedule
    for name in ("lr", "momentum", "weight_decay", "eps"):
        _at_least_zero(f"{where}.optimiser.{name}", getattr(optimiser, name))
    for part, factor in optimiser.rates.items():
        _at_least_zero(f"{where}.optimiser.rates.{part}", factor)
    if len(optimiser.betas) != 2 or not all(0 <= beta < 1 for beta in optimiser.betas):
        raise RecipeError(
            f"{where}.optimiser.betas: expected two numbers in [0, 1), got {optimiser.betas}"
        )
    if not 0 < schedule.factor < 1:
        raise RecipeError(
            f"{where}.schedule.factor: expected more than 0 and less than 1, got {schedule.factor}"
        )
    if not 0 <= schedule.fraction <= 1:
        raise RecipeError(f"{where}.schedule.fraction: expected 0 to 1, got {schedule.fraction}")
    for number, share in enumerate(schedule.milestones):
        if not 0 <= share <= 1:
            raise RecipeError(
                f"{where}.schedule.milestones.{number}: expected a share of the stage, 0 to 1, "
                f"got {share}"
            )
    for name in ("patience", "threshold", "cooldown", "min_lr", "warm_up"):
        _at_least_zero(f"{where}.schedule.{name}", getattr(schedule, name))


def _law(name: str, text: str) -> noise.Law:
    try:
        return noise.parse(text)
    except noise.LawError as error:
        raise RecipeError(f"{name}: {error}") from error


def _hides_pixels(law: noise.Law) -> bool:
    tried = np.zeros((1, 1, law.scale, law.scale), np.float32)
    return law.sample_with_mask(tried, Noise(0)).mask is not None


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise RecipeError(f"{name}: expected at least 1, got {value}")


def _at_least_zero(name: str, value: float) -> None:
    # A comparison that is false for NaN as well.
    if not 0 <= value < float("inf"):
        raise RecipeError(f"{name}: expected a finite number of at least 0, got {value}")
