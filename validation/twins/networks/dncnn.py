"""Twins of the DnCNN family. `init` is accepted and not used: a twin is given its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from validation.twins.layers.norm import BFBatchNorm2d


def conv(inputs: int, outputs: int, bias: bool) -> nn.Conv2d:
    """A convolution 3x3 that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class DnCNN(nn.Module):
    """The form without biases; twin of `dncnn-s` and `dncnn-b`."""

    def __init__(
        self, channels: int = 1, features: int = 64, depth: int = 17, init: str = "he"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(channels, features, False), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [conv(features, features, False), nn.BatchNorm2d(features), nn.ReLU()]
        self.dncnn = nn.Sequential(*layers, conv(features, channels, False))

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return y - self.dncnn(y)


class KairDnCNN(nn.Module):
    """The forms R and BR; twin of `dncnn-kair`."""

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        depth: int = 17,
        form: str = "R",
        init: str = "native",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(channels, features, True), nn.ReLU()]
        for _ in range(depth - 2):
            layers.append(conv(features, features, True))
            if form == "BR":
                layers.append(nn.BatchNorm2d(features, eps=1e-4, momentum=0.9))
            layers.append(nn.ReLU())
        self.model = nn.Sequential(*layers, conv(features, channels, True))

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return y - self.model(y)


class BFDnCNN(nn.Module):
    """Bias-free or plain; twin of `bf-dncnn`."""

    def __init__(
        self,
        channels: int = 1,
        features: int = 64,
        depth: int = 20,
        bias: bool = False,
        init: str = "he",
    ) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if bias else BFBatchNorm2d
        self.first_layer = conv(channels, features, bias)
        self.hidden_layer_list = nn.ModuleList(
            conv(features, features, bias) for _ in range(depth - 2)
        )
        self.bn_layer_list = nn.ModuleList(norm(features) for _ in range(depth - 2))
        self.last_layer = conv(features, channels, bias)

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        h = torch.relu(self.first_layer(y))
        for layer, norm in zip(self.hidden_layer_list, self.bn_layer_list, strict=True):
            h = torch.relu(norm(layer(h)))
        return y - self.last_layer(h)


class PCSTDnCNN(nn.Module):
    """With a norm by deviations, in parameter lists of their own; twin of `pcst-dncnn`."""

    def __init__(self, channels: int = 3, features: int = 64, depth: int = 20) -> None:
        super().__init__()
        widths = [channels, *[features] * (depth - 1), channels]
        self.conv_layers = nn.ModuleList(
            conv(widths[i], widths[i + 1], False) for i in range(depth)
        )
        ones = torch.ones(1, features, 1, 1)
        self.running_sd = nn.ParameterList(
            nn.Parameter(ones.clone(), requires_grad=False) for _ in range(depth - 2)
        )
        self.gammas = nn.ParameterList(nn.Parameter(ones.clone()) for _ in range(depth - 2))

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        first, *hidden, last = self.conv_layers
        h = torch.relu(first(y))
        for layer, running, gamma in zip(hidden, self.running_sd, self.gammas, strict=True):
            h = layer(h)
            sd: Tensor = running
            if self.training:
                sd = torch.sqrt(h.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + 1e-5)
                with torch.no_grad():
                    running.mul_(0.9).add_(0.1 * sd)
            h = torch.relu(h / sd * gamma)
        return y - last(h)
