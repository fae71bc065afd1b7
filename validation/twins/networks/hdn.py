"""Twins of the networks that draw: HDN's ladder and DivNoising, one draw of a clean picture.

Dropouts and latents take the numbers of a `minigrad.Noise`, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from minigrad import Noise

ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
}


@dataclass
class Draws:
    """Where all parts of one network draw from."""

    noise: Noise = field(default_factory=Noise)

    def latent(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """One of N(mean, e^log_variance)."""
        dtype = np.float64 if mean.dtype == torch.float64 else np.float32
        e = torch.from_numpy(self.noise.normal(tuple(mean.shape), dtype)).to(mean.device)
        return mean + (log_variance / 2).exp() * e


class Drawing(nn.Module):
    """A network with draws, whose noise is exchanged from outside."""

    def __init__(self, data_mean: float, data_std: float) -> None:
        super().__init__()
        self.draws = Draws()
        self.scale = data_mean, data_std

    @property
    def noise(self) -> Noise:
        """What is drawn from."""
        return self.draws.noise

    @noise.setter
    def noise(self, noise: Noise) -> None:
        self.draws.noise = noise


class Dropout(nn.Module):
    """Whole channels, by uniform float32 numbers."""

    def __init__(self, p: float, draws: Draws) -> None:
        super().__init__()
        self.p, self.draws = p, draws

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        if not self.training or self.p == 0:
            return x
        uniform = torch.from_numpy(self.draws.noise.uniform((*x.shape[:2], 1, 1))).to(x.device)
        return x * (uniform >= self.p).to(x.dtype) / (1 - self.p)


@dataclass
class Style:
    """What all blocks have in common."""

    width: int
    order: str
    nonlin: str
    batchnorm: bool
    dropout: float | None
    gated: bool
    draws: Draws

    def act(self) -> nn.Module:
        """The activation."""
        return ACTS[self.nonlin]()


class Gate(nn.Module):
    """act(u) sigmoid(g)."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.conv = nn.Conv2d(style.width, 2 * style.width, 1)
        self.act = style.act()

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) -> the same."""
        u, g = self.conv(x).chunk(2, 1)
        y: Tensor = self.act(u) * torch.sigmoid(g)
        return y


class Residual(nn.Module):
    """x + block(x)."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        makers: dict[str, Callable[[], nn.Module] | None] = {
            "b": (lambda: nn.BatchNorm2d(style.width)) if style.batchnorm else None,
            "a": style.act,
            "c": lambda: nn.Conv2d(style.width, style.width, 3, padding=1),
            "d": None
            if style.dropout is None
            else (lambda: Dropout(style.dropout or 0.0, style.draws)),
        }
        made = [make() for make in map(makers.__getitem__, style.order) if make is not None]
        self.block = nn.Sequential(*made, *([Gate(style)] if style.gated else []))

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) -> the same."""
        y: Tensor = x + self.block(x)
        return y


class Resampling(nn.Module):
    """A residual block, perhaps behind a change of size."""

    def __init__(self, style: Style, resample: str = "") -> None:
        super().__init__()
        f = style.width
        self.pre_conv: nn.Module | None = None
        if resample == "down":
            self.pre_conv = nn.Conv2d(f, f, 3, 2, 1)
        elif resample == "up":
            self.pre_conv = nn.ConvTranspose2d(f, f, 3, 2, 1, output_padding=1)
        self.res = Residual(style)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) -> the same, or half or twice the size."""
        y: Tensor = self.res(x if self.pre_conv is None else self.pre_conv(x))
        return y


def chain(style: Style, blocks: int, resample: str = "") -> nn.Sequential:
    """Blocks, the first of which resamples."""
    return nn.Sequential(
        Resampling(style, resample), *(Resampling(style) for _ in range(blocks - 1))
    )


class Merge(nn.Module):
    """Two maps become one."""

    def __init__(self, style: Style, kind: str) -> None:
        super().__init__()
        self.layer: nn.Module = nn.Conv2d(2 * style.width, style.width, 1)
        if kind == "residual":
            self.layer = nn.Sequential(self.layer, Residual(replace(style, gated=True)))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, F, H, W) twice -> the same."""
        y: Tensor = self.layer(torch.cat((a, b), 1))
        return y


class Up(nn.Module):
    """A layer on the way up."""

    def __init__(self, style: Style, blocks: int) -> None:
        super().__init__()
        self.net = chain(style, blocks, "down")

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W) -> half the size."""
        y: Tensor = self.net(x)
        return y


class Down(nn.Module):
    """A layer on the way down, with its latent."""

    def __init__(
        self, style: Style, blocks: int, z: int, how: dict[str, Any], grid: Any, hidden: bool
    ) -> None:
        super().__init__()
        f, self.draws, self.hidden = style.width, style.draws, hidden and grid is None
        if grid is not None:
            prior = torch.zeros(1, 2 * z, *grid)
            if how["learn_top_prior"]:
                self.top_prior_params = nn.Parameter(prior)
            else:
                self.register_buffer("top_prior_params", prior)
        self.deterministic_block = chain(style, blocks, "up")
        self.stochastic = nn.Module()
        if grid is None:
            self.stochastic.conv_in_p = nn.Conv2d(f, 2 * z, 3, padding=1)
        self.stochastic.conv_in_q = nn.Conv2d(f, 2 * z, 3, padding=1)
        self.stochastic.conv_out = nn.Conv2d(z, f, 3, padding=1)
        self.merge = None if grid is not None else Merge(style, how["merge_type"])
        skips = how["stochastic_skip"] and grid is None
        self.skip_connection_merger = Merge(style, "residual") if skips else None

    def forward(self, h: Tensor | None, bu: Tensor) -> Tensor:
        """(N, F, h, w) -> twice the size."""
        known: Any = h
        if not self.hidden:
            known = bu if self.merge is None else self.merge(bu, h)
        mean, log_variance = self.stochastic.conv_in_q(known).chunk(2, 1)  # type: ignore[operator]
        z = mean if self.hidden else self.draws.latent(mean, log_variance)
        y = self.stochastic.conv_out(z)  # type: ignore[operator]
        if self.skip_connection_merger is not None:
            y = self.skip_connection_merger(y, h)
        found: Tensor = self.deterministic_block(y)
        return found


class HDN(Drawing):
    """The ladder."""

    def __init__(
        self,
        z_dims: Sequence[int] = (32,) * 6,
        channels: int = 1,
        n_filters: int = 64,
        blocks_per_layer: int = 5,
        nonlin: str = "elu",
        merge_type: str = "residual",
        batchnorm: bool = True,
        stochastic_skip: bool = True,
        dropout: float | None = 0.2,
        learn_top_prior: bool = True,
        img_shape: Sequence[int] = (64, 64),
        res_block_type: str = "bacdbacd",
        gated: bool = True,
        no_initial_downscaling: bool = True,
        use_uncond_mode_at: Sequence[int] = (),
        data_mean: float = 0.0,
        data_std: float = 1.0,
    ) -> None:
        super().__init__(data_mean, data_std)
        f = n_filters
        style = Style(f, res_block_type, nonlin, batchnorm, dropout, gated, self.draws)
        first = 1 if no_initial_downscaling else 2
        self.multiple = first << len(z_dims)
        grid = [-(-n // self.multiple) for n in img_shape]
        how = {
            "learn_top_prior": learn_top_prior,
            "merge_type": merge_type,
            "stochastic_skip": stochastic_skip,
        }
        plain = Resampling(replace(style, gated=False))
        self.first_bottom_up = nn.Sequential(
            nn.Conv2d(channels, f, 5, first, 2), style.act(), plain
        )
        self.top_down_layers = nn.ModuleList(
            Down(
                style,
                blocks_per_layer,
                z,
                how,
                grid if i == len(z_dims) - 1 else None,
                i in use_uncond_mode_at,
            )
            for i, z in enumerate(z_dims)
        )
        self.bottom_up_layers = nn.ModuleList(Up(style, blocks_per_layer) for _ in z_dims)
        final = chain(style, blocks_per_layer)
        wider = [nn.Upsample(scale_factor=2, mode="bilinear")] if first == 2 else []
        self.final_top_down = nn.Sequential(*wider, *final)
        self.likelihood = nn.Module()
        self.likelihood.parameter_net = nn.Conv2d(f, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """One draw: (N, C, H, W) -> the same."""
        mean, std = self.scale
        h, w = x.shape[2:]
        dh, dw = -h % self.multiple, -w % self.multiple
        widths = (dw // 2, dw - dw // 2, dh // 2, dh - dh // 2)
        up = self.first_bottom_up(functional.pad((x - mean) / std, widths))
        found = [up := layer(up) for layer in self.bottom_up_layers]
        down: Any = None
        for layer, bu in zip(reversed(self.top_down_layers), reversed(found), strict=True):
            down = layer(down, bu)
        down = self.final_top_down(down)[:, :, dh // 2 : dh // 2 + h, dw // 2 : dw // 2 + w]
        y: Tensor = self.likelihood.parameter_net(down) * std + mean  # type: ignore[operator]
        return y


class Convs(nn.Module):
    """Convolutions with a ReLU each."""

    def __init__(self, inputs: int, outputs: int, count: int, up: bool) -> None:
        super().__init__()
        self.count = count
        for i in range(count):
            conv = nn.Conv2d(inputs if i == 0 else outputs, outputs, 3, padding=1)
            self.add_module(f"conv{i + 1}", conv)
        self.convtranspose = nn.ConvTranspose2d(outputs, outputs, 2, 2) if up else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H/2, W/2) or twice the size."""
        for i in range(self.count):
            x = torch.relu(getattr(self, f"conv{i + 1}")(x))
        if self.convtranspose is None:
            return functional.max_pool2d(x, 2)
        y: Tensor = self.convtranspose(x)
        return y


class DivNoising(Drawing):
    """The autoencoder of one latent map."""

    def __init__(
        self,
        z_dim: int = 64,
        init_filters: int = 32,
        n_filters_per_depth: int = 2,
        n_depth: int = 2,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        bias: bool = True,
        groups: int = 1,
        data_mean: float = 0.0,
        data_std: float = 1.0,
    ) -> None:
        super().__init__(data_mean, data_std)

        def end(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel_size, stride, padding, 1, groups, bias)

        widths = [1, *(init_filters << d for d in range(n_depth))]
        inwards = [z_dim, *widths[:0:-1]]
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.convmu = end(widths[-1], z_dim)
        self.encoder.convlogvar = end(widths[-1], z_dim)
        self.encoder.down_convs = nn.ModuleList(
            Convs(widths[i], widths[i + 1], n_filters_per_depth, False) for i in range(n_depth)
        )
        self.decoder.convrecon = end(widths[1], 1)
        self.decoder.up_convs = nn.ModuleList(
            Convs(inwards[i], inwards[i + 1], n_filters_per_depth, True) for i in range(n_depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """One draw: (N, 1, H, W) -> the same."""
        mean, std = self.scale
        encoder: Any = self.encoder
        decoder: Any = self.decoder
        x = (x - mean) / std
        for layer in encoder.down_convs:
            x = layer(x)
        x = self.draws.latent(encoder.convmu(x), encoder.convlogvar(x))
        for layer in decoder.up_convs:
            x = layer(x)
        y: Tensor = decoder.convrecon(x) * std + mean
        return y
