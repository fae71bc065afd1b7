"""Whether a recipe can be run: what the types of its fields do not say."""

from __future__ import annotations

import numpy as np

from minigrad.noise import Noise
from zoo import noise, objectives, registry
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Recipe, Stage


def check(recipe: Recipe) -> None:
    """Raise RecipeError for the first setting that cannot work; the message names it."""
    try:
        registry.entry(recipe.model)
    except registry.UnknownModelError as error:
        raise RecipeError(f"model: {error}") from error
    if not recipe.stages:
        raise RecipeError("stages: expected at least one stage, got none")
    for number, stage in enumerate(recipe.stages):
        _check_stage(stage, f"stages.{number}")
    judged = recipe.validation
    _positive("validation.every", judged.every)
    _positive("validation.images", judged.images)
    _positive("validation.batch", judged.batch)
    _positive("checkpoint.every", recipe.checkpoint.every)
    _at_least_zero("seed", recipe.seed)
    _at_least_zero("validation.seed", judged.seed)
    if judged.size is not None:
        _positive("validation.size", judged.size)
    if judged.noise is not None:
        _law("validation.noise", judged.noise)


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
    _check_optimiser(stage, where)
    sampler = stage.sampler
    _positive(f"{where}.sampler.size", sampler.size)
    if sampler.pairs is not None:
        _positive(f"{where}.sampler.pairs", sampler.pairs)
        if sampler.pairs % stage.batch % stage.micro_batches:
            raise RecipeError(
                f"{where}.sampler.pairs: the last batch of {sampler.pairs % stage.batch} cannot be "
                f"cut into {stage.micro_batches} micro_batches"
            )
    law = _law(f"{where}.sampler.noise", sampler.noise)
    if stage.loss == "masked_mse" and not _hides_pixels(law):
        raise RecipeError(f"{where}.loss: masked_mse needs a law that hides pixels, not {law.name}")
    if sampler.swap and objectives.entry(stage.objective).target != "noisy":
        raise RecipeError(f"{where}.sampler.swap: only noise2noise pairs can be exchanged")


def _check_optimiser(stage: Stage, where: str) -> None:
    optimiser, schedule = stage.optimiser, stage.schedule
    _at_least_zero(f"{where}.optimiser.lr", optimiser.lr)
    _at_least_zero(f"{where}.optimiser.momentum", optimiser.momentum)
    _at_least_zero(f"{where}.optimiser.weight_decay", optimiser.weight_decay)
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
    _at_least_zero(f"{where}.schedule.patience", schedule.patience)
    _at_least_zero(f"{where}.schedule.warm_up", schedule.warm_up)


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
