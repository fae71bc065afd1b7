"""Recipes of the supervised denoisers of Gaussian noise: DnCNN and the bias-free networks.

Each sees a clean photograph through noise and learns the clean one. Epochs of the papers are told
in steps: tiles on a grid of 10 pixels of 400 photographs at four scales, once or twice each, make
238,400 (DnCNN-S) or 403,200 tiles an epoch, in batches of 128. Crops are drawn at random here
instead of from the grid. `data` is a folder of photographs; the papers' is BSD400.

Sources: Zhang et al., "Beyond a Gaussian denoiser: residual learning of deep CNN for image
denoising", IEEE TIP 2017; Mohan et al., "Robust and interpretable blind image denoising via
bias-free convolutional neural networks", ICLR 2020; the settings are those of the PyTorch
programs of SaoYan (DnCNN) and of the second paper's authors.
"""

from __future__ import annotations

from typing import Any

from zoo.recipes.schema import (
    Checkpoints,
    Optimiser,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    Validation,
    Value,
)

SCALES = (1.0, 0.9, 0.8, 0.7)
DECADE = Schedule("multi-step", factor=0.1, milestones=(0.6,))
HALVED = Schedule("multi-step", factor=0.5, milestones=(0.5, 0.6, 0.7, 0.8, 0.9))


def _published(
    name: str,
    description: str,
    model: str,
    noise: str,
    *,
    steps: int,
    size: int,
    augment: bool,
    schedule: Schedule,
    judged: str = "gaussian:25",
    **arguments: Value,
) -> Recipe:
    """What all published recipes share: Adam at 1e-3, batches of 128, four scales."""
    stage = Stage(
        steps=steps,
        objective="noise2clean",
        loss="half_squared_error",
        batch=128,
        optimiser=Optimiser("adam", lr=1e-3),
        schedule=schedule,
        sampler=Sampler(noise, size=size, augment=augment, scales=SCALES),
        log_every=100,
    )
    return Recipe(
        name=name,
        description=description,
        model=model,
        model_args={"channels": 1, **arguments},
        stages=(stage,),
        validation=Validation(every=1000, images=64, size=80, noise=judged, batch=16),
        checkpoint=Checkpoints(every=1000),
    )


def _bundled(name: str, description: str, channels: int, **sampler: Any) -> Recipe:
    """The bias-free U-Net in half an hour of a CPU: what made the bundled weights."""
    stage = Stage(
        steps=3000,
        objective="noise2clean",
        batch=16,
        optimiser=Optimiser("adam", lr=1e-3, betas=(0.9, 0.99)),
        schedule=Schedule("cosine", warm_up=100),
        sampler=Sampler("gaussian:0-55", size=64, augment=True, **sampler),
        log_every=50,
    )
    return Recipe(
        name=name,
        description=description,
        model="bf-unet",
        model_args={"channels": channels},
        stages=(stage,),
        validation=Validation(every=250, images=64, size=96, noise="gaussian:25", batch=16),
        checkpoint=Checkpoints(every=250),
    )


RECIPES = (
    *(
        _published(
            f"dncnn-s-{sigma}",
            f"DnCNN-S for sigma {sigma} as published: 50 epochs.",
            "dncnn-s",
            f"gaussian:{sigma}",
            steps=93_150,
            size=40,
            augment=False,
            schedule=DECADE,
            judged=f"gaussian:{sigma}",
        )
        for sigma in (15, 25, 50)
    ),
    _published(
        "dncnn-b",
        "DnCNN-B for sigma 0 to 55 as published: 50 epochs.",
        "dncnn-b",
        "gaussian:0-55",
        steps=157_500,
        size=50,
        augment=True,
        schedule=DECADE,
    ),
    *(
        _published(
            name,
            f"The bias-free {kind} for sigma 0 to 100 as published: 100 epochs.",
            name,
            "gaussian:0-100",
            steps=315_000,
            size=50,
            augment=True,
            schedule=HALVED,
        )
        for name, kind in (
            ("bf-dncnn", "DnCNN"),
            ("bf-unet", "U-Net"),
            ("bf-rcnn", "recurrent network"),
            ("bf-sdensenet", "densely connected network"),
        )
    ),
    _bundled("bf-unet-gray", "Bias-free U-Net for gray pictures, half an hour on a CPU.", 1),
    _bundled("bf-unet-color", "Bias-free U-Net for colour pictures, half an hour on a CPU.", 3),
)
