"""Regression: the network's output is compared with a target picture.

Noise2noise and supervised training are one wiring; they differ in what the sampler gives as the
target, a second noisy observation or the clean picture. For the squared error the first has the
same minimiser as the second, since noise of mean zero that is independent of the input only adds
a constant to the expected loss.

Source: Lehtinen et al., "Noise2Noise: learning image restoration without clean data", ICML 2018.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad.losses import (
    AnnealedL0Loss,
    HalfSquaredErrorLoss,
    L1Loss,
    MaskedMSELoss,
    MSELoss,
)
from minigrad.module import Module
from zoo.objectives.base import Objective

LOSSES: dict[str, type[Module]] = {
    "mse": MSELoss,
    "half_squared_error": HalfSquaredErrorLoss,
    "l1": L1Loss,
    "l0": AnnealedL0Loss,
    "masked_mse": MaskedMSELoss,
}


class RegressionOutput(NamedTuple):
    """loss: 0-d, a mean over the images."""

    loss: Any


class Regression(Objective):
    """loss(network(input), target); with `masked_mse`, loss(network(input), target, mask).

    input (N, C, H, W), target of the network's output's shape, mask 1 where the target is valid.
    """

    def __init__(self, network: Module, loss: str = "mse") -> None:
        """`network` maps input to estimate; `loss` is a key of `LOSSES`."""
        if loss not in LOSSES:
            raise ValueError(f"Regression: loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
        self.network = network
        self.loss = LOSSES[loss]()

    def wire(self, noisy: Any, target: Any, *mask: Any) -> RegressionOutput:
        """The network, then the loss."""
        return RegressionOutput(self.loss(self.network(noisy), target, *mask))

    def anneal(self, fraction: float) -> None:
        """For the annealed L0 loss: gamma falls linearly from 2 to 0."""
        if isinstance(self.loss, AnnealedL0Loss):
            self.loss.gamma[...] = 2.0 * (1.0 - fraction)
