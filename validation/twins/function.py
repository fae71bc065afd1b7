"""What the twins share: a function as a module, and the reduction of a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Function(nn.Module):
    """A twin without parameters: a plain function of tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """The twin that computes `function`."""
        super().__init__()
        self.function = function

    def forward(self, *xs: Tensor) -> Any:
        """The function's value."""
        return self.function(*xs)


def reduce(terms: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of the terms."""
    return terms.mean() if reduction == "mean" else terms.sum()
