"""Initial weights with PyTorch's distributions: one NumPy generator in, arrays out.

PyTorch's random streams cannot be reproduced here; its bounds and moments are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Shape = tuple[int, ...]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight as stored: shape[1], shape[0] times the kernel's taps, as
    PyTorch counts.

    For a transposed convolution, stored (C, K/G, k_h, k_w), fan_in is therefore K/G k_h k_w.
    """
    if len(shape) < 2:
        raise ValueError(f"initialise: weight shape: expected at least 2 axes, got {shape}")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def native(
    shape: Shape,
    rng: np.random.Generator,
    *,
    bias_size: int | None = None,
    dtype: Any = np.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias as `torch.nn.Conv2d` and `torch.nn.Linear` draw them: uniform within 1 /
    sqrt(fan_in).

    `bias_size` is the length of the bias, by default shape[0].
    """
    bound = 1 / math.sqrt(fans(shape)[0])
    weight = uniform(shape, rng, -bound, bound, dtype=dtype)
    bias = uniform((shape[0] if bias_size is None else bias_size,), rng, -bound, bound, dtype=dtype)
    return weight, bias


def uniform(
    shape: Shape,
    rng: np.random.Generator,
    low: float = 0.0,
    high: float = 1.0,
    *,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Uniform in [low, high)."""
    return rng.uniform(low, high, shape).astype(dtype)


def normal(
    shape: Shape,
    rng: np.random.Generator,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Normal with the given mean and standard deviation."""
    return rng.normal(mean, std, shape).astype(dtype)


def constant(shape: Shape, value: float, *, dtype: Any = np.float32) -> np.ndarray:
    """The same value everywhere."""
    return np.full(shape, value, dtype)


def zeros(shape: Shape, *, dtype: Any = np.float32) -> np.ndarray:
    """Zero everywhere."""
    return np.zeros(shape, dtype)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the size of a signal through a nonlinearity.

    1 for linear, conv2d, conv_transpose2d and sigmoid; sqrt(2) for relu; 5/3 for tanh; 3/4 for
    selu; sqrt(2 / (1 + a^2)) for leaky_relu, where a is `param`, by default 0.01.
    PyTorch: `torch.nn.init.calculate_gain`.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        known = ", ".join(sorted([*_GAINS, "leaky_relu"]))
        raise ValueError(f"calculate_gain: expected one of {known}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


_GAINS = {
    "linear": 1.0,
    "conv2d": 1.0,
    "conv_transpose2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def kaiming_uniform(
    shape: Shape,
    rng: np.random.Generator,
    *,
    gain: float = 2**0.5,
    mode: str = "fan_in",
    dtype: Any = np.float32,
) -> np.ndarray:
    """Uniform within gain sqrt(3 / fan); `mode` says which fan, "fan_in" or "fan_out".

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    bound = gain * math.sqrt(3 / _fan(shape, mode))
    return uniform(shape, rng, -bound, bound, dtype=dtype)


def kaiming_normal(
    shape: Shape,
    rng: np.random.Generator,
    *,
    gain: float = 2**0.5,
    mode: str = "fan_in",
    dtype: Any = np.float32,
) -> np.ndarray:
    """Normal with std gain / sqrt(fan); `mode` says which fan, "fan_in" or "fan_out"."""
    return normal(shape, rng, 0, gain / math.sqrt(_fan(shape, mode)), dtype=dtype)


def xavier_uniform(
    shape: Shape, rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Uniform within gain sqrt(6 / (fan_in + fan_out)).

    Source: Glorot, Bengio, "Understanding the difficulty of training deep networks", 2010.
    """
    bound = gain * math.sqrt(6 / sum(fans(shape)))
    return uniform(shape, rng, -bound, bound, dtype=dtype)


def xavier_normal(
    shape: Shape, rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Normal with std gain sqrt(2 / (fan_in + fan_out))."""
    return normal(shape, rng, 0, gain * math.sqrt(2 / sum(fans(shape))), dtype=dtype)


def orthogonal(
    shape: Shape, rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """A weight whose matrix (shape[0] rows, the rest columns) has orthonormal rows, or columns
    where it is taller than wide, times `gain`.

    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning", 2014.
    """
    fans(shape)  # refuses shapes of fewer than two axes
    rows, columns = shape[0], math.prod(shape[1:])
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))  # without it the distribution depends on the sign rule of QR
    matrix = q if rows >= columns else q.T
    return np.ascontiguousarray(gain * matrix.reshape(shape), dtype=dtype)


def _fan(shape: Shape, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"initialise: mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    return fans(shape)[mode == "fan_out"]
