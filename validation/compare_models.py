"""Every network of the zoo against its PyTorch twin: output, input cotangent, every gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch

from minigrad.backend import resolve_device, to_device, to_host
from validation.agreement import finite_error
from validation.cases import gradients
from validation.report import Case, failed, gather, silent
from validation.tolerances import NETWORK_ATOL, NETWORK_RTOL, float32_allowed
from validation.transfer import make_twin, twin_gradients
from zoo import create
from zoo.architectures import Denoiser

Results = dict[str, np.ndarray]
SEEDS = (0, 1, 2)
"""Draws of weights, inputs and cotangents; errors are the worst of them."""


@dataclass(frozen=True)
class Network:
    """One network with arguments of its constructor, and the input (N, H, W) it is compared on."""

    model: str
    size: tuple[int, int, int]
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in `n2n-simple[features=5]`."""
        words = ",".join(f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.model}[{words}]"

    def create(self, dtype: Any, seed: int) -> Denoiser:
        """The network with random weights; biases and slopes are moved off their first values."""
        rng = np.random.default_rng(seed)
        model = create(self.model, dtype=np.float64, rng=rng, **self.arguments)
        for parameter in model.parameters():
            parameter.value[...] += 0.02 * rng.standard_normal(parameter.value.shape)
        return model.astype(dtype)


NETWORKS = (
    Network("n2n-simple", (3, 16, 24)),
    Network("n2n-simple", (2, 12, 8), {"features": 5, "channels": 1}),
    Network("n2n-simple", (2, 12, 16), {"features": 7, "upsampling": "nearest"}),
    Network("n2n-prelu-unet", (2, 32, 48)),
    Network("n2n-prelu-unet", (2, 32, 48), {"features": 8, "share_blocks": False}),
    Network("n2n-prelu-unet", (2, 32, 16), {"features": 5, "stem_activation": "relu"}),
    Network(
        "n2n-prelu-unet",
        (1, 32, 16),
        {"features": 7, "share_blocks": False, "stem_activation": "relu"},
    ),
    Network("n2n-prelu-unet", (2, 16, 24), {"features": 6, "depth": 3, "channels": 1}),
    Network("n2n-prelu-unet", (2, 12, 8), {"features": 5, "depth": 2, "decoder_features": 9}),
    Network("n2n-unet", (1, 64, 32)),
    Network("n2n-unet", (1, 32, 32), {"channels": 9, "out_channels": 3}),
    Network("n2n-unet", (2, 32, 32), {"channels": 1, "offset": 0.0}),
)


def run_models(
    only: str | None = None, device: str = "cpu", say: Callable[[str], None] = silent
) -> list[Case]:
    """Compare every network whose case name matches `only`; PyTorch runs on the CPU.

    Raises:
        DeviceError: `device` is "cuda" and cannot be used.
    """
    device = resolve_device(device)
    return gather((c for network in NETWORKS for c in _cases(network, only or "*", device)), say)


def _cases(network: Network, pattern: str, device: str) -> Iterator[Case]:
    for precision, check in (("float64", check_float64), ("float32", check_float32)):
        name = f"{network.name} {precision}"
        if fnmatch(name, pattern) or fnmatch(network.name, pattern):
            try:
                yield Case(name, True, "", check(network, device))
            except Exception as error:
                yield failed(Case(name, False), error, network.name)


def check_float64(network: Network, device: str = "cpu") -> dict[str, float]:
    """Raise `AssertionError` where a result differs from PyTorch's; returns the worst error."""
    worst = 0.0
    for seed in SEEDS:
        mine, reference = both(network, np.float64, seed, device)
        for name, expected in reference.items():
            error = finite_error(mine[name], expected, what=f"{network.name}: {name}")
            atol = NETWORK_ATOL * np.abs(expected).max()
            close = np.isclose(mine[name], expected, rtol=NETWORK_RTOL, atol=atol)
            assert close.all(), f"{network.name}: {name}: error {error:.2e} of the largest entry"
            worst = max(worst, error)
    return {"worst error": worst}


def check_float32(network: Network, device: str = "cpu") -> dict[str, float]:
    """Raise `AssertionError` where our worst error is more than four times PyTorch's.

    Errors are against PyTorch in float64 and relative to each result's largest entry.
    """
    ours = theirs = 0.0
    for seed in SEEDS:
        exact = both(network, np.float64, seed)[1]
        mine, other = both(network, np.float32, seed, device)
        for name, expected in exact.items():
            what = f"{network.name}: {name}"
            ours = max(ours, finite_error(mine[name], expected, what=what))
            theirs = max(theirs, finite_error(other[name], expected, what=f"{what} by PyTorch"))
    figures = {"worst error": ours, "PyTorch's": theirs}
    allowed = float32_allowed(theirs)
    assert ours <= allowed, f"{network.name}: error {ours:.2e}, expected at most {allowed:.2e}"
    return figures


def both(network: Network, dtype: Any, seed: int, device: str = "cpu") -> tuple[Results, Results]:
    """The results of the network and of its twin: "y", "dx", and the gradients by name."""
    model = network.create(dtype, seed)
    twin = make_twin(model)
    assert set(model.state_dict()) == set(twin.state_dict()), f"{network.name}: state-dict keys"
    rng = np.random.default_rng(seed + 1)
    n, h, w = network.size
    x = rng.random((n, model.channels, h, w)).astype(dtype)

    xt = torch.from_numpy(x).requires_grad_()
    yt = twin(xt)
    dy = rng.standard_normal(tuple(yt.shape)).astype(dtype)
    yt.backward(torch.from_numpy(dy))
    assert xt.grad is not None
    theirs = {"y": yt.detach().numpy(), "dx": xt.grad.numpy(), **twin_gradients(twin)}

    model.to(device)
    y, vjp = model.forward_and_vjp(to_device(x, device))
    dx = vjp(to_device(dy, device))
    ours = {"y": to_host(y), "dx": to_host(dx), **gradients(model)}
    assert ours.keys() == theirs.keys(), f"{network.name}: {[*ours]}, PyTorch {[*theirs]}"
    return ours, theirs
