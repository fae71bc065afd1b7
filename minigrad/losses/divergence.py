"""GaussianKLLoss, SampledKLLoss, StandardNormalKLLoss: how far one Gaussian is from another;
FreeBits: a part of that distance that costs nothing.

Gaussians are diagonal: one mean mu and one log-variance l = log sigma^2 an element. q is the
distribution that an encoder finds for an image, p is the one expected before the image is seen.
Divergences are in nats. No exponential overflows for l from -40 to 40 in float32, from -350 to 350
in float64.
"""

from __future__ import annotations

from math import nan

from minigrad.backend import Array, array_module
from minigrad.checks import number
from minigrad.layers.join import unbroadcast
from minigrad.module import Module, Vjp, once
from minigrad.reduction import Reduced


class GaussianKLLoss(Reduced):
    """k = (e^r - 1 - r + D^2 e^-l_p) / 2, the divergence KL(q || p) of each element.

    D is mu_q - mu_p, r is l_q - l_p. The value is all k, their sum or mean, or their sum for each
    image (`reduction` "none", "sum", "mean", "image").

    Shapes: equal or broadcast as in NumPy, so that one prior can serve all images and pixels.
    VJP, with w the cotangent of k, each summed over the axes along which its input was broadcast:
        dmu_q = w D e^-l_p;  dl_q = w (e^r - 1) / 2;
        dmu_p = -w D e^-l_p;  dl_p = w (1 - e^r - D^2 e^-l_p) / 2.
    Keeps: D e^-l_p, e^r - 1, D^2 e^-l_p.
    Source: Kingma and Welling, Auto-encoding variational Bayes (2014), appendix B, for any prior.
    PyTorch: `torch.distributions.kl_divergence` of two `Normal(mu, exp(l / 2))`.
    """

    def forward(self, mu_q: Array, l_q: Array, mu_p: Array, l_p: Array) -> Array:
        """The divergence, reduced."""
        return self.forward_and_vjp(mu_q, l_q, mu_p, l_p)[0]

    def forward_and_vjp(
        self, mu_q: Array, l_q: Array, mu_p: Array, l_p: Array
    ) -> tuple[Array, Vjp]:
        """The divergence, and its vjp."""
        shape = self.common_shape(mu_q=mu_q, l_q=l_q, mu_p=mu_p, l_p=l_p)
        shapes = [x.shape for x in (mu_q, l_q, mu_p, l_p)]
        xp = array_module(mu_q)
        per_sigma = xp.exp(l_p * -0.5)
        shift = (mu_q - mu_p) * per_sigma  # in units of sigma_p: its square overflows last
        r = l_q - l_p
        slope, excess, square = shift * per_sigma, xp.expm1(r), shift * shift

        def vjp(dvalue: Array) -> tuple[Array, ...]:
            dmu = self.spread(dvalue, shape) * slope
            half, minus_half = self.spread(dvalue * 0.5, shape), self.spread(dvalue * -0.5, shape)
            dxs = dmu, half * excess, -dmu, minus_half * (excess + square)
            return tuple(unbroadcast(dx, s) for dx, s in zip(dxs, shapes, strict=True))

        y = self.reduce((excess - r + square) * 0.5)
        return y, once(vjp, self, y)


class SampledKLLoss(Reduced):
    """k = log q(z) - log p(z) = (l_p - l_q - D_q^2 e^-l_q + D_p^2 e^-l_p) / 2, element by element.

    D_q is z - mu_q, D_p is z - mu_p. Its mean over samples z of q is the divergence KL(q || p); one
    sample is a noisy estimate, of either sign. All five inputs are independent here: where z was
    made of mu_q and l_q, the layer that made it carries dz on. The reductions are those of
    GaussianKLLoss.

    Shapes: equal or broadcast as in NumPy.
    VJP, with w the cotangent of k, each summed over the axes along which its input was broadcast:
        dz = w (D_p e^-l_p - D_q e^-l_q);
        dmu_q = w D_q e^-l_q;  dl_q = w (D_q^2 e^-l_q - 1) / 2;
        dmu_p = -w D_p e^-l_p;  dl_p = w (1 - D_p^2 e^-l_p) / 2.
    Keeps: D e^-l and D^2 e^-l, of q and of p.
    Source: Kingma and Welling, Auto-encoding variational Bayes (2014), equation 6.
    PyTorch: difference of two `torch.distributions.Normal(mu, exp(l / 2)).log_prob(z)`.
    """

    def forward(self, z: Array, mu_q: Array, l_q: Array, mu_p: Array, l_p: Array) -> Array:
        """The estimate, reduced."""
        return self.forward_and_vjp(z, mu_q, l_q, mu_p, l_p)[0]

    def forward_and_vjp(
        self, z: Array, mu_q: Array, l_q: Array, mu_p: Array, l_p: Array
    ) -> tuple[Array, Vjp]:
        """The estimate, and its vjp."""
        shape = self.common_shape(z=z, mu_q=mu_q, l_q=l_q, mu_p=mu_p, l_p=l_p)
        shapes = [x.shape for x in (z, mu_q, l_q, mu_p, l_p)]
        slope_q, square_q = _slope_and_square(z, mu_q, l_q)
        slope_p, square_p = _slope_and_square(z, mu_p, l_p)

        def vjp(dvalue: Array) -> tuple[Array, ...]:
            w, half = self.spread(dvalue, shape), self.spread(dvalue * 0.5, shape)
            pull_q, pull_p = w * slope_q, w * slope_p
            dxs = pull_p - pull_q, pull_q, half * (square_q - 1), -pull_p, half * (1 - square_p)
            return tuple(unbroadcast(dx, s) for dx, s in zip(dxs, shapes, strict=True))

        y = self.reduce((l_p - l_q - square_q + square_p) * 0.5)
        return y, once(vjp, self, y)


def _slope_and_square(z: Array, mu: Array, log_variance: Array) -> tuple[Array, Array]:
    """(D e^-l, D^2 e^-l) with D = z - mu: the square from the slope, as D^2 could overflow."""
    shift = z - mu
    slope = shift * array_module(z).exp(-log_variance)
    return slope, shift * slope


class StandardNormalKLLoss(Reduced):
    """k = (e^l_q - 1 - l_q + mu_q^2) / 2, the divergence of q from N(0, 1), element by element.

    The reductions are those of GaussianKLLoss.

    Shapes: mu_q and l_q equal or broadcast as in NumPy.
    VJP, with w the cotangent of k, each summed over the axes along which its input was broadcast:
        dmu_q = w mu_q;  dl_q = w (e^l_q - 1) / 2.
    Keeps: mu_q, l_q.
    Source: Kingma and Welling, Auto-encoding variational Bayes (2014), appendix B.
    PyTorch: `torch.distributions.kl_divergence` of `Normal(mu_q, exp(l_q / 2))` and `Normal(0, 1)`.
    """

    def forward(self, mu_q: Array, l_q: Array) -> Array:
        """The divergence, reduced."""
        return self.forward_and_vjp(mu_q, l_q)[0]

    def forward_and_vjp(self, mu_q: Array, l_q: Array) -> tuple[Array, Vjp]:
        """The divergence, and its vjp."""
        shape, xp = self.common_shape(mu_q=mu_q, l_q=l_q), array_module(mu_q)

        def vjp(dvalue: Array) -> tuple[Array, Array]:
            dmu = self.spread(dvalue, shape) * mu_q
            dl = self.spread(dvalue * 0.5, shape) * xp.expm1(l_q)
            return unbroadcast(dmu, mu_q.shape), unbroadcast(dl, l_q.shape)

        y = self.reduce((xp.expm1(l_q) - l_q + mu_q * mu_q) * 0.5)
        return y, once(vjp, self, y)


class FreeBits(Module):
    """y = the mean over the batch of max(kl, f): what lies below f nats is free.

    kl is the divergence of each sample, in one column a latent layer. With `batch_average` the mean
    is taken first: y = max(mean of kl, f). With f below 1e-6 y is the plain mean.

    Shapes: kl (B,) -> y (), or kl (B, L) -> y (L,).
    VJP: dkl = dy / B where kl (with `batch_average`: its mean) is at least f, else 0.
    Keeps: where that is so (one byte a number); for the plain mean nothing.
    Source: Kingma et al., Improved variational inference with inverse autoregressive flow (2016),
        appendix C.8.
    PyTorch: `kl.clamp(min=f).mean(0)`, or `kl.mean(0).clamp(min=f)`.
    """

    def __init__(self, free_bits: float, batch_average: bool = False) -> None:
        """`free_bits` is f, in nats, for each sample and layer.

        Raises:
            ValueError: `free_bits` is no finite number from 0, or `batch_average` no bool.
        """
        self.free_bits = number(free_bits, "free_bits", "FreeBits")
        if self.free_bits < 0:
            raise ValueError(f"FreeBits: free_bits: expected at least 0, got {free_bits}")
        if not isinstance(batch_average, bool):
            raise ValueError(f"FreeBits: batch_average: expected a bool, got {batch_average!r}")
        self.batch_average = batch_average

    def forward(self, kl: Array) -> Array:
        """The part of the divergence that costs."""
        return self.forward_and_vjp(kl)[0]

    def forward_and_vjp(self, kl: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        self.check_input(kl, name="kl")
        if kl.ndim not in (1, 2):
            raise ValueError(f"FreeBits: kl: expected shape (B,) or (B, L), got {kl.shape}")
        xp, shape, f = array_module(kl), kl.shape, self.free_bits
        share = 1 / shape[0] if shape[0] else nan  # the mean of no samples, as in PyTorch
        costs = None
        if f < 1e-6:
            y = kl.sum(0) * share
        elif self.batch_average:
            mean = kl.sum(0) * share
            y, costs = xp.maximum(mean, f), xp.asarray(mean >= f)
        else:
            y, costs = xp.maximum(kl, f).sum(0) * share, kl >= f

        def vjp(dy: Array) -> Array:
            dmean = xp.broadcast_to(dy * share, shape)
            return dmean if costs is None else xp.where(costs, dmean, 0)

        y = xp.asarray(y)  # for one layer NumPy makes a scalar of the sum
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The nats that are free, and where the mean is taken."""
        return f"{self.free_bits}" + (", batch_average=True" if self.batch_average else "")
