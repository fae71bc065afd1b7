"""Twins of the layers that draw random numbers: PyTorch's operations on `minigrad`'s numbers.

The noise is made anew at each call: a twin always sees the first draw.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from validation.rows.stochastic import SEED
from validation.same_noise import SameNoise
from validation.twins.function import Function


class _Dropout(nn.Module):
    """x times a mask of 0 and 1 / (1 - p); PyTorch's own function wherever nothing is random."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The product with the mask of the first draw."""
        if not self.training or self.p in (0, 1):
            return F.dropout(x, self.p, self.training)
        uniform = torch.from_numpy(SameNoise(SEED).uniform(self.shape(x)))
        return x * (uniform >= self.p).to(x.dtype).div_(1 - self.p)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of the mask."""
        return tuple(x.shape)


class _Dropout2d(_Dropout):
    """A mask with one number a channel."""

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """(N, C, 1, 1)."""
        return *x.shape[:2], 1, 1


def gaussian_sample(form: str = "log_variance") -> nn.Module:
    """mu + s e, by the formula of `torch.distributions.Normal.rsample`."""

    def sample(mu: Tensor, spread: Tensor) -> Tensor:
        mu, spread = torch.broadcast_tensors(mu, spread)
        scale = (spread / 2).exp() if form == "log_variance" else spread
        e = SameNoise(SEED).normal(tuple(mu.shape))
        return mu + torch.from_numpy(e).to(mu.dtype) * scale

    return Function(sample)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "Dropout": _Dropout,
    "Dropout2d": _Dropout2d,
    "GaussianSample": gaussian_sample,
}
