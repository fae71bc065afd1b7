"""Twins of the likelihoods and the noise models."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from validation.twins.function import Function, reduce


def log_variance_nll(
    full: bool = False, lower_bound: float | None = None, reduction: str = "mean"
) -> nn.Module:
    """(l + D^2 / e^l) / 2, with l clamped from below."""

    def loss(prediction: Tensor, target: Tensor, log_var: Tensor) -> Tensor:
        log_var = log_var if lower_bound is None else log_var.clamp(min=lower_bound)
        terms = 0.5 * (log_var + (prediction - target) ** 2 * torch.exp(-log_var))
        return reduce(terms + 0.5 * math.log(2 * math.pi) if full else terms, reduction)

    return Function(loss)


def cross_entropy(reduction: str = "mean", label_smoothing: float = 0.0) -> nn.Module:
    """PyTorch's module, whose first argument is another one."""
    return nn.CrossEntropyLoss(reduction=reduction, label_smoothing=label_smoothing)


def log_mixture(dim: int = 1, reduction: str = "mean") -> nn.Module:
    """The steps of `torch.distributions.MixtureSameFamily`, for components on any axis."""

    def loss(logits: Tensor, mean: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
        component = Normal(mean, torch.exp(log_sigma), validate_args=False)
        terms = torch.log_softmax(logits, dim) + component.log_prob(target.unsqueeze(dim))
        return reduce(-torch.logsumexp(terms, dim), reduction)

    return Function(loss)


def density_nll(reduction: str = "mean") -> nn.Module:
    """-log p."""
    return Function(lambda density: reduce(-torch.log(density), reduction))


def pn2v(density: Tensor, mask: Tensor) -> Tensor:
    """-log of the mean over samples, over the pixels of the mask."""
    return -(mask * torch.log(density.mean(0))).sum() / mask.sum()


class GaussianMixture(nn.Module):
    """The authors' steps: polynomials by powers, densities summed, no logarithm."""

    def __init__(
        self,
        min_signal: float,
        max_signal: float,
        n_gaussian: int = 3,
        n_coeff: int = 2,
        min_sigma: float = 50.0,
        tol: float = 1e-10,
    ) -> None:
        """The arguments of `minigrad.GaussianMixtureNoiseModel`."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3 * n_gaussian, n_coeff))
        self.low, self.width = min_signal, max_signal - min_signal
        self.n_gaussian, self.n_coeff = n_gaussian, n_coeff
        self.min_sigma, self.tol = min_sigma, tol

    def forward(self, signal: Tensor, observation: Tensor) -> Tensor:
        """The density."""
        signal, observation = torch.broadcast_tensors(signal, observation)
        t = (signal - self.low) / self.width
        k = self.n_gaussian
        means, variances, logits = (
            [sum(row[i] * t**i for i in range(self.n_coeff)) for row in rows]
            for rows in (self.weight[:k], torch.exp(self.weight[k : 2 * k]), self.weight[2 * k :])
        )
        a = torch.softmax(torch.stack(logits), 0)
        m = torch.stack(means)
        mu = m - (a * m).sum(0) + signal
        sigma = torch.stack(variances).clamp(min=self.min_sigma).sqrt()
        density = torch.exp(-((observation - mu) ** 2) / (2 * sigma * sigma))
        return (a * density / (sigma * math.sqrt(2 * math.pi))).sum(0) + self.tol


class Histogram(nn.Module):
    """The table, read at whole columns and between two rows."""

    def __init__(self, bins: int, min_value: float, max_value: float) -> None:
        """The arguments of `minigrad.HistogramNoiseModel`."""
        super().__init__()
        self.histogram: Tensor
        self.register_buffer("histogram", torch.full((bins, bins), 1 / bins))
        self.bins, self.low, self.high = bins, min_value, max_value

    def forward(self, signal: Tensor, observation: Tensor) -> Tensor:
        """The probability."""
        f, g = (
            (self.bins * (x - self.low) / (self.high - self.low)).clamp(0, self.bins - 1 - 1e-3)
            for x in (signal, observation)
        )
        i, j = f.floor().long(), g.floor().long()
        phi = f - i
        return self.histogram[i, j] * (1 - phi) + self.histogram[i + 1, j] * phi


TWINS: dict[str, Callable[..., nn.Module]] = {
    "GaussianNLLLoss": nn.GaussianNLLLoss,
    "LogVarianceNLLLoss": log_variance_nll,
    "CrossEntropyLoss": cross_entropy,
    "LogMixtureLoss": log_mixture,
    "DensityNLLLoss": density_nll,
    "PN2VLoss": lambda: Function(pn2v),
    "GaussianMixtureNoiseModel": GaussianMixture,
    "HistogramNoiseModel": Histogram,
}
