"""Clusters: how many are in use, k-means, and the leaves that training them takes."""

from __future__ import annotations

import numpy as np

from minigrad.backend import Array, array_module, matmul
from minigrad.checks import number, whole
from minigrad.module import Module, Vjp, once
from minigrad.noise import Noise
from zoo.architectures.psl_ae import Decoders


class Told(Module):
    """A number for the log, 0-d. It gives no cotangent."""

    def forward_and_vjp(self, *xs: Array) -> tuple[Array, Vjp]:
        """The number, and a vjp that gives None."""
        y = self.forward(*xs)
        return y, once(lambda dy: None if len(xs) == 1 else (None,) * len(xs), self, y)


class Used(Told):
    """exp(H(p)), with p the shares of the batch that the largest y gives each cluster: K where all
    have as much, 1 where one has all. y: (N, K). VJP: None.
    """

    def forward(self, y: Array) -> Array:
        """The number of clusters in use."""
        xp = array_module(y)
        shares = xp.eye(y.shape[1], dtype=y.dtype)[y.argmax(1)].mean(0)
        return xp.asarray(xp.exp(-(shares * xp.log(shares + 1e-12)).sum()), dtype=y.dtype)


class Agreement(Told):
    """The share of rows of u whose nearest row of v is their partner, and of v in u, averaged.
    u, v: (N, D) of length 1. VJP: None.
    """

    def forward(self, u: Array, v: Array) -> Array:
        """The share, 0 to 1."""
        xp, s = array_module(u), matmul(u, v.T)
        own = xp.arange(len(u))
        hits = (s.argmax(1) == own).mean() + (s.argmax(0) == own).mean()
        return xp.asarray(hits / 2, dtype=u.dtype)


class Nearest(Module):
    """y = the unit vector of the centre that x is nearest to. x (N, D) -> y (N, K). VJP: None."""

    buffer_names = ("centres",)

    def __init__(self, centres: Array) -> None:
        """`centres`: (K, D)."""
        self.centres = centres

    def forward(self, x: Array) -> Array:
        """The unit vectors."""
        xp, c = array_module(x), self.centres
        distance = (c * c).sum(1) - 2 * matmul(x, c.T)  # but for |x|^2, the same in all columns
        return xp.eye(len(c), dtype=x.dtype)[distance.argmin(1)]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and a vjp that gives None."""
        y = self.forward(x)
        return y, once(lambda dy: None, self, y)


class CrossEntropy(Module):
    """value = -mean_n sum_k t_nk log(y_nk + eps). y, t: (N, K).

    VJP: dy = -dvalue t / (y + eps) / N; t gets None.
    Keeps: t / (y + eps).
    """

    eps = 1e-8

    def forward(self, y: Array, t: Array) -> Array:
        """The mean, 0-d."""
        return self.forward_and_vjp(y, t)[0]

    def forward_and_vjp(self, y: Array, t: Array) -> tuple[Array, Vjp]:
        """The mean, and its vjp; t gets None."""
        xp = array_module(y)
        value = xp.asarray(-(t * xp.log(y + self.eps)).sum() / len(y), dtype=y.dtype)
        slope = t / (y + self.eps)
        return value, once(lambda d: (-slope * (d / len(slope)), None), self, value)


class ExpertErrors(Module):
    """e_nk = b^2 times the mean squared error of decoder k on patch n: sum (x_nk - t_n)^2 / C.

    Shapes: z (N, latent), t (N, C, b, b) -> e (N, K).
    VJP: dz the sum over the decoders of what they return for 2 de_nk (x_nk - t_n) / C; t gets None.
    Keeps: what the decoders keep, and their errors.
    """

    def __init__(self, decoders: Decoders) -> None:
        """`decoders` run on every patch, whatever their routing."""
        self.decoders = decoders

    def forward(self, z: Array, t: Array) -> Array:
        """The errors of all decoders on all patches."""
        xp = array_module(z)
        parts = [((decoder.forward(z) - t) ** 2).sum((1, 2, 3)) for decoder in self.decoders]
        return xp.stack(parts, axis=1) * (1 / t.shape[1])

    def forward_and_vjp(self, z: Array, t: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        xp, scale = array_module(z), 1 / t.shape[1]
        made = [decoder.forward_and_vjp(z) for decoder in self.decoders]
        parts, pulls = [x - t for x, _ in made], [vjp for _, vjp in made]
        e = xp.stack([(d * d).sum((1, 2, 3)) for d in parts], axis=1) * scale

        def vjp(de: Array) -> tuple[Array, None]:
            weights = de * (2 * scale)
            dzs = [pull(weights[:, k, None, None, None] * parts[k]) for k, pull in enumerate(pulls)]
            return sum(dzs[1:], dzs[0]), None

        return e, once(vjp, self, e)


class GatedExperts(Module):
    """value = mean_n sum_k h_nk (e_nk - T log g_nk), h_nk the share of patch n that expert k gets.

    With `rounds` = 0, h_nk = g_nk exp(-e_nk / T) / sum over k: how probable expert k is once its
    error is known, if the gate gave g_nk and the target is Gaussian around each expert's estimate.
    The value is then, but for the entropy of h, -T mean log sum_k g_nk exp(-e_nk / T), with the
    same derivatives. Each round makes the experts' sums over the batch equal, then again the shares
    of each patch 1 (Sinkhorn's rounds): no expert can be left without patches.

    VJP, h taken as given: de = dvalue h / N, dg = -dvalue T h / (g N). So each expert learns from
    the patches that it does best, and the gate learns to foretell h.
    Shapes: g, e (N, K).
    Keeps: g, h.
    Source: Jacobs, Jordan, Nowlan and Hinton, Adaptive mixtures of local experts (1991); the equal
        shares: Caron et al., Unsupervised learning by contrasting cluster assignments (2020).
    """

    eps = 1e-8

    def __init__(self, temperature: float = 1.0, rounds: int = 0) -> None:
        """`temperature` is T, in the unit of e."""
        self.temperature = number(temperature, "temperature", "GatedExperts", above=0)
        self.rounds = whole(rounds, "rounds", "GatedExperts", at_least=0)

    def forward(self, g: Array, e: Array) -> Array:
        """The value, 0-d."""
        return self.forward_and_vjp(g, e)[0]

    def forward_and_vjp(self, g: Array, e: Array) -> tuple[Array, Vjp]:
        """The value, and its vjp."""
        xp, t = array_module(g), self.temperature
        h = (g + self.eps) * xp.exp((e.min(1, keepdims=True) - e) / t)
        h = h / h.sum(1, keepdims=True)
        for _ in range(self.rounds):
            h = h / (h.mean(0) + self.eps)
            h = h / h.sum(1, keepdims=True)
        value = xp.asarray((h * (e - t * xp.log(g + self.eps))).sum() / len(h), dtype=g.dtype)

        def vjp(d: Array) -> tuple[Array, Array]:
            w = d / len(h)
            return -w * t * h / (g + self.eps), w * h

        return value, once(vjp, self, value)


def kmeans(x: np.ndarray, count: int, seed: int = 0, rounds: int = 50) -> np.ndarray:
    """Centres (count, D) of the rows of x (N, D), by k-means++ and Lloyd's rounds.

    A centre that loses all rows goes to the row that is farthest from its own.
    Source: Arthur, Vassilvitskii, k-means++: the advantages of careful seeding (2007).
    """
    noise, points = Noise(seed), x.astype(np.float64)
    centres = points[noise.integers(len(x))][None]
    for _ in range(1, count):
        far = _distances(points, centres).min(1)
        at = np.searchsorted(np.cumsum(far), float(noise.uniform(())) * far.sum())
        centres = np.concatenate([centres, points[min(int(at), len(x) - 1)][None]])
    for _ in range(rounds):
        distances = _distances(points, centres)
        labels, before = distances.argmin(1), centres
        centres = np.stack(
            [
                points[labels == k].mean(0)
                if (labels == k).any()
                else points[distances.min(1).argmax()]
                for k in range(count)
            ]
        )
        if np.array_equal(before, centres):
            break
    return centres.astype(x.dtype)


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    found = (points * points).sum(1)[:, None] + (centres * centres).sum(1) - 2 * points @ centres.T
    return np.maximum(found, 0)
