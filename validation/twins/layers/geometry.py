"""Twins of the layers that move, pad, cut, reshape and average."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

TWINS: dict[str, Callable[..., nn.Module]] = {}
