"""Twins of the normalisations."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

TWINS: dict[str, Callable[..., nn.Module]] = {}
