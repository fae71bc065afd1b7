"""Learning from noisy pictures alone: each pixel is foretold from its surroundings.

Three objectives, in the order in which they are used:

    blind-spot-mu      mu alone, by squared error against the noisy pixel
    blind-spot-sigma   sigma_mu and sigma_n by the likelihood, with D-BSN as it is
    blind-spot         all three by the likelihood

The noisy pixel y, given its surroundings, is N(mu, sigma_mu + sigma_n). "map" is the likelihood of
that, which sees the sum of both variances; "dbsn" is the upper bound of it that tells them apart
(`minigrad.losses.blind_spot`). The first two are what the likelihood starts from: with mu far off
it can only raise the variances.

As in the authors' programs a loss that is a mean is divided by twice the batch size.

Source: Wu, Liu, Cao, Ren and Zuo, Unpaired learning of deep image denoising (2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minigrad import (
    Add,
    DBSNLoss,
    Frozen,
    HalfSquaredErrorLoss,
    MAPLoss,
    MSELoss,
    MultivariateDBSNLoss,
    MultivariateMAPLoss,
    Scale,
)
from minigrad.backend import Array, array_module, device_of, to_device
from minigrad.module import Module, Vjp, once
from zoo.architectures import BlindSpotDenoiser, Denoiser, PriorMean
from zoo.objectives.base import Batch, Objective
from zoo.objectives.regression import RegressionOutput


class BlindSpotObjective(Objective):
    """What all three share: the network, which must be one of D-BSN's."""

    network: BlindSpotDenoiser

    def __init__(self, network: Module) -> None:
        if not isinstance(network, BlindSpotDenoiser):
            raise ValueError(
                "objective: a blind-spot objective needs dbsn-gray or dbsn-color, got "
                f"{type(network).__name__}"
            )
        self.network = network

    def slots(self, trained: bool = False) -> dict[str, tuple[Module, str]]:
        """Those of the network alone, which some objectives hold in two ways."""
        found = self.network.slots(trained)
        return {f"network.{key}": slot for key, slot in found.items()}


class BlindSpotMean(BlindSpotObjective):
    """loss(mu, y): "mse", a mean, divided by 2 B; or "half_squared_error", the sum over an image,
    halved, which is the authors' L2Loss for colour.

    y: (N, C, H, W), noisy.
    """

    def __init__(self, network: Module, loss: str = "mse", *, batch: int = 1) -> None:
        """`batch` is B, the images of a whole step."""
        super().__init__(network)
        self.loss = {"mse": MSELoss, "half_squared_error": HalfSquaredErrorLoss}[loss]()
        self.scale = Scale(1 / (2 * batch) if loss == "mse" else 1.0)

    def wire(self, noisy: Any) -> RegressionOutput:
        """D-BSN, then the loss."""
        mu, _ = self.network.dbsn(noisy)
        return RegressionOutput(self.scale(self.loss(mu, noisy)))

    def denoisers(self) -> dict[str, Denoiser]:
        """mu: the posterior mean needs the networks that are not trained yet."""
        return {"": PriorMean(self.network)}


class LikelihoodOutput(NamedTuple):
    """loss; sigma_mu and sigma_n: root mean variance, in units of 1/255; guarded: 1 where the guard
    has set the value of the loss to 0 (the gradient stays), else 0. All 0-d.
    """

    loss: Any
    sigma_mu: Any
    sigma_n: Any
    guarded: Any


class BlindSpotLikelihood(BlindSpotObjective):
    """The likelihood of y, "map", or its bound "dbsn", a mean over pixels divided by 2 B.

    With `pretrain` D-BSN is frozen: mu and its features are constants.
    With `measure_noise` sigma_n begins, in the whole picture, at the mean of (y - mu)^2 over the
    first batch, which is sigma_mu and sigma_n together: all that is not foretold is noise, until it
    turns out to differ from pixel to pixel.
    y: (N, C, H, W), noisy.
    """

    logged = LikelihoodOutput._fields

    def __init__(
        self,
        network: Module,
        loss: str = "map",
        *,
        batch: int = 1,
        pretrain: bool = False,
        noise_reward: float = 0.0,
        minimum: float = 1e-18,
        measure_noise: bool = False,
    ) -> None:
        """`batch` is B, the images of a whole step.

        `noise_reward`: r of `MAPLoss`, for gray and "map". `minimum`: the least determinant of a
        covariance that the logarithm takes, for colour; 1e-6 in the authors' code, which is more
        than noise of 25 of 255 has.

        Raises:
            ValueError: a network without a blind spot, or a reward for another loss than MAPLoss.
        """
        super().__init__(network)
        gray = self.network.channels == 1
        self.all_sigmas, self.measure_noise = loss == "dbsn", measure_noise
        self.rewarded = noise_reward != 0
        if self.rewarded and (self.all_sigmas or not gray):
            raise ValueError("likelihood.noise_reward: expected 0 but for gray and the loss 'map'")
        self.loss: Module
        if gray:
            map_loss = MAPLoss(pretrain, noise_reward)
            self.loss = DBSNLoss(pretrain) if self.all_sigmas else map_loss
        else:
            make = MultivariateDBSNLoss if self.all_sigmas else MultivariateMAPLoss
            self.loss = make(pretrain, minimum)
        self.blind = Frozen(self.network.dbsn) if pretrain else self.network.dbsn
        self.add, self.scale = Add(), Scale(1 / (2 * batch))
        self.spread, self.is_zero = RootMeanVariance(), IsZero()

    def wire(self, noisy: Any) -> LikelihoodOutput:
        """The three networks, the variance of the noisy pixel, the loss."""
        mu, features = self.blind(noisy)
        sigma_mu, sigma_n = self.network.sigmas(noisy, mu, features)
        sigma_y = self.add(sigma_mu, sigma_n)
        more = (sigma_mu, sigma_n) if self.all_sigmas else (sigma_n,) if self.rewarded else ()
        value = self.loss(mu, noisy, sigma_y, *more)
        spreads = self.spread(sigma_mu), self.spread(sigma_n)
        return LikelihoodOutput(self.scale(value), *spreads, self.is_zero(value))

    def begin(self, batches: Callable[[int], Batch]) -> None:
        """With `measure_noise`, the first level of the noise, from the first batch."""
        if self.measure_noise:
            device = device_of(self.network.parameters()[0].value)
            pictures = to_device(batches(0)[0], device).astype(self.network.dtype, copy=False)
            errors = [self.network.dbsn.forward(y[None]).mu - y for y in pictures]
            squares = [float((error * error).mean(dtype=np.float64)) for error in errors]
            self.network.sigma_n.begin_at(255 * math.sqrt(sum(squares) / len(squares)))

    def denoisers(self) -> dict[str, Denoiser]:
        """The posterior mean, and mu to compare it with."""
        return {"": self.network, "mu": PriorMean(self.network)}


# ------------------------------------------------------------------ for the log


class _Told(Module):
    """A number for the log. It gives no cotangent."""

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The number, and a vjp that gives None."""
        y = self.forward(x)
        return y, once(lambda dy: None, self, y)


class RootMeanVariance(_Told):
    """y = 255 sqrt(mean x), 0-d: of variances (N, C, H, W), or of the diagonals of (N, H, W, 3, 3).

    VJP: None. PyTorch: none; `x.mean().sqrt() * 255`.
    """

    def forward(self, x: Array) -> Array:
        """The standard deviation in units of 1/255."""
        self.check_input(x)
        xp = array_module(x)
        x = x if x.ndim == 4 else xp.einsum("nhwii->nihw", x)
        return xp.asarray(255 * xp.sqrt(x.mean()), dtype=x.dtype)


class IsZero(_Told):
    """y = 1 where x is exactly 0, else 0. VJP: None. PyTorch: `(x == 0).to(x.dtype)`."""

    def forward(self, x: Array) -> Array:
        """The flag, in the dtype of x."""
        self.check_input(x)
        return array_module(x).asarray(x == 0, dtype=x.dtype)
