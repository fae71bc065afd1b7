"""Where random settings come from: a seeded generator here, hypothesis in the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Draw(Protocol):
    """A source of choices. Settings are written against it once and drawn in two ways."""

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`."""


class RandomDraw:
    """Choices from a seeded NumPy generator: the same seed, the same choices."""

    def __init__(self, seed: int) -> None:
        """Start at `seed`."""
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[self.integer(0, len(options) - 1)]


def pair(draw: Draw, low: int, high: int) -> tuple[int, int]:
    """Two whole numbers from `low` to `high`: (vertical, horizontal)."""
    return draw.integer(low, high), draw.integer(low, high)
