"""PSNR and SSIM against scikit-image and against hand calculations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from zoo.metrics import (
    psnr_global,
    psnr_images,
    psnr_list,
    ssim,
    ssim_images,
)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    clean = rng.random((5, 3, 40, 33))
    clean = (clean + np.roll(clean, 1, -1) + np.roll(clean, 1, -2)) / 3
    scale = np.linspace(0.02, 0.2, 5)[:, None, None, None]
    return clean + scale * rng.normal(size=clean.shape), clean


def test_psnr_equals_skimage(images):
    noisy, clean = images
    expected = [
        peak_signal_noise_ratio(y, x, data_range=1) for x, y in zip(noisy, clean, strict=True)
    ]
    np.testing.assert_allclose(psnr_list(noisy, clean), expected, rtol=1e-12)
    assert psnr_images(noisy, clean) == pytest.approx(np.mean(expected), abs=1e-10)
    whole = peak_signal_noise_ratio(clean, noisy, data_range=1)
    assert psnr_global(noisy, clean) == pytest.approx(whole, abs=1e-10)
    assert psnr_global(noisy, clean) < psnr_images(noisy, clean)


def test_psnr_by_hand():
    clean = np.zeros((2, 1, 2, 2))
    noisy = np.stack([np.full((1, 2, 2), 0.1), np.full((1, 2, 2), 0.01)])
    assert psnr_list(noisy, clean) == pytest.approx([20.0, 40.0])
    assert psnr_images(noisy, clean) == pytest.approx(30.0)
    assert psnr_global(noisy, clean) == pytest.approx(-10 * math.log10((0.01 + 0.0001) / 2))
    assert psnr_images(255 * noisy, 255 * clean, peak=255) == pytest.approx(30.0)
    assert psnr_global(clean, clean) == math.inf
    assert psnr_global(clean, clean, eps=1e-8) == pytest.approx(80.0)


def test_psnr_of_images_of_different_sizes_weighs_values_alike_only_globally():
    clean = [np.zeros((1, 2, 2)), np.zeros((1, 4, 4))]
    noisy = [np.full((1, 2, 2), 0.1), np.full((1, 4, 4), 0.2)]
    expected = -10 * math.log10((4 * 0.01 + 16 * 0.04) / 20)
    assert psnr_global(noisy, clean) == pytest.approx(expected)


def test_what_is_not_a_number_is_not_perfect() -> None:
    clean = np.zeros((1, 1, 4, 4))
    assert math.isnan(psnr_global(np.full_like(clean, np.nan), clean))
    assert math.isnan(psnr_images(np.full_like(clean, np.nan), clean))


def test_psnr_of_bytes_does_not_wrap_around():
    a, b = np.full((1, 1, 2, 2), 0, np.uint8), np.full((1, 1, 2, 2), 255, np.uint8)
    assert psnr_images(a, b, peak=255) == pytest.approx(0.0)


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_ssim_equals_skimage(images, peak):
    noisy, clean = images
    options = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": peak,
    }
    for x, y in zip(noisy * peak, clean * peak, strict=True):
        colour = structural_similarity(x, y, channel_axis=0, **options)
        assert ssim(x, y, peak=peak) == pytest.approx(colour, abs=1e-6)
        gray = structural_similarity(x[0], y[0], **options)
        assert ssim(x[0], y[0], peak=peak) == pytest.approx(gray, abs=1e-6)
    mean = np.mean([ssim(x, y) for x, y in zip(noisy, clean, strict=True)])
    assert ssim_images(noisy, clean) == pytest.approx(mean)


def test_ssim_of_equal_images_is_one(images):
    assert ssim(images[1][0], images[1][0]) == pytest.approx(1.0, abs=1e-12)


def test_wrong_shapes_are_named(images):
    noisy, clean = images
    with pytest.raises(ValueError, match=r"\(3, 40, 33\).*\(3, 40, 32\)"):
        psnr_images(noisy, clean[..., :-1])
    with pytest.raises(ValueError, match="5 estimates, 4 references"):
        psnr_global(noisy, clean[:4])
    with pytest.raises(ValueError, match="11x11"):
        ssim(noisy[0, :, :10], clean[0, :, :10])
