"""Containers: Sequential, Residual, Checkpoint, Frozen, Detach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from tests.hand_written_unet import WiredUNet
from validation.residuals import held_bytes

Rng = np.random.Generator


def gradients(module: mg.Module) -> dict[str, np.ndarray]:
    return {name: p.grad.copy() for name, p in module.named_parameters().items()}


def conv(inputs: int, outputs: int, rng: Rng) -> mg.Conv2d:
    return mg.Conv2d(inputs, outputs, 3, padding=1, dtype=np.float64, rng=rng)


def test_sequential_with_one_module_twice_sums_its_gradients(rng: Rng) -> None:
    shared = conv(2, 2, rng)
    copies = [mg.Conv2d(2, 2, 3, padding=1, dtype=np.float64) for _ in range(2)]
    for copy in copies:
        copy.load_state_dict(shared.state_dict())
    x, dy = (rng.standard_normal((1, 2, 5, 5)) for _ in range(2))
    dx = mg.Sequential(shared, mg.ReLU(), shared).forward_and_vjp(x)[1](dy)
    expected = mg.Sequential(copies[0], mg.ReLU(), copies[1]).forward_and_vjp(x)[1](dy)
    np.testing.assert_array_equal(dx, expected)
    for name in ("d_weight", "d_bias"):
        total = getattr(copies[1], name) + getattr(copies[0], name)
        np.testing.assert_array_equal(getattr(shared, name), total)


def test_sequential_behaves_as_a_list() -> None:
    relu, sigmoid = mg.ReLU(), mg.Sigmoid()
    model = mg.Sequential({"first": relu, "second": sigmoid})
    assert list(model) == [relu, sigmoid] and len(model) == 2 and model[1] is sigmoid
    assert list(model.children()) == ["first", "second"]
    with pytest.raises(TypeError, match="child 1: expected a Module, got int"):
        mg.Sequential(relu, 3)  # type: ignore[arg-type]


def test_an_empty_sequential_is_the_identity(rng: Rng) -> None:
    x = rng.standard_normal(3)
    y, vjp = mg.Sequential().forward_and_vjp(x)
    assert y is x
    np.testing.assert_array_equal(vjp(x), x)


def test_residual(rng: Rng) -> None:
    f = conv(2, 2, rng)
    x, dy = (rng.standard_normal((1, 2, 5, 5)) for _ in range(2))
    y, vjp = mg.Residual(f).forward_and_vjp(x)
    np.testing.assert_array_equal(y, x + f(x))
    np.testing.assert_array_equal(vjp(dy), dy + f.forward_and_vjp(x)[1](dy))


def test_checkpoint_equals_the_plain_module_and_holds_less(rng: Rng) -> None:
    plain = WiredUNet(6, np.float64, rng)
    x, dy = (rng.standard_normal((2, 3, 16, 16)) for _ in range(2))
    y, vjp = plain.forward_and_vjp(x)
    held = held_bytes(vjp)
    dx, grads = vjp(dy), gradients(plain)
    plain.zero_grad()
    again, vjp = mg.Checkpoint(plain).forward_and_vjp(x)
    assert held_bytes(vjp) <= x.nbytes < held / 3
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(vjp(dy), dx)
    for name, grad in gradients(plain).items():
        np.testing.assert_array_equal(grad, grads[name])


def test_frozen_is_a_constant_function(rng: Rng) -> None:
    inside = conv(2, 2, rng)
    frozen = mg.Frozen(inside)
    model = mg.Sequential(conv(2, 2, rng), mg.Residual(frozen))
    model.train()
    assert not inside.training and model.training
    assert list(model.named_parameters()) == ["0.weight", "0.bias"]
    assert "1.module.module.weight" in model.state_dict()
    x, dy = (rng.standard_normal((1, 2, 5, 5)) for _ in range(2))
    y, vjp = model.forward_and_vjp(x)
    h = model[0](x)
    np.testing.assert_array_equal(y, h + inside(h))
    dx = vjp(dy)
    np.testing.assert_array_equal(dx, model[0].forward_and_vjp(x)[1](dy))
    assert not inside.touched and not np.any(inside.d_weight)
    assert frozen.forward_and_vjp(x)[1](dy) is None
    assert held_bytes(frozen.forward_and_vjp(x)[1]) == 0


def test_detach_lets_nothing_through(rng: Rng) -> None:
    class Half(mg.Composite):
        """y = x * constant(x): dx = dy * x."""

        def __init__(self) -> None:
            self.detach, self.multiply = mg.Detach(), mg.Multiply()

        def wire(self, x: Any) -> Any:
            return self.multiply(x, self.detach(x))

    x, dy = (rng.standard_normal(4) for _ in range(2))
    y, vjp = Half().forward_and_vjp(x)
    np.testing.assert_array_equal(y, x * x)
    np.testing.assert_array_equal(vjp(dy), dy * x)
