"""MAPLoss, DBSNLoss: how likely a pixel is, given what its surroundings say about it.

A network that does not see a pixel describes its clean value by a mean mu and a variance sigma_mu;
the noise adds a variance sigma_n, so that the noisy pixel has sigma_y = sigma_mu + sigma_n. The
three variances, in squared intensities, are inputs of their own: who computes sigma_y as the sum
passes its cotangent on to both. All inputs have one shape. D is mu - target, n the number of
elements (1 with `reduction="sum"`). The target gets no cotangent.
"""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.checks import number
from minigrad.losses.regression import _Regression, _total
from minigrad.module import Vjp, once

LIMIT = 1e8
"""Where a term is larger, the value of a guarded loss is 0."""


def guarded(value: Array, limit: float, *terms: Array) -> Array:
    """0 where the largest entry of one of `terms` is above `limit`, else `value`."""
    xp = array_module(value)
    for term in terms:
        if term.size:
            value = xp.where(term.max() > limit, 0, value)
    return value


class _BlindSpot(_Regression):
    """Options and checks of all blind-spot losses."""

    def __init__(self, pretrain: bool, guard: bool, reduction: str) -> None:
        super().__init__(reduction)
        for name, value in (("pretrain", pretrain), ("guard", guard)):
            if not isinstance(value, bool):
                raise ValueError(
                    f"{type(self).__name__}: {name}: expected True or False, got {value!r}"
                )
        self.pretrain, self.guard = pretrain, guard

    def _check_variances(self, mu: Array, **variances: Array) -> None:
        for name, x in variances.items():
            self.check_form(x, name, mu.shape, mu, "mu")

    def describe(self) -> str:
        """The options that are not the usual ones."""
        pretrain = "pretrain=True" if self.pretrain else ""
        guard = "" if self.guard else "guard=False"
        return ", ".join(filter(None, (pretrain, guard, super().describe())))


class MAPLoss(_BlindSpot):
    """value = sum (D^2 / sigma_y + log sigma_y) / n.

    Twice the negative log-likelihood of a Gaussian, less log 2 pi. It sees the sum sigma_y alone,
    not how much of it is noise. `noise_reward` r > 0 subtracts r sqrt(sigma_n) from each term: of
    two splits of sigma_y the one with more noise wins.
    With `guard` the value is 0 where the largest D^2 / sigma_y is above 1e8; cotangents stay.

    Shapes: mu, target, sigma_y and, with r > 0 only, sigma_n: all the same.
    VJP: dmu = dvalue 2 D / sigma_y / n, None with `pretrain`; the target gets None;
        dsigma_y = dvalue (1 / sigma_y - D^2 / sigma_y^2) / n;
        dsigma_n = -dvalue r / (2 sqrt(sigma_n)) / n.
    Keeps: the slopes of mu (not with `pretrain`), of sigma_y, and of sigma_n where it is given.
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code.
    PyTorch: own twin; without guard and reward, twice `torch.nn.GaussianNLLLoss`.
    """

    def __init__(
        self,
        pretrain: bool = False,
        noise_reward: float = 0.0,
        guard: bool = True,
        reduction: str = "mean",
    ) -> None:
        """`pretrain` makes mu a constant and leaves the guard out. The authors' code mentions a
        `noise_reward` of 0.1, but runs without.

        Raises:
            ValueError: `pretrain` or `guard` is no bool, `noise_reward` no finite number from 0, or
                the reduction unknown.
        """
        super().__init__(pretrain, guard, reduction)
        self.noise_reward = number(noise_reward, "noise_reward", "MAPLoss")
        if self.noise_reward < 0:
            raise ValueError(f"MAPLoss: noise_reward: expected at least 0, got {noise_reward}")

    def forward(
        self, mu: Array, target: Array, sigma_y: Array, sigma_n: Array | None = None
    ) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(mu, target, sigma_y, sigma_n)[0]

    def forward_and_vjp(
        self, mu: Array, target: Array, sigma_y: Array, sigma_n: Array | None = None
    ) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(mu, target, "mu")
        self._check_variances(mu, sigma_y=sigma_y)
        self._check_rewarded(mu, sigma_n)
        xp = array_module(mu)
        weight = self._weight(mu.size)
        d = mu - target
        scaled = d / sigma_y
        q = d * scaled
        terms = q + xp.log(sigma_y)
        slopes = [
            None if self.pretrain else 2 * scaled,
            None,
            (sigma_y - d * d) / sigma_y / sigma_y,
        ]
        if sigma_n is not None:
            root = xp.sqrt(sigma_n)
            terms = terms - self.noise_reward * root
            slopes.append(-self.noise_reward / 2 / root)

        def vjp(dvalue: Array) -> tuple[Array | None, ...]:
            step = dvalue * weight
            return tuple(None if slope is None else slope * step for slope in slopes)

        y = _total(terms, weight)
        if self.guard and not self.pretrain:
            y = guarded(y, LIMIT, q)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The options that are not the usual ones."""
        reward = f"noise_reward={self.noise_reward}" if self.noise_reward else ""
        return ", ".join(filter(None, (reward, super().describe())))

    def _check_rewarded(self, mu: Array, sigma_n: Array | None) -> None:
        if (sigma_n is None) == (self.noise_reward > 0):
            expected, given = ("an array", "none") if self.noise_reward else ("none", "an array")
            raise ValueError(
                f"MAPLoss: sigma_n: expected {expected}, because noise_reward is "
                f"{self.noise_reward}, got {given}"
            )
        if sigma_n is not None:
            self._check_variances(mu, sigma_n=sigma_n)


class DBSNLoss(_BlindSpot):
    """value = sum (D^2 / sigma_y + log c + sigma_mu / c) / n, with c = max(sigma_n, minimum).

    At least the value of `MAPLoss`, since log(1 + t) <= t at t = sigma_mu / sigma_n: an upper bound
    that tells sigma_mu from sigma_n, and is close where sigma_mu is much smaller.
    With `guard` the value is 0 where the largest D^2 / sigma_y or sigma_mu / c is above 1e8;
    cotangents stay.

    Shapes: mu, target, sigma_y, sigma_mu, sigma_n: all the same.
    VJP: dmu = dvalue 2 D / sigma_y / n, None with `pretrain`; the target gets None;
        dsigma_y = -dvalue D^2 / sigma_y^2 / n; dsigma_mu = dvalue / c / n;
        dsigma_n = dvalue (1 / c - sigma_mu / c^2) / n where sigma_n >= minimum, else 0.
    Keeps: D / sigma_y, 1 / c, the slope of sigma_n.
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code.
    PyTorch: own twin.
    """

    def __init__(
        self,
        pretrain: bool = False,
        minimum: float = 1e-6,
        guard: bool = True,
        reduction: str = "mean",
    ) -> None:
        """`pretrain` makes mu a constant; `minimum` is the least variance of noise that counts.

        Raises:
            ValueError: `pretrain` or `guard` is no bool, `minimum` no finite number above 0, or the
                reduction unknown.
        """
        super().__init__(pretrain, guard, reduction)
        self.minimum = number(minimum, "minimum", "DBSNLoss", above=0)

    def forward(
        self, mu: Array, target: Array, sigma_y: Array, sigma_mu: Array, sigma_n: Array
    ) -> Array:
        """The loss, 0-d."""
        return self.forward_and_vjp(mu, target, sigma_y, sigma_mu, sigma_n)[0]

    def forward_and_vjp(
        self, mu: Array, target: Array, sigma_y: Array, sigma_mu: Array, sigma_n: Array
    ) -> tuple[Array, Vjp]:
        """The loss, and its vjp."""
        self._check(mu, target, "mu")
        self._check_variances(mu, sigma_y=sigma_y, sigma_mu=sigma_mu, sigma_n=sigma_n)
        xp = array_module(mu)
        weight = self._weight(mu.size)
        d = mu - target
        scaled = d / sigma_y
        c = xp.maximum(sigma_n, self.minimum)
        q, ratio, slope_mu = d * scaled, sigma_mu / c, 1 / c
        slope_n = xp.where(sigma_n >= self.minimum, (c - sigma_mu) / c / c, 0)

        def vjp(dvalue: Array) -> tuple[Array | None, ...]:
            step = dvalue * weight
            dmu = None if self.pretrain else scaled * (2 * step)
            return dmu, None, -scaled * scaled * step, slope_mu * step, slope_n * step

        y = _total(q + xp.log(c) + ratio, weight)
        if self.guard:
            y = guarded(y, LIMIT, q, ratio)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The least variance, and the options that are not the usual ones."""
        return ", ".join(filter(None, (f"minimum={self.minimum}", super().describe())))
