"""Heteroscedastic and multivariate noise, and the numbers of the published validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import zoo
from minigrad.noise import Noise
from tests import tiny_training as tiny
from tests.shared import DBSN
from zoo.data.images import list_images, read_image
from zoo.evaluate import evaluate_folder
from zoo.metrics import psnr_images
from zoo.noise import Heteroscedastic, LawError, Multivariate, parse
from zoo.noise.multivariate import covariance, fixed_covariance
from zoo.recipes import RecipeError, Sampler
from zoo.recipes.check import check

TEXTS = [
    "gaussian:25:official",
    "heteroscedastic:40",
    "heteroscedastic:40:delta=5",
    "heteroscedastic:5-40:delta=2-10",
    "heteroscedastic:40:official",
    "heteroscedastic:40:delta=5:official:clip",
    "multivariate:75",
    "multivariate:10-75:fixed:clip",
    "multivariate:75:official",
]


@pytest.fixture
def stored(shared: Path) -> dict[str, np.ndarray]:
    """The authors' draws."""
    return load_file(DBSN / "noise.safetensors")


@pytest.mark.parametrize(
    ("text", "name", "channels"),
    [
        ("gaussian:25:official", "gaussian25_1", 1),
        ("gaussian:25:official", "gaussian25_3", 3),
        ("heteroscedastic:40:official", "poisson_gaussian_40_10_1", 1),
        ("heteroscedastic:40:official", "poisson_gaussian_40_10_3", 3),
        ("multivariate:75:official", "multivariate_gaussian", 3),
    ],
)
def test_the_published_validation_noise(
    text: str, name: str, channels: int, stored: dict[str, np.ndarray]
) -> None:
    clean = stored[f"clean_{channels}"][None]
    batch = np.concatenate([clean, clean])
    noisy = parse(text)(batch, Noise(5).at(9))
    assert noisy.dtype == np.float32
    for one in noisy:
        np.testing.assert_allclose(one, stored[f"val/{name}"], rtol=0, atol=1.2e-7)


@pytest.mark.parametrize(
    ("folder", "text", "plain", "clipped"),
    [
        ("BSD68", "gaussian:25:official", 20.194, 20.499),
        ("BSD68", "heteroscedastic:40:official", 19.123, 19.587),
        ("CBSD68", "multivariate:75:official", 12.700, 13.759),
    ],
)
def test_noisy_pictures_of_the_published_validation(
    folder: str, text: str, plain: float, clipped: float, shared: Path
) -> None:
    """Mean PSNR of the noisy pictures, as measured with the authors' programs."""
    law, found = parse(text), []
    for file in list_images(shared / "data" / folder):
        clean = read_image(file).pixels[None]
        noisy = law(clean, Noise(0))
        found.append([psnr_images(picture, clean) for picture in (noisy, noisy.clip(0, 1))])
    assert len(found) == 68
    np.testing.assert_allclose(np.mean(found, axis=0), (plain, clipped), atol=1e-3)


def test_training_draws_of_the_authors(stored: dict[str, np.ndarray]) -> None:
    """The laws as such, given the authors' random numbers."""
    legacy = np.random.RandomState
    for channels in (1, 3):
        clean = stored[f"clean_{channels}"][None]
        r = legacy(123)
        drawn = Noise.given([r.standard_normal(clean.shape) for _ in range(2)])
        noisy = parse("heteroscedastic:40")(clean, drawn)[0]
        expected = stored[f"train_seed123/poisson_gaussian_40_10_{channels}"]
        np.testing.assert_allclose(noisy, expected, rtol=0, atol=1.2e-7)
    r = legacy(123)
    sigma = covariance(r.rand(3), r.rand(3, 3), 75)
    drawn = r.multivariate_normal(np.zeros(3), sigma, (6, 5)).transpose(2, 0, 1)
    expected = stored["train_seed123/multivariate_gaussian"] - stored["clean_3"]
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(fixed_covariance(), stored["val/mg_covariance"], rtol=1e-12)


@pytest.mark.parametrize("text", TEXTS)
def test_names_are_read_back(text: str) -> None:
    law = parse(text)
    assert law.name == text and parse(law.name) == law
    assert law.repeats == ("official" in text)
    assert parse("heteroscedastic:40:delta=10").name == "heteroscedastic:40"


def test_heteroscedastic_moments() -> None:
    clean = np.broadcast_to(np.linspace(0, 1, 5)[:, None, None, None], (5, 1, 200, 200))
    noisy = parse("heteroscedastic:40:delta=10")(clean.astype(np.float64), Noise(1).at(0))
    found = 255 * (noisy - clean).std((1, 2, 3))
    np.testing.assert_allclose(found, np.hypot(40 * clean[:, 0, 0, 0], 10), rtol=0.02)
    np.testing.assert_allclose((noisy - clean).mean((1, 2, 3)), 0, atol=0.003)
    ranged = Heteroscedastic(0, 40, delta=0, delta_high=10)
    first, second, _ = ranged.pair(clean, Noise(2).at(0))
    assert np.corrcoef((first - clean).ravel(), (second - clean).ravel())[0, 1] < 0.02
    deviations = 255 * (first - clean).std((1, 2, 3))
    assert np.ptp(deviations) > 5  # a level for each image


@pytest.mark.parametrize("text", ["multivariate:75", "multivariate:75:fixed"])
def test_multivariate_moments(text: str) -> None:
    law: Any = parse(text)
    clean = np.zeros((3, 3, 300, 300))
    noisy = law(clean, Noise(3).at(1))
    sigmas = law.covariances(3, Noise(3).at(1))
    for image, sigma in zip(noisy, sigmas, strict=True):
        found = np.cov(image.reshape(3, -1))
        np.testing.assert_allclose(found, sigma, rtol=0, atol=0.02 * np.abs(sigma).max())
    fixed = np.array_equal(sigmas[0], sigmas[1])
    assert fixed == ("fixed" in text)
    if fixed:
        np.testing.assert_allclose(255**2 * sigmas[0][0], [3438.880, 175.258, 286.056], atol=1e-3)


def test_random_covariances_can_be_drawn_from() -> None:
    sigmas = Multivariate(75).covariances(2000, Noise(0))
    assert np.linalg.eigvalsh(sigmas).min() > 0 and sigmas.min() >= 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heteroscedastic:40:delta=x", "unknown option 'delta=x'; known: clip, official, delta"),
        ("heteroscedastic:40:delta=9-2", "delta must satisfy 0 <= low <= high, got 9-2"),
        ("heteroscedastic:5-40:official", "official needs one alpha and one delta"),
        ("heteroscedastic:40:delta=1-2:official", "official needs one alpha and one delta"),
        ("multivariate:1-75:official", "official needs one level"),
        ("gaussian:0-50:official", "official needs one sigma"),
        ("brown:25:official", "unknown option 'official'; known: clip, blur=PIXELS"),
        ("multivariate:75:shared", "unknown option 'shared'; known: clip, fixed, official"),
    ],
)
def test_wrong_texts(text: str, message: str) -> None:
    with pytest.raises(LawError, match=message):
        parse(text)


def test_gray_pictures_have_no_colours_to_correlate(tmp_path: Path) -> None:
    with pytest.raises(LawError, match="needs pictures of 3 channels, got 1"):
        parse("multivariate:75")(np.zeros((1, 1, 4, 4)), Noise(0))
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "gray.png")
    model = zoo.create("bf-unet", features=2)
    found = evaluate_folder(model, tmp_path, parse("multivariate:75"))
    assert not found.rows and "needs pictures of 3 channels" in found.failures[0].error


def test_noise_that_repeats_is_not_for_training() -> None:
    recipe = tiny.recipe(1, sampler=Sampler("gaussian:30:official", size=16))
    with pytest.raises(RecipeError, match="is the same in every draw; it is for validation"):
        check(recipe)


def test_evaluation_with_the_published_noise(tmp_path: Path) -> None:
    """The protocol says how it was drawn, and the figures are those of these numbers."""
    folder = tiny.pictures(tmp_path, count=2, size=32)
    model = zoo.create("bf-unet", channels=3, features=2)
    found = evaluate_folder(model, folder, parse("gaussian:25:official"))
    assert "numpy.random.RandomState(0) for each picture" in found.protocol["noise"]
    drawn = np.random.RandomState(0).normal(0, 25 / 255, (3, 32, 32)).astype(np.float32)
    expected = -10 * np.log10(np.mean(drawn.astype(np.float64) ** 2))
    for row in found.rows:
        assert row.values["psnr_noisy"] == pytest.approx(expected, abs=1e-4)
