"""Twins of the layers that move, pad, cut, reshape and average."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from validation.twins.function import Function

Widths = int | tuple[int, int, int, int]
Sizes = int | tuple[int, int]


def crop(padding: Widths) -> nn.Module:
    """Slices."""
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    return Function(lambda x: x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right])


def _both(size: Sizes) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def center_crop(size: Sizes) -> nn.Module:
    """Slices that begin at the floor of half the difference."""

    def cut(x: Tensor) -> Tensor:
        (h, w), (y, z) = _both(size), x.shape[2:]
        return x[:, :, (y - h) // 2 :, (z - w) // 2 :][:, :, :h, :w]

    return Function(cut)


def center_pad(size: Sizes | None = None, multiple: Sizes | None = None) -> nn.Module:
    """The image copied into zeros."""

    def padded(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if size is None:
            assert multiple is not None
            steps = _both(multiple)
            to_h, to_w = math.ceil(h / steps[0]) * steps[0], math.ceil(w / steps[1]) * steps[1]
        else:
            to_h, to_w = _both(size)
        y = torch.zeros(n, c, to_h, to_w, dtype=x.dtype)
        top, left = (to_h - h) // 2, (to_w - w) // 2
        y[:, :, top : top + h, left : left + w] = x
        return y

    return Function(padded)


def roll(shifts: int | tuple[int, ...], dims: int | tuple[int, ...] | None = None) -> nn.Module:
    """`torch.roll`."""
    return Function(lambda x: torch.roll(x, shifts, () if dims is None else dims))


def shift(down: int = 0, right: int = 0) -> nn.Module:
    """The part of a widely padded image that begins so much earlier."""

    def moved(x: Tensor) -> Tensor:
        (h, w), p = x.shape[2:], abs(down) + abs(right)
        wide = F.pad(x, (p, p, p, p))
        return wide[:, :, p - down : p - down + h, p - right : p - right + w]

    return Function(moved)


def rot90(k: int = 1, dims: tuple[int, int] = (2, 3)) -> nn.Module:
    """`torch.rot90`."""
    return Function(lambda x: torch.rot90(x, k, dims))


def flip(dims: tuple[int, ...]) -> nn.Module:
    """`torch.flip`."""
    return Function(lambda x: torch.flip(x, dims))


def pixel_shuffle(upscale_factor: int) -> nn.Module:
    """`torch.nn.PixelShuffle`; of no numbers, where PyTorch 2.13 errs, anything of that shape."""
    r = upscale_factor

    def shuffled(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return F.pixel_shuffle(x, r) if x.numel() else x.reshape(n, c // r**2, h * r, w * r)

    return Function(shuffled)


def pixel_unshuffle(downscale_factor: int) -> nn.Module:
    """`torch.nn.PixelUnshuffle`; of no numbers as `pixel_shuffle`."""
    r = downscale_factor

    def unshuffled(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return F.pixel_unshuffle(x, r) if x.numel() else x.reshape(n, c * r**2, h // r, w // r)

    return Function(unshuffled)


def _haar(order: str) -> Tensor:
    """The kernels (4, 1, 2, 2) of the bands, in the order of the output.

    In the words of PyWavelets, `cA, (cH, cV, cD) = pywt.dwt2(x, "haar")` are s0, (s1, s2, s3): that
    is the interleaved order; the band-major one is cA, -cV, -cH, cD.
    """
    rows = [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
    kernels = torch.tensor(rows, dtype=torch.float64).reshape(4, 1, 2, 2) / 2
    if order == "band-major":
        kernels = kernels[[0, 2, 1, 3]] * torch.tensor([1, -1, -1, 1]).reshape(4, 1, 1, 1)
    return kernels


def _regrouped(x: Tensor, groups: int) -> Tensor:
    """Channel i * groups + j as channel j * (C / groups) + i."""
    n, c, h, w = x.shape
    return x.reshape(n, c // groups, groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def haar_dwt(order: str = "interleaved") -> nn.Module:
    """A convolution of stride 2 for each channel."""

    def bands(x: Tensor) -> Tensor:
        c = x.shape[1]
        y = F.conv2d(x, _haar(order).to(x.dtype).repeat(c, 1, 1, 1), stride=2, groups=c)
        return y if order == "interleaved" else _regrouped(y, 4)

    return Function(bands)


def haar_iwt(order: str = "interleaved") -> nn.Module:
    """A transposed convolution of stride 2 for each channel."""

    def image(y: Tensor) -> Tensor:
        c = y.shape[1] // 4
        y = y if order == "interleaved" else _regrouped(y, c)
        kernels = _haar(order).to(y.dtype).repeat(c, 1, 1, 1)
        return F.conv_transpose2d(y, kernels, stride=2, groups=c)

    return Function(image)


def reshape(shape: tuple[int, ...]) -> nn.Module:
    """The images as rows of numbers, then in their new form."""
    return Function(lambda x: x.reshape(len(x), math.prod(x.shape[1:])).unflatten(1, list(shape)))


def permute(dims: tuple[int, ...]) -> nn.Module:
    """`torch.permute`."""
    return Function(lambda x: torch.permute(x, dims))


def divide_patches(block: int, overlap: int = 0) -> nn.Module:
    """Slices, column by column, for each image."""
    step = block - overlap

    def patches(x: Tensor) -> Tensor:
        windows = x.unfold(2, block, step).unfold(3, block, step)  # (N, C, M, Q, b, b)
        return windows.permute(0, 3, 2, 1, 4, 5).reshape(-1, x.shape[1], block, block)

    return Function(patches)


def merge_patches(block: int, overlap: int, blocks: Sizes, blend: bool = True) -> nn.Module:
    """Rows of patches faded into each other, then the rows, one after the other; without `blend`
    cut in the middle of their overlap.
    """
    m, q = _both(blocks)

    def fade(strips: list[Tensor], dim: int) -> Tensor:
        """Strips joined along `dim`, each over the end of what is there."""
        rise = torch.arange(1, overlap + 1, dtype=strips[0].dtype) / (overlap + 1)
        rise = rise if blend else (rise >= 0.5).to(rise.dtype)
        rise = rise.reshape(-1, 1) if dim == 2 else rise
        joined = strips[0]
        for strip in strips[1:]:
            n = joined.shape[dim] - overlap
            end, start = joined.narrow(dim, n, overlap), strip.narrow(dim, 0, overlap)
            faded = end * (1 - rise) + start * rise
            rest = strip.narrow(dim, overlap, block - overlap)
            joined = torch.cat((joined.narrow(dim, 0, n), faded, rest), dim)
        return joined

    def image(x: Tensor) -> Tensor:
        grid = x.reshape(len(x) // (m * q), q, m, *x.shape[1:])
        rows = [fade([grid[:, j, i] for j in range(q)], 3) for i in range(m)]
        return fade(rows, 2)

    return Function(image)


TWINS: dict[str, Callable[..., nn.Module]] = {
    "ZeroPad2d": nn.ZeroPad2d,
    "ReflectionPad2d": nn.ReflectionPad2d,
    "ReplicationPad2d": nn.ReplicationPad2d,
    "Crop2d": crop,
    "CenterCrop2d": center_crop,
    "CenterPad2d": center_pad,
    "Roll": roll,
    "Shift2d": shift,
    "Rot90": rot90,
    "Flip": flip,
    "PixelShuffle": pixel_shuffle,
    "PixelUnshuffle": pixel_unshuffle,
    "HaarDWT": haar_dwt,
    "HaarIWT": haar_iwt,
    "Reshape": reshape,
    "Flatten": nn.Flatten,
    "Permute": permute,
    "DividePatches": divide_patches,
    "MergePatches": merge_patches,
    "AdaptiveAvgPool2d": nn.AdaptiveAvgPool2d,
}
