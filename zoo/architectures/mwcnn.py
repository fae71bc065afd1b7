"""MWCNN: a U-Net whose pooling is a wavelet transform, so that nothing is lost on the way down."""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np

from minigrad import Add, Composite, Conv2d, HaarDWT, HaarIWT, Module, ReLU, Sequential
from minigrad.initialise import orthogonal
from zoo.architectures.denoiser import Denoiser

HAAR = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
"""The four bands of a block of 2 x 2 pixels, row by row: what `HaarDWT` computes."""


class MWCNN(Denoiser):
    """Three levels of four convolutions each way, at half, a quarter and an eighth of the size.

        w1 = DWT(y)      a1 = level1_prev(w1)    4C -> W1       x = IWT(w1 + level1_next(x2))
        w2 = DWT(a1)     a2 = level2_prev(w2)    4 W1 -> W2     x2 = IWT(w2 + level2_next(x3))
        w3 = DWT(a2)     a3 = level3_prev(w3)    4 W2 -> W3     x3 = IWT(w3 + level3_next(a3))

    All convolutions are 3x3 with a bias; ReLU after each but the very last, of `level1_next`. IWT
    undoes DWT, so that x = y + IWT(level1_next(x2)): the network predicts what is to be added, in
    the wavelet domain. Bands are interleaved: channel 4c + band.

    Shapes: (N, C, H, W) -> the same, H and W multiples of 8 (`denoise` pads). 16,145,892 parameters
    at C = 1, W = 160, 256, 256. Keys `level1_prev.block.0`, ...; the authors' files also hold the
    32 numbers of the wavelets.
    First weights: orthogonal, biases 0.
    Source: Liu, Zhang, Zhang, Lin and Zuo, Multi-level wavelet-CNN for image restoration (2018);
        without batch norm, as the student of Wu et al., Unpaired learning of deep image denoising
        (2020), whose keys these are. Theirs is for gray.
    """

    multiple = 8
    constants = MappingProxyType({f"{name}.weight": HAAR for name in ("DWT", "IWT")})
    level1_prev: Module
    level1_next: Module
    level2_prev: Module
    level2_next: Module
    level3_prev: Module
    level3_next: Module

    def __init__(
        self,
        channels: int = 1,
        level1: int = 160,
        level2: int = 256,
        level3: int = 256,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`channels` is C; `level1`, `level2`, `level3` are W1, W2, W3."""
        rng = np.random.default_rng() if rng is None else rng
        self.channels = channels
        widths = (channels, level1, level2, level3)
        for level, (outer, inner) in enumerate(pairwise(widths), start=1):
            down, up = [4 * outer, *[inner] * 4], [*[inner] * 4, 4 * outer]
            setattr(self, f"level{level}_prev", Block(down, True, dtype, rng))
            setattr(self, f"level{level}_next", Block(up, level > 1, dtype, rng))
        self.dwt, self.iwt = HaarDWT(), HaarIWT()
        self.add = Add()

    def wire(self, y: Any) -> Any:
        """Down, and up again."""
        w1 = self.dwt(y)  # (N, 4C, H/2, W/2)
        w2 = self.dwt(self.level1_prev(w1))  # (N, 4 W1, H/4, W/4)
        w3 = self.dwt(self.level2_prev(w2))  # (N, 4 W2, H/8, W/8)
        x = self.level3_next(self.level3_prev(w3))
        x = self.level2_next(self.iwt(self.add(w3, x)))
        x = self.level1_next(self.iwt(self.add(w2, x)))
        return self.iwt(self.add(w1, x))


class Block(Composite):
    """Convolutions 3x3 from width to width, ReLU between; keys `block.0`, `.2`, `.4`, `.6`."""

    def __init__(
        self, widths: list[int], last_relu: bool, dtype: Any, rng: np.random.Generator
    ) -> None:
        layers: list[Module] = []
        for inputs, outputs in pairwise(widths):
            conv = Conv2d(inputs, outputs, 3, padding=1, dtype=dtype, rng=rng)
            weight = orthogonal(conv.weight.shape, rng, dtype=dtype)
            conv.set_parameters(weight=weight, bias=np.zeros(outputs, dtype))
            layers += [conv, ReLU()]
        self.block = Sequential(*(layers if last_relu else layers[:-1]))

    def wire(self, x: Any) -> Any:
        """The chain."""
        return self.block(x)
