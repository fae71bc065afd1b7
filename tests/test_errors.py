"""Wrong settings and inputs raise, and the message names layer, argument, expected and actual."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import minigrad as mg
from minigrad import Composite, Module, Sequential
from minigrad.wiring import as_tuple
from tests.errors import ERRORS
from tests.errors.common import Wrong, X
from validation.rows import ROWS


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_the_message_says_what_is_wrong(case: Wrong) -> None:
    with pytest.raises(case.error) as caught:
        case.call()
    message = str(caught.value)
    missing = [word for word in (case.layer, *case.words) if word not in message]
    assert not missing, f"{message!r} does not say {missing}"
    assert len(message) < 300


def test_every_layer_has_three_error_inputs() -> None:
    counts = collections.Counter(case.layer for case in ERRORS)
    assert {*counts} == {*ROWS}
    assert min(counts.values()) >= 3


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_forward_and_vjp_refuses_as_forward_does(
    case: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Module, "__call__", lambda self, *xs: self.forward_and_vjp(*xs))
    with pytest.raises(case.error, match=case.layer):
        case.call()


def test_accumulate_names_parameter_and_both_forms() -> None:
    layer = mg.Conv2d(1, 2, 3)
    with pytest.raises(ValueError, match=r"Conv2d.*weight.*\(2, 1, 3, 3\).*\(2, 3\)"):
        layer.accumulate(weight=np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"Conv2d.*bias.*float32.*float64"):
        layer.accumulate(bias=np.zeros(2))
    assert not layer.d_weight.any() and not layer.d_bias.any()


@pytest.mark.parametrize("name", ROWS)
def test_a_cotangent_of_another_form_is_refused(name: str, rng: np.random.Generator) -> None:
    """No layer broadcasts the cotangent of its output, nor takes one of another dtype."""
    for sample in ROWS[name].samples():
        if sample.values != "normal":
            continue
        module, xs = sample.module(np.float32), sample.inputs(np.float32)
        with np.errstate(all="ignore"):
            y, vjp = module.forward_and_vjp(*xs)
        dys = [rng.standard_normal(out.shape).astype(out.dtype) for out in as_tuple(y)]
        for wrong in (dys[0][..., None], np.float32(0.5) + dys[0].astype(np.float64)):
            with pytest.raises(
                ValueError, match=f"{name}: cotangent of output 0: expected float32"
            ):
                vjp(wrong, *dys[1:])
        with pytest.raises(ValueError, match=f"{name}: vjp: expected {len(dys)} cotangents"):
            vjp(*dys, dys[0])
        with pytest.raises(TypeError, match=f"{name}: cotangent of output 0: expected an array"):
            vjp(0.5, *dys[1:])
        vjp(*dys)


def test_a_cotangent_of_the_wrong_batch_is_refused(rng: np.random.Generator) -> None:
    layer = mg.Conv2d(3, 4, 3)
    dy = rng.standard_normal((1, 4, 4, 3)).astype(np.float32)
    expected = r"expected float32 \(2, 4, 4, 3\), got float32 \(1, 4, 4, 3\)"
    with pytest.raises(ValueError, match=f"Conv2d: cotangent of output 0: {expected}"):
        layer.forward_and_vjp(X)[1](dy)
    with pytest.raises(ValueError, match=r"Sequential: cotangent of output 0: .* got float32 \(\)"):
        Sequential(layer, mg.ReLU()).forward_and_vjp(X)[1](np.ones((), np.float32))
    assert not layer.touched and not layer.d_weight.any()


def test_arithmetic_on_a_wire_names_the_leaf_to_use() -> None:
    class Wrongly(Composite):
        def wire(self, x):  # type: ignore[no-untyped-def]
            return x + x

    with pytest.raises(TypeError, match=r"Wire.*`\+`.*Add"):
        Wrongly().forward_and_vjp(X)


def test_tape_names_the_module_whose_cotangent_is_wrong() -> None:
    class Short(Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x * 2

        def forward_and_vjp(self, x):  # type: ignore[no-untyped-def]
            return x * 2, lambda dy: dy[:1]

    y, vjp = Sequential(mg.ReLU(), Short()).forward_and_vjp(X)
    with pytest.raises(ValueError, match=r"Short.*input 0.*\(2, 3, 6, 5\).*\(1, 3, 6, 5\)"):
        vjp(np.ones_like(y))


def test_sequential_names_the_child_that_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"Sequential: child 1: expected a Module, got function"):
        Sequential(mg.ReLU(), lambda x: x)  # type: ignore[arg-type]
