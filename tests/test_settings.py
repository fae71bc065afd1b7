"""What settings do beside the mathematics: generator, dtype, and the count of multiply-adds."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Module, backend
from minigrad.backend import definitions_only
from validation.cases import Sample
from validation.rows import ROWS
from validation.twins.layers import TWINS


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


@pytest.mark.parametrize("name", ROWS)
def test_defaults_are_those_of_torch(name: str) -> None:
    row = ROWS[name]
    mine = inspect.signature(row.layer).parameters
    theirs = inspect.signature(row.twin or TWINS[name]).parameters
    for key in {*mine} & {*theirs} - {"dtype", "rng", "noise"}:
        if inspect.Parameter.empty not in (mine[key].default, theirs[key].default):
            assert mine[key].default == theirs[key].default, key


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


def named_inputs() -> list[Any]:
    """Every input of every layer: row, number and name; but for `Concat`, which numbers them."""
    found = []
    for name, row in ROWS.items():
        count = len(row.variants[0].shapes)
        inputs = [*inspect.signature(row.layer.forward).parameters][1 : 1 + count]
        found += [(name, i, text) for i, text in enumerate(inputs) if name != "Concat"]
    return found


@pytest.mark.parametrize(("name", "number", "argument"), named_inputs())
def test_an_input_of_another_kind_is_named(name: str, number: int, argument: str) -> None:
    sample = Sample(ROWS[name], ROWS[name].variants[0], 0)
    module, xs = sample.module(np.float32), sample.inputs(np.float32)
    first = [*inspect.signature(type(module).forward).parameters][1]

    def message(wrong: Any, error: type[Exception] = TypeError) -> str:
        with pytest.raises(error) as caught:
            module.forward(*xs[:number], wrong, *xs[number + 1 :])
        return str(caught.value)

    start = f"{name}: {argument}: expected "
    assert message(xs[number].tolist()).startswith(f"{start}a NumPy or CuPy array, got list")
    text = message(xs[number].astype(np.int64))
    assert text.startswith(start) and "got int64" in text
    if number:
        text = message(xs[number].astype(np.float64))
        assert text.startswith(f"{name}: {argument}") and "float64" in text
        assert f"float32 on cpu as {first}, got" in text or "weight is float32" in text


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
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("AnnealedL0Loss", {"gamma": 1.5}), ("MixtureKLLoss", {"pi": (0.25, 0.25, 0.5)})],
)
def test_a_setting_of_another_dtype_promotes_nothing(
    name: str, arguments: dict[str, Any], dtype: Any
) -> None:
    row = ROWS[name]
    xs = Sample(row, row.variants[0], 0).inputs(dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    y, vjp = row.layer(**arguments, dtype=other).forward_and_vjp(*xs)
    assert y.dtype == vjp(np.ones((), dtype))[0].dtype == dtype


def test_a_later_exponent_does_not_count() -> None:
    loss, (x, target) = mg.AnnealedL0Loss(gamma=2.0), np.ones((2, 3, 4), np.float32)
    y, vjp = loss.forward_and_vjp(x, 0 * target)
    loss.gamma[...] = 1
    np.testing.assert_allclose(vjp(np.ones_like(y))[0], 2 / x.size, rtol=1e-6)
