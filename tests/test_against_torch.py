"""Every row against its PyTorch twin: outputs, input cotangents, parameter cotangents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.strategies import samples
from tests.table import fixed_samples
from validation.against_torch import check_float64, float32_errors, state_keys
from validation.cases import Sample, cotangents
from validation.compare_layers import float32_verdict, worst_of
from validation.layouts import EVERY
from validation.rows import ROWS

IN_PROOF = True


@pytest.mark.parametrize("sample", fixed_samples("normal", "ties", "extreme", "special"), ids=str)
def test_float64_hand_picked(sample: Sample) -> None:
    check_float64(sample)


@pytest.mark.parametrize("name", ROWS)
def test_float64(name: str) -> None:
    @given(samples(name, layouts=EVERY))
    def check(sample: Sample) -> None:
        check_float64(sample)

    check()


@pytest.mark.parametrize("name", ROWS)
def test_float32_errors_are_no_larger_than_four_times_those_of_torch(name: str) -> None:
    worst: dict[str, tuple[float, float]] = {}

    @given(samples(name, layouts=EVERY).filter(lambda s: s.values != "special"))
    def collect(sample: Sample) -> None:
        nonlocal worst
        worst = worst_of(worst, float32_errors(sample))

    collect()
    assert worst and not float32_verdict(worst)


@pytest.mark.parametrize("sample", fixed_samples("normal"), ids=str)
def test_parameter_and_buffer_names_are_those_of_torch(sample: Sample) -> None:
    state_keys(sample)


def test_cotangents_are_never_ones() -> None:
    for sample in fixed_samples("normal"):
        for dtype in (np.float32, np.float64):
            y = sample.module(dtype).forward(*sample.inputs(dtype))
            for dy in cotangents(y, sample.seed):
                assert dy.dtype == dtype and not (dy == 1).all()
