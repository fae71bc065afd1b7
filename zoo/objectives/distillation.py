"""Teaching a plain network what a blind-spot network has learnt, with pairs that it makes.

Noisy pictures and clean ones are at hand, but no noisy and clean picture of the same scene. Two
sets of pairs are made of them:

    1. (clean x, x with synthetic noise of the level that the teacher has learnt)
    2. (noisy y, the teacher's estimate of it)

The first has true targets and learnt noise, the second true noise and estimated targets. The
student sees whole surroundings, the pixel too, in one pass.

Source: Wu, Liu, Cao, Ren and Zuo, Unpaired learning of deep image denoising (2020).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad import Add, Frozen, MSELoss, Scale, Split
from minigrad.backend import Array, array_module
from minigrad.module import Module
from minigrad.noise import Noise
from zoo.architectures import BlindSpotDenoiser
from zoo.objectives.base import Objective

SHARE = 8
"""One picture in so many is of the noisy set."""
DISTURBANCE = 0.1
"""The synthetic level is multiplied by a number within so much of 1."""
RIDGE = 1e-7
"""Added to the variances of a covariance before its root is taken, which may be singular."""


class DistillationOutput(NamedTuple):
    """loss, and its two parts before they are weighed: the mean squared errors on set 1 (synthetic)
    and set 2 (distilled). All 0-d.
    """

    loss: Any
    synthetic: Any
    distilled: Any


class Distillation(Objective):
    """loss = (mse(f(y_j), x_j) + 0.1 mse(f(y_i), x*_i)) / (2 B), with f the student.

    Of each batch the first eighth is the noisy set: y_i as it is, x*_i the teacher's posterior
    mean; its clean pictures are not looked at. The rest is the clean set: y_j = x_j + p L z, with
    L L' the teacher's sigma_n of x_j (of the clean picture, for every kind of noise), z normal, p
    uniform within 10 % of 1, one for the batch; its noisy pictures are not looked at.

    noisy, clean: (B, C, H, W), B a multiple of 8.
    """

    logged = DistillationOutput._fields

    def __init__(
        self,
        network: Module,
        loss: str = "mse",
        *,
        teacher: Module | None = None,
        batch: int = 1,
        weight: float = 0.1,
        noise: Noise | None = None,
    ) -> None:
        """`teacher` is a trained blind-spot network; `batch` is B, the images of a whole step;
        `weight` is that of set 2; `noise` is where z and p are drawn from.

        Raises:
            ValueError: the teacher is none, or of another number of channels than the student.
        """
        if not isinstance(teacher, BlindSpotDenoiser):
            found = "none" if teacher is None else type(teacher).__name__
            raise ValueError(f"teacher: expected a trained dbsn-gray or dbsn-color, got {found}")
        channels = getattr(network, "channels", teacher.channels)
        if channels != teacher.channels:
            raise ValueError(
                f"teacher: it is for pictures of {teacher.channels} channels, the student for "
                f"{channels}"
            )
        self.network = network
        self.teacher = Frozen(Teacher(teacher, Noise() if noise is None else noise))
        self.loss = {"mse": MSELoss}[loss]()
        self.weight, self.scale, self.add = Scale(weight), Scale(1 / (2 * batch)), Add()

    def wire(self, noisy: Any, clean: Any) -> DistillationOutput:
        """The teacher makes both sets, the student is judged on both."""
        count = noisy.shape[0]
        if count % SHARE:
            raise ValueError(
                f"distillation: expected a multiple of {SHARE} images a batch, got {count}"
            )
        cut = Split((count // SHARE, count - count // SHARE), dim=0)
        y_i, _ = cut(noisy)
        _, x_j = cut(clean)
        x_i, y_j = self.teacher(y_i, x_j)
        synthetic = self.loss(self.network(y_j), x_j)
        distilled = self.loss(self.network(y_i), x_i)
        total = self.scale(self.add(self.weight(distilled), synthetic))
        return DistillationOutput(total, synthetic, distilled)


class Teacher(Module):
    """(noisy y_i, clean x_j) -> (its estimate of y_i, x_j with noise like that it has learnt).

    Used frozen: it has no vjp.
    """

    def __init__(self, model: BlindSpotDenoiser, noise: Noise) -> None:
        self.model, self.noise = model, noise

    def forward(self, y_i: Array, x_j: Array) -> tuple[Array, Array]:
        """Both sets."""
        estimate = self.model.forward(y_i)
        sigma = self.model.noise_of(x_j)
        xp = array_module(x_j)
        z = self.noise.normal(x_j.shape, x_j.dtype, xp)
        p = 1 - DISTURBANCE + 2 * DISTURBANCE * self.noise.uniform((), x_j.dtype, xp)
        if sigma.ndim == 4:
            return estimate, x_j + p * (xp.sqrt(sigma) * z)
        root = xp.linalg.cholesky(sigma + RIDGE * xp.eye(3, dtype=sigma.dtype))
        # One covariance for an image, or for each pixel.
        root = xp.broadcast_to(root, (*x_j.shape[:1], *x_j.shape[2:], 3, 3))
        return estimate, x_j + p * xp.einsum("nhwij,njhw->nihw", root, z)
