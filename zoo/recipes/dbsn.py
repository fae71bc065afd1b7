"""Recipes of blind-spot training: three stages from noisy pictures alone, and a student after them.

    1. mu by squared error    2. sigma_mu, sigma_n by the likelihood, D-BSN frozen    3. all by it

Epochs of the authors are told in steps: one crop of each picture an epoch, in batches of 8. Their
sets: Set12, BSD68 and ImageNet's validation set in gray (6,260 steps an epoch); in colour about as
many for the first stage, 606 for the second (CBSD68, McMaster, Kodak24, Waterloo), 8 for the third
(CBSD68). Here one folder serves all stages.

For gray the authors train all networks by the likelihood from the start (the recipes `*-scratch`);
the three stages, which they recommend, are published for colour, so that the second and third of
gray have the settings of colour.

Source: Wu, Liu, Cao, Ren and Zuo, "Unpaired learning of deep image denoising", ECCV 2020, and its
programs.
"""

from __future__ import annotations

from typing import Any, Literal

from zoo.recipes.schema import (
    Checkpoints,
    Likelihood,
    Optimiser,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    Validation,
    Value,
)

NOISE = {"awgn": "gaussian:25", "hg": "heteroscedastic:40", "mg": "multivariate:75"}
WORDS = {
    "awgn": "Gaussian noise of 25",
    "hg": "heteroscedastic noise of 40 and 10",
    "mg": "noise that is correlated between colours",
}
COLORS = {"gray": "gray", "color": "colour"}

Loss = Literal["mse", "half_squared_error", "map", "dbsn"]


def _steps(share: tuple[float, ...], factor: float = 0.1) -> Schedule:
    return Schedule("multi-step", factor=factor, milestones=share)


def _stage(
    steps: int, objective: str, loss: Loss, lr: float, schedule: Schedule, **more: Any
) -> Stage:
    return Stage(
        steps=steps,
        objective=objective,
        loss=loss,
        optimiser=Optimiser("adam", lr=lr),
        schedule=schedule,
        **more,
    )


def _recipe(name: str, description: str, stages: tuple[Stage, ...], **more: Any) -> Recipe:
    """`name` is model-noise and perhaps more words."""
    family, color, noise, *_ = name.split("-")
    arguments: dict[str, Value] = {"noise": noise, **more.pop("arguments", {})}
    return Recipe(
        name=name,
        description=description,
        model=f"{family}-{color}",
        model_args=arguments,
        stages=stages,
        **more,
    )


def _published(color: str, noise: str) -> Recipe:
    how: dict[str, Any] = {
        "batch": 8,
        "sampler": Sampler(NOISE[noise], size=96, augment=True),
        "log_every": 100,
    }
    if color == "gray":
        first = _stage(
            563_400, "blind-spot-mu", "mse", 3e-4, _steps((3 / 9, 6 / 9, 7 / 9, 8 / 9)), **how
        )
        sigma_steps, last_steps = 313_000, 626_000
    else:
        first = _stage(
            631_900,
            "blind-spot-mu",
            "half_squared_error",
            3e-4,
            _steps((0.2, 0.6, 0.7, 0.8, 0.9)),
            **how,
        )
        sigma_steps, last_steps = 30_300, 800
    second = _stage(
        sigma_steps,
        "blind-spot-sigma",
        "dbsn" if noise == "mg" else "map",
        3e-4,
        _steps((0.4, 0.6, 0.8)),
        **how,
    )
    third = _stage(
        last_steps,
        "blind-spot",
        "map",
        3e-6 if noise == "mg" else 3e-5,
        _steps((0.2, 0.4, 0.6, 0.8)),
        **how,
    )
    return _recipe(
        f"dbsn-{color}-{noise}",
        f"D-BSN for {COLORS[color]} pictures as published, {WORDS[noise]}: three stages.",
        (first, second, third),
        validation=Validation(every=5000, images=64, size=96, batch=8),
        checkpoint=Checkpoints(every=5000),
    )


def _scratch(noise: str, factor: float) -> Recipe:
    stage = _stage(
        626_000,
        "blind-spot",
        "map",
        3e-4,
        _steps((0.2, 0.4, 0.6, 0.7, 0.8, 0.9), factor),
        batch=8,
        sampler=Sampler(NOISE[noise], size=96, augment=True),
        log_every=100,
    )
    return _recipe(
        f"dbsn-gray-{noise}-scratch",
        f"D-BSN for gray pictures as published, {WORDS[noise]}: all networks at once.",
        (stage,),
        validation=Validation(every=5000, images=64, size=96, batch=8),
        checkpoint=Checkpoints(every=5000),
    )


def _narrow(color: str, noise: str) -> Recipe:
    """A quarter of the width, two blocks, small crops: minutes on a CPU.

    The likelihood sees the sum of both variances, so where they start decides how they share it.
    sigma_n starts with the whole of it, as measured when mu has been learned, and sigma_mu, which
    may differ from pixel to pixel, takes from it what does. From below sigma_n would stay there,
    and on a long way down from above it learns to tell pictures apart, which is not its business.
    Where sigma_n too may differ from pixel to pixel ("hg"), or sigma_mu may not ("mg"), the
    likelihood has no reason to prefer one: the second stage minimises the bound, which has, and for
    "hg" the third as well, since the likelihood would undo it.
    """
    how: dict[str, Any] = {
        "batch": 8,
        "sampler": Sampler(NOISE[noise], size=48, augment=True),
        "log_every": 50,
    }
    schedule = Schedule("cosine", warm_up=100)
    stages = (
        _stage(
            800,
            "blind-spot-mu",
            "mse" if color == "gray" else "half_squared_error",
            2e-3,
            schedule,
            **how,
        ),
        _stage(
            250,
            "blind-spot-sigma",
            "map" if noise == "awgn" else "dbsn",
            1e-3,
            schedule,
            likelihood=Likelihood(measure_noise=True),
            **how,
        ),
        _stage(300, "blind-spot", "dbsn" if noise == "hg" else "map", 3e-4, schedule, **how),
    )
    return _recipe(
        f"dbsn-{color}-{noise}-narrow",
        f"A narrow D-BSN for {COLORS[color]} pictures, {WORDS[noise]}, ten minutes on a CPU.",
        stages,
        arguments={"width": 24, "blocks": 2, "sigma_mu_gain": 0.02},
        validation=Validation(every=100, images=32, size=96, batch=16),
        checkpoint=Checkpoints(every=100),
    )


def _student(noise: str) -> tuple[Recipe, Recipe]:
    """As published, from weights that know the noise roughly; and a narrow one from random ones."""

    def recipe(
        name: str,
        description: str,
        arguments: dict[str, Value],
        stage: Stage,
        judged: Validation,
    ) -> Recipe:
        return Recipe(
            name=name,
            description=description,
            model="mwcnn",
            model_args=arguments,
            stages=(stage,),
            validation=judged,
            checkpoint=Checkpoints(every=judged.every),
        )

    published = _stage(
        13_840,  # 80 epochs of DIV2K and Waterloo
        "distillation",
        "mse",
        1e-7,
        _steps((0.5, 0.75)),
        batch=32,
        sampler=Sampler(NOISE[noise], size=160, augment=True),
        log_every=100,
    )
    narrow = _stage(
        4500,
        "distillation",
        "mse",
        1e-3,
        Schedule("cosine", warm_up=100),
        batch=8,
        sampler=Sampler(NOISE[noise], size=48, augment=True),
        log_every=50,
    )
    return (
        recipe(
            f"mwcnn-{noise}",
            f"The student of D-BSN as published, {WORDS[noise]}: needs teacher and start.",
            {},
            published,
            Validation(every=500, images=64, size=160, batch=8),
        ),
        recipe(
            f"mwcnn-{noise}-narrow",
            f"A narrow student of D-BSN, {WORDS[noise]}, ten minutes on a CPU: needs a teacher.",
            {"level1": 32, "level2": 48, "level3": 64},
            narrow,
            Validation(every=250, images=32, size=96, batch=16),
        ),
    )


KINDS = (("gray", "awgn"), ("gray", "hg"), ("color", "awgn"), ("color", "hg"), ("color", "mg"))
RECIPES = (
    *(_published(color, noise) for color, noise in KINDS),
    _scratch("awgn", 0.1),
    _scratch("hg", 0.5),
    *(_narrow(color, noise) for color, noise in KINDS),
    *_student("awgn"),
    *_student("hg"),
)
