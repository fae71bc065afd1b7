"""Twins of the networks in stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minigrad import Noise


class Block(nn.Module):
    """A chain of convolutions 3x3 with ReLUs between them."""

    def __init__(
        self, inputs: int, outputs: int, features: int, hidden: int, bias: bool, last_bias: bool
    ) -> None:
        super().__init__()
        self.first_layer = nn.Conv2d(inputs, features, 3, padding=1, bias=bias)
        self.hidden_layer_list = nn.ModuleList(
            nn.Conv2d(features, features, 3, padding=1, bias=bias) for _ in range(hidden)
        )
        self.last_layer = nn.Conv2d(features, outputs, 3, padding=1, bias=last_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        x = torch.relu(self.first_layer(x))
        for layer in self.hidden_layer_list:
            x = torch.relu(layer(x))
        out: Tensor = self.last_layer(x)
        return out


class RCNN(nn.Module):
    """One block for all stages; twin of `bf-rcnn`, whose `noise` it is given."""

    noise: Noise

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        hidden: int = 5,
        max_stage: int = 4,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.cnn = Block(2 * channels, channels, features, hidden, bias, False)
        self.max_stage = max_stage

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        stages = self.max_stage
        if self.training:
            stages = 1 + int(self.noise.integers(self.max_stage))
        out = y
        for _ in range(stages):
            out = self.cnn(torch.cat([y, out], dim=1))
        return out


class SDenseNet(nn.Module):
    """A block for each stage; twin of `bf-sdensenet`."""

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        hidden: int = 5,
        max_stage: int = 4,
        bias: bool = False,
    ) -> None:
        super().__init__()
        inputs = [channels, *[channels + hidden] * (max_stage - 1)]
        outputs = [*[hidden] * (max_stage - 1), channels]
        lasts = [*[bias] * (max_stage - 1), False]
        self.cnn_list = nn.ModuleList(
            Block(i, o, features, hidden, bias, last)
            for i, o, last in zip(inputs, outputs, lasts, strict=True)
        )

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        first, *others = self.cnn_list
        out: Tensor = first(y)
        for block in others:
            out = block(torch.cat([y, out], dim=1))
        return out
