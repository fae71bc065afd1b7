"""The small U-Net of the bias-free study and of patch-craft training."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import CenterPad2d, Concat, Conv2d, ConvTranspose2d, Crop2d, ReLU, Subtract
from zoo.architectures.denoiser import Denoiser


class BFUNet(Denoiser):
    """Two scales, dilated convolutions at the lower one, no norms.

        conv1 5x5   C -> F        conv2 3x3    F -> F     (the skip)        H
        conv3 3x3   F -> 2F       stride 2                                  H/2
        conv4, 5, 6 3x3  2F -> 2F, dilation 1, 2, 4                         H/2
        conv7 4x4   2F -> 2F      transposed, stride 2                      H
        cat conv7, conv2;  conv8 3x3  3F -> F;  conv9 5x5  F -> C           H

    ReLU after each but the last. `bias` gives biases to all but conv9, which never has one. The
    output is the clean picture itself; with `residual` it is the input less what conv9 gives.

    Sides of any length: an odd one gets a zero at the right or at the bottom, which is cut off
    again at the end. Tiles must begin on even pixels (`grid` 2).

    Shapes: (N, C, H, W) -> the same. 233,024 parameters at C = 1, F = 32 (233,440 with `bias`);
    236,224 and 236,640 at C = 3. PyTorch's own first weights.
    Source: Mohan et al., Robust and interpretable blind image denoising via bias-free convolutional
    neural networks (2020), for gray; Vaksman and Elad, Patch-craft self-supervised training for
    correlated image denoising (2023), for colour; the authors' codes.
    """

    grid = 2

    def __init__(
        self,
        channels: int = 1,
        features: int = 32,
        bias: bool = False,
        residual: bool = False,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`channels` is C, `features` F."""
        c, f = channels, features
        how: Any = {"dtype": dtype, "rng": np.random.default_rng() if rng is None else rng}

        def conv(inputs: int, outputs: int, dilation: int = 1, stride: int = 1) -> Conv2d:
            # A padding of the dilation's width keeps the size.
            return Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=bias, **how)

        self.channels, self.residual = c, residual
        self.conv1 = Conv2d(c, f, 5, padding=2, bias=bias, **how)
        self.conv2 = conv(f, f)
        self.conv3 = conv(f, 2 * f, stride=2)
        self.conv4 = conv(2 * f, 2 * f)
        self.conv5 = conv(2 * f, 2 * f, dilation=2)
        self.conv6 = conv(2 * f, 2 * f, dilation=4)
        self.conv7 = ConvTranspose2d(2 * f, 2 * f, 4, stride=2, padding=1, bias=bias, **how)
        self.conv8 = conv(3 * f, f)
        self.conv9 = Conv2d(f, c, 5, padding=2, bias=False, **how)
        self.pad = CenterPad2d(multiple=2)
        self.relu = ReLU()
        self.cat = Concat()
        self.subtract = Subtract()

    def wire(self, y: Any) -> Any:
        """The figure: one step down, along the bottom, one step up."""
        h, w = y.shape[2:]
        y = self.pad(y)  # the one row or column that is missing comes last
        skip = self.relu(self.conv2(self.relu(self.conv1(y))))  # H
        x = self.relu(self.conv3(skip))  # H/2
        x = self.relu(self.conv4(x))
        x = self.relu(self.conv5(x))
        x = self.relu(self.conv6(x))
        x = self.relu(self.conv7(x))  # H
        x = self.conv9(self.relu(self.conv8(self.cat(x, skip))))
        x = self.subtract(y, x) if self.residual else x
        return Crop2d((0, w % 2, 0, h % 2))(x)

    def describe(self) -> str:
        """What the layers do not show."""
        return f"residual={self.residual}"
