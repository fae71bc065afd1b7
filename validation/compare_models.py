"""Every network of the zoo against its PyTorch twin: output, input cotangent, every gradient, and
the running statistics after the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, Literal

import numpy as np
import torch

from minigrad.backend import resolve_device, to_device, to_host
from validation.agreement import finite_error
from validation.cases import gradients
from validation.report import Case, failed, gather, silent
from validation.same_noise import give_same_noise
from validation.tolerances import NETWORK_ATOL, NETWORK_RTOL, float32_allowed
from validation.transfer import make_twin, twin_gradients
from zoo import create
from zoo.architectures import Denoiser

Results = dict[str, np.ndarray]
SEEDS = (0, 1, 2)
"""Draws of weights, inputs and cotangents; errors are the worst of them."""


@dataclass(frozen=True)
class Network:
    """One network with arguments of its constructor, and the input (N, H, W) it is compared on.

    mode: "train", or "eval" for networks that do something else then.
    vanishing: pattern of the parameters whose gradient is 0 but for rounding: a bias ahead of a
        batch norm, which takes every constant off again. Their errors are relative to the largest
        gradient of the weight beside them.
    """

    model: str
    size: tuple[int, int, int]
    arguments: dict[str, Any] = field(default_factory=dict)
    mode: Literal["train", "eval"] = "train"
    vanishing: str = ""

    @property
    def name(self) -> str:
        """As in `n2n-simple[features=5]`, `dncnn-s[depth=5] eval`."""
        words = ",".join(f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.model}[{words}]" + (" eval" if self.mode == "eval" else "")

    def create(self, dtype: Any, seed: int) -> Denoiser:
        """The network with random weights and running statistics; biases and slopes are moved off
        their first values.
        """
        rng = np.random.default_rng(seed)
        model = create(self.model, dtype=np.float64, rng=rng, **self.arguments)
        for parameter in model.parameters():
            parameter.value[...] += 0.02 * rng.standard_normal(parameter.value.shape)
        for array in statistics(model).values():
            array += rng.uniform(-0.3, 0.3, array.shape)
        give_same_noise(model, seed)
        return model.astype(dtype).train(self.mode == "train")


def statistics(model: Denoiser) -> dict[str, Any]:
    """The running statistics, as they lie in the model."""
    trained, state = model.named_parameters(), model.state_dict()
    return {k: a for k, a in state.items() if k not in trained and a.dtype.kind == "f"}


_LADDER = {"z_dims": [3, 4], "n_filters": 6, "blocks_per_layer": 1, "img_shape": [16, 16]}
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
    # At 32x32 one input of a LeakyReLU is 1.6e-7 where others reach 6.5: rounding decides its sign.
    Network("n2n-unet", (1, 32, 64), {"channels": 9, "out_channels": 3}),
    Network("n2n-unet", (2, 32, 32), {"channels": 1, "offset": 0.0}),
    Network("dncnn-s", (2, 9, 12)),
    Network("dncnn-s", (2, 12, 9), {"features": 6, "depth": 5}),
    Network("dncnn-s", (2, 12, 9), {"features": 6, "depth": 5, "init": "native"}, "eval"),
    Network("dncnn-s", (1, 7, 8), {"channels": 3, "features": 5, "depth": 2, "init": "matlab"}),
    Network("dncnn-b", (2, 9, 8)),
    Network("dncnn-b", (2, 12, 9), {"features": 7, "init": "native"}, "eval"),
    Network("dncnn-kair", (1, 12, 9)),
    Network("dncnn-kair", (2, 10, 7), {"channels": 3, "features": 6, "depth": 4, "init": "he"}),
    Network(
        "dncnn-kair",
        (2, 12, 9),
        {"features": 6, "depth": 4, "form": "BR"},
        vanishing="model.[25].bias",
    ),
    Network("dncnn-kair", (2, 12, 9), {"features": 6, "depth": 4, "form": "BR"}, "eval"),
    Network("bf-dncnn", (2, 9, 8)),
    Network("bf-dncnn", (2, 12, 9), {"features": 6, "depth": 5}),
    Network("bf-dncnn", (2, 12, 9), {"features": 6, "depth": 5, "init": "native"}, "eval"),
    Network(
        "bf-dncnn",
        (2, 12, 9),
        {"channels": 3, "features": 6, "depth": 4, "bias": True},
        vanishing="hidden_layer_list.*.bias",
    ),
    Network(
        "bf-dncnn", (2, 8, 9), {"features": 6, "depth": 4, "bias": True, "init": "native"}, "eval"
    ),
    Network("bf-unet", (2, 13, 11)),
    Network("bf-unet", (1, 12, 10), {"channels": 3, "features": 5}),
    Network("bf-unet", (2, 9, 14), {"features": 4, "bias": True, "residual": True}),
    Network("bf-rcnn", (1, 9, 8)),
    Network("bf-rcnn", (1, 9, 8), {"features": 7}, "eval"),
    Network("bf-rcnn", (2, 7, 10), {"channels": 3, "features": 6, "hidden": 2, "bias": True}),
    Network("bf-rcnn", (2, 7, 6), {"features": 5, "hidden": 0, "max_stage": 2}, "eval"),
    Network("bf-sdensenet", (1, 9, 8)),
    Network("bf-sdensenet", (2, 7, 10), {"channels": 3, "features": 6, "hidden": 2, "bias": True}),
    Network("bf-sdensenet", (2, 7, 6), {"features": 5, "max_stage": 1}),
    Network("pcst-dncnn", (2, 9, 8)),
    Network("pcst-dncnn", (2, 12, 9), {"channels": 1, "features": 6, "depth": 5}),
    Network("pcst-dncnn", (2, 9, 12), {"features": 6, "depth": 4}, "eval"),
    Network("dbsn-gray", (1, 9, 8), {"width": 24, "blocks": 2}),
    Network("dbsn-gray", (2, 8, 9), {"width": 6, "blocks": 1, "noise": "hg"}),
    Network(
        "dbsn-gray",
        (2, 9, 7),
        {
            "width": 5,
            "blocks": 1,
            "blind_spot": "trimmed",
            "activation": "leaky_relu",
            "gamma": 0.9,
        },
    ),
    Network("dbsn-gray", (2, 7, 8), {"width": 6, "blocks": 1, "faithful_test": True}, "eval"),
    Network("dbsn-color", (2, 9, 8), {"width": 6, "blocks": 1}),
    Network("dbsn-color", (2, 8, 7), {"width": 6, "blocks": 1, "noise": "hg", "gamma": 0.9}),
    Network(
        "dbsn-color", (2, 9, 8), {"width": 6, "blocks": 1, "noise": "mg", "sigma_n_start": 25.0}
    ),
    Network(
        "dbsn-color",
        (2, 9, 8),
        {"width": 6, "blocks": 1, "noise": "mg", "pixelwise": True, "sigma_n_start": 25.0},
    ),
    Network("mwcnn", (2, 16, 24), {"level1": 8, "level2": 10, "level3": 12}),
    Network("mwcnn", (1, 16, 8), {"channels": 3, "level1": 5, "level2": 6, "level3": 7}),
    Network(
        "hdn",
        (2, 18, 13),
        {**_LADDER, "z_dims": [3, 4, 5], "blocks_per_layer": 2},
        vanishing="*.block.2.bias",  # where the dropout keeps a channel of all pictures
    ),
    Network("hdn", (2, 18, 13), {**_LADDER, "use_uncond_mode_at": [0], "data_mean": 0.4}, "eval"),
    Network(
        "hdn",
        (3, 16, 8),
        {**_LADDER, "res_block_type": "bacdbac", "dropout": None, "gated": False},
        vanishing="*.block.2.bias",
    ),
    Network(
        "hdn",
        (3, 12, 16),
        {**_LADDER, "res_block_type": "cabdcabd", "nonlin": "selu", "learn_top_prior": False},
    ),
    Network(
        "hdn",
        (2, 16, 24),
        {**_LADDER, "batchnorm": False, "merge_type": "linear", "nonlin": "leakyrelu"},
    ),
    Network(
        "hdn",
        (2, 32, 16),
        {
            **_LADDER,
            "channels": 3,
            "stochastic_skip": False,
            "no_initial_downscaling": False,
            "nonlin": "relu",
            "data_std": 0.25,
        },
        vanishing="*.block.2.bias",
    ),
    Network("divnoising", (2, 16, 24)),
    Network(
        "divnoising",
        (2, 24, 16),
        {"z_dim": 4, "init_filters": 4, "n_depth": 3, "n_filters_per_depth": 3, "bias": False},
    ),
    Network("psl-ae", (2, 16, 28), {"width": 6}),
    Network("psl-ae", (2, 10, 16), {"block": 4, "overlap": 1, "width": 2, "channels": 1}),
    Network("psl-ae", (2, 12, 20), {"block": 8, "overlap": 4, "width": 4, "routing": "soft"}),
    Network("psl-ae", (2, 14, 14), {"block": 8, "overlap": 2, "width": 4, "blend": False}),
    Network(
        "psl-ae",
        (2, 14, 20),
        {"block": 8, "overlap": 2, "width": 4, "bn_mode": "train", "clusters": 3},
    ),
    Network("psl-ae", (2, 8, 15), {"block": 8, "overlap": 1, "width": 4, "prior": "gate"}),
    Network(
        "psl-ae",
        (2, 14, 14),
        {
            "block": 8,
            "overlap": 2,
            "width": 4,
            "prior": "mixture",
            "two_heads": True,
            "released": True,
            "routing": "soft",
        },
    ),
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
            size = _size(network, name, reference)
            error = finite_error(mine[name], expected, size, what=f"{network.name}: {name}")
            atol = NETWORK_ATOL * size
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
            what, size = f"{network.name}: {name}", _size(network, name, exact)
            ours = max(ours, finite_error(mine[name], expected, size, what=what))
            whose = f"{what} by PyTorch"
            theirs = max(theirs, finite_error(other[name], expected, size, what=whose))
    figures = {"worst error": ours, "PyTorch's": theirs}
    allowed = float32_allowed(theirs)
    assert ours <= allowed, f"{network.name}: error {ours:.2e}, expected at most {allowed:.2e}"
    return figures


def _size(network: Network, name: str, results: Results) -> float:
    """What errors of a result are relative to: its largest entry, or that of the weight beside a
    parameter whose gradient vanishes.
    """
    if fnmatch(name, network.vanishing):
        name = name.rpartition(".")[0] + ".weight"
    return float(np.abs(results[name]).max(initial=0)) or 1.0


def both(network: Network, dtype: Any, seed: int, device: str = "cpu") -> tuple[Results, Results]:
    """The results of the network and of its twin: "y", "dx", the gradients by name, and the running
    statistics as "after NAME".
    """
    model = network.create(dtype, seed)
    twin = make_twin(model).train(model.training)
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
    after = twin.state_dict()
    theirs |= {f"after {k}": after[k].numpy() for k in statistics(model)}

    model.to(device)
    y, vjp = model.forward_and_vjp(to_device(x, device))
    dx = vjp(to_device(dy, device))
    ours = {"y": to_host(y), "dx": to_host(dx), **gradients(model)}
    ours |= {f"after {k}": to_host(a) for k, a in statistics(model).items()}
    assert ours.keys() == theirs.keys(), f"{network.name}: {[*ours]}, PyTorch {[*theirs]}"
    return ours, theirs
