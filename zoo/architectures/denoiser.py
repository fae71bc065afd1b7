"""Denoiser: what every network of the zoo can do with a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, to_host
from minigrad.module import Module
from minigrad.wiring import Composite


@dataclass(frozen=True)
class Place:
    """Where a tile lies: its first row and column in a picture of `height` x `width` pixels, all
    multiples of the network's grid.
    """

    top: int
    left: int
    height: int
    width: int


class Denoiser(Composite):
    """A network from noisy to clean pictures, values in [0, 1] on both sides.

    Subclasses wire the paper's figure. Image sides inside `wire` must be divisible by `multiple`;
    `denoise` takes any size. A network that moves with its picture only by whole steps of pixels,
    such as one with strides, says so by its `grid`.
    """

    channels: int = 3
    """Channels of the noisy picture."""
    multiple: int = 1
    """What image heights and widths must be divisible by inside the network."""
    margin: int = 0
    """What heights and widths have beyond that: a network of overlapping patches takes sides of
    `margin` pixels and a multiple of `multiple`.
    """
    architecture: str = ""
    """Name in the registry; empty for a network made without it."""
    arguments: Mapping[str, Any] = MappingProxyType({})
    """The constructor arguments that were given, without `dtype` and `rng`."""
    metadata: Mapping[str, str] = MappingProxyType({})
    """The text fields of the file that the weights came from."""
    constants: Mapping[str, np.ndarray] = MappingProxyType({})
    """Arrays that the authors' files hold beside weights, with the values that they must have."""

    def denoise(
        self,
        noisy: Array,
        *,
        samples: int | None = None,
        seed: int = 0,
        first: int = 0,
        means: tuple[Array, ...] | None = None,
        place: Place | None = None,
    ) -> Array:
        """The clean estimate of `noisy`.

        Runs forward only, in evaluation mode (every module's mode is restored after). The picture
        is padded at the bottom and right by reflection to `margin` pixels and a multiple of
        `multiple`, and the result cropped back.

        Args:
            noisy: (N, channels, H, W), floating, values in [0, 1] (noise may exceed it), H and W
                of any size from 1.
            samples: draws to average, for stochastic networks; the others take no notice.
            seed: of those draws.
            first: the number of the first of them.
            means: where `noisy` is a tile, what `survey` gives of the whole picture, divided by the
                number of its pixels; None for a whole picture.
            place: where that tile lies, for stochastic networks.

        Returns:
            (N, channels out, H, W), dtype of `noisy`, not clipped.

        Raises:
            TypeError: not a floating array.
            ValueError: not four axes, or another number of channels.
        """
        if getattr(getattr(noisy, "dtype", None), "kind", "") != "f":
            raise TypeError(
                f"{type(self).__name__}.denoise: noisy: expected a floating array in [0, 1], got "
                f"{getattr(noisy, 'dtype', type(noisy).__name__)}"
            )
        if noisy.ndim != 4 or noisy.shape[1] != self.channels or 0 in noisy.shape:
            raise ValueError(
                f"{type(self).__name__}.denoise: noisy: expected (N, {self.channels}, H, W) and "
                f"not empty, got {noisy.shape}"
            )
        h, w = noisy.shape[2:]
        x = pad_to_multiple(noisy.astype(self.dtype, copy=False), self.multiple, self.margin)
        with evaluating(self):
            if means is None:
                means = tuple(total / (h * w) for total in self.survey(x, slice(h), slice(w)))
            given = (mean.astype(x.dtype, copy=False) for mean in means)
            y = self.estimate(x, *given, samples=samples, seed=seed, first=first, place=place)
        return y[:, :, :h, :w].astype(noisy.dtype, copy=False)

    def estimate(
        self,
        x: Array,
        *means: Array,
        samples: int | None,
        seed: int,
        first: int,
        place: Place | None,
    ) -> Array:
        """What `denoise` makes of a padded picture: one forward pass; `means` as of `wire`."""
        y: Array = self.forward(x, *means)
        return y

    def load_state_dict(self, arrays: Mapping[str, Array], strict: bool = True) -> None:
        """As `Module.load_state_dict`. The authors' `constants` may be there; they are checked, and
        left out.
        """
        for name, value in self.constants.items():
            if name in arrays and not np.array_equal(to_host(arrays[name]).ravel(), value.ravel()):
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: {name}: expected {value.tolist()}"
                )
        own = {name: array for name, array in arrays.items() if name not in self.constants}
        super().load_state_dict(own, strict)

    def survey(self, x: Array, rows: slice, columns: slice) -> tuple[Array, ...]:
        """What the estimate at a pixel depends on of the whole picture, as far as `rows` and
        `columns` of the tile x tell it: sums over these pixels, whose means over the picture are
        further inputs of `wire`. Nothing, for most networks.
        """
        return ()

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the parameters."""
        return self.parameters()[0].value.dtype

    @property
    def grid(self) -> int:
        """A picture moved by this many pixels gives the estimate, moved: tiles begin on this grid.

        It is `multiple`, or a multiple of that: a network with strides that pads odd sides itself
        takes every size (`multiple` 1), and still has a grid.
        """
        return self.multiple


def padded_side(length: int, multiple: int, margin: int = 0) -> int:
    """The least side, from `length` on, that is `margin` and a multiple (from 1) of `multiple`."""
    return max(1, -(-(length - margin) // multiple)) * multiple + margin


def pad_to_multiple(x: Array, multiple: int, margin: int = 0) -> Array:
    """(N, C, H, W) reflected at the bottom and right (edge not repeated) to multiples and a margin.

    Borders wider than the picture reflect again; a side of one pixel is repeated.
    """
    h, w = x.shape[2:]
    rows, cols = padded_side(h, multiple, margin), padded_side(w, multiple, margin)
    if (rows, cols) == (h, w):
        return x
    xp = array_module(x)
    return x[:, :, xp.asarray(_reflected(h, rows))[:, None], xp.asarray(_reflected(w, cols))]


def _reflected(n: int, to: int) -> np.ndarray:
    """Indices 0..n-1, then back, then forth again, `to` in all."""
    i = np.arange(to) % max(1, 2 * (n - 1))
    return np.where(i < n, i, 2 * (n - 1) - i)


@contextmanager
def evaluating(module: Module) -> Iterator[None]:
    """Within this context the tree is in evaluation mode; every module's own mode is restored
    after.
    """
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training
