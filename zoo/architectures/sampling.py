"""Denoisers that draw: many clean pictures fit a noisy one, and each draw is one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minigrad import GaussianSample, Offset, Scale, Sequential
from minigrad.backend import Array
from minigrad.noise import Noise
from zoo.architectures.denoiser import Denoiser, Place


class Latent(NamedTuple):
    """A latent map: its sample z, the means and log-variances of the distribution q that it was
    drawn from, and of the one that was expected, p; None for N(0, 1).
    """

    z: Any
    mean_q: Any
    log_variance_q: Any
    mean_p: Any = None
    log_variance_p: Any = None


class Inference(NamedTuple):
    """What a network makes of a noisy picture in training: a clean one, (N, C, H, W) in normalised
    units, and the latent maps, the finest first.
    """

    signal: Any
    latents: tuple[Latent, ...]


class PlacedNoise(Noise):
    """The part of a whole picture's noise that falls on a tile: tiles of one sample fit together.

    A draw of shape (N, C, h, w) for a tile of H x W pixels lies on a grid of H / h pixels.
    """

    def __init__(self, seed: int, place: Place, tile: tuple[int, int]) -> None:
        """Of `seed`, for a tile of (height, width) pixels."""
        super().__init__(seed)
        self.place, self.tile = place, tile

    def normal(self, shape: Any, dtype: Any = np.float32, xp: Any = np) -> Any:
        """Standard normal numbers, the same ones wherever tiles overlap."""
        n, c, h, w = shape
        step = self.tile[0] // h
        whole = super().normal(
            (n, c, self.place.height // step, self.place.width // step), dtype, np
        )
        top, left = self.place.top // step, self.place.left // step
        return xp.asarray(np.ascontiguousarray(whole[:, :, top : top + h, left : left + w]))


class StochasticDenoiser(Denoiser):
    """A network that has a random latent between picture and clean picture.

        code = encode(x)            once for a picture
        y = decode(code)            one draw; another one next time

    The estimate is the mean of `samples` draws, the best in mean squared error. Draw number k of a
    seed is the same whatever is drawn beside it.

    Inside values are (x - data_mean) / data_std.
    """

    sample: GaussianSample
    data_mean: float
    data_std: float
    drawn = 10
    """How many draws are averaged where nothing is said."""

    def set_scale(self, mean: float, std: float) -> None:
        """Take mean and standard deviation of the pictures, in their units.

        Raises:
            ValueError: a number is not finite, or `std` is not above 0.
        """
        name = type(self).__name__
        if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
            raise ValueError(
                f"{name}: data_mean, data_std: expected finite numbers, the second above 0, got "
                f"{mean}, {std}"
            )
        self.data_mean, self.data_std = float(mean), float(std)
        self.normalise = Sequential(Offset(-self.data_mean), Scale(1 / self.data_std))
        self.denormalise = Sequential(Scale(self.data_std), Offset(self.data_mean))
        if self.architecture:
            told = {"data_mean": self.data_mean, "data_std": self.data_std}
            self.arguments = {**self.arguments, **told}

    def encode(self, x: Any) -> Any:
        """What is computed once for a picture (N, C, H, W)."""
        raise NotImplementedError

    def decode(self, code: Any) -> Any:
        """A clean picture, (N, C, H, W); it draws."""
        raise NotImplementedError

    def infer(self, x: Any) -> Inference:
        """The picture in normalised units, with all that a training objective needs."""
        raise NotImplementedError

    def wire(self, x: Any) -> Any:
        """One draw."""
        return self.decode(self.encode(x))

    def estimate(
        self,
        x: Array,
        *means: Array,
        samples: int | None,
        seed: int,
        first: int,
        place: Place | None,
    ) -> Array:
        """The mean of the draws `first`, ..., `first + samples - 1`.

        Raises:
            ValueError: `samples` is below 1 or `first` below 0.
        """
        count = self.drawn if samples is None else samples
        if count < 1 or first < 0:
            name = type(self).__name__
            raise ValueError(
                f"{name}.denoise: expected samples from 1 and first from 0, got {samples}, {first}"
            )
        noise = Noise(seed) if place is None else PlacedNoise(seed, place, x.shape[2:])
        code = self.encode(x)
        total: Any = None
        with self.drawing_from(noise):
            for number in range(first, first + count):
                noise.at(number)
                y = self.decode(code)
                total = y if total is None else total + y
        return total if count == 1 else total / count

    @contextmanager
    def drawing_from(self, noise: Noise) -> Iterator[None]:
        """Within this context latents are drawn from `noise`."""
        before = self.sample.noise
        self.sample.noise = noise
        try:
            yield
        finally:
            self.sample.noise = before
