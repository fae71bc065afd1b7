"""Every row against its PyTorch twin: outputs, input cotangents, parameter cotangents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.strategies import samples
from tests.table import fixed_samples
from validation.against_torch import (
    check_float64,
    float32_errors,
    float32_kinds,
    reference,
    state_keys,
)
from validation.cases import Sample, cotangents
from validation.compare_layers import float32_verdict, worst_of
from validation.layouts import EVERY
from validation.rows import ROWS

IN_PROOF = True


@pytest.mark.parametrize("sample", fixed_samples("normal", "ties", "extreme", "special"), ids=str)
def test_float64_hand_picked(sample: Sample) -> None:
    check_float64(sample)


@pytest.mark.parametrize("name", ROWS)
def test_random_samples(name: str) -> None:
    """Float64 on each sample; float32 over all of them: at most four times PyTorch's own error."""
    worst: dict[str, tuple[float, float]] = {}

    @given(samples(name, layouts=EVERY))
    def check(sample: Sample) -> None:
        nonlocal worst
        known = reference(sample)
        check_float64(sample, known)
        if sample.values == "special":
            float32_kinds(sample, known)
        else:
            worst = worst_of(worst, float32_errors(sample, known))

    check()
    assert worst and not float32_verdict(worst)


@pytest.mark.parametrize("sample", fixed_samples("normal"), ids=str)
def test_parameter_and_buffer_names_are_those_of_torch(sample: Sample) -> None:
    state_keys(sample)


def test_cotangents_are_never_ones() -> None:
    for sample in fixed_samples("normal"):
        for dtype in (np.float32, np.float64):
            y = sample.module(dtype).forward(*sample.inputs(dtype))
            for dy in cotangents(y, sample.seed):
                assert dy.dtype == dtype and (not dy.size or not (dy == 1).all())
