"""Where a condition turns: the least that is allowed and the first that is not, ends of ranges, the
middle of a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import minigrad as mg
from minigrad.backend import definitions_only
from minigrad.losses.blind_spot import guarded
from minigrad.wiring import as_tuple
from validation.against_torch import check_float64
from validation.cases import Sample, Variant, variant
from validation.rows import ROWS
from validation.twins.layers import TWINS


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


X = zeros(2, 3, 6, 5)
CONVS = ("Conv2d", "ConvTranspose2d", "MaskedConv2d", "SameConv2d", "SameConvTranspose2d")


# ------------------------------------------------------------------ the first that is not allowed

REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("PReLU: x: expected 2 channels", lambda: mg.PReLU(2)(X)),
    ("LearnedScale: x: expected 2 channels", lambda: mg.LearnedScale(2)(X)),
    ("Crop2d: padding: expected at least 0, got -1", lambda: mg.Crop2d(-1)),
    ("Conv2d: kernel_size", lambda: mg.Conv2d(3, 4, (3, 3, 3), padding="same")),
    ("Linear: out_features: expected at least 1, got 0", lambda: mg.Linear(3, 0)),
    ("Roll: dims: expected -4 <= dim < 4", lambda: mg.Roll(1, 4)(X)),
    ("Rot90: dims: expected -4 <= dim < 4", lambda: mg.Rot90(1, (2, 4))(X)),
    ("Flip: dims: expected -4 <= dim < 4", lambda: mg.Flip((-5,))(X)),
    ("Permute: dims: expected -4 <= dim < 4", lambda: mg.Permute((0, 1, 2, 4))(X)),
    ("DividePatches: x", lambda: mg.DividePatches(4, 2)(zeros(1, 1, 2, 6))),
    ("DividePatches: x", lambda: mg.DividePatches(4, 2)(zeros(1, 1, 6, 2))),
    ("Upsample: x", lambda: mg.Upsample(scale_factor=(0.1, 1.0))(X)),
    ("Upsample: x", lambda: mg.Upsample(scale_factor=(1.0, 0.1))(X)),
    ("PixelShuffle: x: expected a multiple of 4", lambda: mg.PixelShuffle(2)(zeros(1, 2, 2, 2))),
    ("PixelUnshuffle: x", lambda: mg.PixelUnshuffle(2)(zeros(1, 1, 3, 4))),
    ("PixelUnshuffle: x", lambda: mg.PixelUnshuffle(2)(zeros(1, 1, 4, 3))),
    ("Fold: x", lambda: mg.Fold(2, 3)(zeros(1, 9, 0))),
    ("HaarDWT: x", lambda: mg.HaarDWT()(zeros(1, 1, 3, 4))),
    ("HaarDWT: x", lambda: mg.HaarDWT()(zeros(1, 1, 4, 3))),
    ("MAPLoss: sigma_n: expected none", lambda: mg.MAPLoss()(X, X, X + 1, X + 1)),
    ("MAPLoss: sigma_n: expected an array", lambda: mg.MAPLoss(noise_reward=1)(X, X, X + 1)),
    ("DBSNLoss: sigma_y", lambda: mg.DBSNLoss()(X, X, X[:1] + 1, X + 1, X + 1)),
    ("DBSNLoss: sigma_mu", lambda: mg.DBSNLoss()(X, X, X + 1, X[:1] + 1, X + 1)),
    *(
        ("MixtureKLLoss: mu_q", lambda mu=mu: mg.MixtureKLLoss()(zeros(2, 3), mu, *[mu] * 3))
        for mu in (zeros(2), zeros(2, 1, 1))
    ),
    *(
        (f"{name}: {argument}: expected at least 1", lambda m=make, a=argument: m(**{a: 0}))
        for name in CONVS
        for argument in ("groups", "out_channels", "in_channels")
        for make in (
            lambda name=name, **zero: getattr(mg, name)(
                **{"in_channels": 3, "out_channels": 4, "kernel_size": 3, **zero}
            ),
        )
    ),
]


@pytest.mark.parametrize(("start", "call"), REFUSED, ids=[start for start, _ in REFUSED])
def test_the_first_that_is_not_allowed(start: str, call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize(
    ("layer", "inputs", "buffer"),
    [
        (mg.BatchNorm2d(3, affine=False), 1, "x: expected float32 on cpu as running_mean"),
        (mg.HistogramNoiseModel(4, 0, 1), 2, "signal: expected float32 on cpu as histogram"),
    ],
)
def test_inputs_of_another_dtype_than_the_buffers(layer: Any, inputs: int, buffer: str) -> None:
    with pytest.raises(TypeError, match=f"{type(layer).__name__}: {buffer}"):
        layer(*[X.astype(np.float64)] * inputs)


# ------------------------------------------------------------------ the last that is allowed

ALLOWED = [
    ("ConvTranspose2d", variant((1, 2, 1, 1), in_channels=2, out_channels=3, kernel_size=1)),
    ("AnnealedL0Loss", variant((2, 3), (2, 3), gamma=0.0)),
    ("MaskedMSELoss", variant((5, 4), (5, 4), (5, 1), reduction="valid")),
    ("Upsample", variant((1, 2, 3, 4), scale_factor=(2, 3))),
    ("Upsample", variant((1, 2, 3, 4), scale_factor=(1, 2))),
    ("Upsample", variant((1, 1, 2, 3), size=(50, 75))),
    *(
        (name, variant((1, 2, 3, 5), kernel_size=2, padding=1, ceil_mode=True))
        for name in ("MaxPool2d", "AvgPool2d")
    ),
    ("MaxPool2d", variant((1, 1, 1, 300), kernel_size=(1, 257), stride=1)),
    ("MaxPool2d", variant((1, 1, 20, 20), kernel_size=16)),
    ("FreeBits", variant((6, 3), free_bits=1e-6)),
    ("FreeBits", variant((6, 3), free_bits=9e-7)),
]


@pytest.mark.parametrize(("name", "settings"), ALLOWED, ids=str)
def test_the_last_that_is_allowed(name: str, settings: Variant) -> None:
    for law in ("normal", "ties"):
        check_float64(Sample(ROWS[name], settings, 0, law))
        with definitions_only():
            check_float64(Sample(ROWS[name], settings, 0, law))


@pytest.mark.parametrize(("kernel", "bytes_each"), [(16, 1), ((257, 1), 2)])
def test_the_tap_takes_one_byte_up_to_256_taps(kernel: Any, bytes_each: int) -> None:
    x = np.arange(300.0).reshape(1, 1, 300, 1) * np.ones((1, 1, 1, 20))
    _, index = mg.layers.pool.max_pool2d.definition(
        x, mg.MaxPool2d(kernel, stride=1).window, (2, 1)
    )
    assert index.itemsize == bytes_each and index[0, 0, 0, 0] == (240 if kernel == 16 else 256)


# ------------------------------------------------------------------ PyTorch, at the very point


def pulled(module: Any, twin: torch.nn.Module, *xs: np.ndarray) -> None:
    """Value and cotangent of the first input are PyTorch's."""
    inputs = [torch.from_numpy(x.copy()) for x in xs]
    inputs[0].requires_grad_()
    expected = twin(*inputs)
    dy = np.random.default_rng(0).standard_normal(expected.shape)
    (dx,) = torch.autograd.grad(expected, inputs[0], torch.from_numpy(np.asarray(dy)))
    y, vjp = module.forward_and_vjp(*xs)
    found = as_tuple(vjp(np.asarray(dy)))[0]
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(found, dx, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": (4, 5), "padding": 2, "stride": (1, 3)},
        {"kernel_size": 4, "padding": 2, "dilation": 2, "stride": 1},
        {"kernel_size": (5, 4), "padding": (2, 1), "dilation": (1, 3), "stride": 1},
    ],
    ids=str,
)
def test_maxima_of_minus_infinity_lie_in_the_image(settings: dict[str, Any]) -> None:
    x = np.full((1, 2, 9, 10), -np.inf)
    pulled(mg.MaxPool2d(**settings), torch.nn.MaxPool2d(**settings), x)


@pytest.mark.parametrize("value", [0.0, 2.0**-10, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("target", [0.0, 2.0**-10, 1.0, 1.5])
def test_both_ends_of_the_clip(value: float, target: float) -> None:
    settings = {"eps": 2.0**-10}
    xs = np.full((2, 3), value), np.full((2, 3), target)
    pulled(mg.PixelKLDLoss(**settings), TWINS["PixelKLDLoss"](**settings), *xs)


def test_the_upper_end_of_the_table() -> None:
    settings = {"bins": 2, "min_value": 0.0, "max_value": 2.0}
    model = mg.HistogramNoiseModel(**settings, dtype=np.float64)
    model.histogram[...] = [[0.25, 0.75], [0.5, 0.5]]
    twin = TWINS["HistogramNoiseModel"](**settings).double()
    twin.load_state_dict({"histogram": torch.from_numpy(model.histogram)})
    signal = np.array([0.0, 2 - 1 - 1e-3, 2 - 1 - 1e-4, 1.5])
    pulled(model, twin, signal, np.zeros(4))


def test_a_variance_that_meets_its_floor() -> None:
    settings = {"min_signal": 0.0, "max_signal": 1.0, "n_gaussian": 2, "min_sigma": 1.0}
    model = mg.GaussianMixtureNoiseModel(**settings, dtype=np.float64, rng=np.random.default_rng(0))
    model.weight[2:4] = [[0.0, 1.0], [0.0, -1.0]]  # v = 1 + t e and 1 + t / e, and t = 0 below
    twin = TWINS["GaussianMixtureNoiseModel"](**settings).double()
    twin.load_state_dict({"weight": torch.from_numpy(model.weight)})
    pulled(model, twin, np.array([0.0, 0.5]), np.array([0.25, 0.25]))


def test_weights_of_a_mixture_do_not_overflow() -> None:
    settings = {"min_signal": 0.0, "max_signal": 1.0, "n_gaussian": 2, "min_sigma": 1.0}
    model = mg.GaussianMixtureNoiseModel(**settings, dtype=np.float64, rng=np.random.default_rng(0))
    model.weight[4:] = [[700.0, 100.0], [690.0, 100.0]]
    twin = TWINS["GaussianMixtureNoiseModel"](**settings).double()
    twin.load_state_dict({"weight": torch.from_numpy(model.weight)})
    pulled(model, twin, np.array([0.25, 0.5]), np.array([0.25, 0.25]))


def test_the_first_variances_grow_with_the_range() -> None:
    model = mg.GaussianMixtureNoiseModel(
        10.0, 30.0, n_gaussian=3, n_coeff=3, rng=np.random.default_rng(0)
    )
    slopes = model.weight[:, 1]
    assert np.array_equal(slopes[3:6], np.full(3, np.log(20.0), np.float32))
    assert not np.isclose(slopes[[0, 1, 2, 6, 7, 8]], np.log(20.0)).any()


# ------------------------------------------------------------------ limits


def test_a_value_is_guarded_above_the_limit_alone() -> None:
    value = np.array(5.0)
    assert guarded(value, 2.0, np.array([1.0, 2.0])) == 5
    assert guarded(value, 2.0, np.array([1.0, 2.0 + 1e-12])) == 0


def test_what_is_usual() -> None:
    assert mg.GaussianMixtureNoiseModel(0, 255).min_sigma == 50
    far, near, unit = np.full((2, 2), 1e5), np.zeros((2, 2)), np.ones((2, 2))
    assert mg.MAPLoss()(far, near, unit) == 0 < mg.MAPLoss(guard=False)(far, near, unit)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(
    ("name", "settings", "limit"),
    [
        ("MultivariateMAPLoss", {}, 1e7),
        ("MultivariateMAPLoss", {"pretrain": True}, 1e8),
        ("MultivariateDBSNLoss", {}, 1e7),
    ],
)
def test_where_the_guard_begins(
    name: str, settings: dict[str, Any], limit: float, above: bool
) -> None:
    """With the identity as covariance, q is half the square of the difference."""
    q = limit + (0.5 if above else -0.5)
    mu = np.zeros((1, 3, 1, 1))
    mu[0, 0] = np.sqrt(2 * q)
    unit = np.eye(3)[None, None, None]
    sigmas = [unit] * (1 if name == "MultivariateMAPLoss" else 3)
    value = getattr(mg, name)(**settings)(mu, np.zeros_like(mu), *sigmas)
    assert bool(value == 0) is above


class Fixed(mg.Noise):
    """One number, over and over."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def uniform(self, shape: Any, dtype: Any = np.float32, xp: Any = np) -> Any:
        return np.full(shape, self.value, dtype)


@pytest.mark.parametrize("make", [mg.Dropout, mg.Dropout2d])
def test_a_number_that_equals_the_probability_is_kept(make: Any) -> None:
    x = np.ones((1, 2, 3, 4), np.float32)
    assert np.array_equal(make(0.5, Fixed(0.5))(x), 2 * x)
    assert np.array_equal(make(0.5, Fixed(np.nextafter(np.float32(0.5), np.float32(0))))(x), 0 * x)
