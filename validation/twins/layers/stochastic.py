"""Twins of the layers that draw random numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

TWINS: dict[str, Callable[..., nn.Module]] = {}
