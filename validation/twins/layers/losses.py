"""Twins of the regression losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from validation.twins.function import Function, reduce


def half_squared_error() -> nn.Module:
    """The squared error over twice the number of images."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        return ((prediction - target) ** 2).sum() / (2 * len(prediction))

    return Function(loss)


def charbonnier(eps: float = 1e-3, reduction: str = "mean") -> nn.Module:
    """sqrt(D^2 + eps^2)."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        return reduce(((prediction - target) ** 2 + eps**2).sqrt(), reduction)

    return Function(loss)


def masked_mse(reduction: str = "mean") -> nn.Module:
    """The squared difference under a mask, over all elements, over the valid ones, or summed."""

    def loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        m = mask.expand_as(prediction)
        terms = (m * (prediction - target)) ** 2
        return terms.sum() / m.sum() if reduction == "valid" else reduce(terms, reduction)

    return Function(loss)


class AnnealedL0(nn.Module):
    """(|D| + eps)^gamma, with gamma as a buffer."""

    def __init__(self, gamma: float = 2.0, eps: float = 1e-8, reduction: str = "mean") -> None:
        """The arguments of `minigrad.AnnealedL0Loss`."""
        super().__init__()
        self.gamma: Tensor
        self.register_buffer("gamma", torch.tensor(gamma, dtype=torch.float64))
        self.eps, self.reduction = eps, reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        terms = ((prediction - target).abs() + self.eps) ** self.gamma
        return reduce(terms, self.reduction)


def hdr(eps: float = 0.01, reduction: str = "mean") -> nn.Module:
    """D^2 / (|prediction| + eps)^2, the denominator detached."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        denominator = (prediction.detach().abs() + eps) ** 2
        return reduce((prediction - target) ** 2 / denominator, reduction)

    return Function(loss)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "MSELoss": nn.MSELoss,
    "HalfSquaredErrorLoss": half_squared_error,
    "L1Loss": nn.L1Loss,
    "CharbonnierLoss": charbonnier,
    "MaskedMSELoss": masked_mse,
    "AnnealedL0Loss": AnnealedL0,
    "HDRLoss": hdr,
}
