"""Recipes of Patch-Craft self-supervised training.

Each starts from a network that was trained blindly on white Gaussian noise (`start`) and adapts it
to correlated noise, from noisy bursts alone. Patch sizes as published:

| sigma | box 2 | box 3 | box 4 | | ISO   | p  |
|-------|-------|-------|-------|-|-------|----|
| 5     | 19    | 19    | 25    | | 1600  | 15 |
| 10    | 27    | 37    | 43    | | 3200  | 25 |
| 15    | 31    | 41    | 43    | | 6400  | 27 |
| 20    | 33    | 43    | 45    | | 12800 | 35 |
|       |       |       |       | | 25600 | 37 |

Source: Vaksman, Elad, "Patch-Craft Self-Supervised Training for Correlated Image Denoising", CVPR
2023, and its program.
"""

from __future__ import annotations

from typing import Literal

from zoo.recipes.schema import (
    STORED,
    Checkpoints,
    Optimiser,
    PatchCraft,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    Validation,
    Value,
)

HALVED = Schedule("multi-step", factor=0.5, milestones=(1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6))
NOISE = "correlated:20:kernel=2"
UNET: dict[str, Value] = {"channels": 3}


def _recipe(
    name: str,
    description: str,
    model: str,
    arguments: dict[str, Value],
    how: PatchCraft,
    noise: str,
    *,
    steps: int,
    batch: int,
    lr: float,
    every: int,
    statistics: Literal["batch", "running"] = "batch",
) -> Recipe:
    stage = Stage(
        steps=steps,
        objective="patch-craft",
        loss="half_squared_error",
        batch=batch,
        statistics=statistics,
        optimiser=Optimiser("adam", lr=lr),
        schedule=HALVED,
        sampler=Sampler(noise, size=50),
        log_every=25,
    )
    return Recipe(
        name=name,
        description=description,
        model=model,
        model_args=arguments,
        stages=(stage,),
        patch_craft=how,
        validation=Validation(every=every, images=48, size=128, batch=8),
        checkpoint=Checkpoints(every=every),
    )


VIDEO = PatchCraft()  # clean sequences, noise added: reach 37, tiles every 30 pixels
PHOTOGRAPHS = PatchCraft(
    patch=25, reach=500, skip=3, second=37, stride=10, replicate=True, std_num=1.0
)
STILLS = PatchCraft(reach=4, synthetic=300, shift=4, hard=0.5, images=64)

RECIPES = (
    _recipe(
        "pcst-unet",
        "Patch-Craft as published for synthetic noise: clean videos, U-Net, 30 epochs.",
        "bf-unet",
        UNET,
        VIDEO,
        NOISE,
        steps=17_220,
        batch=128,
        lr=1e-3,
        every=574,
    ),
    _recipe(
        "pcst-dncnn",
        "Patch-Craft as published for synthetic noise: clean videos, DnCNN, 30 epochs.",
        "pcst-dncnn",
        {},
        VIDEO,
        NOISE,
        steps=17_220,
        batch=128,
        lr=1e-3,
        every=574,
    ),
    _recipe(
        "pcst-unet-bursts",
        "Patch-Craft as published for real noise: noisy bursts, U-Net, 30 epochs.",
        "bf-unet",
        UNET,
        PHOTOGRAPHS,
        STORED,
        steps=400_000,
        batch=32,
        lr=5e-5,
        every=4000,
    ),
    _recipe(
        "pcst-unet-stills",
        "Patch-Craft on bursts made of photographs, U-Net, some minutes on a CPU.",
        "bf-unet",
        UNET,
        STILLS,
        NOISE,
        steps=600,
        batch=32,
        lr=1e-4,
        every=100,
    ),
    _recipe(
        "pcst-dncnn-stills",
        "Patch-Craft on bursts made of photographs, DnCNN, ten minutes on a CPU.",
        "pcst-dncnn",
        {},
        STILLS,
        NOISE,
        steps=300,
        batch=16,
        lr=1e-4,
        every=50,
        statistics="running",
    ),
)
