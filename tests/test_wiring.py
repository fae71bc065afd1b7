"""Reverse mode: the tape against a backward pass by hand, fan-out, freeing, refusals."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import definitions_only
from tests.hand_written_unet import HandWrittenUNet, WiredUNet
from tests.leaves import Dropout, RunningMean
from validation.cases import gradients

Rng = np.random.Generator


def conv(inputs: int, outputs: int, rng: Rng) -> mg.Conv2d:
    return mg.Conv2d(inputs, outputs, 3, padding=1, dtype=np.float64, rng=rng)


# ------------------------------------------------------------------ by hand and by the tape


def test_the_tape_equals_the_hand_written_backward_pass(rng: Rng, dtype: Any) -> None:
    wired, by_hand = (
        net(5, dtype, np.random.default_rng(3)) for net in (WiredUNet, HandWrittenUNet)
    )
    x, dy = (rng.standard_normal((2, 3, 12, 16)).astype(dtype) for _ in range(2))
    y, vjp = wired.forward_and_vjp(x)
    expected, expected_vjp = by_hand.forward_and_vjp(x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(vjp(dy), expected_vjp(dy))
    for name, grad in gradients(by_hand).items():
        assert np.any(grad)
        np.testing.assert_array_equal(gradients(wired)[name], grad, err_msg=name)
    np.testing.assert_array_equal(wired.forward(x), y)


def test_shared_parts_collect_the_sum_over_their_uses(rng: Rng) -> None:
    """Two separate convolutions of equal weights get the two terms of the shared one's gradient."""

    class Twice(mg.Composite):
        def __init__(self, first: mg.Module, second: mg.Module) -> None:
            self.first, self.second = first, second

        def wire(self, x: Any) -> Any:
            return self.second(self.first(x))

    one = conv(3, 3, rng)
    copy = mg.Conv2d(3, 3, 3, padding=1, dtype=np.float64)
    copy.load_state_dict(one.state_dict())
    x, dy = (rng.standard_normal((2, 3, 6, 6)) for _ in range(2))
    Twice(one, copy).forward_and_vjp(x)[1](dy)
    terms = one.d_weight + copy.d_weight
    one.zero_grad()
    shared = Twice(one, one)
    shared.forward_and_vjp(x)[1](dy)
    np.testing.assert_allclose(one.d_weight, terms, rtol=1e-13)
    assert list(shared.named_parameters()) == ["first.weight", "first.bias"]


# ------------------------------------------------------------------ how often a value is used


class Thrice(mg.Composite):
    """y = (x + x) * x, so dx = 4 x dy."""

    def __init__(self) -> None:
        self.add, self.multiply = mg.Add(), mg.Multiply()

    def wire(self, x: Any) -> Any:
        return self.multiply(self.add(x, x), x)


def test_fan_out_adds_the_cotangents(rng: Rng) -> None:
    x, dy = (rng.standard_normal((2, 3)) for _ in range(2))
    y, vjp = Thrice().forward_and_vjp(x)
    np.testing.assert_allclose(y, 2 * x * x)
    np.testing.assert_allclose(vjp(dy), 4 * x * dy)


class Echo(mg.Composite):
    """Returns one wire twice, and another."""

    def __init__(self) -> None:
        self.double, self.triple = mg.Scale(2.0), mg.Scale(3.0)

    def wire(self, x: Any) -> Any:
        h = self.double(x)
        return h, self.triple(x), h


@pytest.mark.parametrize("given", [(1, 1, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (0, 0, 0)])
def test_one_wire_returned_twice_and_cotangents_left_out(given: tuple[int, ...]) -> None:
    x = np.ones((2, 2))
    dys = [np.full((2, 2), 10.0**i) if g else None for i, g in enumerate(given)]
    before = [None if dy is None else dy.copy() for dy in dys]
    dx = Echo().forward_and_vjp(x)[1](*dys)
    if not any(given):
        assert dx is None
        return
    factors = (2, 3, 2)
    np.testing.assert_array_equal(
        dx, sum(f * dy for f, dy in zip(factors, dys, strict=True) if dy is not None)
    )
    for dy, same in zip(dys, before, strict=True):
        assert dy is None or np.array_equal(dy, same), "a cotangent was written into"


def test_the_number_of_cotangents_is_checked() -> None:
    with pytest.raises(ValueError, match=r"Echo: vjp: expected 3 cotangents.* got 1"):
        Echo().forward_and_vjp(np.ones(2))[1](np.ones(2))


def test_the_input_itself_may_be_an_output(rng: Rng) -> None:
    class Through(mg.Composite):
        def __init__(self) -> None:
            self.double = mg.Scale(2.0)

        def wire(self, x: Any) -> Any:
            return x, self.double(x)

    x = rng.standard_normal(3)
    (same, _), vjp = Through().forward_and_vjp(x)
    assert same is x
    one, two = rng.standard_normal((2, 3))
    np.testing.assert_array_equal(vjp(one.copy(), two.copy()), one + 2.0 * two)


def test_unused_outputs_and_unused_steps_cost_no_cotangent(rng: Rng) -> None:
    class First(mg.Composite):
        def __init__(self) -> None:
            self.split, self.unused = mg.Split((1, 2)), conv(2, 2, rng)

        def wire(self, x: Any) -> Any:
            a, b = self.split(x)
            self.unused(b)
            return a

    module = First()
    dx = module.forward_and_vjp(np.ones((1, 3, 4, 4)))[1](np.ones((1, 1, 4, 4)))
    np.testing.assert_array_equal(dx[:, 0], 1)
    np.testing.assert_array_equal(dx[:, 1:], 0)
    assert not any(p.touched for p in module.parameters())


def test_constants_and_inputs_without_a_path() -> None:
    class Shifted(mg.Composite):
        def __init__(self) -> None:
            self.add = mg.Add()

        def wire(self, x: Any, unused: Any) -> Any:
            return self.add(x, np.ones(3))

    y, vjp = Shifted().forward_and_vjp(np.zeros(3), np.zeros(2))
    dx, d_unused = vjp(np.full(3, 5.0))
    np.testing.assert_array_equal(y, 1)
    np.testing.assert_array_equal(dx, 5)
    assert d_unused is None


class Pair(NamedTuple):
    total: Any
    scaled: Any


class Named(mg.Composite):
    """Returns a NamedTuple; used on its own and inside another composite."""

    def __init__(self) -> None:
        self.add, self.scale = mg.Add(), mg.Scale(3.0)

    def wire(self, a: Any, b: Any) -> Pair:
        return Pair(self.add(a, b), self.scale(a))


def test_named_outputs_keep_their_names(rng: Rng) -> None:
    class Outer(mg.Composite):
        def __init__(self) -> None:
            self.inner, self.multiply = Named(), mg.Multiply()

        def wire(self, a: Any, b: Any) -> Any:
            pair = self.inner(a, b)
            return self.multiply(pair.total, pair.scaled)

    a, b, dy = (rng.standard_normal(4) for _ in range(3))
    out, vjp = Named().forward_and_vjp(a, b)
    assert isinstance(out, Pair) and isinstance(Named()(a, b), Pair)
    np.testing.assert_array_equal(out.scaled, 3 * a)
    da, db = vjp(dy, None)
    np.testing.assert_array_equal(da, dy)
    np.testing.assert_array_equal(db, dy)

    y, vjp = Outer().forward_and_vjp(a, b)
    np.testing.assert_allclose(y, (a + b) * 3 * a)
    da, db = vjp(dy)
    np.testing.assert_allclose(da, dy * (6 * a + 3 * b))
    np.testing.assert_allclose(db, dy * 3 * a)


def test_a_nested_composite_equals_a_flat_one(rng: Rng) -> None:
    parts = [conv(2, 4, rng), mg.ReLU(), conv(4, 4, rng), mg.LeakyReLU(0.1), conv(4, 2, rng)]
    flat = mg.Sequential(*parts)
    nested = mg.Sequential(mg.Sequential(*parts[:2]), mg.Sequential(mg.Sequential(*parts[2:])))
    x, dy = (rng.standard_normal((1, 2, 5, 5)) for _ in range(2))
    dx = flat.forward_and_vjp(x)[1](dy)
    expected = [p.grad.copy() for p in flat.parameters()]
    flat.zero_grad()
    np.testing.assert_array_equal(nested.forward_and_vjp(x)[1](dy), dx)
    for parameter, grad in zip(nested.parameters(), expected, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


# ------------------------------------------------------------------ memory


class Holder(mg.Module):
    """Keeps an array for its vjp, and looks which of the others are still alive when pulled."""

    def __init__(self) -> None:
        self.alive_at_pull: list[list[bool]] = []
        self.kept: list[weakref.ref[np.ndarray]] = []

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x + 1

    def forward_and_vjp(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        residual = np.array(x)
        self.kept.append(weakref.ref(residual))

        def vjp(dy: np.ndarray) -> np.ndarray:
            self.alive_at_pull.append([ref() is not None for ref in self.kept])
            return dy + 0 * residual

        return x + 1, mg.once(vjp)


def test_residuals_die_step_by_step() -> None:
    holder = Holder()
    _, vjp = mg.Sequential(*[holder] * 4).forward_and_vjp(np.ones(3))
    vjp(np.ones(3))
    assert holder.alive_at_pull == [
        [True, True, True, True],
        [True, True, True, False],
        [True, True, False, False],
        [True, False, False, False],
    ]
    assert all(ref() is None for ref in holder.kept)


def test_nothing_is_kept_without_a_vjp_nor_when_the_vjp_is_dropped() -> None:
    holder = Holder()
    mg.Sequential(holder, holder).forward(np.ones(3))
    assert holder.kept == []
    _, vjp = mg.Sequential(holder, holder).forward_and_vjp(np.ones(3))
    del vjp
    assert all(ref() is None for ref in holder.kept), "freed only by the garbage collector"


def test_memory_returns_after_a_step_while_the_vjp_is_still_named(rng: Rng) -> None:
    model = WiredUNet(8, np.float32, rng)
    x = rng.random((2, 3, 64, 64), dtype=np.float32)
    model.forward_and_vjp(x)[1](x)  # lazily made things are there now
    gc.collect()
    tracemalloc.start()
    try:
        with definitions_only():  # kernels keep working memory for the next step
            before = tracemalloc.get_traced_memory()[0]
            y, vjp = model.forward_and_vjp(x)
            held = tracemalloc.get_traced_memory()[0] - before
            del y
            vjp(x)
            after = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held > 1_000_000
    assert after < 50_000


def test_a_vjp_is_called_once(rng: Rng) -> None:
    model = mg.Sequential(conv(2, 2, rng))
    x = rng.standard_normal((1, 2, 4, 4))
    _, vjp = model.forward_and_vjp(x)
    vjp(x)
    grad = model[0].d_weight.copy()
    with pytest.raises(RuntimeError, match="forward_and_vjp again"):
        vjp(x)
    np.testing.assert_array_equal(model[0].d_weight, grad)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            [(2, 2), (2, 2), (2,)],
            r"Echo: cotangent of output 2: expected float64 \(2, 2\), got .*\(2,\)",
        ),
        (
            [(), (2, 2), (2, 2)],
            r"Echo: cotangent of output 0: expected float64 \(2, 2\), got .*\(\)",
        ),
        ([(2, 2), (1, 2), None], r"Echo: cotangent of output 1: expected float64 \(2, 2\)"),
    ],
)
def test_a_cotangent_must_look_like_its_output(given: Any, words: str, rng: Rng) -> None:
    """Broadcasting would accept it, and give a wrong gradient in silence."""
    dys = [None if shape is None else np.array(rng.standard_normal(shape)) for shape in given]
    _, vjp = Echo().forward_and_vjp(rng.standard_normal((2, 2)))
    with pytest.raises(ValueError, match=words):
        vjp(*dys)
    dys = [rng.standard_normal((2, 2)) for _ in range(3)]
    np.testing.assert_allclose(vjp(*dys), 2 * dys[0] + 3 * dys[1] + 2 * dys[2])


class Faulty(mg.Module):
    """Its vjp returns what it is told to."""

    def __init__(self, *dxs: Any) -> None:
        self.dxs = dxs

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x

    def forward_and_vjp(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        return x, mg.once(lambda dy: self.dxs if len(self.dxs) > 1 else self.dxs[0])


@pytest.mark.parametrize(
    ("dxs", "words"),
    [
        ((np.ones((3, 2)),), r"Faulty.*input 0: expected float64 \(2, 3\), got float64 \(3, 2\)"),
        ((np.ones((2, 3), np.float32),), r"Faulty.*expected float64 \(2, 3\), got float32"),
        ((np.ones((2, 3)), None), r"Faulty.*2 cotangents for 1 inputs"),
    ],
)
def test_a_wrong_cotangent_names_the_module(dxs: Any, words: str) -> None:
    _, vjp = mg.Sequential(mg.Scale(2.0), Faulty(*dxs)).forward_and_vjp(np.ones((2, 3)))
    with pytest.raises(ValueError, match=words):
        vjp(np.ones((2, 3)))


def test_wire_must_return_wires() -> None:
    class Wrong(mg.Composite):
        def wire(self, x: Any) -> Any:
            return np.ones(2)

    with pytest.raises(TypeError, match="Wrong.wire returned ndarray"):
        Wrong().forward_and_vjp(np.ones(2))
    with pytest.raises(NotImplementedError, match="Composite does not define wire"):
        mg.Composite().forward(np.ones(2))


# ------------------------------------------------------------------ the other reader of the wiring


def test_trace_lists_the_leaves_with_shapes_and_products(rng: Rng) -> None:
    model = WiredUNet(4, np.float32, rng)
    steps = mg.Trace(model).follow(np.zeros((1, 3, 8, 8), np.float32)).steps
    assert [s.path for s in steps[:6]] == ["stem", "act", "down", "act", "pool", "down"]
    assert steps[0].macs == 3 * 4 * 9 * 64 and steps[1].macs == 0
    assert steps[4].inputs == ((1, 4, 8, 8),) and steps[4].outputs == ((1, 4, 4, 4),)
    joins = [s for s in steps if s.path == "cat"]
    assert [s.inputs for s in joins] == [((1, 4, 4, 4), (1, 4, 4, 4)), ((1, 4, 8, 8), (1, 3, 8, 8))]
    assert all(s.seconds >= 0 for s in steps)


def test_a_composite_counts_its_multiply_adds_and_leaves_no_trace(rng: Rng) -> None:
    model = WiredUNet(4, np.float64, rng)
    shape = (1, 3, 8, 8)
    steps = mg.Trace(model).follow(np.zeros(shape)).steps
    assert model.macs(shape) == sum(s.macs for s in steps) > 3 * 4 * 9 * 64
    one = conv(2, 3, rng)
    shared = mg.Sequential(Dropout(), RunningMean(np.float64), one, mg.Checkpoint(conv(3, 2, rng)))
    shared[1].running_mean[:] = 0.5
    shared[0].noise.at(3).rewind(2)
    assert shared.macs((2, 2, 5, 5)) == 2 * 2 * (2 * 3 * 9 * 25)
    assert mg.Sequential(mg.ReLU()).macs((3,)) == 0
    assert (shared[0].noise.step, shared[0].noise.draw) == (3, 2)
    np.testing.assert_array_equal(shared[1].running_mean, 0.5)
