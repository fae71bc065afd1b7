"""Recipes of HDN and DivNoising: clean pictures drawn from noisy ones alone.

Epochs of the notebooks are told in steps, and a validation is an epoch: 500 steps (natural
pictures), 400 (microscopy). The notebooks' loops end by patience alone, whatever number of epochs
they name; here that number is the end as well. Their virtual batches of 8 are `micro_batches`,
whose gradients are averaged, not summed: the same step, for Adamax.

`hdn-camera*` and `divnoising-camera` learn from frames as they are (`data`: a folder or TIFF file)
with a noise model of the camera (`noise_model`).

Source: Prakash et al., DivNoising (2021) and HDN (2022), and the authors' notebooks.
"""

from __future__ import annotations

from typing import Any

from zoo.recipes.schema import (
    STORED,
    Checkpoints,
    Elbo,
    Optimiser,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    Validation,
    Value,
)

PLATEAU = Schedule("plateau", factor=0.5, patience=10, min_lr=1e-12)
CAMERA: dict[str, Any] = {
    "loss": "noise-model",
    "sampler": Sampler(STORED, size=64, augment=True),
    "batch": 64,
    "micro_batches": 8,
}


def _hdn(
    name: str,
    description: str,
    steps: int,
    epoch: int,
    patience: int,
    arguments: dict[str, Value] | None = None,
    **stage: Any,
) -> Recipe:
    """HDN at the size of the notebooks."""
    made = Stage(
        steps=steps,
        objective="elbo",
        optimiser=Optimiser("adamax", lr=3e-4),
        schedule=PLATEAU,
        elbo=Elbo(free_bits=1.0),
        log_every=50,
        **stage,
    )
    side = made.sampler.size
    return Recipe(
        name=name,
        description=description,
        model="hdn",
        model_args={"img_shape": [side, side], **(arguments or {})},
        stages=(made,),
        validation=Validation(
            every=epoch, images=64, batch=8, weights="last", metric="loss", patience=patience
        ),
        checkpoint=Checkpoints(every=epoch),
    )


def _narrow_hdn(name: str, description: str, filters: int, lr: float, **more: Any) -> Recipe:
    """Three latent maps, one block a rung: minutes on a CPU.

    `pairs`: so many noisy crops there are, each with one draw of noise, as in a set that was
    recorded once.
    """
    stage = Stage(
        steps=more["steps"],
        objective="elbo",
        loss="gaussian",
        batch=8,
        optimiser=Optimiser("adamax", lr=lr),
        schedule=Schedule("cosine", warm_up=200),
        sampler=Sampler(more["noise"], size=64, pairs=9600, augment=more["augment"]),
        elbo=Elbo(free_bits=1.0),
        log_every=50,
    )
    arguments: dict[str, Value] = {
        "z_dims": [16, 16, 16],
        "n_filters": filters,
        "blocks_per_layer": 1,
        "dropout": 0.0,
        "img_shape": [64, 64],
    }
    return Recipe(
        name=name,
        description=description,
        model="hdn",
        model_args=arguments | more.get("arguments", {}),
        stages=(stage,),
        validation=Validation(every=200, images=32, size=64, batch=8),
        checkpoint=Checkpoints(every=200),
    )


def _divnoising(name: str, description: str, steps: int, every: int, **stage: Any) -> Recipe:
    made = Stage(
        steps=steps,
        objective="elbo",
        optimiser=Optimiser("adam", lr=1e-3),
        log_every=50,
        **stage,
    )
    published = made.schedule.kind == "plateau"
    return Recipe(
        name=name,
        description=description,
        model="divnoising",
        stages=(made,),
        validation=Validation(
            every=every,
            images=32,
            batch=8,
            metric="loss" if published else "mse",
            patience=100 if published else None,
            weights="best" if published else "last",
        ),
        checkpoint=Checkpoints(every=every),
    )


STRIPES: dict[str, Any] = {"noise": "stripes:25:white=25", "augment": False, "steps": 1500}
PATIENT = Schedule("plateau", factor=0.5, patience=30, min_lr=1e-12)
RECIPES = (
    _hdn(
        "hdn-awgn",
        "HDN for natural gray pictures as in the notebook, Gaussian noise of 25.",
        200_000,
        500,
        100,
        loss="gaussian",
        sampler=Sampler("gaussian:25", size=128, pairs=9600, augment=True),
        batch=16,
        micro_batches=2,
    ),
    _hdn(
        "hdn-camera",
        "HDN for microscopy as in the notebook: needs data and noise_model.",
        200_000,
        400,
        30,
        **CAMERA,
    ),
    _hdn(
        "hdn-camera-structured",
        "HDN_{3-6}, for noise with structure, as in the notebook: needs data and noise_model.",
        200_000,
        400,
        30,
        {"use_uncond_mode_at": [0, 1]},
        **CAMERA,
    ),
    _narrow_hdn(
        "hdn-awgn-narrow",
        "A narrow HDN, Gaussian noise of 25, a quarter of an hour on a CPU.",
        32,
        3e-3,
        noise="gaussian:25",
        augment=True,
        steps=3600,
    ),
    _narrow_hdn(
        "hdn-stripes-narrow",
        "A narrow HDN whose finest latent map does not see the picture: rows with an offset.",
        16,
        2e-3,
        arguments={"use_uncond_mode_at": [0]},
        **STRIPES,
    ),
    _narrow_hdn(
        "hdn-stripes-all-narrow",
        "The same with all latent maps in use, to compare with.",
        16,
        2e-3,
        **STRIPES,
    ),
    _divnoising(
        "divnoising-awgn",
        "DivNoising with the settings of its notebooks, Gaussian noise of 25.",
        150_000,
        500,
        loss="gaussian",
        elbo=Elbo(collapse=1e-7),
        batch=32,
        schedule=PATIENT,
        sampler=Sampler("gaussian:25", size=128, pairs=9600, augment=True),
    ),
    _divnoising(
        "divnoising-camera",
        "DivNoising for microscopy as in the notebooks: needs data and noise_model.",
        150_000,
        500,
        loss="noise-model",
        elbo=Elbo(collapse=1e-7),
        batch=32,
        schedule=PATIENT,
        sampler=Sampler(STORED, size=128, augment=True),
    ),
    _divnoising(
        "divnoising-awgn-narrow",
        "DivNoising on small crops, Gaussian noise of 25, five minutes on a CPU.",
        1500,
        250,
        loss="gaussian",
        # From full weight on the latent map falls out of use for hundreds of steps, if not for all.
        elbo=Elbo(annealing=0.3, collapse=1e-7),
        batch=16,
        schedule=Schedule("cosine", warm_up=100),
        sampler=Sampler("gaussian:25", size=64, pairs=9600, augment=True),
    ),
)
