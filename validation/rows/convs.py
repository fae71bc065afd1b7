"""Rows of the convolutions with masks and with asymmetric borders."""

from __future__ import annotations

from minigrad import (
    MaskedConv2d,
    Module,
    SameConv2d,
    SameConvTranspose2d,
    TrimmedConv2d,
)
from validation.cases import Arrays, Row, Variant, keeps_input, variant
from validation.draw import Draw, pair
from validation.rows.windows import _conv as plain_conv


def _masked(draw: Draw) -> Variant:
    """Any setting of Conv2d, with the default mask or with any other."""
    settings = plain_conv(draw)
    kh, kw = settings.arguments["kernel_size"]
    if draw.pick([True, False]):
        settings.arguments["mask"] = tuple(
            tuple(draw.integer(0, 1) for _ in range(kw)) for _ in range(kh)
        )
    return settings


def _same(draw: Draw) -> Variant:
    groups = draw.integer(1, 3)
    inputs, outputs = groups * draw.integer(1, 3), groups * draw.integer(1, 3)
    return variant(
        (draw.integer(1, 3), inputs, *pair(draw, 1, 9)),
        in_channels=inputs,
        out_channels=outputs,
        kernel_size=pair(draw, 1, 5),
        stride=pair(draw, 1, 4),
        dilation=pair(draw, 1, 3),
        groups=groups,
        bias=draw.pick([True, False]),
    )


def _keeps_input_and_taps(module: Module, xs: Arrays, ys: Arrays) -> int:
    """The input, and a plane of the output's size."""
    return xs[0].nbytes + ys[0].shape[2] * ys[0].shape[3] * ys[0].itemsize


_TWO_TWO = {"in_channels": 2, "out_channels": 2}

_MASKED = (
    variant((2, 3, 7, 6), in_channels=3, out_channels=4, kernel_size=3, padding=1),
    variant((2, 2, 9, 8), **_TWO_TWO, kernel_size=5, padding=2, bias=False),
    variant((2, 4, 8, 7), in_channels=4, out_channels=6, kernel_size=3, padding=2, groups=2),
    variant((1, 2, 9, 8), **_TWO_TWO, kernel_size=3, stride=2, dilation=2, padding="valid"),
    variant((2, 2, 6, 5), **_TWO_TWO, kernel_size=(2, 4), padding="same"),
    variant(
        (1, 2, 7, 7), **_TWO_TWO, kernel_size=3, padding=1, mask=((1, 1, 1), (0,) * 3, (0,) * 3)
    ),
    variant((1, 2, 4, 5), **_TWO_TWO, kernel_size=(4, 5)),  # the whole image
    variant((1, 2, 4, 5), **_TWO_TWO, kernel_size=1, padding=1),  # no live tap
    variant((1, 2, 5, 5), **_TWO_TWO, kernel_size=2, padding=3, dilation=2),  # windows outside
)

_SAME = (
    variant((2, 3, 8, 8), in_channels=3, out_channels=4, kernel_size=3),
    variant((2, 3, 8, 8), in_channels=3, out_channels=4, kernel_size=3, stride=2),
    variant((2, 3, 7, 9), in_channels=3, out_channels=4, kernel_size=3, stride=2),
    variant((1, 4, 5, 6), in_channels=4, out_channels=6, kernel_size=(2, 4), groups=2, bias=False),
    variant((1, 2, 6, 7), **_TWO_TWO, kernel_size=3, dilation=(2, 3)),
    variant((1, 2, 8, 7), **_TWO_TWO, kernel_size=2, stride=(4, 3)),  # gaps between the windows
    variant((1, 2, 1, 2), **_TWO_TWO, kernel_size=5, stride=3),  # the image inside one window
)

ROWS = [
    Row(MaskedConv2d, _masked, _MASKED, keeps=keeps_input, linear=True),
    Row(TrimmedConv2d, _masked, _MASKED, keeps=_keeps_input_and_taps, linear=True),
    Row(SameConv2d, _same, _SAME, keeps=keeps_input, linear=True),
    Row(SameConvTranspose2d, _same, _SAME, keeps=keeps_input, linear=True),
]
