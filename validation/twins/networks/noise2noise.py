"""Twins of the noise2noise networks.

A block that is used at several scales is one object listed several times, so that its parameters,
their gradients and its aliases in the state dict behave as those of the zoo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Simple(nn.Sequential):
    """Two strided convolutions and two upsamplings; twin of `n2n-simple`."""

    def __init__(
        self,
        channels: int = 3,
        features: int = 64,
        upsampling: str = "transpose",
        init: str = "native",
    ) -> None:
        """`init` is accepted and not used: a twin is given its weights."""

        def up(inputs: int, outputs: int) -> nn.Module:
            if upsampling == "transpose":
                return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
            conv = nn.Conv2d(inputs, outputs, 3, padding=1)
            return nn.Sequential(nn.Upsample(scale_factor=2), conv)

        super().__init__(
            nn.Conv2d(channels, features, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(features, features, 2, stride=2),
            nn.ReLU(),
            up(features, features),
            nn.ReLU(),
            up(features, channels),
            nn.Sigmoid(),
        )


class EncoderBlock(nn.Module):
    """Convolution, PReLU, max-pooling."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.relu = nn.PReLU(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H/2, W/2)."""
        return F.max_pool2d(self.relu(self.conv(x)), 2)


class DecoderBlock(nn.Module):
    """Upsampling, concatenation (the skip second), two convolutions with PReLU."""

    def __init__(self, joined: int, middle: int, out: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(joined, middle, 3, padding=1)
        self.relu0 = nn.PReLU(middle)
        self.conv1 = nn.Conv2d(middle, out, 3, padding=1)
        self.relu1 = nn.PReLU(out)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(N, joined - S, H, W), (N, S, 2H, 2W) -> (N, out, 2H, 2W)."""
        x = torch.cat([F.interpolate(x, scale_factor=2), skip], dim=1)
        return self.relu1(self.conv1(self.relu0(self.conv0(x))))


class PReLUUNet(nn.Module):
    """The small U-Net with PReLU; twin of `n2n-prelu-unet`."""

    def __init__(
        self,
        channels: int = 3,
        features: int = 32,
        depth: int = 4,
        share_blocks: bool = True,
        stem_activation: str = "prelu",
        decoder_features: int | None = None,
    ) -> None:
        super().__init__()
        c_e, c_d = features, decoder_features or 2 * features

        def repeat(n: int, make: Any) -> list[nn.Module]:
            return [make()] * n if share_blocks else [make() for _ in range(n)]

        self.conv0 = nn.Conv2d(channels, c_e, 3, padding=1)
        self.eblocks = nn.ModuleList(repeat(depth, lambda: EncoderBlock(c_e)))
        self.conv1 = nn.Conv2d(c_e, c_e, 3, padding=1)
        self.dblocks = nn.ModuleList(
            [
                DecoderBlock(2 * c_e, c_d, c_d),
                *repeat(depth - 2, lambda: DecoderBlock(c_d + c_e, c_d, c_d)),
                DecoderBlock(c_d + channels, c_d // 2, c_d // 3),
            ]
        )
        self.conv2 = nn.Conv2d(c_d // 3, channels, 3, padding=1)
        self.relu = nn.PReLU() if stem_activation == "prelu" else nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same, values in [0, 1]."""
        h = self.relu(self.conv0(x))
        skips = [x]
        for block in self.eblocks:
            h = block(h)
            skips.append(h)
        h = self.relu(self.conv1(h))
        for block, skip in zip(self.dblocks, skips[-2::-1], strict=True):
            h = block(h, skip)
        return torch.sigmoid(self.conv2(h))


class UNet(nn.Module):
    """The U-Net of the noise2noise paper; twin of `n2n-unet`."""

    def __init__(
        self, channels: int = 3, out_channels: int | None = None, offset: float = 0.5
    ) -> None:
        super().__init__()
        self.offset = offset
        widths = [("enc_conv0", channels, 48), *((f"enc_conv{i}", 48, 48) for i in range(1, 7))]
        for level, joined in ((5, 96), (4, 144), (3, 144), (2, 144)):
            widths += [(f"dec_conv{level}a", joined, 96), (f"dec_conv{level}b", 96, 96)]
        widths += [("dec_conv1a", 96 + channels, 64), ("dec_conv1b", 64, 32)]
        widths += [("dec_conv1c", 32, out_channels or channels)]
        for name, inputs, outputs in widths:
            self.add_module(name, nn.Conv2d(inputs, outputs, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, n, H, W) -> (N, m, H, W)."""
        x = x - self.offset
        skips = [x]
        h = self._conv("enc_conv0", x)
        for i in range(1, 6):
            h = F.max_pool2d(self._conv(f"enc_conv{i}", h), 2)
            skips.append(h)
        h = self._conv("enc_conv6", h)
        for level, skip in zip((5, 4, 3, 2, 1), skips[-2::-1], strict=True):
            h = torch.cat([F.interpolate(h, scale_factor=2), skip], dim=1)
            h = self._conv(f"dec_conv{level}b", self._conv(f"dec_conv{level}a", h))
        return self.get_submodule("dec_conv1c")(h) + self.offset

    def _conv(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.get_submodule(name)(x), 0.1)
