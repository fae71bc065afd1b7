"""The checker accepts correct layers and catches planted bugs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import Composite, GradientError, Module, check_adjoint, check_vjp, once
from minigrad.noise import Noise
from tests.leaves import Elementwise

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 5, 6))


def correlate(x: np.ndarray, w: np.ndarray, pad: int) -> np.ndarray:
    """y[n, o, p, q] = sum over c, i, j of w[o, c, i, j] x[n, c, p + i - pad, q + j - pad]."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.einsum("ncpqij,ocij->nopq", windows, w)


class TinyConv(Module):
    """A 3x3 convolution with padding 1; `bug` names what is wrong with it."""

    parameter_names = ("weight", "bias")
    weight: np.ndarray
    bias: np.ndarray
    d_weight: np.ndarray
    d_bias: np.ndarray

    def __init__(self, bug: str = "") -> None:
        rng = np.random.default_rng(1)
        self.set_parameters(weight=rng.standard_normal((4, 3, 3, 3)), bias=rng.standard_normal(4))
        self.bug = bug
        self.last_x = X

    def forward(self, x: np.ndarray) -> np.ndarray:
        if self.bug == "writes x in forward":
            x *= 1.0001
        y = correlate(x, self.weight, 1) + self.bias[:, None, None]
        return y * (1 + 1e-15) if self.bug == "forward differs" else y

    def forward_and_vjp(self, x: np.ndarray) -> Any:
        bug = self.bug
        y = correlate(x, self.weight, 1) + self.bias[:, None, None]
        self.last_x = x

        def vjp(dy: np.ndarray) -> Any:
            residual = self.last_x if bug == "residual on the module" else x
            if bug == "ones-blind":
                dy = np.full_like(dy, dy.mean())
            if bug == "writes dy":
                dy *= 2
            if bug == "writes x":
                x[0] = 0
            if bug == "writes y":
                y[0] = 0
            if bug == "writes weight":
                self.weight[0] = 0
            flipped = self.weight[:, :, ::-1, ::-1] if bug != "unflipped kernel" else self.weight
            dx = correlate(dy, flipped.swapaxes(0, 1), 1)
            pad = 0 if bug == "weight gradient without padding" else 1
            dw = correlate(residual.swapaxes(0, 1), dy.swapaxes(0, 1), pad).swapaxes(0, 1)
            if bug == "weight gradient without padding":
                dw = np.pad(dw, ((0, 0), (0, 0), (1, 1), (1, 1)))
            if bug == "weight gradient shifted":
                dw = np.roll(dw, 1, axis=3)
            db = dy.sum(axis=(0, 2, 3))
            if bug == "wrong axis":
                db = dy.sum(axis=(0, 1, 2))[:4]
            if bug == "forgotten factor":
                dx = dx * 0.5
            if bug == "small factor":
                db = db * (1 + 1e-5)
            if bug == "wrong dtype":
                return dx.astype(np.float32)
            if bug == "wrong shape":
                return dx[..., :-1]
            if bug == "two cotangents":
                return dx, dx
            if bug == "forgets the bias":
                self.accumulate(weight=dw)
            elif bug == "assigns":
                self.d_weight[...] = dw
                self.d_bias[...] = db
                self.touched = {"weight", "bias"}
            elif bug == "replaces":
                self.d_weight = self.d_weight + dw
                self.accumulate(bias=db)
            elif bug == "untouched":
                self.d_weight += dw
                self.d_bias += db
            elif bug == "aliases":
                self.d_bias = dy[0, :, 0, 0]
                self.accumulate(weight=dw)
            else:
                self.accumulate(weight=dw, bias=db)
            return dx

        if bug == "output differs":
            return y + 1e-12, once(vjp)
        return y, (vjp if bug == "can be called twice" else once(vjp))


BUGS: dict[str, str] = {
    "unflipped kernel": "input 0",
    "ones-blind": "input 0",
    "forgotten factor": "input 0",
    "small factor": "bias",
    "wrong axis": "bias",
    "forgets the bias": "bias",
    "weight gradient without padding": "weight",
    "weight gradient shifted": "weight",
    "writes dy": "vjp writes into an array that it received",
    "writes x": "vjp writes into an array that it received",
    "writes x in forward": "forward writes into an array that it received",
    "writes weight": "vjp writes into an array that it received",
    "writes y": "vjp writes into the output",
    "residual on the module": "weight: two passes",
    "assigns": "cotangent of weight: two passes must give the double",
    "replaces": "d_weight was replaced",
    "aliases": "d_bias was replaced",
    "untouched": "without accumulate",
    "can be called twice": r"return once\(vjp\)",
    "forward differs": "forward and forward_and_vjp give different outputs",
    "output differs": "forward and forward_and_vjp give different outputs",
    "wrong dtype": r"input 0: expected float64 .* got float32",
    "wrong shape": r"input 0: expected float64 \(2, 3, 5, 6\), got float64 \(2, 3, 5, 5\)",
    "two cotangents": "2 cotangents for 1 inputs",
}


def test_correct_layer_passes() -> None:
    module = TinyConv()
    before = {name: p.value.copy() for name, p in module.named_parameters().items()}
    report = check_vjp(module, X)
    assert [row.argument for row in report.rows[::2]] == [
        "input 0", "weight", "bias", "input 0 & weight & bias"
    ]  # fmt: skip
    assert report.worst().error < report.worst().allowed / 10
    assert "TinyConv" in str(report)
    assert len(str(report).splitlines()) == 2 + len(report.rows)
    for name, p in module.named_parameters().items():
        np.testing.assert_array_equal(p.value, before[name])
        assert p.value.flags.writeable
        assert not p.grad.any()
        assert not p.touched
    assert X.flags.writeable


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs(bug: str) -> None:
    module = TinyConv(bug)
    with pytest.raises(GradientError, match=BUGS[bug]) as caught:
        check_vjp(module, X)
    assert "TinyConv" in str(caught.value)
    assert module.weight.flags.writeable


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("bug", ["unflipped kernel", "forgotten factor", "small factor"])
def test_found_with_every_seed(bug: str, seed: int) -> None:
    with pytest.raises(GradientError):
        check_vjp(TinyConv(bug), X, seed=seed)


def test_message_names_values_and_worst_element() -> None:
    class Slipped(Module):
        """y = x^2, with one wrong element in the vjp."""

        def forward(self, x: np.ndarray) -> np.ndarray:
            return x * x

        def forward_and_vjp(self, x: np.ndarray) -> Any:
            def vjp(dy: np.ndarray) -> np.ndarray:
                dx = 2 * x * dy
                dx[1, 2] += 1
                return dx

            return x * x, once(vjp)

    with pytest.raises(GradientError) as caught:
        check_vjp(Slipped(), RNG.standard_normal((3, 4)))
    message = str(caught.value)
    assert "Slipped(): input 0: along a random unit direction, expected" in message
    assert "worst element: input 0[1, 2]: expected" in message


def relu(slope: float = 1.0) -> Elementwise:
    return Elementwise(lambda x: np.maximum(x, 0), lambda x: slope * (x > 0))


def test_kinks_are_stepped_around() -> None:
    """Every tenth input lies exactly on the kink; others within the step of it."""
    x = RNG.standard_normal(200)
    x[::10] = 0
    x[5::10] = 1e-6 * RNG.standard_normal(20)
    with pytest.raises(GradientError, match="pass kinks=True"):
        check_vjp(relu(), x)
    report = check_vjp(relu(), x, kinks=True)
    assert report.attempts > 1


@pytest.mark.parametrize("offset", [0.0, 1e-7, 3e-7, 6e-7, 8e-7, 1e-6, 1.5e-6])
def test_kink_anywhere_near_is_noticed(offset: float) -> None:
    x = np.full(3, offset)
    for seed in range(5):
        check_vjp(relu(), x, kinks=True, seed=seed)


def test_bugs_are_found_beside_kinks() -> None:
    x = np.round(RNG.standard_normal(300), 1)
    with pytest.raises(GradientError, match="worst element"):
        check_vjp(relu(1.001), x, kinks=True)


def test_kinks_everywhere_end_with_a_message() -> None:
    """A staircase of 1e-7 has no smooth point."""
    stairs = Elementwise(lambda x: np.floor(x * 1e6) / 1e6, lambda x: x * 0 + 1)
    with pytest.raises(GradientError, match="no smooth point in 20 tries"):
        check_vjp(stairs, X, kinks=True)


def test_four_points_for_strongly_curved() -> None:
    wild = Elementwise(lambda x: np.sin(3000 * x) / 3000, lambda x: np.cos(3000 * x))
    x = RNG.standard_normal(1)
    check_vjp(wild, x, step=1e-6, points=4, rtol=1e-6)
    with pytest.raises(ValueError, match="expected 2 or 4, got 3"):
        check_vjp(wild, x, points=3)


class Noisy(Module):
    """y = x * noise; with `replayable=False` from a generator that nobody can rewind."""

    def __init__(self, replayable: bool) -> None:
        self.noise = Noise(5).at(3)
        self.replayable = replayable
        self.generator = np.random.default_rng(0)

    def factor(self, x: np.ndarray) -> np.ndarray:
        if self.replayable:
            return self.noise.normal(x.shape, x.dtype)
        return self.generator.standard_normal(x.shape)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x * self.factor(x)

    def forward_and_vjp(self, x: np.ndarray) -> Any:
        factor = self.factor(x)
        return x * factor, once(lambda dy: dy * factor)


def test_noise_is_replayed() -> None:
    module = Noisy(True)
    module.noise.rewind(7)
    check_vjp(module, X)
    assert module.noise.draw == 7
    with pytest.raises(GradientError, match="different outputs"):
        check_vjp(Noisy(False), X)


def test_noise_shared_in_a_composite() -> None:
    class Two(Composite):
        def __init__(self) -> None:
            self.a, self.b = Noisy(True), Noisy(True)
            self.b.noise = self.a.noise

        def wire(self, x: Any) -> Any:
            return self.b(self.a(x))

    check_vjp(Two(), X)


def test_shared_layer() -> None:
    """Its parts add up in another order in the second pass, which must not be called a bug."""
    conv = mg.Conv2d(3, 3, 3, padding=1, dtype=np.float64)
    report = check_vjp(mg.Sequential(conv, conv, conv), X)
    assert [row.argument for row in report.rows[2:6:2]] == ["0.weight", "0.bias"]


class Running(Module):
    """Counts its calls in a buffer, as running statistics do."""

    buffer_names = ("count",)

    def __init__(self) -> None:
        self.count = np.zeros(())

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.count += 1
        return x * self.count

    def forward_and_vjp(self, x: np.ndarray) -> Any:
        y, factor = self.forward(x), float(self.count)
        return y, once(lambda dy: dy * factor)


def test_buffers_are_restored() -> None:
    module = Running()
    check_vjp(module, X)
    assert module.count == 0


class SumAndProduct(Module):
    """Two outputs, three inputs, the last one whole numbers: a + k b and a b."""

    def __init__(self, bug: str = "") -> None:
        self.bug = bug

    def forward(self, a: Any, b: Any, k: Any) -> Any:
        return a + k * b, a * b

    def forward_and_vjp(self, a: Any, b: Any, k: Any) -> Any:
        def vjp(d_sum: Any, d_product: Any) -> Any:
            da = db = np.zeros_like(a)
            if d_sum is not None:
                da, db = da + d_sum, db + k * d_sum
            if d_product is not None:
                da, db = da + d_product * b, db + d_product * a
            elif self.bug == "None is one":
                da = da + 1
            return da, db, None

        return self.forward(a, b, k), once(vjp)


def test_several_inputs_and_outputs() -> None:
    a, b = RNG.standard_normal((2, 4)), RNG.standard_normal((2, 4))
    k = RNG.integers(0, 5, (2, 4))
    report = check_vjp(SumAndProduct(), a, b, k)
    assert report.skipped == {"input 2": "the vjp gives None"}
    assert "input 2" in str(report)
    report = check_vjp(SumAndProduct(), a, b, k, wrt=[1])
    assert {row.argument for row in report.rows} == {"input 1"}
    assert report.skipped["input 0"] == "not asked for"
    with pytest.raises(GradientError, match="input 2: asked for"):
        check_vjp(SumAndProduct(), a, b, k, wrt=[2])
    with pytest.raises(ValueError, match=r"wrt: .*'weigth'"):
        check_vjp(SumAndProduct(), a, b, k, wrt=["weigth"])
    with pytest.raises(GradientError, match="None and zero for output 1"):
        check_vjp(SumAndProduct("None is one"), a, b, k)


def test_parameters_by_name() -> None:
    report = check_vjp(TinyConv(), X, wrt=["bias"])
    assert {row.argument for row in report.rows} == {"bias"}
    check_vjp(TinyConv("forgotten factor"), X, wrt=["weight", "bias"])


class Reusing(Module):
    """Returns the same memory at every call."""

    def __init__(self) -> None:
        self.memory = np.zeros(X.shape)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.memory[...] = 2 * x
        return self.memory

    def forward_and_vjp(self, x: np.ndarray) -> Any:
        return self.forward(x), once(lambda dy: 2 * dy)


def test_reused_output_memory_is_found() -> None:
    with pytest.raises(GradientError, match="changed after it was returned"):
        check_vjp(Reusing(), X)


def test_residuals_overwritten_by_a_second_call() -> None:
    class Keeper(Elementwise):
        def forward_and_vjp(self, x: np.ndarray) -> Any:
            self.x = x
            return x * x, once(lambda dy: 2 * self.x * dy)

    with pytest.raises(GradientError, match="input 0 changes when the module is called in between"):
        check_vjp(Keeper(np.square, np.square), X)


def test_float64_only() -> None:
    with pytest.raises(TypeError, match="input 0: expected float64, got float32"):
        check_vjp(relu(), X.astype(np.float32))
    with pytest.raises(TypeError, match="parameter weight: expected float64, got float32"):
        check_vjp(mg.Conv2d(3, 2, 3), X)


def test_nan_is_not_agreement() -> None:
    bad = Elementwise(np.square, lambda x: x * np.nan)
    with pytest.raises(GradientError, match="nan"):
        check_vjp(bad, X)


@pytest.mark.parametrize("size", [1e-200, 1e-10, 1e-3, 1.0, 1e6, 1e100])
def test_a_wrong_sign_is_found_at_any_size(size: float) -> None:
    check_vjp(Elementwise(lambda x: size * x, lambda x: size), X)
    check_vjp(Elementwise(lambda x: size * np.tanh(x), lambda x: size / np.cosh(x) ** 2), X)
    for wrong in (-5 * size, 0.0, 1.001 * size):
        with pytest.raises(GradientError, match="input 0"):
            check_vjp(Elementwise(lambda x: size * x, lambda x, wrong=wrong: wrong), X)


def test_where_all_is_zero_nothing_is_wrong() -> None:
    assert check_vjp(Elementwise(lambda x: 0 * x, lambda x: 0.0), X).worst().part == 0


def test_frozen_and_detached_parts() -> None:
    assert check_vjp(mg.Detach(), X).skipped == {"input 0": "the vjp gives None"}
    assert check_vjp(mg.Frozen(TinyConv()), X).rows == []


@pytest.mark.parametrize(
    "module",
    [
        mg.Conv2d(3, 4, 3, stride=2, padding=1, dtype=np.float64),
        mg.ConvTranspose2d(3, 2, 3, stride=2, dtype=np.float64),
        mg.AvgPool2d(2),
        mg.Upsample(2),
        mg.Sequential(mg.Conv2d(3, 4, 3, dtype=np.float64), mg.Conv2d(4, 2, 1, dtype=np.float64)),
    ],
    ids=lambda m: type(m).__name__,
)
def test_real_layers(module: Module) -> None:
    check_vjp(module, X)
    check_adjoint(module, X)


@pytest.mark.parametrize("bug", ["unflipped kernel", "forgotten factor", "ones-blind"])
def test_adjoint_finds(bug: str) -> None:
    check_adjoint(TinyConv(), X)
    with pytest.raises(GradientError, match=r"TinyConv.*not the adjoint"):
        check_adjoint(TinyConv(bug), X)


def test_adjoint_of_what_is_not_linear() -> None:
    with pytest.raises(GradientError, match="not the adjoint"):
        check_adjoint(Elementwise(np.square, lambda x: 2 * x), X)


def test_adjoint_of_several_inputs() -> None:
    check_adjoint(mg.Add(), X, X)
    check_adjoint(mg.Concat(), X, X)
