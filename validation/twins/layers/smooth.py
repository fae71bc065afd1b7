"""Twins of the smooth activations, softmax, elementary functions and the linear layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from validation.twins.function import Function


def mean(dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> nn.Module:
    """`torch.mean`."""
    return Function(lambda x: torch.mean(x, dim=dim, keepdim=keepdim))


def expand(size: tuple[int, ...]) -> nn.Module:
    """`torch.Tensor.expand`."""
    return Function(lambda x: x.expand(size))


class LearnedScale(nn.Module):
    """w x, with a parameter w for all or for each channel."""

    def __init__(self, num_features: int = 1, init: float = 1.0) -> None:
        """The arguments of `minigrad.LearnedScale`."""
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_features,), init))

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        if self.weight.numel() == 1:
            return self.weight.reshape(()) * x
        return self.weight.reshape(-1, *(1,) * (x.ndim - 2)) * x


TWINS: dict[str, Callable[..., nn.Module]] = {
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "GELU": nn.GELU,
    "Tanh": nn.Tanh,
    "Softplus": nn.Softplus,
    "Softmax": nn.Softmax,
    "LogSoftmax": nn.LogSoftmax,
    "Square": lambda: Function(torch.square),
    "Exp": lambda: Function(torch.exp),
    "Log": lambda: Function(torch.log),
    "Mean": mean,
    "Expand": expand,
    "ExpandAs": lambda: Function(lambda x, other: x.expand_as(other)),
    "Linear": nn.Linear,
    "LearnedScale": LearnedScale,
}
