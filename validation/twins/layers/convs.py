"""Twins of the convolutions with masks and with asymmetric borders."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

TWINS: dict[str, Callable[..., nn.Module]] = {}
