"""Hypothesis strategies over the rows of the certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from validation.cases import Row, Sample
from validation.rows import ROWS

T = TypeVar("T")


class HypothesisDraw:
    """Choices made by hypothesis, so that a failing sample shrinks to a small one."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))


@st.composite
def samples(
    draw: Any, row: Row | str, values: str | None = None, layouts: Sequence[str] = ("contiguous",)
) -> Sample:
    """A sample of `row` (or of its name); `values` fixes the law of the numbers, `layouts` are the
    memory layouts that inputs and cotangents may have.
    """
    row = ROWS[row] if isinstance(row, str) else row
    source = HypothesisDraw(draw)
    sample = row.sample(source).laid(source.pick(layouts))
    return sample if values is None else sample.with_values(values)
