"""Twins of the convolutions with masks and with asymmetric borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Masked(nn.Conv2d):
    """PyTorch's convolution with the weight under a mask, which is not saved."""

    def __init__(
        self, *args: Any, mask: Sequence[Sequence[int]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        kh, kw = self.kernel_size
        if mask is None:
            self.mask = torch.ones(kh, kw)
            self.mask[kh // 2, kw // 2] = 0
        else:
            self.mask = torch.tensor(mask, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution with `weight * mask`."""
        return self._conv_forward(x, self.weight * self.mask.to(x.dtype), self.bias)


class _Trimmed(_Masked):
    """The partial convolution: the live taps are counted by convolving ones with the mask."""

    def forward(self, x: Tensor) -> Tensor:
        """The scaled convolution."""
        mask = self.mask.to(x.dtype)
        with torch.no_grad():
            ones = torch.ones(1, self.in_channels, *x.shape[2:], dtype=x.dtype)
            first = torch.zeros_like(self.weight)  # looks at one channel of each group
            first[:, 0] = mask
            count = self._conv_forward(ones, first, None)[:, :1]  # (1, 1, M, Q)
            some = count.clamp(0, 1)
            ratio = some * mask.numel() / (count + 1e-8)
        y = self._conv_forward(x, self.weight * mask, None) * ratio
        return y if self.bias is None else (y + self.bias[:, None, None]) * some


class _Same(nn.Conv2d):
    """PyTorch's convolution after Keras' padding."""

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        border: list[int] = []
        for axis in (1, 0):  # F.pad begins with the last axis
            n, s = x.shape[2 + axis], self.stride[axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            total = max((-(-n // s) - 1) * s + reach - n, 0)
            border += [total // 2, total - total // 2]
        return self._conv_forward(F.pad(x, border), self.weight, self.bias)


class _SameTranspose(nn.ConvTranspose2d):
    """PyTorch's transposed convolution without padding, cut to n s pixels an axis (filled up with
    zeros where it has fewer).
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The transposed convolution."""
        y = F.conv_transpose2d(x, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
        cut: list[int] = []
        for axis in (1, 0):
            before = max(y.shape[2 + axis] - x.shape[2 + axis] * self.stride[axis], 0) // 2
            after = x.shape[2 + axis] * self.stride[axis] - y.shape[2 + axis] + before
            cut += [-before, after]
        y = F.pad(y, cut)
        return y if self.bias is None else y + self.bias[:, None, None]


TWINS: dict[str, Callable[..., nn.Module]] = {
    "MaskedConv2d": _Masked,
    "TrimmedConv2d": _Trimmed,
    "SameConv2d": _Same,
    "SameConvTranspose2d": _SameTranspose,
}
