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


def kaiming_uniform(
    shape: Shape, rng: np.random.Generator, *, gain: float = 2**0.5, dtype: Any = np.float32
) -> np.ndarray:
    """Uniform within gain sqrt(3 / fan_in)."""
    bound = gain * math.sqrt(3 / fans(shape)[0])
    return uniform(shape, rng, -bound, bound, dtype=dtype)


def kaiming_normal(
    shape: Shape, rng: np.random.Generator, *, gain: float = 2**0.5, dtype: Any = np.float32
) -> np.ndarray:
    """Normal with std gain / sqrt(fan_in)."""
    return normal(shape, rng, 0, gain / math.sqrt(fans(shape)[0]), dtype=dtype)


def xavier_uniform(
    shape: Shape, rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Uniform within gain sqrt(6 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6 / sum(fans(shape)))
    return uniform(shape, rng, -bound, bound, dtype=dtype)


def xavier_normal(
    shape: Shape, rng: np.random.Generator, *, gain: float = 1.0, dtype: Any = np.float32
) -> np.ndarray:
    """Normal with std gain sqrt(2 / (fan_in + fan_out))."""
    return normal(shape, rng, 0, gain * math.sqrt(2 / sum(fans(shape))), dtype=dtype)
