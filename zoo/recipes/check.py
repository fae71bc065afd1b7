"""Whether a recipe can be run: what the types of its fields do not say."""

from __future__ import annotations

import dataclasses
from math import inf
from pathlib import Path
from typing import get_type_hints

from zoo import objectives, registry
from zoo.data.images import SUFFIXES
from zoo.objectives.distillation import SHARE
from zoo.recipes.check_data import (
    at_least_zero,
    check_crafted,
    check_patches,
    check_sampled,
    check_stored,
    law_of,
    positive,
)
from zoo.recipes.config import RecipeError, checked, unknown_key
from zoo.recipes.schema import (
    STORED,
    Elbo,
    Likelihood,
    Recipe,
    Sampler,
    Stage,
    Subspace,
)


def check(recipe: Recipe) -> None:
    """Raise RecipeError for the first setting that cannot work; the message names it."""
    _check_model(recipe)
    if not recipe.stages:
        raise RecipeError("stages: expected at least one stage, got none")
    stack = is_stack(recipe)
    pairs = not stack and _is_file_of_pairs(recipe.data)
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
        patches = objectives.entry(stage.objective).target == "patches"
        if patches != (recipe.patches is not None):
            having = "without" if patches else "with"
            raise RecipeError(
                f"{where}.objective: the objectives 'patch-*' of psl-ae and the recipe's table "
                f"`patches` belong together, got {stage.objective!r} {having} it"
            )
        if recipe.patches is not None:
            check_patches(stage, where, recipe, recipe.patches)
        elif recipe.patch_craft is not None:
            check_crafted(stage, where, recipe, recipe.patch_craft)
        elif pairs:
            check_stored(stage, where, Path(str(recipe.data)))
        elif stack:
            _check_stack(stage, where)
        else:
            check_sampled(stage, where, recipe.data)
    _check_teacher(recipe)
    _check_noise_model(recipe)
    _check_judging(recipe)
    judged = recipe.validation
    positive("validation.every", judged.every)
    positive("validation.images", judged.images)
    positive("validation.batch", judged.batch)
    positive("checkpoint.every", recipe.checkpoint.every)
    at_least_zero("seed", recipe.seed)
    at_least_zero("validation.seed", judged.seed)
    for name, value in (("size", judged.size), ("noise", judged.noise)):
        if (pairs or (stack and name == "noise")) and value is not None:
            raise RecipeError(
                f"validation.{name}: expected none, since {recipe.data} is judged as it is, "
                f"got {value!r}; add --set validation.{name}=none"
            )
    if judged.size is not None:
        positive("validation.size", judged.size)
    if judged.noise is not None:
        law_of("validation.noise", judged.noise)


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


def is_stack(recipe: Recipe) -> bool:
    """Whether `data` is of frames that are noisy as they are, a folder or a TIFF file, for stages
    that need no targets.
    """
    data = Path(recipe.data or "")
    frames = data.is_dir() or data.suffix.lower() in (".tif", ".tiff")
    found = [objectives.OBJECTIVES.get(stage.objective) for stage in recipe.stages]
    alone = all(entry is not None and entry.target == "none" for entry in found)
    return recipe.data is not None and recipe.stored_pairs and frames and alone


def _check_stack(stage: Stage, where: str) -> None:
    """A stage that learns from frames that are noisy as they are."""
    plain = Sampler(
        STORED,
        size=stage.sampler.size,
        pairs=stage.sampler.pairs,
        augment=stage.sampler.augment,
    )
    if stage.sampler != plain:
        raise RecipeError(
            f"{where}.sampler: of frames that are noisy as they are only size, pairs and augment "
            f"are chosen, and noise is {STORED!r}"
        )


def _check_noise_model(recipe: Recipe) -> None:
    needed = any(stage.loss == "noise-model" for stage in recipe.stages)
    if needed and recipe.noise_model is None:
        raise RecipeError(
            "noise_model: the loss 'noise-model' needs a file; add --set noise_model=FILE"
        )
    if recipe.noise_model is not None and not needed:
        raise RecipeError("noise_model: only the loss 'noise-model' takes one")


def _check_judging(recipe: Recipe) -> None:
    judged = recipe.validation
    if judged.patience is not None:
        positive("validation.patience", judged.patience)
        if len(recipe.stages) > 1:
            raise RecipeError("validation.patience: expected none with several stages")
    if judged.metric == "loss" and any(stage.objective != "elbo" for stage in recipe.stages):
        raise RecipeError("validation.metric: 'loss' is for the objective 'elbo'")


def _is_file_of_pairs(path: str | None) -> bool:
    """Whether `data` is a file, and not a folder of pictures."""
    if path is None or not Path(path).is_file():
        return False
    if Path(path).suffix.lower() in SUFFIXES:
        raise RecipeError(f"data: {path}: a single picture; expected a folder, or a file of pairs")
    return True


def _check_stage(stage: Stage, where: str) -> None:
    for name in ("steps", "batch", "micro_batches", "log_every"):
        positive(f"{where}.{name}", getattr(stage, name))
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
    _check_weights(stage, where)
    _check_elbo(stage, where)
    _check_optimiser(stage, where)
    sampler = stage.sampler
    positive(f"{where}.sampler.size", sampler.size)
    if sampler.pairs is not None:
        positive(f"{where}.sampler.pairs", sampler.pairs)
    if not sampler.scales or not all(0.1 <= scale <= 1 for scale in sampler.scales):
        raise RecipeError(
            f"{where}.sampler.scales: expected sizes from 0.1 to 1, got {list(sampler.scales)}"
        )
    if not 0 <= sampler.gray <= 1:
        raise RecipeError(f"{where}.sampler.gray: expected 0 to 1, got {sampler.gray}")
    if sampler.swap and objectives.entry(stage.objective).target != "noisy":
        raise RecipeError(f"{where}.sampler.swap: only noise2noise pairs can be exchanged")


def _check_weights(stage: Stage, where: str) -> None:
    """The tables that belong to some objectives: numbers from 0, unchanged elsewhere."""
    settings = objectives.entry(stage.objective).settings
    for table, plain in (("likelihood", Likelihood()), ("subspace", Subspace())):
        for name, default in dataclasses.asdict(plain).items():
            value = getattr(getattr(stage, table), name)
            if isinstance(value, int | float) and not isinstance(default, bool):
                at_least_zero(f"{where}.{table}.{name}", value)
            if value != default and name not in settings:
                raise RecipeError(f"{where}.{table}.{name}: not for {stage.objective}")
    if stage.subspace.temperature == 0:
        raise RecipeError(f"{where}.subspace.temperature: expected a number above 0, got 0")
    if stage.likelihood.minimum == 0:
        raise RecipeError(f"{where}.likelihood.minimum: expected a number above 0, got 0")
    if stage.objective == "distillation" and stage.batch // stage.micro_batches % SHARE:
        raise RecipeError(
            f"{where}.batch: distillation needs a multiple of {SHARE} images a micro-batch, got "
            f"{stage.batch} in {stage.micro_batches}"
        )


def _check_elbo(stage: Stage, where: str) -> None:
    how = stage.elbo
    if stage.objective != "elbo" and how != Elbo():
        raise RecipeError(f"{where}.elbo: {stage.objective} has no such bound")
    for name in ("noise_std", "free_bits", "collapse", "restarts"):
        at_least_zero(f"{where}.elbo.{name}", getattr(how, name))
    if not 0 <= how.annealing <= 1:
        raise RecipeError(f"{where}.elbo.annealing: expected a share, 0 to 1, got {how.annealing}")


def _check_optimiser(stage: Stage, where: str) -> None:
    optimiser, schedule = stage.optimiser, stage.schedule
    for name in ("lr", "momentum", "weight_decay", "eps"):
        at_least_zero(f"{where}.optimiser.{name}", getattr(optimiser, name))
    for part, factor in optimiser.rates.items():
        at_least_zero(f"{where}.optimiser.rates.{part}", factor)
    if optimiser.clip is not None and not 0 < optimiser.clip < inf:
        got = optimiser.clip
        raise RecipeError(f"{where}.optimiser.clip: expected a number above 0, got {got}")
    if optimiser.kind == "keras-adam" and optimiser.weight_decay:
        raise RecipeError(f"{where}.optimiser.weight_decay: keras-adam has none, expected 0")
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
    positive(f"{where}.schedule.period", schedule.period)
    for name in ("patience", "threshold", "cooldown", "min_lr", "warm_up"):
        at_least_zero(f"{where}.schedule.{name}", getattr(schedule, name))
