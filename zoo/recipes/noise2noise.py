"""Recipes of the noise2noise family.

Source: Lehtinen et al., "Noise2Noise: learning image restoration without clean data", ICML 2018,
for `n2n-unet`. The two small networks and their protocols come from a course project at EPFL
(EE-559, 2022), which trained them on 50,000 pairs of 32x32 pictures; sub-pixel sampling stands in
for its data set.
"""

from __future__ import annotations

from zoo.recipes.schema import (
    Checkpoints,
    Optimiser,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    Validation,
)

# Adam and recolouring, because eleven photographs are few: they bring the simple network from
# +1.2 dB (SGD at rate 10, as published) to more than +3 dB on photographs that it has not seen.
DEMO = Recipe(
    name="n2n-demo",
    description="Simple strided network on the bundled photographs, two minutes on a CPU.",
    model="n2n-simple",
    model_args={"features": 64},
    stages=(
        Stage(
            steps=10_000,
            batch=32,
            optimiser=Optimiser("adam", lr=0.006),
            schedule=Schedule("ramp-down", fraction=0.5),
            sampler=Sampler("subpixel:8", size=32, augment=True, recolour=True),
            log_every=50,
        ),
    ),
    validation=Validation(every=500, images=200),
    checkpoint=Checkpoints(every=500),
)

SIMPLE = Recipe(
    name="n2n-simple",
    description="Simple strided network as published: 5 times 50,000 pairs, SGD at rate 10.",
    model="n2n-simple",
    model_args={"features": 64},
    stages=(
        Stage(
            steps=7815,  # 5 rounds of ceil(50,000 / 32)
            batch=32,
            optimiser=Optimiser("sgd", lr=10.0),
            sampler=Sampler("subpixel:8", size=32, pairs=50_000),
        ),
    ),
    validation=Validation(every=125, images=1000),
)

PRELU_UNET = Recipe(
    name="n2n-prelu-unet",
    description="U-Net with PReLU and shared blocks, SGD at rate 1, divided by 10 on a plateau.",
    model="n2n-prelu-unet",
    model_args={"features": 32},
    stages=(
        Stage(
            steps=18_750,
            batch=16,
            optimiser=Optimiser("sgd", lr=1.0),
            schedule=Schedule("plateau", factor=0.1, patience=10),
            sampler=Sampler("subpixel:8", size=32, pairs=50_000),
        ),
    ),
    validation=Validation(every=125, images=1000, weights="best"),
)

UNET = Recipe(
    name="n2n-unet",
    description="The U-Net of the noise2noise paper on Gaussian noise of 0 to 50.",
    model="n2n-unet",
    stages=(
        Stage(
            steps=300_000,
            batch=4,
            optimiser=Optimiser("adam", lr=3e-4, betas=(0.9, 0.99), eps=1e-8),
            schedule=Schedule("ramp-down", fraction=0.3),
            sampler=Sampler("gaussian:0-50", size=256),
            log_every=100,
        ),
    ),
    validation=Validation(every=1000, images=50, noise="gaussian:25", batch=10),
    checkpoint=Checkpoints(every=1000),
)

GAUSSIAN = Recipe(
    name="n2n-gaussian",
    description="U-Net with PReLU, noise2noise on Gaussian noise of 0 to 55, bundled photographs.",
    model="n2n-prelu-unet",
    model_args={"features": 32},
    stages=(
        Stage(
            steps=6000,
            batch=8,
            optimiser=Optimiser("adam", lr=1e-3, betas=(0.9, 0.99)),
            schedule=Schedule("ramp-down", fraction=0.5, warm_up=100),
            sampler=Sampler(
                "gaussian:0-55", size=64, augment=True, recolour=True, gray=0.25, swap=True
            ),
            log_every=100,
        ),
    ),
    validation=Validation(every=500, images=64, noise="gaussian:25", batch=16),
    checkpoint=Checkpoints(every=500),
)

RECIPES = (DEMO, SIMPLE, PRELU_UNET, UNET, GAUSSIAN)
