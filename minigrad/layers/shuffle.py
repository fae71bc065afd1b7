"""PixelShuffle and PixelUnshuffle: channels become pixels, and pixels channels."""

from __future__ import annotations

from minigrad.backend import Array
from minigrad.checks import whole
from minigrad.module import Module, Vjp, once


def pixel_shuffle(x: Array, r: int) -> Array:
    """(N, C r^2, H, W) -> (N, C, H r, W r): r^2 channels become a block of r x r pixels."""
    n, c, h, w = x.shape
    x = x.reshape(n, c // r**2, r, r, h, w)
    x = x.transpose(0, 1, 4, 2, 5, 3)  # (N, C, H, r, W, r)
    return x.reshape(n, c // r**2, h * r, w * r)


def pixel_unshuffle(x: Array, r: int) -> Array:
    """(N, C, H r, W r) -> (N, C r^2, H, W): a block of r x r pixels becomes r^2 channels."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // r, r, w // r, r)
    x = x.transpose(0, 1, 3, 5, 2, 4)  # (N, C, r, r, H, W)
    return x.reshape(n, c * r**2, h // r, w // r)


class PixelShuffle(Module):
    """y[n, c, a r + i, b r + j] = x[n, c r^2 + i r + j, a, b].

    Shapes: x (N, C r^2, H, W) -> y (N, C, H r, W r), r = `upscale_factor`.
    VJP: dx = PixelUnshuffle(dy): a permutation's transpose is its inverse.
    Keeps: nothing.
    Source: Shi et al., Real-time single image and video super-resolution using an efficient
        sub-pixel convolutional neural network (2016), equation 4.
    PyTorch: `torch.nn.PixelShuffle`.
    """

    def __init__(self, upscale_factor: int) -> None:
        """`upscale_factor` is r, a whole number from 1.

        Raises:
            ValueError: it is not.
        """
        self.upscale_factor = whole(upscale_factor, "upscale_factor", "PixelShuffle", at_least=1)

    def forward(self, x: Array) -> Array:
        """The larger image."""
        self.check_input(x, ndim=4)
        if x.shape[1] % self.upscale_factor**2:
            raise ValueError(
                f"PixelShuffle: x: expected a multiple of {self.upscale_factor**2} channels, got "
                f"shape {x.shape}"
            )
        return pixel_shuffle(x, self.upscale_factor)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The larger image, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return pixel_unshuffle(dy, self.upscale_factor)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The factor."""
        return f"{self.upscale_factor}"


class PixelUnshuffle(Module):
    """y[n, c r^2 + i r + j, a, b] = x[n, c, a r + i, b r + j].

    Shapes: x (N, C, H r, W r) -> y (N, C r^2, H, W), r = `downscale_factor`.
    VJP: dx = PixelShuffle(dy).
    Keeps: nothing.
    PyTorch: `torch.nn.PixelUnshuffle`.
    """

    def __init__(self, downscale_factor: int) -> None:
        """`downscale_factor` is r, a whole number from 1.

        Raises:
            ValueError: it is not.
        """
        self.downscale_factor = whole(
            downscale_factor, "downscale_factor", "PixelUnshuffle", at_least=1
        )

    def forward(self, x: Array) -> Array:
        """The smaller image with more channels."""
        self.check_input(x, ndim=4)
        if x.shape[2] % self.downscale_factor or x.shape[3] % self.downscale_factor:
            raise ValueError(
                f"PixelUnshuffle: x: expected sides that are multiples of "
                f"{self.downscale_factor}, got shape {x.shape}"
            )
        return pixel_unshuffle(x, self.downscale_factor)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The smaller image, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return pixel_shuffle(dy, self.downscale_factor)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The factor."""
        return f"{self.downscale_factor}"
