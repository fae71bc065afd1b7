"""What a recipe names, made: the network, the optimiser, the schedule."""

from __future__ import annotations

import numpy as np

from minigrad.module import Parameter
from minigrad.optim import SGD, Adam, Adamax, Optimiser
from minigrad.schedule import ConstantLR, CosineLR, LinearWarmup, RampDown, ReduceLROnPlateau
from minigrad.schedule import Schedule as LearningRate
from zoo import registry
from zoo.architectures import Denoiser
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Recipe, Stage


def network(recipe: Recipe) -> Denoiser:
    """The recipe's network with the weights that its seed gives.

    Raises RecipeError: its arguments do not go together, or it gives other channels than it takes.
    """
    rng = np.random.default_rng(recipe.seed)
    try:
        made = registry.create(recipe.model, **recipe.model_args, dtype=recipe.dtype, rng=rng)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model_args: {error}") from error
    # One small picture tells, whatever the arguments are called.
    given = (1, made.channels, made.multiple, made.multiple)
    found = made.denoise(np.zeros(given, recipe.dtype)).shape
    if found != given:
        raise RecipeError(
            f"model_args: {recipe.model} takes {given[1]} channels and gives {found[1]}; "
            "training compares pictures of the same channels"
        )
    return made


def optimiser(stage: Stage, parameters: list[Parameter]) -> Optimiser:
    """The stage's optimiser of these parameters."""
    how = stage.optimiser
    if how.kind != "sgd":
        kind = {"adam": Adam, "adamax": Adamax}[how.kind]
        betas = (how.betas[0], how.betas[1])
        return kind(parameters, how.lr, betas, how.eps, how.weight_decay)
    return SGD(
        parameters,
        how.lr,
        momentum=how.momentum,
        weight_decay=how.weight_decay,
        nesterov=how.nesterov,
    )


def schedule(stage: Stage) -> LearningRate:
    """The stage's learning rate as a function of its own step number 0, 1, ..."""
    rate, warm_up = _schedule(stage), stage.schedule.warm_up
    return LinearWarmup(rate, warm_up) if warm_up else rate


def _schedule(stage: Stage) -> LearningRate:
    how, lr = stage.schedule, stage.optimiser.lr
    if how.kind == "plateau":
        return ReduceLROnPlateau(
            lr,
            factor=how.factor,
            patience=how.patience,
            threshold=how.threshold,
            cooldown=how.cooldown,
            min_lr=how.min_lr,
        )
    if how.kind == "ramp-down":
        return RampDown(lr, stage.steps, how.fraction)
    if how.kind == "cosine":
        return CosineLR(lr, stage.steps, how.min_lr)
    return ConstantLR(lr)
