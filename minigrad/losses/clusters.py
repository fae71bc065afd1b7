"""UniformKLLoss, GaussianStdKLLoss, MixtureKLLoss: divergences for latent vectors in clusters.

y (N, K) holds, for each of N samples, the probabilities of K clusters; each row sums to 1.
Gaussians are diagonal, with a mean mu and a standard deviation sigma > 0 an element (the losses of
divergence.py have the log-variance in its place). Divergences are in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.checks import number
from minigrad.layers.join import unbroadcast
from minigrad.module import Vjp, once
from minigrad.reduction import Reduced


class UniformKLLoss(Reduced):
    """k_n = sum_k y_nk log(K (y_nk + eps)), the divergence of row n from the uniform distribution.

    The value is all k_n, (N,), or their sum or mean ("none", "sum", "mean"). It lies between 0 (all
    probabilities equal) and log K (one of them is 1).

    Shapes: y (N, K), of numbers in [0, 1]; nothing checks that its rows sum to 1.
    VJP: dy_nk = w_n (log(K (y_nk + eps)) + y_nk / (y_nk + eps)), with w_n the cotangent of k_n.
    Keeps: the factor of w_n.
    Source: Patch subspace learning autoencoder, arXiv 2104.00253: the term of the cluster head.
    PyTorch: none; `(y * ((y + eps).log() + log(K))).sum(1)`.
    """

    reductions = ("none", "sum", "mean")

    def __init__(self, eps: float = 1e-8, reduction: str = "mean") -> None:
        """`eps` keeps the logarithm finite at y = 0.

        Raises:
            ValueError: `eps` not above 0, or an unknown reduction.
        """
        super().__init__(reduction)
        self.eps = number(eps, "eps", "UniformKLLoss", above=0)

    def forward(self, y: Array) -> Array:
        """The divergence, reduced."""
        return self.forward_and_vjp(y)[0]

    def forward_and_vjp(self, y: Array) -> tuple[Array, Vjp]:
        """The divergence, and its vjp."""
        self.check_input(y, ndim=2, name="y")
        xp, (n, k) = array_module(y), y.shape
        log_ratio = xp.log((y + self.eps) * k)  # one logarithm: nothing cancels where y is 1 / K
        slope = log_ratio + y / (y + self.eps)

        def vjp(dvalue: Array) -> Array:
            return self.spread(dvalue, (n,))[:, None] * slope

        value = self.reduce((y * log_ratio).sum(1))
        return value, once(vjp, self, value)

    def describe(self) -> str:
        """The offset, and the reduction where it is not the mean."""
        return ", ".join(filter(None, (f"eps={self.eps}", super().describe())))


class GaussianStdKLLoss(Reduced):
    """k = (R^2 - 1 + S^2) / 2 - log R, the divergence KL(q || p) of each element.

    R is sigma_q / sigma_p, S is (mu_q - mu_p) / sigma_p. The value is all k, their sum or mean, or
    their sum for each image (`reduction` "none", "sum", "mean", "image").

    Shapes: equal or broadcast as in NumPy; standard deviations above 0.
    VJP, with w the cotangent of k, each summed over the axes along which its input was broadcast:
        dmu_q = w S / sigma_p;  dsigma_q = w (R^2 - 1) / sigma_q;
        dmu_p = -w S / sigma_p;  dsigma_p = w (1 - R^2 - S^2) / sigma_p.
    Keeps: the factors of w: S / sigma_p, (R^2 - 1) / sigma_q, (R^2 - 1 + S^2) / sigma_p.
    Source: Patch subspace learning autoencoder, arXiv 2104.00253: the prior of the latent vector.
    PyTorch: `torch.distributions.kl_divergence` of two `Normal(mu, sigma)`.
    """

    def forward(self, mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array) -> Array:
        """The divergence, reduced."""
        return self.forward_and_vjp(mu_q, sigma_q, mu_p, sigma_p)[0]

    def forward_and_vjp(
        self, mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array
    ) -> tuple[Array, Vjp]:
        """The divergence, and its vjp."""
        shape = self.common_shape(mu_q=mu_q, sigma_q=sigma_q, mu_p=mu_p, sigma_p=sigma_p)
        shapes = [x.shape for x in (mu_q, sigma_q, mu_p, sigma_p)]
        shift, ratio, excess = _compared(mu_q, sigma_q, mu_p, sigma_p)
        total = excess + shift * shift
        slope, slope_q, slope_p = shift / sigma_p, excess / sigma_q, total / sigma_p

        def vjp(dvalue: Array) -> tuple[Array, ...]:
            w = self.spread(dvalue, shape)
            dmu = w * slope
            dxs = dmu, w * slope_q, -dmu, -(w * slope_p)
            return tuple(unbroadcast(dx, s) for dx, s in zip(dxs, shapes, strict=True))

        y = self.reduce(total * 0.5 - array_module(mu_q).log(ratio))
        return y, once(vjp, self, y)


def _compared(
    mu_q: Array, sigma_q: Array, mu_p: Array, sigma_p: Array
) -> tuple[Array, Array, Array]:
    """(S, R, R^2 - 1), the last as a product, which keeps its digits where R is close to 1."""
    ratio = sigma_q / sigma_p
    return (mu_q - mu_p) / sigma_p, ratio, (ratio - 1) * (ratio + 1)


class MixtureKLLoss(Reduced):
    """k_n = sum_k y_nk (log((y_nk + eps) / pi_k) + sum_d KL_nkd): a Gaussian against a mixture.

    KL_nkd is the divergence of N(mu_q, sigma_q^2) of sample n from component k, in dimension d (as
    in GaussianStdKLLoss); pi_k is the weight of component k. k_n is an upper bound of the
    divergence of q(z) from the mixture sum_k pi_k N(mu_k, sigma_k^2): it exceeds it by the mean
    divergence of y_n from the probabilities of the components given z. The value is all k_n, (N,),
    or their sum or mean ("none", "sum", "mean").

    Shapes: y (N, K); mu_q, sigma_q (N, D); mu_k, sigma_k (K, D); standard deviations above 0.
    VJP, with w_n the cotangent of k_n and R, S for each n, k, d:
        dy_nk = w_n (log((y_nk + eps) / pi_k) + y_nk / (y_nk + eps) + sum_d KL_nkd);
        dmu_q = sum_k w_n y_nk S / sigma_k;  dsigma_q = sum_k w_n y_nk (R^2 - 1) / sigma_q;
        dmu_k = -sum_n w_n y_nk S / sigma_k;  dsigma_k = sum_n w_n y_nk (1 - R^2 - S^2) / sigma_k.
    Keeps: its five inputs, and the factor of w_n in dy: numbers in N K, N D and K D. What has
        N K D numbers is made again.
    PyTorch: none; own twin with `torch.distributions.kl_divergence`.
    """

    reductions = ("none", "sum", "mean")
    buffer_names = ("pi",)

    def __init__(
        self,
        pi: tuple[float, ...] | list[float] | None = None,
        eps: float = 1e-8,
        reduction: str = "mean",
        *,
        dtype: Any = np.float32,
    ) -> None:
        """`pi` are the weights of the components, None for 1 / K each; `eps` keeps the logarithm
        finite at y = 0.

        Raises:
            ValueError: a weight is not above 0, or they do not sum to 1 (within 1e-6); `eps` not
                above 0, or an unknown reduction.
            TypeError: `dtype` is not floating.
        """
        super().__init__(reduction)
        self.eps = number(eps, "eps", "MixtureKLLoss", above=0)
        self.pi: Array | None = None
        if pi is not None:
            if not isinstance(pi, tuple | list) or not pi:
                raise ValueError(f"MixtureKLLoss: pi: expected a tuple of weights, got {pi!r}")
            weights = [number(p, f"pi[{i}]", "MixtureKLLoss", above=0) for i, p in enumerate(pi)]
            if abs(sum(weights) - 1) > 1e-6:
                raise ValueError(f"MixtureKLLoss: pi: expected a sum of 1, got {sum(weights):g}")
            self.pi = np.array(weights, dtype=dtype)
            if self.pi.dtype.kind != "f":
                raise TypeError(
                    f"MixtureKLLoss: dtype: expected a floating dtype, got {self.pi.dtype}"
                )

    def forward(self, y: Array, mu_q: Array, sigma_q: Array, mu_k: Array, sigma_k: Array) -> Array:
        """The bound, reduced."""
        return self.forward_and_vjp(y, mu_q, sigma_q, mu_k, sigma_k)[0]

    def forward_and_vjp(
        self, y: Array, mu_q: Array, sigma_q: Array, mu_k: Array, sigma_k: Array
    ) -> tuple[Array, Vjp]:
        """The bound, and its vjp."""
        self._check(y, mu_q, sigma_q, mu_k, sigma_k)
        xp, (n, k) = array_module(y), y.shape
        per_pi = k if self.pi is None else 1 / xp.asarray(self.pi, dtype=y.dtype)
        shift, ratio, excess = _compared(mu_q[:, None], sigma_q[:, None], mu_k, sigma_k)
        kl = ((excess + shift * shift) * 0.5 - xp.log(ratio)).sum(2)  # (N, K)
        cost = xp.log((y + self.eps) * per_pi) + kl
        slope = cost + y / (y + self.eps)

        def vjp(dvalue: Array) -> tuple[Array, ...]:
            shift, _, excess = _compared(mu_q[:, None], sigma_q[:, None], mu_k, sigma_k)
            w = self.spread(dvalue, (n,))[:, None]
            wy = (w * y)[:, :, None]
            dmu = wy * shift / sigma_k  # (N, K, D), as all with wy
            dsigma_q = (wy * excess).sum(1) / sigma_q
            dsigma_k = -(wy * (excess + shift * shift)).sum(0) / sigma_k
            return w * slope, dmu.sum(1), dsigma_q, -dmu.sum(0), dsigma_k

        value = self.reduce((y * cost).sum(1))
        return value, once(vjp, self, value)

    def describe(self) -> str:
        """The number of weights, the offset, and the reduction where it is not the mean."""
        weights = "" if self.pi is None else f"pi of {self.pi.size}"
        return ", ".join(filter(None, (weights, f"eps={self.eps}", super().describe())))

    def _check(self, y: Array, mu_q: Array, sigma_q: Array, mu_k: Array, sigma_k: Array) -> None:
        self.check_input(y, ndim=2, name="y")
        self.check_input(mu_q, ndim=2, name="mu_q")
        (n, k), d = y.shape, mu_q.shape[1]
        expected = {"mu_q": (n, d), "sigma_q": (n, d), "mu_k": (k, d), "sigma_k": (k, d)}
        inputs = (mu_q, sigma_q, mu_k, sigma_k)
        for x, (name, shape) in zip(inputs, expected.items(), strict=True):
            self.check_form(x, name, shape, y, "y")
        if self.pi is not None and self.pi.shape != (k,):
            raise ValueError(
                f"MixtureKLLoss: y: expected {self.pi.size} clusters, one for each weight in pi, "
                f"got shape {y.shape}"
            )
