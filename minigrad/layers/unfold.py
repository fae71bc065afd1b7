"""Unfold and Fold as layers; the mathematics is in minigrad/windows.py."""

from __future__ import annotations

from minigrad.backend import Array
from minigrad.checks import pair
from minigrad.layers.conv import describe_window, window_of
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair, fold, unfold


class Unfold(Module):
    """Each window of an image as a column: (N, C, H, W) -> (N, C k_h k_w, M Q).

    VJP: dx = fold(dy).
    Keeps: the shape.
    PyTorch: `torch.nn.Unfold`.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        dilation: int | Pair = 1,
        padding: int | Pair = 0,
        stride: int | Pair = 1,
    ) -> None:
        """The window's geometry, arguments in PyTorch's order."""
        self.window = window_of("Unfold", kernel_size, stride, padding, dilation)

    def forward(self, x: Array) -> Array:
        """The columns."""
        self.check_input(x, ndim=4)
        if min(self.window.count(*x.shape[2:])) < 1:
            raise ValueError(
                f"Unfold: x: expected at least one window of extent {self.window.extent}, got "
                f"shape {x.shape}"
            )
        return unfold(x, self.window)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The columns, and their vjp."""
        y = self.forward(x)
        size = x.shape[2:]

        def vjp(dy: Array) -> Array:
            return fold(dy, self.window, size)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The geometry."""
        return describe_window(self.window)


class Fold(Module):
    """Columns added back into an image: (N, C k_h k_w, M Q) -> (N, C, H, W), (H, W) = output_size.

    VJP: dx = unfold(dy).
    Keeps: nothing.
    PyTorch: `torch.nn.Fold`.
    """

    def __init__(
        self,
        output_size: int | Pair,
        kernel_size: int | Pair,
        dilation: int | Pair = 1,
        padding: int | Pair = 0,
        stride: int | Pair = 1,
    ) -> None:
        """The image's size and the window's geometry, arguments in PyTorch's order."""
        self.output_size = pair(output_size, "output_size", "Fold", at_least=1)
        self.window = window_of("Fold", kernel_size, stride, padding, dilation)

    def forward(self, x: Array) -> Array:
        """The image."""
        self.check_input(x, ndim=3)
        m, q = self.window.count(*self.output_size)
        taps = self.window.kernel[0] * self.window.kernel[1]
        if x.shape[1] % taps or x.shape[2] != m * q or not m * q:
            raise ValueError(
                f"Fold: x: expected (N, C * {taps}, {m} * {q}) for output_size {self.output_size}, "
                f"got shape {x.shape}"
            )
        return fold(x, self.window, self.output_size)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The image, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return unfold(dy, self.window)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Size and geometry."""
        return f"{self.output_size}, {describe_window(self.window)}"
