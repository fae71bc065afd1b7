"""Twin of `mwcnn`."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Convolutions 3x3 with ReLUs after them."""

    def __init__(self, widths: list[int], last: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        self.block = nn.Sequential(*(layers if last else layers[:-1]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W)."""
        y: Tensor = self.block(x)
        return y


def levels(outer: int, inner: int, last: bool) -> tuple[Block, Block]:
    """The way down and the way up at one size."""
    down = Block([4 * outer, inner, inner, inner, inner], True)
    return down, Block([inner, inner, inner, inner, 4 * outer], last)


class MWCNN(nn.Module):
    """A U-Net with Haar wavelets; they are grouped convolutions here."""

    def __init__(
        self, channels: int = 1, level1: int = 160, level2: int = 256, level3: int = 256
    ) -> None:
        super().__init__()
        self.level1_prev, self.level1_next = levels(channels, level1, False)
        self.level2_prev, self.level2_next = levels(level1, level2, True)
        self.level3_prev, self.level3_next = levels(level2, level3, True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same; H and W multiples of 8."""
        w1 = dwt(x)
        w2 = dwt(self.level1_prev(w1))
        w3 = dwt(self.level2_prev(w2))
        x = self.level3_next(self.level3_prev(w3))
        x = self.level2_next(iwt(w3 + x))
        x = self.level1_next(iwt(w2 + x))
        return iwt(w1 + x)


def _kernels(x: Tensor, channels: int) -> Tensor:
    signs = [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
    return x.new_tensor(signs).div(2).reshape(4, 1, 2, 2).repeat(channels, 1, 1, 1)


def dwt(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 4C, H/2, W/2)."""
    return functional.conv2d(x, _kernels(x, x.shape[1]), stride=2, groups=x.shape[1])


def iwt(x: Tensor) -> Tensor:
    """(N, 4C, H, W) -> (N, C, 2H, 2W)."""
    channels = x.shape[1] // 4
    return functional.conv_transpose2d(x, _kernels(x, channels), stride=2, groups=channels)
