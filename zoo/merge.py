"""Batch norms merged into the convolutions before them: the same network, with less to compute.

In evaluation mode a norm multiplies each channel by a number and adds one. A convolution does that
as well, so it can take over both.
"""

from __future__ import annotations

import numpy as np

from minigrad import BatchNorm2d, BFBatchNorm2d, BFStdNorm2d, Conv2d, ReLU
from minigrad.backend import device_of, to_host
from minigrad.module import Module
from zoo.architectures import Denoiser, ResidualDenoiser
from zoo.registry import create


def merge_batch_norm(model: Denoiser) -> Denoiser:
    """A `dncnn-kair` of form R that equals `model` in evaluation mode; `model` stays as it is.

    Each norm is y = s x + t, channel by channel (`absorb`). Worked out in float64; the result has
    the dtype and the device of `model`.

        BatchNorm2d    s = weight / sqrt(running_var + eps)     t = bias - s running_mean
        BFBatchNorm2d  s = weight / (sqrt(running_var) + eps)   t = 0
        BFStdNorm2d    s = gamma / running_sd                   t = 0

    Args:
        model: any DnCNN of the zoo: `dncnn-s`, `dncnn-b`, `dncnn-kair`, `bf-dncnn`, `pcst-dncnn`.

    Raises:
        TypeError: another network, or a layer that is no convolution, norm or ReLU.
    """
    if not isinstance(model, ResidualDenoiser):
        raise TypeError(f"merge_batch_norm: expected a DnCNN, got {type(model).__name__}")
    merged: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in model.layers():
        if isinstance(layer, Conv2d):
            weight = _float64(layer.weight)
            bias = np.zeros(len(weight)) if layer.bias is None else _float64(layer.bias)
            merged.append((weight, bias))
        elif not isinstance(layer, ReLU):
            scale, shift = _affine(layer)
            merged[-1] = absorb(*merged[-1], scale, shift)
    features, dtype = len(merged[0][1]), model.dtype
    result = create(
        "dncnn-kair", channels=model.channels, features=features, depth=len(merged), dtype=dtype
    )
    arrays = {
        f"model.{2 * i}.{name}": array.astype(dtype)
        for i, pair in enumerate(merged)
        for name, array in zip(("weight", "bias"), pair, strict=True)
    }
    result.load_state_dict(arrays)
    result.metadata = dict(model.metadata)
    return result.to(device_of(model.parameters()[0].value)).eval()


def absorb(
    weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A convolution (K, C, kh, kw), (K,) that does y = s x + t as well: W' = s W, b' = s b + t."""
    return scale[:, None, None, None] * weight, scale * bias + shift


def _affine(norm: Module) -> tuple[np.ndarray, np.ndarray]:
    """(s, t), a number a channel, of a norm in evaluation mode."""
    if isinstance(norm, BFStdNorm2d):
        scale = (_float64(norm.gamma) / _float64(norm.running_sd)).reshape(-1)
        return scale, np.zeros_like(scale)
    if isinstance(norm, BFBatchNorm2d):
        scale = _float64(norm.weight) / (np.sqrt(_float64(norm.running_var)) + norm.eps)
        return scale, np.zeros_like(scale)
    if isinstance(norm, BatchNorm2d):
        scale = _float64(norm.weight) / np.sqrt(_float64(norm.running_var) + norm.eps)
        return scale, _float64(norm.bias) - scale * _float64(norm.running_mean)
    raise TypeError(f"merge_batch_norm: {type(norm).__name__}: expected a norm or a ReLU")


def _float64(array: object) -> np.ndarray:
    return to_host(array).astype(np.float64)
