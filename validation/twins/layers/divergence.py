"""Twins of the divergences, the terms of clusters and of Keras, and the contrastive loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import cross_entropy

from validation.twins.function import Function, reduce


def reduced(terms: Tensor, reduction: str) -> Tensor:
    """The terms, their sum for each image, their sum, or their mean."""
    if reduction == "none" or (reduction == "image" and terms.ndim == 1):
        return terms
    return terms.flatten(1).sum(1) if reduction == "image" else reduce(terms, reduction)


def normal(mu: Tensor, sigma: Tensor) -> Normal:
    """N(mu, sigma^2), not looking at the numbers."""
    return Normal(mu, sigma, validate_args=False)


def gaussian_kl(reduction: str = "mean") -> nn.Module:
    """`kl_divergence` of two normal distributions, from log-variances."""

    def loss(mu_q: Tensor, l_q: Tensor, mu_p: Tensor, l_p: Tensor) -> Tensor:
        q, p = normal(mu_q, (l_q / 2).exp()), normal(mu_p, (l_p / 2).exp())
        return reduced(kl_divergence(q, p), reduction)

    return Function(loss)


def sampled_kl(reduction: str = "mean") -> nn.Module:
    """The difference of the logarithms of two densities at z."""

    def loss(z: Tensor, mu_q: Tensor, l_q: Tensor, mu_p: Tensor, l_p: Tensor) -> Tensor:
        q, p = normal(mu_q, (l_q / 2).exp()), normal(mu_p, (l_p / 2).exp())
        return reduced(q.log_prob(z) - p.log_prob(z), reduction)

    return Function(loss)


def standard_normal_kl(reduction: str = "mean") -> nn.Module:
    """`kl_divergence` from N(0, 1)."""

    def loss(mu: Tensor, log_variance: Tensor) -> Tensor:
        zero, one = torch.zeros((), dtype=mu.dtype), torch.ones((), dtype=mu.dtype)
        q = normal(mu, (log_variance / 2).exp())
        return reduced(kl_divergence(q, normal(zero, one)), reduction)

    return Function(loss)


def free_bits(free_bits: float, batch_average: bool = False) -> nn.Module:
    """The mean of what is clamped from below, or the mean clamped from below."""
    if free_bits < 1e-6:
        return Function(lambda kl: kl.mean(0))
    if batch_average:
        return Function(lambda kl: kl.mean(0).clamp(min=free_bits))
    return Function(lambda kl: kl.clamp(min=free_bits).mean(0))


def uniform_kl(eps: float = 1e-8, reduction: str = "mean") -> nn.Module:
    """The divergence of each row from the uniform distribution."""

    def loss(y: Tensor) -> Tensor:
        terms = y * ((y + eps).log() - log(1 / y.shape[1]))
        return reduced(terms.sum(1), reduction)

    return Function(loss)


def gaussian_std_kl(reduction: str = "mean") -> nn.Module:
    """`kl_divergence` of two normal distributions."""

    def loss(mu_q: Tensor, sigma_q: Tensor, mu_p: Tensor, sigma_p: Tensor) -> Tensor:
        return reduced(kl_divergence(normal(mu_q, sigma_q), normal(mu_p, sigma_p)), reduction)

    return Function(loss)


class MixtureKL(nn.Module):
    """The bound of the divergence from a mixture, with the weights as a buffer."""

    def __init__(
        self, pi: Sequence[float] | None = None, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        """The arguments of `minigrad.MixtureKLLoss`."""
        super().__init__()
        self.pi: Tensor | None
        weights = None if pi is None else torch.tensor(pi, dtype=torch.float64)
        self.register_buffer("pi", weights)
        self.eps, self.reduction = eps, reduction

    def forward(
        self, y: Tensor, mu_q: Tensor, sigma_q: Tensor, mu_k: Tensor, sigma_k: Tensor
    ) -> Tensor:
        """The loss."""
        kl = kl_divergence(normal(mu_q[:, None], sigma_q[:, None]), normal(mu_k, sigma_k)).sum(2)
        log_pi = -log(y.shape[1]) if self.pi is None else self.pi.log()
        return reduced((y * ((y + self.eps).log() - log_pi + kl)).sum(1), self.reduction)


def contrastive(temperature: float = 0.1, reduction: str = "sum") -> nn.Module:
    """Cross-entropy of the similarities along rows and along columns."""

    def loss(u: Tensor, v: Tensor) -> Tensor:
        s, own = u @ v.T / temperature, torch.arange(len(u))
        terms = cross_entropy(s, own, reduction="none") + cross_entropy(s.T, own, reduction="none")
        return reduced(terms / 2, reduction)

    return Function(loss)


def pixel_kld(eps: float = 1e-7, reduction: str = "mean") -> nn.Module:
    """Keras's divergence, on axis 1."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        t, x = target.clamp(eps, 1), prediction.clamp(eps, 1)
        return reduced((t * (t / x).log()).sum(1), reduction)

    return Function(loss)


def l1l2(l1: float = 0.01, l2: float = 0.01) -> nn.Module:
    """Keras's penalty."""
    return Function(lambda w: l1 * w.abs().sum() + l2 * (w * w).sum())


TWINS: dict[str, Callable[..., nn.Module]] = {
    "GaussianKLLoss": gaussian_kl,
    "SampledKLLoss": sampled_kl,
    "StandardNormalKLLoss": standard_normal_kl,
    "FreeBits": free_bits,
    "UniformKLLoss": uniform_kl,
    "GaussianStdKLLoss": gaussian_std_kl,
    "MixtureKLLoss": MixtureKL,
    "ContrastiveLoss": contrastive,
    "PixelKLDLoss": pixel_kld,
    "L1L2Penalty": l1l2,
}
