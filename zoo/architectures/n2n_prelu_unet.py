"""A small U-Net with trained PReLU slopes, whose blocks may share their weights over the scales."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from minigrad import Composite, Concat, Conv2d, MaxPool2d, PReLU, ReLU, Sigmoid, Upsample
from zoo.architectures.denoiser import Denoiser


class EncoderBlock(Composite):
    """Convolution, PReLU, max-pooling: (N, C, H, W) -> (N, C, H/2, W/2)."""

    def __init__(self, features: int, **how: Any) -> None:
        """`features` is C."""
        self.conv = Conv2d(features, features, 3, padding=1, **how)
        self.relu = PReLU(features, dtype=how["dtype"])
        self.pool = MaxPool2d(2)

    def wire(self, x: Any) -> Any:
        """One step down."""
        return self.pool(self.relu(self.conv(x)))


class DecoderBlock(Composite):
    """Upsampling, concatenation with a skip, two convolutions with PReLU.

    Shapes: x (N, C_0 - S, H, W), skip (N, S, 2H, 2W) -> (N, C_2, 2H, 2W); widths (C_0, C_1, C_2).
    """

    def __init__(self, widths: tuple[int, int, int], **how: Any) -> None:
        """`widths`: channels after the concatenation, after the first and after the second
        convolution.
        """
        joined, middle, out = widths
        self.up = Upsample(scale_factor=2)
        self.cat = Concat()
        self.conv0 = Conv2d(joined, middle, 3, padding=1, **how)
        self.relu0 = PReLU(middle, dtype=how["dtype"])
        self.conv1 = Conv2d(middle, out, 3, padding=1, **how)
        self.relu1 = PReLU(out, dtype=how["dtype"])

    def wire(self, x: Any, skip: Any) -> Any:
        """One step up; the upsampled signal comes first in the concatenation."""
        x = self.cat(self.up(x), skip)
        x = self.relu0(self.conv0(x))
        return self.relu1(self.conv1(x))


class N2NPReLUUNet(Denoiser):
    """U-Net of depth N_e on C_e encoder and C_d = 2 C_e decoder features, all convolutions 3x3.

        conv0, phi -> E1 .. E_Ne (each halves the image) -> conv1, phi
                   -> D0 .. (each doubles it) -> conv2, Sigmoid

    The decoder blocks read the skips E_(Ne-1), ..., E1, x; the deepest encoder output is no skip.
    With `share_blocks` one encoder block serves all scales and one decoder block all the middle
    ones: their gradients are sums over the uses. phi is one module, used twice: a PReLU with a
    single slope, or a ReLU.

    Shapes: (N, C, H, W) -> the same; H and W divisible by 2^N_e. Values in [0, 1] on both sides.
    211,845 parameters at C_e = 32 with shared blocks, 332,101 with separate ones.
    Source: course project of EPFL EE-559 (2022), after Ronneberger et al., U-Net (2015), and
    Lehtinen et al., Noise2Noise (2018).
    """

    def __init__(
        self,
        channels: int = 3,
        features: int = 32,
        depth: int = 4,
        share_blocks: bool = True,
        stem_activation: Literal["prelu", "relu"] = "prelu",
        decoder_features: int | None = None,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`features` is C_e, `depth` N_e >= 2, `decoder_features` C_d (default 2 C_e, at least
        3).
        """
        if depth < 2:
            raise ValueError(f"N2NPReLUUNet: depth: expected at least 2, got {depth}")
        if stem_activation not in ("prelu", "relu"):
            raise ValueError(
                f"N2NPReLUUNet: stem_activation: expected 'prelu' or 'relu', got "
                f"{stem_activation!r}"
            )
        self.channels, self.multiple = channels, 2**depth
        c_e = features
        c_d = 2 * features if decoder_features is None else decoder_features
        how = {"dtype": dtype, "rng": np.random.default_rng() if rng is None else rng}

        def blocks(count: int, make: Any) -> list[Any]:
            return [make()] * count if share_blocks else [make() for _ in range(count)]

        self.conv0 = Conv2d(channels, c_e, 3, padding=1, **how)
        self.eblocks = blocks(depth, lambda: EncoderBlock(c_e, **how))
        self.conv1 = Conv2d(c_e, c_e, 3, padding=1, **how)
        self.dblocks = [
            DecoderBlock((c_e + c_e, c_d, c_d), **how),
            *blocks(depth - 2, lambda: DecoderBlock((c_d + c_e, c_d, c_d), **how)),
            DecoderBlock((c_d + channels, c_d // 2, c_d // 3), **how),
        ]
        self.conv2 = Conv2d(c_d // 3, channels, 3, padding=1, **how)
        self.relu = PReLU(dtype=dtype) if stem_activation == "prelu" else ReLU()
        self.sigmoid = Sigmoid()

    def wire(self, x: Any) -> Any:
        """The U: down through the encoder, up through the decoder, skips from the one to the
        other.
        """
        skips = [x]
        h = self.relu(self.conv0(x))
        for block in self.eblocks:
            h = block(h)
            skips.append(h)
        skips.pop()  # the deepest output goes on through the bottom, not over a skip
        h = self.relu(self.conv1(h))
        for block in self.dblocks:
            h = block(h, skips.pop())
        return self.sigmoid(self.conv2(h))
