"""PosteriorMean, MultivariatePosteriorMean: Bayes' rule for a Gaussian prior and Gaussian noise.

A network that does not see a pixel says what it expects there: a mean mu and a variance (or a 3x3
covariance of the colours) sigma_mu. The pixel itself, with noise of variance sigma_n, is a second
opinion. The posterior mean weighs the two.
"""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.checks import number, same_kind
from minigrad.matrices import (
    applied,
    check_per_pixel,
    eliminate,
    identity,
    matrices,
    outer,
    planes,
    product,
    transposed,
)
from minigrad.module import Module, Vjp, once


class PosteriorMean(Module):
    """y = (sigma_mu noisy + g sigma_n mu) / (sigma_mu + g sigma_n), elementwise: a weighted mean.

    With g = 1, the mean of the clean value given both: where the prior is sharp (sigma_mu small) it
    is mu, where there is little noise (sigma_n small) it is the noisy value. A smaller g trusts the
    noisy value more.

    Shapes: all four inputs and y have one shape. Variances are from 0; where both are 0, y is NaN.
    VJP: with T = sigma_mu + g sigma_n, the weights a = sigma_mu / T and b = g sigma_n / T, and
        r = (noisy - mu) / T: dmu = b dy; dnoisy = a dy; dsigma_mu = b r dy; dsigma_n = -g a r dy.
    Keeps: a, b, r.
    Source: Wu et al., Unpaired learning of deep image denoising (2020); Laine et al., High-quality
        self-supervised deep image denoising (2019), section 3.
    PyTorch: none; the formula.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        """`gamma` is g, a number above 0."""
        self.gamma = number(gamma, "gamma", "PosteriorMean", above=0)

    def forward(self, mu: Array, noisy: Array, sigma_mu: Array, sigma_n: Array) -> Array:
        """The posterior mean."""
        return self.forward_and_vjp(mu, noisy, sigma_mu, sigma_n)[0]

    def forward_and_vjp(
        self, mu: Array, noisy: Array, sigma_mu: Array, sigma_n: Array
    ) -> tuple[Array, Vjp]:
        """The posterior mean, and its vjp."""
        self._check(mu, noisy=noisy, sigma_mu=sigma_mu, sigma_n=sigma_n)
        total = sigma_mu + self.gamma * sigma_n
        a, b = sigma_mu / total, self.gamma * sigma_n / total
        r = (noisy - mu) / total

        def vjp(dy: Array) -> tuple[Array, Array, Array, Array]:
            return b * dy, a * dy, b * r * dy, -self.gamma * a * r * dy

        y = a * noisy + b * mu
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The weight of the noise, where it is not 1."""
        return "" if self.gamma == 1 else f"gamma={self.gamma}"

    def _check(self, mu: Array, **others: Array) -> None:
        self.check_input(mu, name="mu")
        for name, x in others.items():
            self.check_input(x, name=name)
            same_kind(x, name, "PosteriorMean", mu, "mu")
            if x.shape != mu.shape:
                raise ValueError(
                    f"PosteriorMean: {name}: expected the shape of mu, {mu.shape}, got {x.shape}"
                )


class MultivariatePosteriorMean(Module):
    """y = (a + g b + eps I)^-1 (a mu + g b noisy), with a, b the inverses of sigma_mu, sigma_n.

    At each pixel, for vectors of three colours; eps I is added to both before they are inverted. A
    smaller g trusts mu more: the other way round than in `PosteriorMean`, as in the authors' code.
    It is computed with M = sigma_mu + eps I and N = (sigma_n + eps I) / g as
    y = mu + M (M + N + eps N M)^-1 (noisy - mu - eps N mu): nothing is inverted but a sum.

    Shapes: mu, noisy and y (N, 3, H, W); sigma_mu and sigma_n (N, H, W, 3, 3).
    VJP: y = A mu + B noisy, with A = N (M + N + eps M N)^-1 and B = M (M + N + eps N M)^-1:
        dmu = A' dy; dnoisy = B' dy;
        dsigma_mu = dmu p', with p = (M + N + eps N M)^-1 (noisy - mu - eps N mu);
        dsigma_n = -dnoisy r' / g, with r = (M + N + eps M N)^-1 (noisy - mu + eps M noisy).
    Keeps: A, B, p, r: 24 numbers a pixel.
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code.
    PyTorch: none; the first formula with `torch.linalg.inv`.
    """

    def __init__(self, gamma: float = 1.0, eps: float = 1e-6) -> None:
        """`gamma` is g, a number above 0; `eps`, at least 0, is a variance.

        Raises:
            ValueError: `gamma` is no finite number above 0, or `eps` none from 0.
        """
        self.gamma = number(gamma, "gamma", "MultivariatePosteriorMean", above=0)
        self.eps = number(eps, "eps", "MultivariatePosteriorMean", at_least=0)

    def forward(self, mu: Array, noisy: Array, sigma_mu: Array, sigma_n: Array) -> Array:
        """The posterior mean."""
        return self.forward_and_vjp(mu, noisy, sigma_mu, sigma_n)[0]

    def forward_and_vjp(
        self, mu: Array, noisy: Array, sigma_mu: Array, sigma_n: Array
    ) -> tuple[Array, Vjp]:
        """The posterior mean, and its vjp."""
        check_per_pixel(self, mu, {"noisy": noisy}, {"sigma_mu": sigma_mu, "sigma_n": sigma_n})
        xp, eps = array_module(mu), self.eps
        ridge = eps * identity(planes(sigma_mu))
        m, n = planes(sigma_mu) + ridge, (planes(sigma_n) + ridge) / self.gamma  # (3, 3, N, H, W)
        of_noisy_sum = eliminate(m + n + eps * product(n, m))[1]
        of_mu_sum = eliminate(m + n + eps * product(m, n))[1]
        a, b = product(n, of_mu_sum), product(m, of_noisy_sum)
        prior, noisy = xp.moveaxis(mu, 1, 0), xp.moveaxis(noisy, 1, 0)  # (3, N, H, W)
        p = applied(of_noisy_sum, noisy - prior - eps * applied(n, prior))
        r = applied(of_mu_sum, noisy - prior + eps * applied(m, noisy))

        def vjp(dy: Array) -> tuple[Array, Array, Array, Array]:
            dmean = xp.moveaxis(dy, 1, 0)
            dmu, dnoisy = applied(transposed(a), dmean), applied(transposed(b), dmean)
            dsigmas = outer(dmu, p), outer(dnoisy, r) / -self.gamma
            images = (xp.moveaxis(d, 0, 1) for d in (dmu, dnoisy))
            return *images, *(matrices(d) for d in dsigmas)

        y = xp.moveaxis(prior + applied(m, p), 0, 1)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The weight of the noisy pixel where it is not 1."""
        return "" if self.gamma == 1 else f"gamma={self.gamma}"
