"""Twins of the activations and of the layers that join, cut, add and scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from validation.twins.function import Function


def concat(dim: int = 1) -> nn.Module:
    """`torch.cat`."""
    return Function(lambda *xs: torch.cat(xs, dim))


def split(sizes: tuple[int, ...], dim: int = 1) -> nn.Module:
    """`torch.split`."""
    return Function(lambda x: torch.split(x, list(sizes), dim))


def scale(factor: float) -> nn.Module:
    """`factor * x`."""
    return Function(lambda x: factor * x)


def offset(constant: float) -> nn.Module:
    """`x + constant`."""
    return Function(lambda x: x + constant)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,
    "Sigmoid": nn.Sigmoid,
    "Concat": concat,
    "Split": split,
    "Add": lambda: Function(torch.add),
    "Subtract": lambda: Function(torch.sub),
    "Multiply": lambda: Function(torch.mul),
    "Scale": scale,
    "Offset": offset,
}
