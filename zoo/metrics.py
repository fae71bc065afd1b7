"""PSNR, SSIM and UQI, each with its definition.

One and the same network spans 0.7 dB when only the definition of PSNR changes (clipped or not,
rounded or not, border left out, mean of the PSNRs or PSNR of the mean). So `zoo/evaluate.py` tells
with every figure how it was made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Images = np.ndarray | Sequence[np.ndarray]

SMALLEST = 11
"""Side in pixels of the smallest image that has an SSIM: that of the window."""
_RADIUS = SMALLEST // 2
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def psnr_list(estimate: Images, reference: Images, *, peak: float = 1.0) -> list[float]:
    """10 log10(peak^2 / mse_i) for each image i, in dB; inf where the two are equal.

    mse_i is the mean over channels and pixels. The images are (N, ...) arrays, or sequences of
    arrays whose sizes may differ; values in units in which white is `peak`. Computed in float64.
    """
    return [decibels(error / count, peak) for error, count in _squared(estimate, reference)]


def psnr_images(estimate: Images, reference: Images, *, peak: float = 1.0) -> float:
    """Mean over the images of 10 log10(peak^2 / mse_i), in dB (see `psnr_list`)."""
    return float(np.mean(psnr_list(estimate, reference, peak=peak)))


def psnr_global(
    estimate: Images, reference: Images, *, peak: float = 1.0, eps: float = 0.0
) -> float:
    """10 log10(peak^2 / (mse + eps)), mse the mean of all squared errors of all images, in dB.

    Never above `psnr_images` for images of one size (the logarithm is concave). The course's
    single-image formula has eps = 1e-8.
    """
    parts = _squared(estimate, reference)
    errors, counts = zip(*parts, strict=True)
    return decibels(sum(errors) / sum(counts) + eps, peak)


def ssim(estimate: np.ndarray, reference: np.ndarray, *, peak: float = 1.0) -> float:
    """Structural similarity of two images (H, W) or (C, H, W), at least 11x11; at most 1.

    SSIM = mean of (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2)),

    m, s^2, s_xy: means, population variances and covariance under a Gaussian window of 11x11 with
    standard deviation 1.5, c1 = (0.01 peak)^2, c2 = (0.03 peak)^2; the mean runs over the places
    where the whole window lies inside (a border of 5 is left out), then over the channels.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 13(4), 2004.
    """
    x, y = _float_images(estimate, reference, "ssim", SMALLEST)
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    mx, my = _blurred(x), _blurred(y)
    vx, vy, cov = _blurred(x * x) - mx * mx, _blurred(y * y) - my * my, _blurred(x * y) - mx * my
    top = (2 * mx * my + c1) * (2 * cov + c2)
    bottom = (mx * mx + my * my + c1) * (vx + vy + c2)
    return float(np.mean(top / bottom))


def ssim_images(estimate: Images, reference: Images, *, peak: float = 1.0) -> float:
    """Mean over the images of `ssim`; (N, C, H, W), or sequences of (C, H, W)."""
    pairs = _pairs(estimate, reference)
    return float(np.mean([ssim(x, y, peak=peak) for x, y in pairs]))


def ssim_uniform(estimate: np.ndarray, reference: np.ndarray, *, peak: float = 1.0) -> float:
    """`ssim` as scikit-image computes it by default: a flat window of 7x7, the sample's variances
    and covariance (divided by 48, not 49). Images of at least 7x7; the places where the whole
    window lies inside.
    """
    x, y = _float_images(estimate, reference, "ssim_uniform", 7)
    c1, c2, sample = (_K1 * peak) ** 2, (_K2 * peak) ** 2, 49 / 48
    mx, my = _boxed(x, 7), _boxed(y, 7)
    vx = sample * (_boxed(x * x, 7) - mx * mx)
    vy = sample * (_boxed(y * y, 7) - my * my)
    cov = sample * (_boxed(x * y, 7) - mx * my)
    top = (2 * mx * my + c1) * (2 * cov + c2)
    return float(np.mean(top / ((mx * mx + my * my + c1) * (vx + vy + c2))))


def uqi(estimate: np.ndarray, reference: np.ndarray) -> float:
    """The universal quality index: the mean, over windows of 8x8 and channels, of

        4 s_xy m_x m_y / ((s_x^2 + s_y^2) (m_x^2 + m_y^2)),

    with means m, variances s^2 and covariance s_xy of a window; 2 m_x m_y / (m_x^2 + m_y^2) where
    both variances are 0, and 1 where both means are. (H, W) or (C, H, W), at least 9x9; values of
    any unit. The last row and column of windows are left out, as in `uqi_sewar`.

    Source: Wang, Bovik, "A universal image quality index", IEEE Signal Processing Letters 9(3),
    2002.
    """
    return _uqi(estimate, reference, 1)


def uqi_sewar(estimate: np.ndarray, reference: np.ndarray) -> float:
    """What the package sewar 0.4 calls the universal quality index, and papers print as such.

    Its formula is for sums over a window of N = 64 values, and is given their means: the factors N
    do not cancel, and what is left is close to 1 for any two pictures of one brightness. Noisy
    pictures with a `uqi` of 0.25 have 0.88. For comparison with published figures alone.
    """
    return _uqi(estimate, reference, 64)


def decibels(mse: float, peak: float = 1.0) -> float:
    """10 log10(peak^2 / mse); inf where mse is 0, NaN where it is."""
    return float(10 * np.log10(peak**2 / mse)) if mse != 0 else float("inf")


def squared_error(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Sum of the squared differences of two arrays of one shape, in float64."""
    _same_shape(estimate, reference)
    difference = np.subtract(estimate, reference, dtype=np.float64).ravel()
    return float(difference @ difference)


# --- inside --------------------------------------------------------------------------------------


def _pairs(estimate: Images, reference: Images) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(estimate) != len(reference) or not len(estimate):
        raise ValueError(f"metrics: {len(estimate)} estimates, {len(reference)} references")
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(estimate, reference, strict=True)]
    for x, y in pairs:
        _same_shape(x, y)
    return pairs


def _same_shape(x: np.ndarray, y: np.ndarray) -> None:
    if x.shape != y.shape or not x.size:
        raise ValueError(f"metrics: estimate {x.shape}, reference {y.shape}: shapes must be equal")


def _squared(estimate: Images, reference: Images) -> list[tuple[float, int]]:
    """Sum of squared errors and number of values, per image."""
    return [(squared_error(x, y), x.size) for x, y in _pairs(estimate, reference)]


def _float_images(
    estimate: np.ndarray, reference: np.ndarray, name: str, least: int
) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    _same_shape(x, y)
    if x.ndim not in (2, 3) or min(x.shape[-2:]) < least:
        raise ValueError(
            f"{name}: expected (H, W) or (C, H, W) of at least {least}x{least}, got {x.shape}"
        )
    return x, y


def _uqi(estimate: np.ndarray, reference: np.ndarray, n: int) -> float:
    x, y = _float_images(estimate, reference, "uqi", 9)
    mx, my, mxy, squares = (_boxed(a, 8)[..., :-1, :-1] for a in (x, y, x * y, x * x + y * y))
    p, q = mx * my, mx * mx + my * my
    spread = n * squares - q
    ordinary, flat = spread * q != 0, (spread == 0) & (q != 0)
    index = np.where(flat, 2 * p / np.where(q == 0, 1, q), 1.0)
    index = np.where(ordinary, 4 * (n * mxy - p) * p / np.where(ordinary, spread * q, 1), index)
    return float(np.mean(index))


def _boxed(x: np.ndarray, side: int) -> np.ndarray:
    """Means over side x side windows, at all places where the window lies inside."""
    h, w = (n - side + 1 for n in x.shape[-2:])
    rows = sum(x[..., i : i + h, :] for i in range(side))
    total = sum(np.asarray(rows)[..., i : i + w] for i in range(side))
    return np.asarray(total / side**2)


def _window() -> np.ndarray:
    taps = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / (2 * _SIGMA**2))
    return taps / taps.sum()


def _blurred(x: np.ndarray) -> np.ndarray:
    """Gaussian window means at all places where the window lies inside: sides shrink by 10."""
    h, w = x.shape[-2] - 2 * _RADIUS, x.shape[-1] - 2 * _RADIUS
    taps = list(enumerate(_window()))
    rows = sum(tap * x[..., i : i + h, :] for i, tap in taps)
    return np.asarray(sum(tap * rows[..., i : i + w] for i, tap in taps))
