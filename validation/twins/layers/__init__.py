"""The PyTorch twin of each leaf and loss: `TWINS[class name](**constructor arguments)`.

Where PyTorch has the module, it is the twin. The others are written here in PyTorch's operations,
so that autograd gives the derivatives. One file a group of rows.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from validation.twins.layers import (
    blind_spot,
    convs,
    covariance,
    divergence,
    elementwise,
    geometry,
    likelihood,
    losses,
    norm,
    smooth,
    stochastic,
    windows,
)

TWINS: dict[str, Callable[..., nn.Module]] = {
    **windows.TWINS,
    **elementwise.TWINS,
    **losses.TWINS,
    **smooth.TWINS,
    **norm.TWINS,
    **geometry.TWINS,
    **convs.TWINS,
    **stochastic.TWINS,
    **covariance.TWINS,
    **divergence.TWINS,
    **likelihood.TWINS,
    **blind_spot.TWINS,
}
"""Class name -> constructor."""

__all__ = ["TWINS"]
