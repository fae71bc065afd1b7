"""Twins of the smooth activations, softmax, elementary functions and the linear layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

TWINS: dict[str, Callable[..., nn.Module]] = {}
