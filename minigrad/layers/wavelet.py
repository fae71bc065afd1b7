"""HaarDWT and HaarIWT: an image as four half-size images of sums and differences, and back."""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.module import Module, Vjp, once

ORDERS = ("interleaved", "band-major")
"""Output channel 4 c + band with bands (s0, s1, s2, s3); or all channels of a band together, bands
(s0, -s2, -s1, s3).
"""


def haar_dwt(x: Array, order: str) -> Array:
    """(N, C, H, W) -> (N, 4 C, H / 2, W / 2): sums and differences of blocks of 2 x 2 pixels."""
    n, c, h, w = x.shape
    left, right = x[..., ::2], x[..., 1::2]
    total, step = left + right, left - right  # (N, C, H, W/2)
    s0, s1 = total[:, :, ::2] + total[:, :, 1::2], total[:, :, ::2] - total[:, :, 1::2]
    s2, s3 = step[:, :, ::2] + step[:, :, 1::2], step[:, :, ::2] - step[:, :, 1::2]
    xp = array_module(x)
    if order == "interleaved":
        bands = xp.stack((s0, s1, s2, s3), axis=2)  # (N, C, 4, H/2, W/2)
    else:
        bands = xp.stack((s0, -s2, -s1, s3), axis=1)  # (N, 4, C, H/2, W/2)
    return bands.reshape(n, 4 * c, h // 2, w // 2) * 0.5


def haar_iwt(y: Array, order: str) -> Array:
    """The inverse of `haar_dwt`, which is its transpose as well."""
    n, c, h, w = y.shape
    if order == "interleaved":
        bands = y.reshape(n, c // 4, 4, h, w)
        s0, s1, s2, s3 = (bands[:, :, i] for i in range(4))
    else:
        bands = y.reshape(n, 4, c // 4, h, w)
        s0, s2, s1, s3 = bands[:, 0], -bands[:, 1], -bands[:, 2], bands[:, 3]
    xp = array_module(y)
    total = xp.stack((s0 + s1, s0 - s1), axis=3)  # (N, C, H/2, 2, W/2)
    step = xp.stack((s2 + s3, s2 - s3), axis=3)
    x = xp.stack((total + step, total - step), axis=5)  # (N, C, H/2, 2, W/2, 2)
    return x.reshape(n, c // 4, 2 * h, 2 * w) * 0.5


class _Haar(Module):
    """The order of the bands, which both directions share."""

    def __init__(self, order: str = "interleaved") -> None:
        """`order` is "interleaved" or "band-major".

        Raises:
            ValueError: it is neither.
        """
        if order not in ORDERS:
            raise ValueError(
                f"{type(self).__name__}: order: expected one of {ORDERS}, got {order!r}"
            )
        self.order = order

    def describe(self) -> str:
        """The order of the bands."""
        return f"order={self.order!r}"


class HaarDWT(_Haar):
    """Of each block of pixels a b over c d, in each channel, the four bands

        s0 = (a + b + c + d) / 2    s1 = (a + b - c - d) / 2
        s2 = (a - b + c - d) / 2    s3 = (a - b - c + d) / 2

    "interleaved": output channel 4 c + i is s_i of channel c. "band-major": all s0, then all -s2,
    all -s1 and all s3.

    Shapes: x (N, C, H, W), H and W even -> y (N, 4 C, H / 2, W / 2).
    VJP: dx = HaarIWT(dy): the transform is orthonormal, so its transpose is its inverse.
    Keeps: nothing.
    Source: Haar, Zur Theorie der orthogonalen Funktionensysteme (1910); in networks: Liu et al.,
        Multi-level wavelet-CNN for image restoration (2018), section 3.
    PyTorch: none; a grouped convolution of stride 2 with four fixed kernels.
    """

    def forward(self, x: Array) -> Array:
        """The bands."""
        self.check_input(x, ndim=4)
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"HaarDWT: x: expected even sides, got shape {x.shape}")
        return haar_dwt(x, self.order)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The bands, and their vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return haar_iwt(dy, self.order)

        return y, once(vjp, self, y)


class HaarIWT(_Haar):
    """The inverse of `HaarDWT`: each block of 2 x 2 pixels from its four bands,

        a = (s0 + s1 + s2 + s3) / 2    b = (s0 + s1 - s2 - s3) / 2
        c = (s0 - s1 + s2 - s3) / 2    d = (s0 - s1 - s2 + s3) / 2

    Shapes: x (N, 4 C, H, W) -> y (N, C, 2 H, 2 W).
    VJP: dx = HaarDWT(dy).
    Keeps: nothing.
    Source: as HaarDWT.
    PyTorch: none; a grouped transposed convolution of stride 2 with four fixed kernels.
    """

    def forward(self, x: Array) -> Array:
        """The image."""
        self.check_input(x, ndim=4)
        if x.shape[1] % 4:
            raise ValueError(
                f"HaarIWT: x: expected a multiple of 4 channels, the bands, got shape {x.shape}"
            )
        return haar_iwt(x, self.order)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The image, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return haar_dwt(dy, self.order)

        return y, once(vjp, self, y)
