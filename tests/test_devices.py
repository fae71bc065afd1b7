"""NumPy against CuPy over the same rows; and what happens where there is no GPU."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from minigrad import DeviceError, resolve_device
from tests.table import fixed_samples
from validation.cases import Sample
from validation.compare_devices import device_error, run_devices
from validation.rows import ROWS


def has_gpu() -> bool:
    try:
        return resolve_device("cuda") == "cuda"
    except DeviceError:
        return False


@pytest.mark.gpu
@pytest.mark.parametrize("name", ROWS)
def test_cupy_gives_what_numpy_gives(name: str) -> None:
    failed = [case for case in run_devices(name) if not case.passed]
    assert not failed, failed[0].detail


@pytest.mark.skipif(has_gpu(), reason="there is a usable GPU")
def test_without_a_gpu_the_cause_is_said() -> None:
    with pytest.raises(DeviceError, match="device 'cuda' cannot be used: CuPy"):
        run_devices()


@pytest.mark.parametrize("sample", fixed_samples("normal"), ids=str)
def test_the_comparison_itself_on_the_cpu(sample: Sample) -> None:
    for dtype in (np.float32, np.float64):
        assert device_error(sample, dtype, device="cpu") == 0


def test_the_rows_do_not_import_cupy() -> None:
    if not has_gpu():
        assert "cupy" not in sys.modules or not sys.modules["cupy"].cuda.is_available()
