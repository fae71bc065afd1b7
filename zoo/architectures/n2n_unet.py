"""The U-Net of the Noise2Noise paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import Concat, Conv2d, LeakyReLU, MaxPool2d, Offset, Upsample
from minigrad.initialise import kaiming_normal
from zoo.architectures.denoiser import Denoiser


class N2NUNet(Denoiser):
    """Five scales, 48 features down, 96 up, all convolutions 3x3 with LeakyReLU(0.1) but the last,
    linear one.

        enc_conv0, 1 | pool | 2 | pool | 3 | pool | 4 | pool | 5 | pool | enc_conv6
        up, cat pool4, dec_conv5a, 5b | up, cat pool3, 4a, 4b | up, cat pool2, 3a, 3b
        up, cat pool1, 2a, 2b | up, cat input, 1a, 1b, 1c

    The paper's pictures lie in [-0.5, 0.5]; here both sides are in [0, 1] and `offset` (0.5) is
    taken off first and put back last.

    Shapes: (N, n, H, W) -> (N, m, H, W); H and W divisible by 32. 991,203 parameters at n = m = 3.
    Source: Lehtinen et al., Noise2Noise: Learning Image Restoration without Clean Data (2018),
    appendix, table 2.
    """

    multiple = 32

    def __init__(
        self,
        channels: int = 3,
        out_channels: int | None = None,
        offset: float = 0.5,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """`channels` n in, `out_channels` m out (default n). He-normal weights, zero biases, as in
        the paper.
        """
        n, m = channels, channels if out_channels is None else out_channels
        self.channels = n
        rng = np.random.default_rng() if rng is None else rng

        def conv(inputs: int, outputs: int, gain: float = 2**0.5) -> Conv2d:
            layer = Conv2d(inputs, outputs, 3, padding=1, dtype=dtype, rng=rng)
            weight = kaiming_normal(layer.weight.shape, rng, gain=gain, dtype=dtype)
            layer.set_parameters(weight=weight, bias=np.zeros(outputs, dtype=dtype))
            return layer

        self.centre, self.uncentre = Offset(-offset), Offset(offset)
        self.enc_conv0 = conv(n, 48)
        self.enc_conv1 = conv(48, 48)
        self.enc_conv2 = conv(48, 48)
        self.enc_conv3 = conv(48, 48)
        self.enc_conv4 = conv(48, 48)
        self.enc_conv5 = conv(48, 48)
        self.enc_conv6 = conv(48, 48)
        self.dec_conv5a, self.dec_conv5b = conv(48 + 48, 96), conv(96, 96)
        self.dec_conv4a, self.dec_conv4b = conv(96 + 48, 96), conv(96, 96)
        self.dec_conv3a, self.dec_conv3b = conv(96 + 48, 96), conv(96, 96)
        self.dec_conv2a, self.dec_conv2b = conv(96 + 48, 96), conv(96, 96)
        self.dec_conv1a, self.dec_conv1b = conv(96 + n, 64), conv(64, 32)
        self.dec_conv1c = conv(32, m, gain=1.0)
        self.relu = LeakyReLU(0.1)
        self.pool = MaxPool2d(2)
        self.up = Upsample(scale_factor=2)
        self.cat = Concat()

    def wire(self, x: Any) -> Any:
        """The figure, top to bottom and up again."""
        x = self.centre(x)
        pool1 = self.down(self.enc_conv1, self.relu(self.enc_conv0(x)))  # H/2
        pool2 = self.down(self.enc_conv2, pool1)  # H/4
        pool3 = self.down(self.enc_conv3, pool2)  # H/8
        pool4 = self.down(self.enc_conv4, pool3)  # H/16
        pool5 = self.down(self.enc_conv5, pool4)  # H/32
        h = self.relu(self.enc_conv6(pool5))
        h = self.rise(self.dec_conv5a, self.dec_conv5b, h, pool4)  # H/16
        h = self.rise(self.dec_conv4a, self.dec_conv4b, h, pool3)  # H/8
        h = self.rise(self.dec_conv3a, self.dec_conv3b, h, pool2)  # H/4
        h = self.rise(self.dec_conv2a, self.dec_conv2b, h, pool1)  # H/2
        h = self.rise(self.dec_conv1a, self.dec_conv1b, h, x)  # H
        return self.uncentre(self.dec_conv1c(h))

    def down(self, conv: Conv2d, x: Any) -> Any:
        """Convolution, LeakyReLU, pooling."""
        return self.pool(self.relu(conv(x)))

    def rise(self, conv_a: Conv2d, conv_b: Conv2d, x: Any, skip: Any) -> Any:
        """Upsampling, concatenation (upsampled first), two convolutions with LeakyReLU."""
        x = self.cat(self.up(x), skip)
        return self.relu(conv_b(self.relu(conv_a(x))))
