"""Twins of the blind-spot losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from validation.twins.function import Function, reduce


def guarded(value: Tensor, limit: float | None, *terms: Tensor) -> Tensor:
    """The value, replaced by 0 where a term is too large; gradients are those of the value."""
    for term in terms:
        if limit is not None and term.numel() and term.max() > limit:
            value = value - value.detach()
    return value


def map_loss(
    pretrain: bool = False, noise_reward: float = 0.0, guard: bool = True, reduction: str = "mean"
) -> nn.Module:
    """D^2 / sigma_y + log sigma_y, less the reward."""

    def loss(mu: Tensor, target: Tensor, sigma_y: Tensor, *sigma_n: Tensor) -> Tensor:
        mu = mu.detach() if pretrain else mu
        q = (target - mu) ** 2 / sigma_y
        terms = q + sigma_y.log()
        if sigma_n:
            terms = terms - noise_reward * sigma_n[0].sqrt()
        return guarded(reduce(terms, reduction), 1e8 if guard and not pretrain else None, q)

    return Function(loss)


def dbsn_loss(
    pretrain: bool = False, minimum: float = 1e-6, guard: bool = True, reduction: str = "mean"
) -> nn.Module:
    """D^2 / sigma_y + log c + sigma_mu / c."""

    def loss(
        mu: Tensor, target: Tensor, sigma_y: Tensor, sigma_mu: Tensor, sigma_n: Tensor
    ) -> Tensor:
        mu = mu.detach() if pretrain else mu
        c = sigma_n.clamp(min=minimum)
        q, ratio = (target - mu) ** 2 / sigma_y, sigma_mu / c
        terms = q + c.log() + ratio
        return guarded(reduce(terms, reduction), 1e8 if guard else None, q, ratio)

    return Function(loss)


def quadratic(mu: Tensor, target: Tensor, sigma_y: Tensor) -> Tensor:
    """Half of D' sigma_y^-1 D."""
    d = (target - mu).permute(0, 2, 3, 1)[..., None]
    return (d.mT @ torch.linalg.inv(sigma_y) @ d)[..., 0, 0] / 2


def log_det(x: Tensor, minimum: float | None) -> Tensor:
    """The logarithm of the determinant, which may be clamped."""
    return torch.logdet(x) if minimum is None else torch.linalg.det(x).clamp(min=minimum).log()


def multivariate_map_loss(
    pretrain: bool = False,
    minimum: float | None = 1e-6,
    guard: bool = True,
    reduction: str = "mean",
) -> nn.Module:
    """The quadratic form, and half the logarithm of the determinant."""

    def loss(mu: Tensor, target: Tensor, sigma_y: Tensor) -> Tensor:
        q = quadratic(mu.detach() if pretrain else mu, target, sigma_y)
        value = reduce(q + log_det(sigma_y, None if pretrain else minimum) / 2, reduction)
        return guarded(value, (1e8 if pretrain else 1e7) if guard else None, q)

    return Function(loss)


def multivariate_dbsn_loss(
    pretrain: bool = False,
    minimum: float | None = 1e-6,
    eps: float = 1e-6,
    guard: bool = True,
    reduction: str = "mean",
) -> nn.Module:
    """The quadratic form, half the logarithm of the determinant, and half the trace."""

    def loss(
        mu: Tensor, target: Tensor, sigma_y: Tensor, sigma_mu: Tensor, sigma_n: Tensor
    ) -> Tensor:
        q = quadratic(mu.detach() if pretrain else mu, target, sigma_y)
        k = torch.linalg.inv(sigma_n + eps * torch.eye(3, dtype=mu.dtype))
        trace = (k @ sigma_mu).diagonal(dim1=-2, dim2=-1).sum(-1)
        value = reduce(q + log_det(sigma_n, minimum) / 2 + trace / 2, reduction)
        return guarded(value, 1e7 if guard else None, q)

    return Function(loss)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "MAPLoss": map_loss,
    "DBSNLoss": dbsn_loss,
    "MultivariateMAPLoss": multivariate_map_loss,
    "MultivariateDBSNLoss": multivariate_dbsn_loss,
}
