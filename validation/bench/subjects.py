"""What the benchmark times: every network of the zoo, and every convolution that they use.

A subject makes the same step for each side: minigrad, PyTorch, PyTorch with channels last in
memory. Both sides start from the same weights and see the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from minigrad import SGD, Conv2d, ConvTranspose2d, MaskedConv2d, Module, MSELoss
from minigrad.backend import module_for
from validation.transfer import copy_to_twin, make_twin
from zoo import create

Step = Callable[[], object]
SIDES = ("minigrad", "torch", "torch channels_last")
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Network:
    """One network at one batch.

    bar: what the work may take at most, in units of PyTorch's time; None where it is only reported.
    label: in place of the model's name, where it stands in the table twice.
    least_batch: pictures that it needs: a norm at a single pixel wants two values to compare.
    """

    model: str
    batch: int
    channels: int
    side: int
    work: Literal["training", "inference"]
    bar: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    least_batch: int = 1
    turn_seconds = 0.5  # a turn of a fast step is repeated for about this long

    @property
    def name(self) -> str:
        """As in `n2n-simple 16x3x32x32 training`."""
        size = f"{self.batch}x{self.channels}x{self.side}x{self.side}"
        return f"{self.label or self.model} {size} {self.work}"

    def small(self) -> Network:
        """The same network on one small picture: what is loaded and planned once is then there."""
        return replace(self, batch=self.least_batch, side=min(self.side, 64))

    def make_step(self, side: str, device: str) -> Step:
        """A function that does one step and waits until the device has done it."""
        rng = np.random.default_rng(0)
        model = create(self.model, **self.arguments, rng=rng)
        size = (self.batch, self.channels, self.side, self.side)
        x, target = (rng.random(size, dtype=np.float32) for _ in range(2))
        if side == "minigrad":
            return _engine_step(model.to(device), x, target, self.work, device)
        twin = make_twin(model).to(device)
        return _torch_step(twin, x, target, self.work, device, "channels" in side)


def _engine_step(model: Any, x: Any, target: Any, work: str, device: str) -> Step:
    xp = module_for(device)
    x, target, loss = xp.asarray(x), xp.asarray(target), MSELoss()
    one, optimiser = xp.ones((), xp.float32), SGD(model.parameters(), lr=LEARNING_RATE)
    wait = waits(device)[0]

    def train() -> None:
        model.zero_grad()
        y, vjp = model.forward_and_vjp(x)
        _, loss_vjp = loss.forward_and_vjp(y, target)
        del y
        vjp(loss_vjp(one)[0])
        optimiser.step()
        wait()

    def infer() -> None:
        model.forward(x)
        wait()

    if work == "training":
        return train
    model.eval()
    return infer


def _torch_step(
    model: nn.Module, x: Any, target: Any, work: str, device: str, channels_last: bool
) -> Step:
    x, target = (torch.from_numpy(a).to(device) for a in (x, target))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x, target = (a.contiguous(memory_format=torch.channels_last) for a in (x, target))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=LEARNING_RATE)
    wait = waits(device)[1]

    def train() -> None:
        optimiser.zero_grad()
        functional.mse_loss(model(x), target).backward()
        optimiser.step()
        wait()

    def infer() -> None:
        with torch.no_grad():
            model(x)
        wait()

    if work == "training":
        return train
    model.eval()
    return infer


def waits(device: str) -> tuple[Step, Step]:
    """What waits for the device's work, of NumPy or CuPy and of PyTorch."""
    if device == "cpu":
        return (lambda: None), (lambda: None)
    return module_for(device).cuda.Device().synchronize, torch.cuda.synchronize


@dataclass(frozen=True)
class Convolution:
    """A convolution alone: forward, and the cotangents of input, weight and bias.

    kind: "conv", "transposed" or "masked" (the centre). c to k channels, `side` the pixels of the
    input's height and width.
    """

    kind: Literal["conv", "transposed", "masked"]
    c: int
    k: int
    kernel: int
    batch: int
    side: int
    stride: int = 1
    dilation: int = 1
    padding: int | None = None  # None keeps the size
    bar: float | None = 1.25
    work = "layer"
    model = "convolutions"
    turn_seconds = 0.1

    @property
    def name(self) -> str:
        """As in `conv 3x3 64-64 16x64x50x50 layer`, with the stride and the dilation if any."""
        more = f" stride {self.stride}" if self.stride > 1 else ""
        more += f" dilation {self.dilation}" if self.dilation > 1 else ""
        size = f"{self.batch}x{self.c}x{self.side}x{self.side}"
        return f"{self.kind} {self.kernel}x{self.kernel} {self.c}-{self.k} {size}{more} layer"

    def small(self) -> Convolution:
        """The same on one picture."""
        return replace(self, batch=1)

    def make_step(self, side: str, device: str) -> Step:
        """A function that does all of it once and waits until the device has done it."""
        rng = np.random.default_rng(0)
        layer = self._layer(rng)
        x = rng.standard_normal((self.batch, self.c, self.side, self.side), dtype=np.float32)
        dy = rng.standard_normal(layer.forward(x).shape, dtype=np.float32)
        if side == "minigrad":
            xp, wait = module_for(device), waits(device)[0]
            layer.to(device)
            x, dy = xp.asarray(x), xp.asarray(dy)

            def step() -> None:
                layer.forward_and_vjp(x)[1](dy)
                wait()

            return step
        return self._torch_step(layer, x, dy, "channels" in side, device)

    def _border(self) -> int:
        whole = self.dilation * (self.kernel - 1) // 2
        return whole if self.padding is None else self.padding

    def _layer(self, rng: np.random.Generator) -> Module:
        border = self._border()
        if self.kind == "transposed":
            return ConvTranspose2d(self.c, self.k, self.kernel, self.stride, border, rng=rng)
        make = {"conv": Conv2d, "masked": MaskedConv2d}[self.kind]
        return make(self.c, self.k, self.kernel, self.stride, border, self.dilation, rng=rng)

    def _torch_step(
        self, layer: Module, x_: np.ndarray, dy_: np.ndarray, channels_last: bool, device: str
    ) -> Step:
        border = self._border()
        twin: nn.Conv2d | nn.ConvTranspose2d
        if self.kind == "transposed":
            twin = nn.ConvTranspose2d(self.c, self.k, self.kernel, self.stride, border)
        else:
            twin = nn.Conv2d(self.c, self.k, self.kernel, self.stride, border, self.dilation)
        copy_to_twin(layer, twin.to(device))
        x, dy = (torch.from_numpy(a).to(device) for a in (x_, dy_))
        if channels_last:
            twin = twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            x, dy = (a.contiguous(memory_format=torch.channels_last) for a in (x, dy))
        weight, bias = twin.weight, twin.bias
        assert bias is not None
        x.requires_grad_()
        mask = torch.ones_like(weight)
        mask[:, :, self.kernel // 2, self.kernel // 2] = 0
        wait = waits(device)[1]

        def step() -> None:
            if self.kind == "masked":
                y = functional.conv2d(x, weight * mask, bias, padding=border)
            else:
                y = twin(x)
            torch.autograd.grad(y, (x, weight, bias), dy)
            wait()

        return step


Subject = Network | Convolution


def _both(model: str, batch: int, channels: int, side: int) -> list[Network]:
    shape = model, batch, channels, side
    return [Network(*shape, "training", 1.0), Network(*shape, "inference")]


_NARROW_LADDER = {"z_dims": [16, 16, 16], "n_filters": 32, "blocks_per_layer": 1, "dropout": 0.0}
NETWORKS: tuple[Network, ...] = (
    *_both("n2n-simple", 16, 3, 32),
    *_both("n2n-simple", 64, 3, 32),
    *_both("n2n-simple", 512, 3, 32),
    *_both("n2n-prelu-unet", 16, 3, 32),
    *_both("n2n-prelu-unet", 64, 3, 32),
    *_both("n2n-unet", 4, 3, 128),
    Network("dncnn-s", 16, 1, 50, "training", 1.0),
    Network("dncnn-s", 1, 1, 512, "inference", 0.9),
    Network("dncnn-b", 8, 1, 50, "training", 1.0),
    Network("dncnn-kair", 8, 1, 50, "training", 1.0, {"form": "BR"}),
    Network("bf-dncnn", 8, 1, 50, "training", 1.0),
    Network("pcst-dncnn", 8, 3, 50, "training", 1.0),
    Network("bf-unet", 16, 1, 50, "training", 1.0),
    Network("bf-unet", 16, 3, 50, "training", 1.0, {"channels": 3}),
    Network("bf-unet", 1, 1, 512, "inference", 0.9),
    Network("bf-unet", 1, 3, 512, "inference", 0.9, {"channels": 3}),
    Network("bf-rcnn", 4, 1, 50, "training", 1.0),
    Network("bf-sdensenet", 4, 1, 50, "training", 1.0),
    Network("dbsn-gray", 16, 1, 48, "training", 1.0, {"width": 24, "blocks": 2}),
    Network("dbsn-gray", 1, 1, 48, "training", 1.0),
    Network("dbsn-color", 16, 3, 48, "training", 1.0, {"width": 24, "blocks": 2, "noise": "mg"}),
    Network("mwcnn", 1, 1, 48, "training", 1.0),
    Network("hdn", 8, 1, 64, "training", 1.0, _NARROW_LADDER, "hdn-narrow"),
    Network("hdn", 8, 1, 64, "training", 1.0, least_batch=2),
    Network("divnoising", 16, 1, 64, "training", 1.0),
    Network("psl-ae", 128, 3, 16, "training", 1.0),
    Network("psl-ae", 128, 3, 24, "training", 1.0, {"block": 24, "overlap": 8}),
    Network("psl-ae", 1, 3, 256, "inference"),
)

CONVOLUTIONS: tuple[Convolution, ...] = (
    Convolution("conv", 64, 64, 3, 16, 50),  # DnCNN
    Convolution("conv", 1, 64, 3, 16, 50),
    Convolution("conv", 64, 1, 3, 16, 50),
    Convolution("conv", 64, 64, 3, 1, 256),  # inference sizes
    Convolution("conv", 32, 32, 3, 16, 32),  # PReLU U-Net
    Convolution("conv", 67, 32, 3, 16, 32),
    Convolution("conv", 64, 64, 3, 16, 16),
    Convolution("conv", 96, 64, 3, 16, 16),
    Convolution("conv", 64, 64, 3, 16, 4),
    Convolution("conv", 48, 48, 3, 4, 128),  # Noise2Noise U-Net
    Convolution("conv", 144, 96, 3, 4, 64),
    Convolution("conv", 96, 96, 3, 4, 16),
    Convolution("conv", 96, 32, 3, 16, 50),  # bias-free U-Net
    Convolution("conv", 3, 32, 5, 16, 50),
    Convolution("conv", 32, 3, 5, 16, 50),
    Convolution("conv", 32, 64, 3, 16, 50, 2, 1, 1),
    Convolution("conv", 64, 64, 3, 16, 25, 1, 2),
    Convolution("conv", 64, 64, 3, 16, 25, 1, 4),
    Convolution("transposed", 64, 64, 4, 16, 25, 2, 1, 1),
    Convolution("conv", 3, 32, 2, 16, 32, 2, 1, 0),  # the strided net of Noise2Noise
    Convolution("transposed", 32, 3, 2, 16, 16, 2, 1, 0),
    Convolution("conv", 96, 96, 1, 2, 96),  # D-BSN
    Convolution("masked", 96, 96, 3, 2, 48),
    Convolution("masked", 96, 96, 5, 2, 48),
    Convolution("conv", 96, 96, 3, 2, 48, 1, 2),
    Convolution("conv", 96, 96, 5, 2, 48, 1, 3),
    Convolution("conv", 24, 24, 1, 16, 48),
    Convolution("conv", 24, 24, 3, 16, 48, 1, 2),
    Convolution("conv", 24, 24, 5, 16, 48, 1, 3),
    Convolution("conv", 64, 64, 3, 8, 32),  # ladder VAE
    Convolution("conv", 64, 64, 3, 8, 64, 2, 1, 1),
)

SUBJECTS: tuple[Subject, ...] = (*NETWORKS, *CONVOLUTIONS)
QUICK = ("n2n-simple 16*training", "n2n-prelu-unet 16*training", "dncnn-s*training",
         "bf-unet 16x1*training", "*layer")  # fmt: skip
"""What a quick run looks at."""
