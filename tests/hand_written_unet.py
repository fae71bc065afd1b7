"""The same small U-Net twice: wired, and with its backward pass written by hand.

Both hold the same leaves. The hand-written one shows what the tape does: every vjp is kept, called
in reverse order, and where a value was used twice its two cotangents are added. The results are
equal to the last bit (tests/test_wiring.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import (
    Composite,
    Concat,
    Conv2d,
    MaxPool2d,
    Module,
    PReLU,
    Sigmoid,
    Upsample,
    once,
)
from minigrad.backend import Array
from minigrad.module import Vjp


class Parts(Module):
    """The leaves of the U-Net: one encoder convolution for both scales, one activation for all."""

    def __init__(self, features: int, dtype: Any, rng: np.random.Generator) -> None:
        f, how = features, {"dtype": dtype, "rng": rng}
        self.stem = Conv2d(3, f, 3, padding=1, **how)
        self.down = Conv2d(f, f, 3, padding=1, **how)
        self.up0 = Conv2d(f + f, f, 3, padding=1, **how)
        self.up1 = Conv2d(f + 3, f, 3, padding=1, **how)
        self.head = Conv2d(f, 3, 3, padding=1, **how)
        self.act = PReLU(dtype=dtype)
        self.pool, self.grow, self.cat = MaxPool2d(2), Upsample(scale_factor=2), Concat()
        self.sigmoid = Sigmoid()


class WiredUNet(Parts, Composite):
    """What is connected with what; the vjp follows from it."""

    def wire(self, x: Any) -> Any:
        """(N, 3, H, W) -> (N, 3, H, W), H and W divisible by 4."""
        h0 = self.act(self.stem(x))
        h1 = self.pool(self.act(self.down(h0)))  # H/2
        h2 = self.pool(self.act(self.down(h1)))  # H/4
        u0 = self.act(self.up0(self.cat(self.grow(h2), h1)))  # H/2
        u1 = self.act(self.up1(self.cat(self.grow(u0), x)))  # H
        return self.sigmoid(self.head(u1))


class HandWrittenUNet(Parts):
    """The same, and its mirror image line by line."""

    def forward(self, x: Array) -> Array:
        """(N, 3, H, W) -> (N, 3, H, W), H and W divisible by 4."""
        h0 = self.act(self.stem(x))
        h1 = self.pool(self.act(self.down(h0)))
        h2 = self.pool(self.act(self.down(h1)))
        u0 = self.act(self.up0(self.cat(self.grow(h2), h1)))
        u1 = self.act(self.up1(self.cat(self.grow(u0), x)))
        return self.sigmoid(self.head(u1))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same output, and its vjp."""
        a, stem = self.stem.forward_and_vjp(x)
        h0, act0 = self.act.forward_and_vjp(a)

        a, down1 = self.down.forward_and_vjp(h0)
        a, act1 = self.act.forward_and_vjp(a)
        h1, pool1 = self.pool.forward_and_vjp(a)

        a, down2 = self.down.forward_and_vjp(h1)
        a, act2 = self.act.forward_and_vjp(a)
        h2, pool2 = self.pool.forward_and_vjp(a)

        a, grow0 = self.grow.forward_and_vjp(h2)
        a, cat0 = self.cat.forward_and_vjp(a, h1)
        a, up0 = self.up0.forward_and_vjp(a)
        u0, act3 = self.act.forward_and_vjp(a)

        a, grow1 = self.grow.forward_and_vjp(u0)
        a, cat1 = self.cat.forward_and_vjp(a, x)
        a, up1 = self.up1.forward_and_vjp(a)
        u1, act4 = self.act.forward_and_vjp(a)

        a, head = self.head.forward_and_vjp(u1)
        y, sigmoid = self.sigmoid.forward_and_vjp(a)

        def vjp(dy: Array) -> Array:
            du1 = head(sigmoid(dy))

            du1, dx_skip = cat1(up1(act4(du1)))  # x was used twice: here ...
            du0 = grow1(du1)

            du0, dh1_skip = cat0(up0(act3(du0)))  # h1 as well
            dh2 = grow0(du0)

            dh1 = dh1_skip + down2(act2(pool2(dh2)))  # ... its cotangents add
            dh0 = down1(act1(pool1(dh1)))

            return dx_skip + stem(act0(dh0))  # ... and here

        return y, once(vjp)
