"""The blocks that the ladder of HDN is built of: residual blocks, their gates, mergers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from minigrad import (
    ELU,
    SELU,
    Add,
    BatchNorm2d,
    Composite,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout2d,
    LeakyReLU,
    Module,
    Multiply,
    ReLU,
    Sequential,
    Sigmoid,
    Split,
)
from minigrad.noise import Noise

Nonlinearity = Literal["relu", "leakyrelu", "elu", "selu"]
BlockOrder = Literal["bacdbacd", "bacdbac", "cabdcabd"]
MergeType = Literal["linear", "residual"]
ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "relu": ReLU,
    "leakyrelu": LeakyReLU,
    "elu": ELU,
    "selu": SELU,
}


@dataclass(frozen=True)
class Style:
    """What all blocks of a ladder have in common.

    order: the letters of a residual block, see `ResidualBlock`. dropout: a probability, or None for
    none at all. noise: what the dropout draws from.
    """

    width: int
    order: BlockOrder
    nonlin: Nonlinearity
    batchnorm: bool
    dropout: float | None
    gated: bool
    noise: Noise
    dtype: Any
    rng: np.random.Generator

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv2d:
        """A convolution that keeps the size, but for its stride."""
        how: dict[str, Any] = {"dtype": self.dtype, "rng": self.rng}
        return Conv2d(inputs, outputs, kernel, stride, kernel // 2, **how)

    def act(self) -> Module:
        """The activation."""
        return ACTIVATIONS[self.nonlin]()


class GatedConv(Composite):
    """y = act(u) sigmoid(g), with u and g the halves of a 1x1 convolution F -> 2F of x."""

    def __init__(self, style: Style) -> None:
        f = style.width
        self.conv = style.conv(f, 2 * f, 1)
        self.halves = Split((f, f))
        self.act, self.sigmoid, self.multiply = style.act(), Sigmoid(), Multiply()

    def wire(self, x: Any) -> Any:
        """The gate opens or shuts each channel at each pixel."""
        u, g = self.halves(self.conv(x))
        return self.multiply(self.act(u), self.sigmoid(g))


class ResidualBlock(Composite):
    """y = x + f(x), f a chain that its order spells: b norm, a activation, c convolution 3x3, d
    dropout of channels; a gate at the end.

    Letters that the style leaves out (no norm, no dropout) are passed over. Keys `block.N`.
    Shapes: (N, F, H, W) -> the same.
    """

    def __init__(self, style: Style) -> None:
        layers: list[Module] = []
        for letter in style.order:
            if letter == "b" and style.batchnorm:
                layers.append(BatchNorm2d(style.width, dtype=style.dtype))
            elif letter == "a":
                layers.append(style.act())
            elif letter == "c":
                layers.append(style.conv(style.width, style.width, 3))
            elif letter == "d" and style.dropout is not None:
                layers.append(Dropout2d(style.dropout, style.noise))
        if style.gated:
            layers.append(GatedConv(style))
        self.block = Sequential(*layers)
        self.add = Add()

    def wire(self, x: Any) -> Any:
        """The chain is added to its input."""
        return self.add(x, self.block(x))


class ResamplingBlock(Composite):
    """A residual block, behind a 3x3 convolution that halves the size ("down") or a transposed one
    that doubles it ("up").
    """

    def __init__(self, style: Style, resample: Literal["up", "down"] | None = None) -> None:
        f = style.width
        self.pre_conv: Module | None = None
        if resample == "down":
            self.pre_conv = style.conv(f, f, 3, stride=2)
        elif resample == "up":
            how: dict[str, Any] = {"dtype": style.dtype, "rng": style.rng}
            self.pre_conv = ConvTranspose2d(f, f, 3, 2, 1, output_padding=1, **how)
        self.res = ResidualBlock(style)

    def wire(self, x: Any) -> Any:
        """Resample, then refine."""
        return self.res(x if self.pre_conv is None else self.pre_conv(x))


def resampling_chain(style: Style, blocks: int, resample: Literal["up", "down"]) -> Sequential:
    """`blocks` blocks, the first of which resamples."""
    rest = [ResamplingBlock(style) for _ in range(blocks - 1)]
    return Sequential(ResamplingBlock(style, resample), *rest)


class Merge(Composite):
    """Two maps of F channels become one: a 1x1 convolution 2F -> F ("linear"), and a gated residual
    block after it ("residual"). The gate is there whatever `gated` is elsewhere.
    """

    def __init__(self, style: Style, kind: MergeType) -> None:
        f = style.width
        self.cat = Concat()
        self.layer: Module = style.conv(2 * f, f, 1)
        if kind == "residual":
            self.layer = Sequential(self.layer, ResidualBlock(replace(style, gated=True)))

    def wire(self, a: Any, b: Any) -> Any:
        """Side by side, then together."""
        return self.layer(self.cat(a, b))
