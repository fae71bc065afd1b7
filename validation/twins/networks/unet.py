"""Twin of the small U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BFUNet(nn.Module):
    """Two scales, dilated at the lower one; twin of `bf-unet`."""

    def __init__(
        self, channels: int = 1, features: int = 32, bias: bool = False, residual: bool = False
    ) -> None:
        super().__init__()
        c, f, self.residual = channels, features, residual
        self.conv1 = nn.Conv2d(c, f, 5, padding=2, bias=bias)
        self.conv2 = nn.Conv2d(f, f, 3, padding=1, bias=bias)
        self.conv3 = nn.Conv2d(f, 2 * f, 3, padding=1, stride=2, bias=bias)
        self.conv4 = nn.Conv2d(2 * f, 2 * f, 3, padding=1, bias=bias)
        self.conv5 = nn.Conv2d(2 * f, 2 * f, 3, padding=2, dilation=2, bias=bias)
        self.conv6 = nn.Conv2d(2 * f, 2 * f, 3, padding=4, dilation=4, bias=bias)
        self.conv7 = nn.ConvTranspose2d(2 * f, 2 * f, 4, padding=1, stride=2, bias=bias)
        self.conv8 = nn.Conv2d(3 * f, f, 3, padding=1, bias=bias)
        self.conv9 = nn.Conv2d(f, c, 5, padding=2, bias=False)

    def forward(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        h, w = y.shape[2:]
        y = F.pad(y, (0, w % 2, 0, h % 2))
        skip = torch.relu(self.conv2(torch.relu(self.conv1(y))))
        x = skip
        for layer in (self.conv3, self.conv4, self.conv5, self.conv6, self.conv7):
            x = torch.relu(layer(x))
        x = self.conv9(torch.relu(self.conv8(torch.cat([x, skip], dim=1))))
        x = y - x if self.residual else x
        return x[:, :, :h, :w]
