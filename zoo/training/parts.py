"""What a recipe names, made: network, teacher, objective, optimiser, schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad import CheckpointError, checkpoint
from minigrad.keras_adam import KerasAdam
from minigrad.module import Module, Parameter
from minigrad.noise import Noise
from minigrad.optim import SGD, Adam, Adamax, Optimiser
from minigrad.schedule import (
    ConstantLR,
    CosineLR,
    ExponentialLR,
    LinearWarmup,
    MultiStepLR,
    RampDown,
    ReduceLROnPlateau,
)
from minigrad.schedule import Schedule as LearningRate
from zoo import objectives, registry
from zoo.architectures import Denoiser, StochasticDenoiser
from zoo.inference.weights import weights_file
from zoo.noise.models import load_noise_model
from zoo.objectives.base import Batch, Objective
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Optimiser as OptimiserSettings
from zoo.recipes.schema import Recipe, Stage

SCALE_BATCHES = 8
"""Batches whose mean and deviation pictures are normalised by."""
ANNEALING = 0.1
"""Share of a stage over which the divergence is annealed after too many restarts."""


def network(recipe: Recipe, again: int = 0) -> Denoiser:
    """The recipe's network with the weights that its seed gives, others for each number `again`.

    Raises RecipeError: its arguments do not go together, or it gives other channels than it takes.
    """
    rng = np.random.default_rng([recipe.seed, again] if again else recipe.seed)
    try:
        made = registry.create(recipe.model, **recipe.model_args, dtype=recipe.dtype, rng=rng)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model_args: {error}") from error
    # One small picture tells, whatever the arguments are called.
    given = (1, made.channels, made.multiple, made.multiple)
    found = made.denoise(np.zeros(given, recipe.dtype), samples=1).shape
    if found != given:
        raise RecipeError(
            f"model_args: {recipe.model} takes {given[1]} channels and gives {found[1]}; "
            "training compares pictures of the same channels"
        )
    return made


def take_start(recipe: Recipe, made: Denoiser) -> str:
    """Give the network the weights that the recipe starts from; returns a line that names them.

    "" where it starts from random ones. Raises RecipeError: no such file, or not such a network.
    """
    if recipe.start is None:
        return ""
    try:
        path = weights_file(recipe.start)
        if path is None:
            raise RecipeError(f"start: {recipe.start}: no such file, run or bundled weights")
        arrays, metadata = checkpoint.load(path, finite=True)
        found = metadata.get("architecture", recipe.model)
        if found != recipe.model:
            raise RecipeError(
                f"start: {path}: weights of {found}, the recipe trains {recipe.model}"
            )
        made.load_state_dict(
            {
                key: array.astype(made.dtype) if array.dtype.kind == "f" else array
                for key, array in arrays.items()
            }
        )
    except RecipeError:
        raise
    except (OSError, CheckpointError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"start: {recipe.start}: {' '.join(str(error).split())}") from error
    return f"starting from {path}"


def choose_statistics(stage: Stage, made: Denoiser) -> None:
    """Put the network into training mode, its norms into that which the stage names.

    Raises RecipeError: running statistics of a network that has none.
    """
    made.train()
    if stage.statistics == "batch":
        return
    norms = [m for m in made.modules() if any(b.startswith("running_") for b in m.buffer_names)]
    if not norms:
        raise RecipeError("stages: statistics: 'running' needs a network with batch norms")
    for norm in norms:
        norm.eval()


def teacher(recipe: Recipe) -> Denoiser | None:
    """The network that the recipe's student learns from; None where it names none.

    Raises RecipeError: no such file, or no network of the zoo.
    """
    if recipe.teacher is None:
        return None
    try:
        path = weights_file(recipe.teacher)
        if path is None:
            raise RecipeError(f"teacher: {recipe.teacher}: no such file, run or bundled weights")
        return registry.load(path).astype(recipe.dtype)
    except (OSError, CheckpointError) as error:
        raise RecipeError(f"teacher: {recipe.teacher}: {' '.join(str(error).split())}") from error


def take_scale(recipe: Recipe, made: Denoiser, batches: Callable[[int], Batch]) -> None:
    """Tell a network that draws the mean and deviation of its noisy pictures, where the recipe does
    not: those of the first batches.
    """
    given = {"data_mean", "data_std"} & set(recipe.model_args)
    if isinstance(made, StochasticDenoiser) and not given:
        seen = np.concatenate([batches(step)[0] for step in range(SCALE_BATCHES)])
        made.set_scale(float(seen.mean(dtype=np.float64)), float(seen.std(dtype=np.float64)))


def objective(
    recipe: Recipe, number: int, made: Denoiser, teaching: Denoiser | None, again: int = 0
) -> Objective:
    """The objective of stage `number` around the network, after so many restarts.

    Raises RecipeError: it does not go with the network, the teacher or the noise model.
    """
    stage = recipe.stages[number]
    subspace = dataclasses.asdict(stage.subspace)
    if subspace["temperature"] is None:
        del subspace["temperature"]
    settings = dataclasses.asdict(stage.likelihood) | dataclasses.asdict(stage.elbo) | subspace
    settings |= {
        "batch": stage.batch,
        "teacher": teaching,
        "noise": Noise(Noise(recipe.seed).fold_in(7).fold_in(number).seed),
    }
    if again > stage.elbo.restarts:
        settings["annealing"] = max(stage.elbo.annealing, ANNEALING)
    try:
        if recipe.noise_model is not None:
            settings["noise_model"] = load_noise_model(recipe.noise_model)
        made_objective = objectives.create(stage.objective, made, stage.loss, **settings)
    except ValueError as error:
        raise RecipeError(f"stages.{number}: {error}") from error
    made_objective.clip = stage.optimiser.clip
    return made_objective


def check_stages(recipe: Recipe, made: Denoiser, teaching: Denoiser | None) -> None:
    """Raise RecipeError now for a stage that could not begin when it is its turn."""
    for number, stage in enumerate(recipe.stages):
        optimiser(stage, objective(recipe, number, made, teaching).trained())


def optimiser(stage: Stage, made: Module) -> tuple[Optimiser, list[float]]:
    """The stage's optimiser of the parameters of `made`, and for each of its groups the factor on
    the learning rate.

    Raises RecipeError: a rate for a part that the network does not have, or nothing to train.
    """
    how = stage.optimiser
    named = made.named_parameters()
    groups: dict[str, list[Parameter]] = {part: [] for part in ("", *how.rates)}
    for key, parameter in named.items():
        part = next((part for part in how.rates if key.startswith(f"{part}.")), "")
        groups[part].append(parameter)
    for part in how.rates:
        if not groups[part]:
            known = ", ".join(made.children())
            raise RecipeError(
                f"stages: optimiser.rates.{part}: no part of the network; its parts: {known}"
            )
    factors = {"": 1.0, **how.rates}
    trained = [part for part, members in groups.items() if members and factors[part] > 0]
    if not trained:
        raise RecipeError("stages: optimiser.rates: all parts are left as they are")
    params = [{"params": groups[part]} for part in trained]
    return _optimiser(how, params), [factors[part] for part in trained]


def _optimiser(how: OptimiserSettings, params: list[dict[str, Any]]) -> Optimiser:
    if how.kind == "keras-adam":
        return KerasAdam(params, how.lr, (how.betas[0], how.betas[1]), how.eps)
    if how.kind != "sgd":
        kind = {"adam": Adam, "adamax": Adamax}[how.kind]
        betas = (how.betas[0], how.betas[1])
        return kind(params, how.lr, betas, how.eps, how.weight_decay)
    return SGD(
        params,
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
    if how.kind == "multi-step":
        return MultiStepLR(lr, [round(m * stage.steps) for m in how.milestones], how.factor)
    if how.kind == "exponential":
        return ExponentialLR(lr, how.factor, how.period)
    return ConstantLR(lr)
