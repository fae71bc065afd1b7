"""What checking a layer does to it, and where it calls it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import check_adjoint, check_vjp
from tests.leaves import Elementwise


def test_inputs_keep_their_domain() -> None:
    """A layer is only ever called near the given point, here never at or below zero."""

    def positive(x: np.ndarray) -> np.ndarray:
        assert (x > 0).all()
        return np.log(x)

    for seed in range(20):
        x = np.array([1e-3, 1.0, 50.0, 3000.0])
        check_vjp(Elementwise(positive, lambda x: 1 / x), x, step=1e-6, rtol=1e-5, seed=seed)


def test_no_cotangent_is_left_behind() -> None:
    layer = mg.Conv2d(1, 2, 3, bias=False, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((1, 1, 5, 5))
    for check in (check_adjoint, check_vjp):
        check(layer, x)
        assert not layer.d_weight.any() and not layer.touched


@pytest.mark.parametrize("scale", [1.0, 1e-13])
def test_none_taken_for_ones_is_found_at_any_size(scale: float) -> None:
    class Pair(mg.Module):
        def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return scale * x, scale * x

        def forward_and_vjp(self, x: np.ndarray) -> Any:
            def vjp(da: Any, db: Any) -> np.ndarray:
                one = np.ones_like(x)
                return scale * ((one if da is None else da) + (one if db is None else db))

            return self.forward(x), mg.once(vjp)

    with pytest.raises(mg.GradientError, match="None and zero for output 0"):
        check_vjp(Pair(), np.arange(3.0))
