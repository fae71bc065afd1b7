"""Recipes of PSL-AE.

As published, for folders in place of the data sets that cannot be shipped:

    psl-ae-celeba    256x256 faces, patches of 16, heterogeneous noise: three stages
    psl-ae-sidd      pairs of photographs, patches of 24, the noise of the camera
    ps-vae-celeba    the model of 2020: a Gaussian prior of each cluster, no contrast

One pass over the file shards of an experiment, 50 epochs, is its number of steps for about 1,100
faces; `--set stages.0.steps=N` fits it to a folder. Ours, for some minutes on a CPU, half as wide:

    psl-ae-narrow    the three stages as published
    psl-ae-experts   stage 3 by clusters of k-means and a learned gate

Source: Yang, Yang and Bajaj, Patch subspace learning autoencoder (2021), arXiv 2104.00253, and the
authors' programs.
"""

from __future__ import annotations

from zoo.recipes.schema import (
    STORED,
    Checkpoints,
    Optimiser,
    Patches,
    Recipe,
    Sampler,
    Schedule,
    Stage,
    Subspace,
    Validation,
    Value,
)

HETEROGENEOUS = "psl-heterogeneous:1"
EPOCHS = 193_800
"""Steps of 50 epochs of 1,125 pictures, 441 patches each, 128 a step."""
_HALF_TICK = 0.9 ** (1 / 1000)


def adam(lr: float = 1e-3, rates: dict[str, float] | None = None) -> Optimiser:
    """Adam as Keras has it."""
    return Optimiser("keras-adam", lr=lr, eps=1e-7, rates=rates or {})


def decay(period: int = 1000) -> Schedule:
    """0.9 in every `period` steps."""
    return Schedule("exponential", factor=0.9, period=period)


def contrast(steps: int, sampler: Sampler, log_every: int = 100) -> Stage:
    """Stage 1."""
    return Stage(
        steps=steps,
        objective="patch-contrast",
        loss="sum",
        batch=128,
        optimiser=adam(),
        sampler=sampler,
        log_every=log_every,
    )


def autoencoder(steps: int, sampler: Sampler, log_every: int = 100) -> Stage:
    """Stage 2. Its optimiser steps twice a batch, and the rate falls with each: by 0.9 in 500
    batches, and the classifier's step comes one tick after the encoder's.
    """
    return Stage(
        steps=steps,
        objective="patch-autoencoder",
        loss="reconstruction",
        batch=128,
        optimiser=adam(rates={"classifier": _HALF_TICK}),
        schedule=decay(500),
        sampler=sampler,
        log_every=log_every,
    )


def decoders(steps: int, sampler: Sampler, log_every: int = 100) -> Stage:
    """Stage 3."""
    return Stage(
        steps=steps,
        objective="patch-decoders",
        loss="reconstruction",
        batch=128,
        optimiser=adam(5e-4),
        schedule=decay(),
        sampler=sampler,
        log_every=log_every,
    )


FACES = Sampler(HETEROGENEOUS, size=16)
CAMERA = Sampler(STORED, size=24)
NARROW: dict[str, Value] = {"width": 8, "clusters": 4}
JUDGED = Validation(every=500, images=32, size=256, noise=HETEROGENEOUS, batch=8)

_CELEBA = Recipe(
    name="psl-ae-celeba",
    description="PSL-AE as published for faces of 256x256: three stages, heterogeneous noise.",
    model="psl-ae",
    model_args={"clusters": 4},
    stages=(
        contrast(EPOCHS, FACES),
        autoencoder(EPOCHS, FACES),
        decoders(EPOCHS, FACES),
    ),
    patches=Patches(crop=256),
    validation=Validation(every=3876, images=32, size=256, noise=HETEROGENEOUS, batch=8),
    checkpoint=Checkpoints(every=3876),
)

_SIDD = Recipe(
    name="psl-ae-sidd",
    description="PSL-AE for pairs of photographs with the camera's noise, patches of 24.",
    model="psl-ae",
    model_args={"block": 24, "overlap": 8, "clusters": 3},
    stages=(
        contrast(68_300, CAMERA),
        autoencoder(68_300, CAMERA),
        decoders(68_300, CAMERA),
    ),
    patches=Patches(),
    validation=Validation(every=2732, images=32, size=248, batch=8),
    checkpoint=Checkpoints(every=2732),
)

_PRIOR = Recipe(
    name="ps-vae-celeba",
    description="The PS-VAE of 2020 for faces of 256x256: clusters with Gaussian priors.",
    model="psl-ae",
    model_args={"clusters": 4, "prior": "gate", "two_heads": True},
    stages=(
        Stage(
            steps=EPOCHS,
            objective="patch-prior",
            loss="reconstruction",
            batch=128,
            optimiser=adam(),
            schedule=decay(),
            sampler=FACES,
            subspace=Subspace(kld_weight=0.0),
            log_every=100,
        ),
        Stage(
            steps=EPOCHS,
            objective="patch-decoders",
            loss="reconstruction",
            batch=128,
            optimiser=adam(),
            schedule=decay(),
            sampler=FACES,
            subspace=Subspace(kld_weight=0.0),
            log_every=100,
        ),
    ),
    patches=Patches(crop=256),
    validation=Validation(every=3876, images=32, size=256, noise=HETEROGENEOUS, batch=8),
    checkpoint=Checkpoints(every=3876),
)


def _narrow(name: str, description: str, last: tuple[Stage, ...]) -> Recipe:
    return Recipe(
        name=name,
        description=description,
        model="psl-ae",
        model_args=NARROW,
        stages=(contrast(150, FACES, 25), autoencoder(1500, FACES, 50), *last),
        patches=Patches(draws=4),
        validation=JUDGED,
        checkpoint=Checkpoints(every=500),
    )


_EXPERTS = (
    Stage(
        steps=200,
        objective="patch-clusters",
        loss="cross_entropy",
        batch=128,
        optimiser=adam(),
        sampler=FACES,
        log_every=25,
    ),
    Stage(
        steps=600,
        objective="patch-experts",
        loss="gated",
        batch=128,
        optimiser=adam(5e-4),
        schedule=decay(),
        sampler=FACES,
        subspace=Subspace(temperature=0.25, balance=0.1),
        log_every=50,
    ),
)

RECIPES = (
    _CELEBA,
    _SIDD,
    _PRIOR,
    _narrow(
        "psl-ae-narrow",
        "PSL-AE half as wide, the three stages as published, some minutes on a CPU.",
        (decoders(600, FACES, 50),),
    ),
    _narrow(
        "psl-ae-experts",
        "PSL-AE half as wide, decoders that find their own patches, some minutes on a CPU.",
        _EXPERTS,
    ),
)
