"""The two small networks beside D-BSN: how sure it is of its mean, and how much noise there is."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad import Composite, Conv2d, Module, Offset, ReLU, ReplaceZeros, Sequential
from minigrad.backend import array_module
from minigrad.checks import number, whole
from zoo.architectures.dbsn import he_normal

SHIFT, FLOOR = -4.0, 1e-3
"""A raw estimate r of the noise stands for the standard deviation softplus(r + SHIFT) + FLOOR."""
NOT_ZERO = 1e-4
"""What an exact 0 becomes in colour."""


class SigmaMuNet(Composite):
    """1x1 convolutions from the features of D-BSN to the raw entries of sigma_mu, ReLU between.

    Shapes: (N, C, H, W) -> (N, outputs, H, W). Keys `conv.0`, `conv.2`, ...; with 3 layers of 16 at
    C = 96: 1,841 parameters for one output, with 32: 4,259 for 3 and 4,358 for 6.
    First weights: He-normal, biases 0; those of the last layer times `gain`.
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code.
    """

    def __init__(
        self,
        inputs: int = 96,
        width: int = 16,
        outputs: int = 1,
        layers: int = 3,
        gain: float = 1.0,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`layers` >= 1 counts the convolutions; a small `gain` begins with a small sigma_mu."""
        layers = whole(layers, "layers", "SigmaMuNet", at_least=1)
        gain = number(gain, "gain", "SigmaMuNet", above=0)
        rng = np.random.default_rng() if rng is None else rng
        widths = [inputs, *[width] * (layers - 1), outputs]
        convs = _pointwise(widths, dtype, rng)
        self.conv = Sequential(*_with_relus(convs))
        he_normal(self, rng)
        convs[-1].weight *= gain

    def wire(self, features: Any) -> Any:
        """The chain."""
        return self.conv(features)


class SigmaNNet(Composite):
    """1x1 convolutions from a picture to the raw entries of sigma_n: each pixel by itself.

        conv.0, ReLU, conv.2, ReLU, ..., conv_final, and then
        gray: + 3e-4;  colour: exact zeros become 1e-4

    Shapes: (N, C, H, W) -> (N, outputs, H, W). With 5 layers: 865 parameters for gray at width 16,
    3,265 at 32; 3,395 for colour with 3 outputs at 32, 3,494 with 6.
    First weights: He-normal, biases 0; `conv_final` is 0 in gray and PyTorch's own in colour. The
    gray network therefore begins with the noise level 4.88/255. With `start` both begin with 0 and
    a bias for which the level is `start`/255.
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code; `start`
        is ours.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 16,
        outputs: int = 1,
        layers: int = 5,
        start: float | None = None,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`layers` >= 1 counts the convolutions, `conv_final` too.

        Raises:
            ValueError: a number that cannot be; a `start` of at most 0.255, which is FLOOR.
        """
        layers = whole(layers, "layers", "SigmaNNet", at_least=1)
        rng = np.random.default_rng() if rng is None else rng
        gray = channels == 1
        *convs, last = _pointwise([channels, *[width] * (layers - 1), outputs], dtype, rng)
        self.conv = Sequential(*_with_relus(convs), *([ReLU()] if convs else []))
        self.conv_final = last
        self.last = Offset(3e-4) if gray else ReplaceZeros(NOT_ZERO)
        he_normal(self.conv, rng)
        if start is not None:
            self.begin_at(start)
        elif gray:
            last.set_parameters(weight=np.zeros_like(last.weight), bias=np.zeros_like(last.bias))

    def begin_at(self, level: float) -> None:
        """Set `conv_final` so that the noise is `level`/255 everywhere, whatever the picture.

        Raises ValueError: a level of at most 0.255.
        """
        last, xp = self.conv_final, array_module(self.conv_final.weight)
        raw = _first_raw(level, len(last.weight)) - (3e-4 if isinstance(self.last, Offset) else 0)
        bias = xp.asarray(raw, dtype=last.weight.dtype)
        last.set_parameters(weight=xp.zeros_like(last.weight), bias=bias)

    def wire(self, picture: Any) -> Any:
        """The chain."""
        return self.last(self.conv_final(self.conv(picture)))


def _first_raw(start: float, outputs: int) -> np.ndarray:
    """The raw entries for noise of standard deviation `start` of 255 in all channels."""
    deviation = number(start, "start", "SigmaNNet", above=255 * FLOOR) / 255
    if outputs == 6:  # the factor of a covariance; a zero that is replaced would never learn
        return np.where([1, 0, 0, 1, 0, 1], deviation, NOT_ZERO)
    return np.full(outputs, math.log(math.expm1(deviation - FLOOR)) - SHIFT)


def _pointwise(widths: list[int], dtype: Any, rng: np.random.Generator) -> list[Conv2d]:
    return [Conv2d(a, b, 1, dtype=dtype, rng=rng) for a, b in pairwise(widths)]


def _with_relus(convs: list[Conv2d]) -> list[Module]:
    """A ReLU between each two."""
    layers: list[Module] = []
    for conv in convs:
        layers += [ReLU(), conv] if layers else [conv]
    return layers
