"""Twins of convolutions, pooling and resizing: PyTorch has all of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

TWINS: dict[str, Callable[..., nn.Module]] = {
    "Unfold": nn.Unfold,
    "Fold": nn.Fold,
    "Conv2d": nn.Conv2d,
    "ConvTranspose2d": nn.ConvTranspose2d,
    "MaxPool2d": nn.MaxPool2d,
    "AvgPool2d": nn.AvgPool2d,
    "Upsample": nn.Upsample,
}
