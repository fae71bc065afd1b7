"""Initialisers: bounds, moments and fans of torch.nn.init, whose random streams differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minigrad import initialise as init

torch = pytest.importorskip("torch")

SHAPES = [(64, 32, 3, 3), (16, 128, 5, 2), (200, 300), (48, 3, 11, 11)]


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("shape", SHAPES)
def test_fans_equal_torch(shape: Any) -> None:
    twin = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert init.fans(shape) == tuple(twin)


def test_fans_need_two_axes() -> None:
    for make in (init.fans, lambda s: init.orthogonal(s, rng())):
        with pytest.raises(ValueError, match=r"at least 2 axes, got \(5,\)"):
            make((5,))


LAWS: list[Any] = [
    ("kaiming_uniform", {}, "kaiming_uniform_", {"nonlinearity": "relu"}),
    ("kaiming_normal", {}, "kaiming_normal_", {"nonlinearity": "relu"}),
    ("kaiming_normal", {"mode": "fan_out"}, "kaiming_normal_", {"mode": "fan_out"}),
    ("kaiming_uniform", {"gain": 1 / math.sqrt(3)}, "kaiming_uniform_", {"a": math.sqrt(5)}),
    ("kaiming_normal", {"gain": 1.0}, "kaiming_normal_", {"nonlinearity": "linear"}),
    ("xavier_uniform", {}, "xavier_uniform_", {}),
    ("xavier_uniform", {"gain": 3.0}, "xavier_uniform_", {"gain": 3.0}),
    ("xavier_normal", {}, "xavier_normal_", {}),
    ("xavier_normal", {"gain": 2**0.5}, "xavier_normal_", {"gain": 2**0.5}),
    ("uniform", {"low": -2.0, "high": 0.5}, "uniform_", {"a": -2.0, "b": 0.5}),
    ("normal", {"mean": 1.0, "std": 0.2}, "normal_", {"mean": 1.0, "std": 0.2}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("law", LAWS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_moments_equal_torch(law: Any, shape: Any) -> None:
    name, args, twin_name, twin_args = law
    torch.manual_seed(0)
    ours = getattr(init, name)(shape, rng(), **args).astype(float)
    theirs = getattr(torch.nn.init, twin_name)(torch.empty(shape), **twin_args).numpy()
    spread, n = theirs.std(), ours.size
    assert ours.shape == shape
    assert abs(ours.mean() - theirs.mean()) < 6 * spread / math.sqrt(n)
    assert ours.std() == pytest.approx(spread, rel=6 / math.sqrt(n))
    if "uniform" in name:
        assert abs(ours).max() == pytest.approx(abs(theirs).max(), rel=40 / n)


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((64, 32, 3, 3), lambda: torch.nn.Conv2d(32, 64, 3)),
        ((64, 16, 3, 3), lambda: torch.nn.Conv2d(32, 64, 3, groups=2)),
        ((32, 64, 3, 3), lambda: torch.nn.ConvTranspose2d(32, 64, 3)),
        ((32, 16, 3, 3), lambda: torch.nn.ConvTranspose2d(32, 64, 3, groups=4)),
        ((300, 200), lambda: torch.nn.Linear(200, 300)),
    ],
)
def test_native_equals_torch_layers(shape: Any, layer: Any) -> None:
    twin = layer()
    weight, bias = init.native(shape, rng(), bias_size=twin.bias.numel())
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    assert weight.shape == tuple(twin.weight.shape)
    assert bias.shape == tuple(twin.bias.shape)
    for ours, theirs in ((weight, twin.weight), (bias, twin.bias)):
        slack = 1 - 20 / ours.size
        assert bound * slack < abs(ours).max() <= bound
        assert bound * slack < float(theirs.detach().abs().max()) <= bound * (1 + 1e-6)
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert init.native((7, 2, 1, 1), rng())[1].shape == (7,)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (8, 4, 3, 3), (64, 2, 3, 3), (5, 5)])
def test_orthogonal(shape: Any) -> None:
    matrix = init.orthogonal(shape, rng(), gain=2.0, dtype=np.float64).reshape(shape[0], -1)
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    np.testing.assert_allclose(gram, 4 * np.eye(min(rows, columns)), atol=1e-13)


def test_orthogonal_has_no_preferred_sign() -> None:
    generator = rng()
    corner = [init.orthogonal((3, 3), generator)[0, 0] for _ in range(400)]
    assert abs(np.mean(np.sign(corner))) < 0.2


@pytest.mark.parametrize(
    ("name", "param"),
    [(n, None) for n in ("linear", "conv2d", "conv_transpose2d", "sigmoid", "tanh", "relu")]
    + [("selu", None), ("leaky_relu", None), ("leaky_relu", 0.2), ("leaky_relu", math.sqrt(5))],
)
def test_gains_equal_torch(name: str, param: float | None) -> None:
    assert init.calculate_gain(name, param) == pytest.approx(
        torch.nn.init.calculate_gain(name, param), rel=1e-15
    )


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"relu.*got 'swish'"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="got 'fan'"):
        init.kaiming_normal((3, 3), rng(), mode="fan")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_and_repeatability(dtype: Any) -> None:
    names = ("uniform", "normal", "kaiming_uniform", "kaiming_normal", "xavier_uniform")
    for name in (*names, "xavier_normal", "orthogonal"):
        first, second = (getattr(init, name)((6, 4), rng(), dtype=dtype) for _ in range(2))
        assert first.dtype == dtype
        assert first.flags.writeable
        np.testing.assert_array_equal(first, second)
    assert init.zeros((2, 3), dtype=dtype).dtype == dtype
    np.testing.assert_array_equal(init.constant((2,), 0.25, dtype=dtype), [0.25, 0.25])
