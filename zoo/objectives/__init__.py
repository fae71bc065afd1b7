"""Objectives by name: what a stage of a recipe minimises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from minigrad.module import Module
from zoo.objectives.base import Objective, split
from zoo.objectives.blind_spot import BlindSpotLikelihood, BlindSpotMean
from zoo.objectives.distillation import Distillation
from zoo.objectives.elbo import ELBO
from zoo.objectives.experts import PatchClusters, PatchExperts
from zoo.objectives.regression import LOSSES, Regression
from zoo.objectives.subspace import PatchAutoencoder, PatchContrast, PatchDecoders
from zoo.objectives.subspace_prior import PatchPrior


class Entry(NamedTuple):
    """An objective.

    Attributes:
        make: from network, loss and `settings`.
        target: what it learns beside noisy pictures: "noisy", "clean", "crafted", or "none";
            "patches": clean, and cut into patches.
        losses: those that it knows.
        settings: names of the keyword arguments that it takes.
    """

    make: Callable[..., Objective]
    target: str
    losses: tuple[str, ...] = tuple(LOSSES)
    settings: tuple[str, ...] = ()


_RECONSTRUCTION = ("reconstruction",)
_PENALTY = ("l1", "l2")
_LIKELIHOODS = ("map", "dbsn")
_LIKELIHOOD = ("batch", "noise_reward", "minimum")
_ELBO = ("noise_std", "noise_model", "free_bits", "analytical_kl", "annealing")
OBJECTIVES: dict[str, Entry] = {
    "noise2noise": Entry(Regression, "noisy"),
    "noise2clean": Entry(Regression, "clean"),
    "patch-craft": Entry(Regression, "crafted"),
    "blind-spot-mu": Entry(BlindSpotMean, "none", ("mse", "half_squared_error"), ("batch",)),
    "blind-spot-sigma": Entry(
        partial(BlindSpotLikelihood, pretrain=True),
        "none",
        _LIKELIHOODS,
        (*_LIKELIHOOD, "measure_noise"),
    ),
    "blind-spot": Entry(BlindSpotLikelihood, "none", _LIKELIHOODS, _LIKELIHOOD),
    "elbo": Entry(ELBO, "none", ("gaussian", "noise-model"), _ELBO),
    "distillation": Entry(Distillation, "clean", ("mse",), ("batch", "teacher", "noise")),
    "patch-contrast": Entry(
        PatchContrast, "patches", ("sum", "mean"), ("temperature", "noise", *_PENALTY)
    ),
    "patch-autoencoder": Entry(
        PatchAutoencoder,
        "patches",
        _RECONSTRUCTION,
        ("kld_weight", "classifier_input", *_PENALTY),
    ),
    "patch-prior": Entry(
        PatchPrior, "patches", _RECONSTRUCTION, ("kld_weight", "prior_weight", "balance", *_PENALTY)
    ),
    "patch-decoders": Entry(PatchDecoders, "patches", _RECONSTRUCTION, ("kld_weight", *_PENALTY)),
    "patch-clusters": Entry(PatchClusters, "patches", ("cross_entropy",)),
    "patch-experts": Entry(
        PatchExperts,
        "patches",
        ("gated", "reconstruction"),
        ("temperature", "balance", "joint", "rounds"),
    ),
}


def create(name: str, network: Module, loss: str, **settings: Any) -> Objective:
    """The objective `name` around `network`; of `settings` it takes those that it knows.

    Raises ValueError for an unknown name or loss (the known ones are told), and what the objective
    raises.
    """
    found = entry(name)
    if loss not in found.losses:
        raise ValueError(f"loss: {name} knows {', '.join(found.losses)}, not {loss!r}")
    return found.make(
        network, loss, **{key: settings[key] for key in found.settings if key in settings}
    )


def entry(name: str) -> Entry:
    """The table's entry for `name`; ValueError names the known ones."""
    if name not in OBJECTIVES:
        raise ValueError(f"objective: expected one of {', '.join(OBJECTIVES)}, got {name!r}")
    return OBJECTIVES[name]


__all__ = [
    "ELBO",
    "LOSSES",
    "OBJECTIVES",
    "BlindSpotLikelihood",
    "BlindSpotMean",
    "Distillation",
    "Entry",
    "Objective",
    "PatchAutoencoder",
    "PatchClusters",
    "PatchContrast",
    "PatchDecoders",
    "PatchExperts",
    "PatchPrior",
    "Regression",
    "create",
    "entry",
    "split",
]
