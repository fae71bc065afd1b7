"""Rows of the layers that slide a window or change an image's size."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import (
    AvgPool2d,
    Conv2d,
    ConvTranspose2d,
    Fold,
    MaxPool2d,
    Module,
    Unfold,
    Upsample,
    Window,
)
from validation.cases import Arrays, Row, Shape, Variant, keeps_input, variant
from validation.draw import Draw, pair


def _window(draw: Draw, kernel: int = 4, padding: int = 3) -> dict[str, Any]:
    """Kernel, stride, padding and dilation; the stride may exceed the kernel."""
    return {
        "kernel_size": pair(draw, 1, kernel),
        "stride": pair(draw, 1, 4),
        "padding": pair(draw, 0, padding),
        "dilation": pair(draw, 1, 3),
    }


def _size(draw: Draw, window: dict[str, Any]) -> tuple[int, int]:
    """An image with at least one window: from the kernel's very extent to six pixels more."""
    padding = window["padding"] if isinstance(window["padding"], tuple) else (0, 0)
    extent = Window(window["kernel_size"], dilation=window.get("dilation", (1, 1))).extent
    h, w = (max(1, e - 2 * p + draw.integer(0, 6)) for e, p in zip(extent, padding, strict=True))
    return h, w


def _unfold(draw: Draw) -> Variant:
    window = _window(draw)
    return variant((draw.integer(1, 3), draw.integer(1, 3), *_size(draw, window)), **window)


def _fold(draw: Draw) -> Variant:
    window = _window(draw)
    size = _size(draw, window)
    (kh, kw), (ph, pw) = window["kernel_size"], window["padding"]
    m, q = Window((kh, kw), window["stride"], (ph, ph, pw, pw), window["dilation"]).count(*size)
    shape = (draw.integer(1, 3), draw.integer(1, 3) * kh * kw, m * q)
    return variant(shape, output_size=size, **window)


def _conv(draw: Draw) -> Variant:
    window = _window(draw)
    border = draw.pick(["number", "number", "number", "same", "valid"])
    if border != "number":
        window["padding"] = border
    if border == "same":
        window["stride"] = (1, 1)
    groups = draw.integer(1, 3)
    inputs, outputs = groups * draw.integer(1, 3), groups * draw.integer(1, 3)
    return variant(
        (draw.integer(1, 3), inputs, *_size(draw, window)),
        in_channels=inputs,
        out_channels=outputs,
        groups=groups,
        bias=draw.pick([True, False]),
        **window,
    )


def _conv_transpose(draw: Draw) -> Variant:
    window = _window(draw)
    steps = zip(window["stride"], window["dilation"], strict=True)
    window["output_padding"] = tuple(draw.integer(0, max(s, d) - 1) for s, d in steps)
    extent = Window(window["kernel_size"], dilation=window["dilation"]).extent
    size = []
    for axis in range(2):  # the smallest input whose output has a pixel, or up to four more
        s, p = window["stride"][axis], window["padding"][axis]
        least = -(-max(0, 2 * p - extent[axis] - window["output_padding"][axis] + 1) // s) + 1
        size.append(least + draw.integer(0, 4))
    groups = draw.integer(1, 3)
    inputs, outputs = groups * draw.integer(1, 3), groups * draw.integer(1, 3)
    return variant(
        (draw.integer(1, 3), inputs, *size),
        in_channels=inputs,
        out_channels=outputs,
        groups=groups,
        bias=draw.pick([True, False]),
        **window,
    )


def _pool(draw: Draw, dilated: bool) -> Variant:
    kernel = pair(draw, 1, 4)
    stride = draw.pick([None, pair(draw, 1, 5)])
    window: dict[str, Any] = {
        "kernel_size": kernel,
        "padding": tuple(draw.integer(0, k // 2) for k in kernel),
        "dilation": pair(draw, 1, 3) if dilated else (1, 1),
    }
    # Where a dilated window straddles a small image without touching it, PyTorch is undefined.
    sizes = zip(_size(draw, window), window["dilation"], strict=True)
    shape = (draw.integer(1, 2), draw.integer(1, 3), *(max(n, d) for n, d in sizes))
    if not dilated:
        del window["dilation"]
    return variant(shape, stride=stride, ceil_mode=draw.pick([False, True]), **window)


def _max_pool(draw: Draw) -> Variant:
    return _pool(draw, dilated=True)


def _avg_pool(draw: Draw) -> Variant:
    settings = _pool(draw, dilated=False)
    settings.arguments["count_include_pad"] = draw.pick([True, False])
    settings.arguments["divisor_override"] = draw.pick([None, None, 3])
    return settings


def _upsample(draw: Draw) -> Variant:
    shape: Shape = (draw.integer(1, 2), draw.integer(1, 3), *pair(draw, 2, 7))
    mode: dict[str, Any] = {"mode": draw.pick(["nearest", "bilinear"])}
    if mode["mode"] == "bilinear":
        mode["align_corners"] = draw.pick([None, False, True])
    if draw.pick([True, False]):
        return variant(shape, size=pair(draw, 1, 15), **mode)
    factors = [1, 2, 3, 4, 0.5, 1.5, 0.75, 2.5, 1.25]
    scale = (float(draw.pick(factors)), float(draw.pick(factors)))
    return variant(shape, scale_factor=scale, **mode)


def _keeps_taps(module: Module, xs: Arrays, ys: Arrays) -> int:
    return ys[0].size


def _keeps_divisors(module: Module, xs: Arrays, ys: Arrays) -> int:
    return ys[0].shape[2] * ys[0].shape[3] * ys[0].itemsize


def _keeps_sources(module: Module, xs: Arrays, ys: Arrays) -> int:
    """A row and a column of indices where the scale of "nearest" is not whole."""
    assert isinstance(module, Upsample)
    if module.mode == "bilinear":
        return 0
    whole = [
        to in (n, 2 * n) or (to % n == 0 and factor in (None, to // n))
        for n, to, factor in zip(
            xs[0].shape[2:], ys[0].shape[2:], module.scale_factor or (None, None), strict=True
        )
    ]
    return 0 if all(whole) else sum(ys[0].shape[2:]) * np.dtype(np.intp).itemsize


def _all_different(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No two numbers closer than 1/16: the maximum of a window stays where it is."""
    return tuple(rng.permutation(x.size).reshape(x.shape) / 16 - x.size / 32 for x in xs)


ROWS = [
    Row(
        Unfold,
        _unfold,
        (
            variant((2, 3, 7, 6), kernel_size=3, padding=1),
            variant((1, 2, 9, 8), kernel_size=(2, 3), stride=(3, 2), dilation=(1, 2)),
            variant((1, 1, 4, 5), kernel_size=(4, 5)),
            variant((2, 1, 7, 7), kernel_size=2, stride=4),
        ),
        linear=True,
    ),
    Row(
        Fold,
        _fold,
        (
            variant((2, 27, 42), output_size=(7, 6), kernel_size=3, padding=1),
            variant((1, 8, 4), output_size=(9, 7), kernel_size=2, stride=(4, 3)),
            variant((1, 20, 1), output_size=(4, 5), kernel_size=(4, 5)),
        ),
        linear=True,
    ),
    Row(
        Conv2d,
        _conv,
        (
            variant((2, 3, 7, 6), in_channels=3, out_channels=4, kernel_size=3, padding=1),
            variant(
                (1, 2, 9, 8), in_channels=2, out_channels=3, kernel_size=2, stride=3, bias=False
            ),
            variant(
                (2, 4, 8, 7), in_channels=4, out_channels=6, kernel_size=3, padding=2, groups=2
            ),
            variant((1, 3, 9, 9), in_channels=3, out_channels=3, kernel_size=3, groups=3),
            variant((1, 2, 10, 9), in_channels=2, out_channels=2, kernel_size=3, dilation=(2, 3)),
            variant(
                (2, 2, 6, 5), in_channels=2, out_channels=3, kernel_size=(2, 4), padding="same"
            ),
            variant((1, 3, 4, 5), in_channels=3, out_channels=2, kernel_size=(4, 5)),
            variant((1, 2, 7, 7), in_channels=2, out_channels=2, kernel_size=1, stride=2),
            variant((2, 16, 20, 24), in_channels=16, out_channels=8, kernel_size=3, padding=1),
            variant((1, 3, 17, 16), in_channels=3, out_channels=24, kernel_size=3, padding=1),
        ),
        keeps=keeps_input,
        linear=True,
    ),
    Row(
        ConvTranspose2d,
        _conv_transpose,
        (
            variant((2, 3, 4, 5), in_channels=3, out_channels=4, kernel_size=2, stride=2),
            variant(
                (1, 4, 4, 3),
                in_channels=4,
                out_channels=6,
                kernel_size=3,
                stride=2,
                padding=1,
                output_padding=1,
                groups=2,
            ),
            variant(
                (1, 2, 3, 3),
                in_channels=2,
                out_channels=2,
                kernel_size=2,
                stride=(4, 3),
                output_padding=(3, 2),
                bias=False,
            ),
            variant(
                (1, 2, 4, 4),
                in_channels=2,
                out_channels=3,
                kernel_size=(3, 2),
                dilation=(2, 3),
                output_padding=(1, 2),
                padding=1,
            ),
            variant((2, 16, 12, 10), in_channels=16, out_channels=8, kernel_size=2, stride=2),
        ),
        keeps=keeps_input,
        linear=True,
    ),
    Row(
        MaxPool2d,
        _max_pool,
        (
            variant((2, 3, 8, 6), kernel_size=2),
            variant((1, 2, 7, 7), kernel_size=3, stride=2, padding=1),
            variant((1, 2, 7, 8), kernel_size=3, stride=1, dilation=2),
            variant((1, 2, 7, 8), kernel_size=(3, 2), stride=3, ceil_mode=True),
            variant((1, 1, 5, 4), kernel_size=(5, 4)),
        ),
        keeps=_keeps_taps,
        away=_all_different,
        special=True,
    ),
    Row(
        AvgPool2d,
        _avg_pool,
        (
            variant((2, 3, 8, 6), kernel_size=2),
            variant((1, 2, 7, 7), kernel_size=3, stride=2, padding=1),
            variant((1, 2, 7, 7), kernel_size=3, stride=2, padding=1, count_include_pad=False),
            variant((1, 2, 7, 8), kernel_size=(3, 2), stride=3, ceil_mode=True),
            variant((1, 2, 8, 8), kernel_size=2, stride=3, divisor_override=3),
        ),
        keeps=_keeps_divisors,
        linear=True,
    ),
    Row(
        Upsample,
        _upsample,
        (
            variant((2, 3, 4, 5), scale_factor=2),
            variant((1, 2, 4, 5), scale_factor=(1.5, 2.5)),
            variant((1, 2, 4, 5), size=(7, 11)),
            variant((1, 2, 9, 8), size=(3, 4)),
            variant((1, 2, 8, 6), scale_factor=0.5),
            variant((2, 3, 4, 5), scale_factor=2, mode="bilinear"),
            variant((2, 3, 4, 5), scale_factor=2, mode="bilinear", align_corners=True),
            variant((1, 2, 2, 5), scale_factor=(1.25, 2.5), mode="bilinear"),
            variant((1, 2, 4, 5), size=(7, 11), mode="bilinear", align_corners=False),
            variant((1, 2, 9, 8), size=(3, 1), mode="bilinear"),
            variant((1, 2, 9, 8), size=(1, 4), mode="bilinear", align_corners=True),
            variant((1, 1, 1, 1), size=(3, 2), mode="bilinear"),
        ),
        keeps=_keeps_sources,
        linear=True,  # not special: whether a weight is 0 or 1e-17 is a matter of rounding
    ),
]
