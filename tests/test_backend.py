"""The table of replaceable functions: which form runs, for which arguments and precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad.backend import (
    Array,
    Replaceable,
    definitions_only,
    float32_precision,
    matmul,
    replaceable,
)
from minigrad.kernels import numpy_matmul
from minigrad.layers.activation import relu

Rng = np.random.Generator


def doubling() -> Replaceable[..., str]:
    """A function that says which of its forms ran."""

    @replaceable
    def form(x: Any, factor: int = 1) -> str:
        return "definition"

    form.register("numpy", "float32")(lambda x, factor=1: "float32")
    return form


X = np.ones(3, np.float32)


def test_the_form_of_the_first_argument_runs() -> None:
    form = doubling()
    assert form(X) == "float32"
    assert form(X.astype(np.float64)) == "definition"
    with definitions_only():
        assert form(X) == "definition"


def test_the_first_argument_may_be_given_by_name(rng: Rng) -> None:
    form = doubling()
    assert form(x=X) == form(factor=2, x=X) == "float32"
    x = rng.standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_array_equal(relu(x=x), relu(x))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        form(factor=2)


def test_tf32_is_a_permission_that_leaves_the_float32_forms_in_use() -> None:
    form = doubling()
    with float32_precision("tf32"):
        assert form(X) == "float32"
        assert form(X.astype(np.float64)) == "definition"
        form.register("numpy", "tf32")(lambda x, factor=1: "tf32")
        assert form(X) == "tf32"
        with float32_precision("float32"):
            assert form(X) == "float32"
        assert form(X) == "tf32"
    assert form(X) == "float32"


def test_tf32_changes_no_bit_on_the_cpu(rng: Rng) -> None:
    a, b = (rng.standard_normal((8, 8)).astype(np.float32) for _ in range(2))
    with float32_precision("tf32"):
        product = matmul(a, b)
    np.testing.assert_array_equal(product, a @ b)


@pytest.mark.parametrize("product", (matmul, numpy_matmul.matmul))
def test_products_raise_no_floating_point_warning(product: Callable[..., Array]) -> None:
    # A stray flag of a BLAS can't be provoked; infinities that cancel raise the same one.
    a, b = np.array([[np.inf, -np.inf, 1e300]]), np.array([[1.0], [1.0], [1e300]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(product(a, b)).all()


def test_an_unknown_precision_is_refused_and_changes_nothing() -> None:
    form = doubling()
    with (
        pytest.raises(ValueError, match="'float32' or 'tf32', got 'half'"),
        float32_precision("half"),
    ):
        pass
    assert form(X) == "float32"
    with pytest.raises(KeyError), float32_precision("tf32"):
        raise KeyError
    form.register("numpy", "tf32")(lambda x, factor=1: "tf32")
    assert form(X) == "float32"
