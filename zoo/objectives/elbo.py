"""Learning to draw clean pictures from noisy ones alone: the evidence lower bound.

    log p(x) >= E_q[log p(x | s)] - KL(q || p)          s: the clean picture that is made of z ~ q

Its negative, a number of nats for each pixel, is minimised: what is left of x when s is known
(reconstruction), and what z costs. How x comes from s is the noise, which must be known: its
standard deviation ("gaussian"), or a model of it ("noise-model", see `zoo.noise.models`).

Source: Kingma and Welling, Auto-encoding variational Bayes (2014); Prakash et al., DivNoising
(2021) and HDN (2022), whose losses these are.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from minigrad import (
    Add,
    DensityNLLLoss,
    FreeBits,
    GaussianKLLoss,
    Mean,
    Module,
    SampledKLLoss,
    Scale,
    Square,
    StandardNormalKLLoss,
    Subtract,
)
from minigrad.backend import Array
from minigrad.wiring import Composite
from zoo.architectures import Latent, StochasticDenoiser
from zoo.noise.models import NoiseModel
from zoo.objectives.base import Objective


class ELBOOutput(NamedTuple):
    """loss = recons + weight kl; recons and kl in nats for each pixel, kl after free bits; 0-d."""

    loss: Any
    recons: Any
    kl: Any


class GaussianReconstruction(Composite):
    """mean (s - x)^2 / (2 k), k the variance of the noise over that of the pictures; the constants
    of the density are left out. Shapes: s and x (N, C, H, W), normalised.
    """

    def __init__(self, ratio: float) -> None:
        """`ratio` is k."""
        self.subtract, self.square, self.mean = Subtract(), Square(), Mean()
        self.scale = Scale(1 / (2 * ratio))

    def wire(self, s: Any, x: Any) -> Any:
        """The mean over all values."""
        return self.scale(self.mean(self.square(self.subtract(s, x))))


class NoiseModelReconstruction(Composite):
    """-mean log p(x | s), both in gray values of the camera. Shapes: s and x (N, 1, H, W),
    normalised.
    """

    def __init__(self, network: StochasticDenoiser, model: NoiseModel) -> None:
        """`network` tells what the pictures are normalised by. The model is not trained."""
        self.raw = [network.denormalise, Scale(model.white)]
        self.model, self.loss = model.density, DensityNLLLoss()

    def wire(self, s: Any, x: Any) -> Any:
        """The mean over all pixels."""
        denormalise, scale = self.raw
        return self.loss(self.model(scale(denormalise(s)), scale(denormalise(x))))


class ELBO(Objective):
    """loss = recons + w sum_i mean_b max(KL_bi, free bits) / (H W).

    KL_bi: the divergence of latent map i of picture b, summed over it, in nats. Divided by the
    pixels of a picture, of one channel. w is 1, or rises to it over the first `annealing` of the
    stage.

    noisy: (N, C, H, W).
    """

    logged = ELBOOutput._fields
    judged_by_loss = True

    def __init__(
        self,
        network: Module,
        loss: str = "gaussian",
        *,
        noise_std: float = 25.0,
        noise_model: NoiseModel | None = None,
        free_bits: float = 0.0,
        analytical_kl: bool = True,
        annealing: float = 0.0,
    ) -> None:
        """`noise_std`: standard deviation of the noise in units of 1/255; 0 takes that of the
        pictures. `noise_model`: for the loss "noise-model". `analytical_kl`: else from the sample.

        Raises:
            ValueError: a network that draws nothing, or no model where one is needed.
        """
        if not isinstance(network, StochasticDenoiser):
            raise ValueError(
                f"objective: 'elbo' needs hdn or divnoising, got {type(network).__name__}"
            )
        self.network = network
        self.weight, self.annealing = 1.0, annealing
        self.recons: Composite
        if loss == "gaussian":
            std = noise_std / 255 if noise_std else network.data_std
            self.recons = GaussianReconstruction((std / network.data_std) ** 2)
        else:
            if noise_model is None:
                raise ValueError(
                    "loss: 'noise-model' needs a noise model; add --set noise_model=FILE"
                )
            if network.channels != 1:
                raise ValueError(
                    "loss: a noise model is for pictures of one channel, the network's have "
                    f"{network.channels}"
                )
            self.recons = NoiseModelReconstruction(network, noise_model)
        self.analytical = analytical_kl
        self.exact, self.sampled = GaussianKLLoss("image"), SampledKLLoss("image")
        self.standard, self.free, self.add = (
            StandardNormalKLLoss("image"),
            FreeBits(free_bits),
            Add(),
        )

    def anneal(self, fraction: float) -> None:
        """The weight of the divergence, after `fraction` of the stage."""
        self.weight = min(fraction / self.annealing, 1.0) if self.annealing else 1.0

    def divergence(self, latent: Latent) -> Any:
        """KL_b of one latent map: (B,)."""
        z, *q, mean_p, log_variance_p = latent
        if mean_p is None:
            return self.standard(*q)
        if self.analytical:
            return self.exact(*q, mean_p, log_variance_p)
        return self.sampled(z, *q, mean_p, log_variance_p)

    def wire(self, noisy: Any) -> ELBOOutput:
        """The network, then both terms."""
        x = self.network.normalise(noisy)
        signal, latents = self.network.infer(x)
        recons = self.recons(signal, x)
        cost = reduce(self.add, [self.free(self.divergence(latent)) for latent in latents])
        kl = Scale(1 / (noisy.shape[2] * noisy.shape[3]))(cost)
        return ELBOOutput(self.add(recons, Scale(self.weight)(kl)), recons, kl)


# ------------------------------------------------------------------ what the latents are used for


class Use(NamedTuple):
    """What each latent map costs, in nats.

    by_picture: (B, L), without free bits. spatial: for each map (B, h, w), summed over channels;
    always exact. log_prior: mean over the batch of the sum of log p(z) over all maps.
    """

    by_picture: Array
    spatial: tuple[Array, ...]
    log_prior: float


def use_of_latents(objective: ELBO, noisy: Array) -> Use:
    """Where the latents of a batch tell something of the pictures; in the network's mode."""
    x = objective.network.normalise(noisy)
    latents = objective.network.infer(x).latents
    by_picture = np.stack([objective.divergence(latent) for latent in latents], axis=1)
    spatial, log_prior = [], 0.0
    for z, mean_q, l_q, mean_p, l_p in latents:
        if mean_p is None:  # N(0, 1)
            mean_p, l_p = 0 * mean_q, 0 * l_q
        spatial.append(GaussianKLLoss("none")(mean_q, l_q, mean_p, l_p).sum(1))
        square = (z - mean_p) ** 2 * np.exp(-l_p)
        log_prior -= float((square + l_p + np.log(2 * np.pi)).sum() / 2 / len(z))
    return Use(by_picture, tuple(spatial), log_prior)
