"""Containers: Sequential, Residual, Checkpoint, Frozen, Detach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.replay import Snapshot, noises
from tests.hand_written_unet import WiredUNet
from tests.leaves import Dropout, RunningMean
from validation.cases import gradients
from validation.residuals import held_bytes

Rng = np.random.Generator


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


@pytest.mark.parametrize("name", ["training", "wire", "touched", "forward", "macs", "a.b", ""])
def test_sequential_refuses_names_that_would_break_it(name: str) -> None:
    with pytest.raises(ValueError, match=f"Sequential.*{name!r}"):
        mg.Sequential({"first": mg.ReLU(), name: mg.ReLU()})
    with pytest.raises(TypeError, match="Sequential: name of a child: expected text, got 0"):
        mg.Sequential({0: mg.ReLU()})  # type: ignore[dict-item]


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


def test_checkpoint_replays_the_step_and_the_draw_number(rng: Rng) -> None:
    """Also when the training loop has gone on to the next step before the vjp is called."""
    x, dy = (rng.standard_normal((3, 4)) for _ in range(2))
    plain, wrapped = Dropout(), mg.Checkpoint(Dropout())
    expected = plain.forward_and_vjp(x)[1](dy)
    noise = wrapped.module.noise
    _, vjp = wrapped.forward_and_vjp(x)
    noise.at(1).rewind(5)
    np.testing.assert_array_equal(vjp(dy), expected)
    assert (noise.step, noise.draw) == (1, 5)


def test_checkpoint_of_a_module_without_noise(rng: Rng) -> None:
    x, dy = (rng.standard_normal((3, 4)) for _ in range(2))
    silent = Dropout().eval()
    silent.noise = None
    np.testing.assert_array_equal(mg.Checkpoint(silent).forward_and_vjp(x)[1](dy), dy)


def test_checkpoint_leaves_noise_and_buffers_where_they_were_after_an_error(rng: Rng) -> None:
    class Breaks(mg.Sequential):
        def forward_and_vjp(self, *xs: Any) -> Any:
            super().forward_and_vjp(*xs)
            raise RuntimeError("the second forward fails")

    inside = Breaks(Dropout(), RunningMean(np.float64))
    noise, mean = inside[0].noise, inside[1].running_mean
    x = rng.standard_normal((3, 4))
    _, vjp = mg.Checkpoint(inside).forward_and_vjp(x)
    noise.at(2).rewind(9)
    before = mean.copy()
    with pytest.raises(RuntimeError, match="second forward"):
        vjp(x)
    assert (noise.step, noise.draw) == (2, 9)
    np.testing.assert_array_equal(mean, before)


def test_a_snapshot_finds_each_noise_once_and_puts_buffers_back() -> None:
    noise = mg.Noise(3)
    model = mg.Sequential(Dropout(noise=noise), Dropout(noise=noise), RunningMean())
    model[1].noise_of_another_name = mg.Noise(4).at(7)
    assert noises(model) == [noise, model[1].noise_of_another_name]
    start, mean = Snapshot(model), model[2].running_mean
    for _ in range(2):
        noise.at(1).rewind(3)
        mean[...] = 5
        model[2].running_mean = np.full(1, 6, np.float32)
        start.restore()
        assert (noise.step, noise.draw) == (0, 0)
        assert model[2].running_mean is mean and mean[0] == 0


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
