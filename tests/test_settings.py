"""What settings do beside the mathematics: generator, dtype, and the count of multiply-adds."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Module, backend
from minigrad.backend import definitions_only
from validation.cases import Sample, Variant
from validation.rows import ROWS


def taking(setting: str) -> list[str]:
    """The rows whose layer has this argument."""
    return [n for n, row in ROWS.items() if setting in inspect.signature(row.layer).parameters]


def made(name: str, **more: Any) -> Module:
    row = ROWS[name]
    return row.layer(**row.variants[0].arguments, **more)


@pytest.mark.parametrize("name", taking("rng"))
def test_a_generator_decides_the_parameters(name: str) -> None:
    first, again, other = (made(name, rng=np.random.default_rng(s)).state_dict() for s in (1, 1, 2))
    for key, array in first.items():
        assert np.array_equal(array, again[key]), key
    assert any(not np.array_equal(array, other[key]) for key, array in first.items())


@pytest.mark.parametrize("name", taking("rng"))
def test_without_a_generator_each_layer_is_another(name: str) -> None:
    first, other = made(name).state_dict(), made(name).state_dict()
    assert any(not np.array_equal(array, other[key]) for key, array in first.items())


@pytest.mark.parametrize("name", taking("dtype"))
def test_dtype_is_that_of_all_numbers(name: str) -> None:
    for module, dtype in ((made(name), "float32"), (made(name, dtype=np.float64), "float64")):
        arrays = [*module.state_dict().values(), *(p.grad for p in module.parameters())]
        assert {a.dtype.name for a in arrays if a.dtype.kind == "f"} <= {dtype}


EITHER_OR = {("Upsample", "size"): "scale_factor", ("CenterPad2d", "multiple"): "size"}
"""An argument, and the one that must not be given with it."""


def checked_arguments() -> list[tuple[str, str]]:
    """Every argument of every layer but flags and what NumPy or `Noise` checks."""
    found = []
    for name, row in ROWS.items():
        for argument in inspect.signature(row.layer).parameters.values():
            if argument.name not in ("dtype", "rng", "noise") and argument.annotation != "bool":
                found.append((name, argument.name))
    return found


@pytest.mark.parametrize(("name", "argument"), checked_arguments())
def test_an_argument_that_makes_no_sense_is_named(name: str, argument: str) -> None:
    settings = dict(ROWS[name].variants[0].arguments)
    settings.pop(EITHER_OR.get((name, argument), ""), None)
    for nonsense in (object(), "x"):
        with pytest.raises((ValueError, TypeError)) as caught:
            ROWS[name].layer(**{**settings, argument: nonsense})
        assert str(caught.value).startswith(f"{name}: {argument}")


@pytest.mark.parametrize("name", ROWS)
def test_macs_are_the_products_of_the_forward(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in `matmul`, through which every matrix product of the definitions goes."""
    counted = 0

    def count(a: Any, b: Any) -> Any:
        nonlocal counted
        product = a @ b
        counted += product.size * a.shape[-1]
        return product

    monkeypatch.setattr(backend.matmul, "definition", count)
    for sample in ROWS[name].samples():
        if sample.values == "normal":
            module, xs, counted = sample.module(np.float32), sample.inputs(np.float32), 0
            with definitions_only(), np.errstate(all="ignore"):
                module.forward(*xs)
            assert module.macs(*(x.shape for x in xs)) == counted, str(sample)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_exponent_of_another_dtype_promotes_nothing(dtype: Any) -> None:
    row = ROWS["AnnealedL0Loss"]
    sample = Sample(row, Variant({"gamma": 1.5}, row.variants[0].shapes), 0)
    other = np.float64 if dtype == np.float32 else np.float32
    loss, xs = mg.AnnealedL0Loss(gamma=1.5, dtype=other), sample.inputs(dtype)
    y, vjp = loss.forward_and_vjp(*xs)
    assert y.dtype == vjp(np.ones((), dtype))[0].dtype == dtype


def test_a_later_exponent_does_not_count() -> None:
    loss, (x, target) = mg.AnnealedL0Loss(gamma=2.0), np.ones((2, 3, 4), np.float32)
    y, vjp = loss.forward_and_vjp(x, 0 * target)
    loss.gamma[...] = 1
    np.testing.assert_allclose(vjp(np.ones_like(y))[0], 2 / x.size, rtol=1e-6)
