"""The simple strided network: four layers, two down and two up."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from minigrad import Conv2d, ConvTranspose2d, Module, ReLU, Sequential, Sigmoid, Upsample
from minigrad.initialise import xavier_normal
from zoo.architectures.denoiser import Denoiser


class N2NSimple(Denoiser, Sequential):
    """Two strided convolutions and two upsamplings, ReLU between them, a Sigmoid at the end.

        0 Conv2d(C, F, 2, stride 2)            H    -> H/2
        2 Conv2d(F, F, 2, stride 2)            H/2  -> H/4
        4 ConvTranspose2d(F, F, 2, stride 2)   H/4  -> H/2
        6 ConvTranspose2d(F, C, 2, stride 2)   H/2  -> H       (1, 3, 5: ReLU; 7: Sigmoid)

    With transposed convolutions each aligned 4x4 block is denoised by itself (receptive field 4x4),
    34,499 parameters at C = 3, F = 64. `upsampling="nearest"` puts nearest-neighbour upsampling and
    a 3x3 convolution in place of 4 and 6 (keys `4.1.*`, `6.1.*`).

    Shapes: (N, C, H, W) -> the same; H and W divisible by 4. Values in [0, 1] on both sides.
    Source: course project of EPFL EE-559 (2022), after Lehtinen et al., Noise2Noise (2018).
    """

    multiple = 4

    def __init__(
        self,
        channels: int = 3,
        features: int = 64,
        upsampling: Literal["transpose", "nearest"] = "transpose",
        init: Literal["native", "xavier"] = "native",
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`init`: PyTorch's own ("native"), or Xavier normal with gain sqrt(2) and zero biases
        ("xavier").
        """
        if upsampling not in ("transpose", "nearest"):
            raise ValueError(
                f"N2NSimple: upsampling: expected 'transpose' or 'nearest', got {upsampling!r}"
            )
        if init not in ("native", "xavier"):
            raise ValueError(f"N2NSimple: init: expected 'native' or 'xavier', got {init!r}")
        rng = np.random.default_rng() if rng is None else rng

        def up(inputs: int, outputs: int) -> Module:
            if upsampling == "transpose":
                return ConvTranspose2d(inputs, outputs, 2, stride=2, dtype=dtype, rng=rng)
            conv = Conv2d(inputs, outputs, 3, padding=1, dtype=dtype, rng=rng)
            return Sequential(Upsample(scale_factor=2), conv)

        super().__init__(
            Conv2d(channels, features, 2, stride=2, dtype=dtype, rng=rng),
            ReLU(),
            Conv2d(features, features, 2, stride=2, dtype=dtype, rng=rng),
            ReLU(),
            up(features, features),
            ReLU(),
            up(features, channels),
            Sigmoid(),
        )
        self.channels = channels
        if init == "xavier":
            for parameter in self.parameters():
                if parameter.name == "weight":
                    shape = parameter.value.shape
                    parameter.value[...] = xavier_normal(shape, rng, gain=2**0.5, dtype=dtype)
                else:
                    parameter.value[...] = 0
