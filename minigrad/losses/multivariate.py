"""MultivariateMAPLoss, MultivariateDBSNLoss: the blind-spot losses for pixels of three colours.

The colours of a pixel are noisy together, so each variance is a 3x3 matrix: mu and target are
images (N, 3, H, W), sigma_y, sigma_mu and sigma_n are (N, H, W, 3, 3). D = mu - target is a vector
at each of n = N H W pixels (n is 1 with `reduction="sum"`), and q = D' sigma_y^-1 D / 2. With
u = sigma_y^-1 D and v = sigma_y^-T D (the same for a symmetric matrix), q has the slopes
(u + v) / 2 in mu and -v u' / 2 in sigma_y. The target gets no cotangent.
"""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.checks import number
from minigrad.losses.blind_spot import _BlindSpot, guarded
from minigrad.losses.regression import _total
from minigrad.matrices import (
    applied,
    check_per_pixel,
    eliminate,
    identity,
    log_determinant,
    matrices,
    outer,
    planes,
    product,
    transposed,
)
from minigrad.module import Vjp, once


class _Multivariate(_BlindSpot):
    """What both losses do with D and sigma_y."""

    def _quadratic(self, mu: Array, target: Array, inverse: Array) -> tuple[Array, Array, Array]:
        """(q, u, v), for `inverse` (3, 3, N, H, W); vectors are (3, N, H, W)."""
        d = array_module(mu).moveaxis(mu - target, 1, 0)
        u, v = applied(inverse, d), applied(transposed(inverse), d)
        return (d * u).sum(0) / 2, u, v

    def _dmu(self, slope: Array, step: Array) -> Array:
        """The cotangent of mu from its slope (3, N, H, W)."""
        return array_module(slope).moveaxis(slope * step, 0, 1)


class MultivariateMAPLoss(_Multivariate):
    """value = sum (q + log max(det sigma_y, minimum) / 2) / n, with q = D' sigma_y^-1 D / 2.

    The negative log-likelihood of the noisy colours, less a constant. Where det sigma_y < minimum
    the logarithm no longer pushes sigma_y down: a minimum of 1e-6 is the determinant of noise of
    standard deviation 0.1 in [0, 1], so that less noise than that wants a smaller minimum.
    With `guard` the value is 0 where the largest q is above 1e7; cotangents stay.

    Shapes: mu, target (N, 3, H, W); sigma_y (N, H, W, 3, 3).
    VJP: dmu = dvalue (u + v) / 2 / n, None with `pretrain`; the target gets None;
        dsigma_y = dvalue (sigma_y^-T [det sigma_y >= minimum] - v u') / 2 / n.
    Keeps: the slopes of mu (not with `pretrain`) and of sigma_y: 12 or 9 numbers a pixel.
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code.
    PyTorch: own twin.
    """

    def __init__(
        self,
        pretrain: bool = False,
        minimum: float | None = 1e-6,
        guard: bool = True,
        reduction: str = "mean",
    ) -> None:
        """`minimum` of the determinant, or None. `pretrain` makes mu a constant, takes no minimum,
        and guards from 1e8 on.

        Raises:
            ValueError: `pretrain` or `guard` is no bool, `minimum` is neither None nor a finite
                number above 0, or the reduction is unknown.
        """
        super().__init__(pretrain, guard, reduction)
        if minimum is not None:
            minimum = number(minimum, "minimum", "MultivariateMAPLoss", above=0)
        self.minimum = None if pretrain else minimum

    def forward(self, mu: Array, target: Array, sigma_y: Array) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(mu, target, sigma_y)[0]

    def forward_and_vjp(self, mu: Array, target: Array, sigma_y: Array) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        check_per_pixel(self, mu, {"target": target}, {"sigma_y": sigma_y})
        xp = array_module(mu)
        pivots, inverse = eliminate(planes(sigma_y))
        log_det, free = log_determinant(pivots, self.minimum)
        q, u, v = self._quadratic(mu, target, inverse)
        weight = self._weight(q.size)
        slope_mu = None if self.pretrain else (u + v) / 2
        slope_y = (xp.where(free, transposed(inverse), 0) - outer(v, u)) / 2

        def vjp(dvalue: Array) -> tuple[Array | None, None, Array]:
            step = dvalue * weight
            dmu = None if slope_mu is None else self._dmu(slope_mu, step)
            return dmu, None, matrices(slope_y * step)

        y = _total(q + log_det / 2, weight)
        if self.guard:
            y = guarded(y, 1e8 if self.pretrain else 1e7, q)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The minimum, and the options that are not the usual ones."""
        return ", ".join(filter(None, (f"minimum={self.minimum}", super().describe())))


class MultivariateDBSNLoss(_Multivariate):
    """value = sum (q + log max(det sigma_n, minimum) / 2 + tr(K sigma_mu) / 2) / n.

    q = D' sigma_y^-1 D / 2 and K = (sigma_n + eps I)^-1. But for `minimum` and `eps` it is at least
    the value of `MultivariateMAPLoss`, since log det(I + A) <= tr A at A = sigma_n^-1 sigma_mu.
    With `guard` the value is 0 where the largest q is above 1e7; cotangents stay.

    Shapes: mu, target (N, 3, H, W); sigma_y, sigma_mu, sigma_n (N, H, W, 3, 3).
    VJP: dmu = dvalue (u + v) / 2 / n, None with `pretrain`; the target gets None;
        dsigma_y = -dvalue v u' / 2 / n; dsigma_mu = dvalue K' / 2 / n;
        dsigma_n = dvalue (sigma_n^-T [det sigma_n >= minimum] - (K sigma_mu K)') / 2 / n.
    Keeps: u, v, the slopes of sigma_mu and sigma_n: 24 numbers a pixel.
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code.
    PyTorch: own twin.
    """

    def __init__(
        self,
        pretrain: bool = False,
        minimum: float | None = 1e-6,
        eps: float = 1e-6,
        guard: bool = True,
        reduction: str = "mean",
    ) -> None:
        """`pretrain` makes mu a constant; `minimum` of the determinant, or None; `eps`, a variance,
        keeps K finite.

        Raises:
            ValueError: `pretrain` or `guard` is no bool, `minimum` is neither None nor a finite
                number above 0, `eps` no finite number above 0, or the reduction is unknown.
        """
        super().__init__(pretrain, guard, reduction)
        if minimum is not None:
            minimum = number(minimum, "minimum", "MultivariateDBSNLoss", above=0)
        self.minimum = minimum
        self.eps = number(eps, "eps", "MultivariateDBSNLoss", above=0)

    def forward(
        self, mu: Array, target: Array, sigma_y: Array, sigma_mu: Array, sigma_n: Array
    ) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(mu, target, sigma_y, sigma_mu, sigma_n)[0]

    def forward_and_vjp(
        self, mu: Array, target: Array, sigma_y: Array, sigma_mu: Array, sigma_n: Array
    ) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        sigmas = {"sigma_y": sigma_y, "sigma_mu": sigma_mu, "sigma_n": sigma_n}
        check_per_pixel(self, mu, {"target": target}, sigmas)
        xp = array_module(mu)
        q, u, v = self._quadratic(mu, target, eliminate(planes(sigma_y))[1])
        weight = self._weight(q.size)
        noise, prior = planes(sigma_n), planes(sigma_mu)
        pivots, inverse = eliminate(noise)
        log_det, free = log_determinant(pivots, self.minimum)
        k = eliminate(noise + self.eps * identity(noise))[1]
        trace = (k * transposed(prior)).sum((0, 1))
        slope_mu = transposed(k) / 2  # of sigma_mu
        shrunk = xp.where(free, inverse, 0) - product(product(k, prior), k)
        slope_n = transposed(shrunk) / 2

        def vjp(dvalue: Array) -> tuple[Array | None, None, Array, Array, Array]:
            step = dvalue * weight
            dmu = None if self.pretrain else self._dmu((u + v) / 2, step)
            slopes = (outer(v, u) / -2, slope_mu, slope_n)
            dsigma_y, dsigma_mu, dsigma_n = (matrices(slope * step) for slope in slopes)
            return dmu, None, dsigma_y, dsigma_mu, dsigma_n

        y = _total(q + (log_det + trace) / 2, weight)
        if self.guard:
            y = guarded(y, 1e7, q)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The minimum, and the options that are not the usual ones."""
        return ", ".join(filter(None, (f"minimum={self.minimum}", super().describe())))
