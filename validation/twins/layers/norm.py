"""Twins of the normalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from validation.twins.function import Function


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, and with `frozen` its evaluation mode at all times."""

    def __init__(self, *args: Any, frozen: bool = False, **kwargs: Any) -> None:
        """The arguments of `minigrad.BatchNorm2d`."""
        super().__init__(*args, **kwargs)
        self.frozen = frozen

    def forward(self, x: Tensor) -> Tensor:
        """The normalised channels."""
        if not self.frozen:
            return super().forward(x)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class BFBatchNorm2d(nn.Module):
    """The authors' lines; but the root of 0 has the derivative 0, and no elements change nothing.

    The unused `bias` is a buffer here, since it has no gradient.
    """

    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        """The arguments of `minigrad.BFBatchNorm2d`."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        """The channels over their deviation, times the weight."""
        y = x.transpose(0, 1).flatten(1)
        variance = y.var(dim=1) if self.training else self.running_var
        if self.training and x.numel():
            with torch.no_grad():
                kept = (1 - self.momentum) * self.running_var
                self.running_var = kept + self.momentum * variance
        root = torch.where(variance == 0, 1, variance).sqrt() * (variance != 0)
        y = self.weight[:, None] * (y / (root[:, None] + self.eps))
        return y.reshape(x.transpose(0, 1).shape).transpose(0, 1)


class BFStdNorm2d(nn.Module):
    """The authors' lines; no elements change nothing."""

    running_sd: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        """The arguments of `minigrad.BFStdNorm2d`."""
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.register_buffer("running_sd", torch.ones(1, num_features, 1, 1))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        """The channels over their deviation, times gamma."""
        if not self.training:
            return x / self.running_sd * self.gamma
        sd = torch.sqrt(x.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + self.eps)
        if x.numel():
            with torch.no_grad():
                kept = (1 - self.momentum) * self.running_sd
                self.running_sd = kept + self.momentum * sd
        return x / sd * self.gamma


def normalize(p: float = 2.0, dim: int = 1, eps: float = 1e-12, floor: str = "norm") -> nn.Module:
    """`torch.nn.functional.normalize`, or the floor under the square."""
    if floor == "norm":
        return Function(lambda x: functional.normalize(x, p, dim, eps))
    return Function(lambda x: x * (x * x).sum(dim, keepdim=True).clamp(min=eps) ** -0.5)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "BatchNorm2d": BatchNorm2d,
    "BFBatchNorm2d": BFBatchNorm2d,
    "BFStdNorm2d": BFStdNorm2d,
    "Normalize": normalize,
}
