"""The PyTorch twin of each leaf and loss: `TWINS[class name](**constructor arguments)`.

Where PyTorch has the module, it is the twin. The others are written here in PyTorch's operations,
so that autograd gives the derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class _Function(nn.Module):
    """A twin without parameters: a plain function of tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Any:
        """The function's value."""
        return self.function(*xs)


def concat(dim: int = 1) -> nn.Module:
    """`torch.cat`."""
    return _Function(lambda *xs: torch.cat(xs, dim))


def split(sizes: tuple[int, ...], dim: int = 1) -> nn.Module:
    """`torch.split`."""
    return _Function(lambda x: torch.split(x, list(sizes), dim))


def scale(factor: float) -> nn.Module:
    """`factor * x`."""
    return _Function(lambda x: factor * x)


def offset(constant: float) -> nn.Module:
    """`x + constant`."""
    return _Function(lambda x: x + constant)


def _reduce(terms: Tensor, reduction: str) -> Tensor:
    return terms.mean() if reduction == "mean" else terms.sum()


def masked_mse(reduction: str = "mean") -> nn.Module:
    """The squared difference under a mask, over all elements, over the valid ones, or summed."""

    def loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        m = mask.expand_as(prediction)
        terms = (m * (prediction - target)) ** 2
        return terms.sum() / m.sum() if reduction == "valid" else _reduce(terms, reduction)

    return _Function(loss)


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
        return _reduce(terms, self.reduction)


def hdr(eps: float = 0.01, reduction: str = "mean") -> nn.Module:
    """D^2 / (|prediction| + eps)^2, the denominator detached."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        denominator = (prediction.detach().abs() + eps) ** 2
        return _reduce((prediction - target) ** 2 / denominator, reduction)

    return _Function(loss)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "Unfold": nn.Unfold,
    "Fold": nn.Fold,
    "Conv2d": nn.Conv2d,
    "ConvTranspose2d": nn.ConvTranspose2d,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,
    "Sigmoid": nn.Sigmoid,
    "MaxPool2d": nn.MaxPool2d,
    "AvgPool2d": nn.AvgPool2d,
    "Upsample": nn.Upsample,
    "Concat": concat,
    "Split": split,
    "Add": lambda: _Function(torch.add),
    "Subtract": lambda: _Function(torch.sub),
    "Multiply": lambda: _Function(torch.mul),
    "Scale": scale,
    "Offset": offset,
    "MSELoss": nn.MSELoss,
    "L1Loss": nn.L1Loss,
    "MaskedMSELoss": masked_mse,
    "AnnealedL0Loss": AnnealedL0,
    "HDRLoss": hdr,
}
