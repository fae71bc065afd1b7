"""Twins of the layers on 3x3 matrices, and of the posterior means."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from validation.twins.function import Function


def covariance(channels: int = 6) -> nn.Module:
    """U U' with U filled from the channels, row by row."""
    places = [0, 1, 2, 4, 5, 8] if channels == 6 else [0, 4, 8]

    def value(x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        flat = x.new_zeros(n, h, w, 9)
        flat[..., places] = x.permute(0, 2, 3, 1)
        u = flat.reshape(n, h, w, 3, 3)
        return u @ u.mT

    return Function(value)


def log_det(minimum: float | None = None, factor: float = 1.0) -> nn.Module:
    """`torch.logdet`, or the logarithm of the clamped determinant."""

    def value(x: Tensor) -> Tensor:
        if minimum is None:
            return factor * torch.logdet(x)
        return factor * torch.linalg.det(x).clamp(min=minimum).log()

    return Function(value)


def replace_zeros(value: float = 1e-4) -> nn.Module:
    """`torch.where(x == 0, value, x)`."""
    return Function(lambda x: torch.where(x == 0, value, x))


def posterior_mean(gamma: float = 1.0) -> nn.Module:
    """Each weight as a function of the quotient of the variances: no slope is a difference."""

    def value(mu: Tensor, noisy: Tensor, sigma_mu: Tensor, sigma_n: Tensor) -> Tensor:
        ratio = gamma * sigma_n / sigma_mu
        return noisy / (1 + ratio) + mu / (1 + 1 / ratio)

    return Function(value)


def multivariate_posterior_mean(gamma: float = 1.0, eps: float = 1e-6) -> nn.Module:
    """The authors' formula: three inverses, and products of matrices and columns."""

    def value(mu: Tensor, noisy: Tensor, sigma_mu: Tensor, sigma_n: Tensor) -> Tensor:
        ridge = eps * torch.eye(3, dtype=mu.dtype)
        a, b = torch.linalg.inv(sigma_mu + ridge), torch.linalg.inv(sigma_n + ridge)
        mu, noisy = (x.permute(0, 2, 3, 1)[..., None] for x in (mu, noisy))
        mean = torch.linalg.inv(a + gamma * b + ridge) @ (a @ mu + gamma * b @ noisy)
        return mean[..., 0].permute(0, 3, 1, 2)

    return Function(value)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "Covariance3x3": covariance,
    "Inverse3x3": lambda: Function(torch.linalg.inv),
    "LogDet3x3": log_det,
    "ReplaceZeros": replace_zeros,
    "PosteriorMean": posterior_mean,
    "MultivariatePosteriorMean": multivariate_posterior_mean,
}
