"""The receptive field of a network, measured by the support of its vector-Jacobian product.

Input pixel i belongs to the field of output pixel o when d y_o / d x_i can differ from zero. One
VJP with a cotangent of ones on a set of output pixels shows every such i at once, provided that
nothing cancels and no unit is shut. So a copy of the network gets equal positive weights and zero
biases, and positive inputs. What is then measured is a property of the wiring alone.

Max-pools pass a cotangent on to one pixel of each window. On an input that rises along an axis
this is the last pixel, on one that falls the first, and both stay so in every layer, because
positive weights keep a monotone row monotone. The reach to one side is therefore exact on one of
the two ramps.

A network with pools or strides repeats itself only every `grid` pixels. The reach is that of an
aligned block of `grid` output pixels (the union over all phases), which is what tiles on that grid
need.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from minigrad import Add, GaussianSample, HaarDWT, HaarIWT
from minigrad.backend import definitions_only
from minigrad.module import Module, Vjp

LARGEST_STRIP = 1 << 14


@dataclass(frozen=True)
class ReceptiveField:
    """How far an aligned block of `grid` x `grid` output pixels sees, in input pixels.

    before: reach above and to the left of the block, (vertical, horizontal).
    after: reach below and to the right of the block, (vertical, horizontal).
    grid: side of the block, the period of the network's grid.
    """

    before: tuple[int, int]
    after: tuple[int, int]
    grid: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input region that one aligned output block depends on."""
        vertical, horizontal = zip(self.before, self.after, strict=True)
        return self.grid + sum(vertical), self.grid + sum(horizontal)

    @property
    def halo(self) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) overlap of tiles: the reach, rounded up to the grid."""
        g = self.grid
        top, left, bottom, right = (-(-reach // g) * g for reach in self.before + self.after)
        return top, bottom, left, right


_measured: dict[str, ReceptiveField] = {}


def receptive_field(model: Module) -> ReceptiveField:
    """The measured field of `model`, which maps (N, `model.channels`, H, W) to the same height
    and width.

    H and W are multiples of `model.multiple` and its margin, and its grid is `model.grid`. The
    result depends on the wiring alone, so it is kept for each architecture and set of constructor
    arguments (the text of `repr(model)`).

    Raises:
        ValueError: the output has another height or width than the input, or the field exceeds
            16,384 pixels.
    """
    key = f"{type(model).__module__}.{model!r}"
    if key not in _measured:
        thin = getattr(model, "thin", None)  # what a wide network offers: itself with one filter
        twin = positive_copy(thin() if thin else model)
        # The products are small: a second thread gains little, and on a busy machine costs much.
        with threadpool_limits(limits=1, user_api="blas"):
            (top, bottom), (left, right) = (_reach(twin, axis) for axis in (2, 3))
        _measured[key] = ReceptiveField((top, left), (bottom, right), grid_of(model))
    return _measured[key]


def multiple_of(model: Module) -> int:
    """The side that inputs must be a multiple of; 1 when the model states none."""
    return int(getattr(model, "multiple", 1))


def grid_of(model: Module) -> int:
    """The step by which tiles may begin; that of `multiple_of` when the model states none."""
    return int(getattr(model, "grid", multiple_of(model)))


def margin_of(model: Module) -> int:
    """What sides are beyond a multiple; 0 when the model states none."""
    return int(getattr(model, "margin", 0))


class _UnsignedHaar(Module):
    """In place of `HaarDWT` (down) or `HaarIWT`: each band is the mean of its block of pixels, each
    pixel the mean of its four bands. Each is the other's transpose, as with the wavelets.
    """

    def __init__(self, down: bool) -> None:
        self.down = down

    def forward(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) -> (N, 4 C, H/2, W/2), or back."""
        n, c, h, w = x.shape
        if self.down:
            blocks = x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
            return np.repeat(blocks, 4, axis=1)
        bands = x.reshape(n, c // 4, 4, h, w).mean(2)
        return np.repeat(np.repeat(bands, 2, axis=2), 2, axis=3)

    def forward_and_vjp(self, x: np.ndarray) -> tuple[np.ndarray, Vjp]:
        """The same, and its vjp."""
        return self.forward(x), _UnsignedHaar(not self.down).forward


def _survey(twin: Any, x: np.ndarray) -> tuple[Any, ...]:
    survey = getattr(twin, "survey", None)
    return survey(x, slice(None), slice(None)) if survey else ()


def positive_copy(model: Module) -> Any:
    """A float64 copy on the CPU whose weights are all equal and positive, without biases or
    running means; norms leave their input as it is.

    Each weight is 1 / (number of weights of one output): layers average, so that values stay near
    those of the input, no sigmoid saturates and no product of weights underflows. What is a factor
    for each channel (of a norm, a PReLU) is 1. Wavelets, whose differences cancel among equal
    weights, become means of the same pixels; a random draw becomes the sum of its inputs.
    """
    twin = copy.deepcopy(model).to("cpu").astype(np.float64).eval()
    for parameter in twin.parameters():
        shape = parameter.value.shape
        averages = parameter.name == "weight" and len(shape) > 1
        value = 1.0 / math.prod(shape[1:]) if averages else float(parameter.name != "bias")
        parameter.value = np.full(shape, value)
    for module in list(twin.modules()):
        for name, part in module.children().items():
            if isinstance(part, HaarDWT | HaarIWT):
                setattr(module, name, _UnsignedHaar(down=isinstance(part, HaarDWT)))
            elif isinstance(part, GaussianSample):  # a draw may be negative, e^x too large
                setattr(module, name, Add())
        for name, value in (("running_mean", 0.0), ("running_var", 1.0), ("running_sd", 1.0)):
            if name in module.buffer_names and getattr(module, name) is not None:
                getattr(module, name).fill(value)
    return twin


def _reach(twin: Any, axis: int) -> tuple[int, int]:
    """(before, after) reach of an aligned block along one axis of the positive network.

    A strip, long along `axis` and `grid` wide, carries the block in its middle. The strip is
    doubled until the reach keeps a distance of two blocks from its ends: nearer, the zeros
    outside could have turned a pool away from the side that the ramp chooses.
    """
    g = grid_of(twin)
    margin = max(6 * g, 32 // g * g)
    while 2 * margin + g <= LARGEST_STRIP:
        falling = _support(twin, axis, margin, falling=True)
        rising = _support(twin, axis, margin, falling=False)
        before, after = max(falling[0], rising[0]), max(falling[1], rising[1])
        if max(before, after) <= margin - 2 * g:
            return before, after
        margin *= 2
    raise ValueError(
        f"{type(twin).__name__}: its receptive field exceeds {LARGEST_STRIP} pixels "
        f"along axis {axis}"
    )


def _support(twin: Any, axis: int, margin: int, *, falling: bool) -> tuple[int, int]:
    g = grid_of(twin)
    beyond = margin_of(twin)
    length = 2 * margin + g + beyond
    ramp = np.linspace(1.0, 2.0, length)
    ramp = ramp[::-1] if falling else ramp
    strip = np.broadcast_to(ramp, (1, twin.channels, g + beyond, length))
    x = np.ascontiguousarray(strip if axis == 3 else strip.swapaxes(2, 3))
    # The definitions give exact zeros outside the support; a fast algorithm may leave rounding
    # there.
    with definitions_only():
        # What comes from the whole picture is a constant here, as it is to a tile.
        means = [total / x[0, 0].size for total in _survey(twin, x)]
        y, vjp = twin.forward_and_vjp(x, *means)
        if y.shape[2:] != x.shape[2:]:
            raise ValueError(
                f"{type(twin).__name__}: expected an output of height and width {x.shape[2:]}, "
                f"got {y.shape[2:]}"
            )
        dy = np.zeros_like(y)
        block = [slice(None)] * 4
        block[axis] = slice(margin, margin + g)
        dy[tuple(block)] = 1.0
        dxs = vjp(dy)
    dx = dxs[0] if means else dxs
    if dx is None:  # it looks at nothing but the means
        return 0, 0
    others = tuple(a for a in range(4) if a != axis)
    seen = np.flatnonzero(np.abs(dx).sum(axis=others))
    if seen.size == 0:
        return 0, 0
    return max(0, margin - int(seen[0])), max(0, int(seen[-1]) - (margin + g - 1))
