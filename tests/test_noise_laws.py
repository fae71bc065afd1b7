"""Noise laws: their moments, independent pair members, pure functions of (seed, step)."""

from __future__ import annotations

import numpy as np
import pytest

from minigrad.noise import Noise
from zoo.data import Photographs
from zoo.noise import LAWS, Bernoulli, Brown, Gaussian, LawError, SubPixel, parse

TEXTS = [
    "gaussian:25",
    "gaussian:0-50",
    "gaussian:25:clip",
    "brown:25",
    "brown:5-25:blur=1.5:clip",
    "correlated:20",
    "correlated:5-20:kernel=3:clip",
    "heteroscedastic:40",
    "heteroscedastic:5-40:delta=0-10:clip",
    "poisson:30",
    "poisson:0.001-50",
    "bernoulli:0.5",
    "bernoulli:0-0.95",
    "text:0.25",
    "impulse:0.7",
    "subpixel:4",
    "subpixel:8",
]


def latent(law, n: int = 4, size: int = 24, channels: int = 3, dtype=np.float32) -> np.ndarray:
    """Pictures in steps of 1/255, read-only: no law may write into what it is given."""
    shape = (n, channels, law.scale * size, law.scale * size)
    levels = np.random.default_rng(0).integers(0, 256, shape)
    values = (levels / 255).astype(dtype)
    values.flags.writeable = False
    return values


# --- what holds for every law --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("text", TEXTS)
def test_shape_dtype_and_mask(text, channels, dtype):
    law = parse(text)
    x = latent(law, channels=channels, dtype=dtype)
    noisy, mask = law.sample_with_mask(x, Noise(0))
    clean = law.clean(x)
    assert noisy.shape == clean.shape == (4, channels, 24, 24)
    assert noisy.dtype == clean.dtype == dtype
    assert np.isfinite(noisy).all()
    assert noisy.flags.c_contiguous
    assert (mask is not None) == text.startswith("bernoulli")
    if mask is not None:
        assert mask.shape == (4, 1, 24, 24)
        assert mask.dtype == dtype
    if "clip" in text:
        assert noisy.min() >= 0
        assert noisy.max() <= 1


@pytest.mark.parametrize("text", TEXTS)
def test_a_draw_is_a_function_of_seed_and_step(text):
    law = parse(text)
    x = latent(law)
    noise = Noise(7)
    first = [law(x, noise.at(step)) for step in (3, 0, 3)]
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[1], law(x, Noise(7).at(0)))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], law(x, Noise(8).at(3)))
    np.testing.assert_array_equal(law(x, Noise(7).at(3)), law.sample(x, Noise(7).at(3)))


@pytest.mark.parametrize("text", TEXTS)
def test_pair_members_are_independent(text):
    law = parse(text)
    x = latent(law)
    first, second, clean = law.pair(x, Noise(1).at(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(clean, law.clean(x))
    np.testing.assert_array_equal(first, law(x, Noise(1).at(2)))
    one = law.pair(x[0], Noise(1))
    assert [item.shape for item in one] == [(3, 24, 24)] * 3


@pytest.mark.parametrize(
    "text", ["gaussian:25", "brown:25", "correlated:20", "poisson:30", "subpixel:4"]
)
def test_unbiased_laws_have_mean_clean_and_uncorrelated_members(text):
    law = parse(text)
    x = np.repeat(latent(law, n=1, size=8), 4000, axis=0)
    first, second, clean = law.pair(x, Noise(5))
    # Sub-pixel sampling has the mean of its block; its clean picture is that mean, rounded.
    exact = clean if law.scale == 1 else x.reshape(4000, 3, 8, 4, 8, 4).mean((3, 5))
    spread = first.std(axis=0) / np.sqrt(4000) + 1e-7
    assert np.abs((first.mean(axis=0) - exact[0]) / spread).max() < 5
    a, b = first - exact, second - exact
    correlation = (a * b).mean(axis=0) / (a.std(axis=0) * b.std(axis=0) + 1e-12)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("text", TEXTS)
def test_the_written_form_is_read_back(text):
    law = parse(text)
    assert law.name == text
    assert parse(law.name) == law
    assert parse(f" {text} ") == law


def test_levels_with_many_digits_survive_the_written_form():
    law = Gaussian(1 / 3, 100 / 7)
    assert parse(law.name) == law


# --- each law's own numbers ----------------------------------------------------------------------


def test_gaussian_has_its_level():
    x = np.full((4, 3, 128, 128), 0.5, np.float32)
    difference = parse("gaussian:25")(x, Noise(0)) - x
    assert difference.std() * 255 == pytest.approx(25, rel=0.01)
    assert abs(difference.mean()) * 255 < 0.3
    assert (difference**4).mean() / (difference**2).mean() ** 2 == pytest.approx(3, abs=0.1)


def test_a_range_gives_one_level_per_image():
    x = np.full((400, 1, 64, 64), 0.5, np.float32)
    sigma = (parse("gaussian:10-50")(x, Noise(0)) - x).std(axis=(1, 2, 3)) * 255
    assert sigma.min() > 9
    assert sigma.max() < 52
    assert sigma.mean() == pytest.approx(30, abs=2)
    assert sigma.std() == pytest.approx(40 / np.sqrt(12), rel=0.1)


def test_brown_has_its_level_and_its_correlation():
    x = np.zeros((20, 1, 128, 128), np.float64)
    noise = Brown(25, blur=2)(x, Noise(0)) * 255
    assert noise.std() == pytest.approx(25, rel=0.03)
    # The border is like the inside.
    assert noise[..., :3].std() == pytest.approx(25, rel=0.1)
    for r in (1, 2, 4):
        for shifted, kept in (
            (noise[..., r:], noise[..., :-r]),
            (noise[:, :, r:], noise[:, :, :-r]),
        ):
            rho = (shifted * kept).mean() / noise.var()
            assert rho == pytest.approx(np.exp(-(r**2) / 16), abs=0.05)


@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_correlated_has_its_level_and_its_correlation(kernel):
    x = np.zeros((20, 2, 128, 128), np.float64)
    noise = parse(f"correlated:20:kernel={kernel}")(x, Noise(0)) * 255
    assert noise.std() == pytest.approx(20, rel=0.02)
    # The border is like the inside.
    assert noise[..., :3].std() == pytest.approx(20, rel=0.1)
    for a in range(6):
        for b in range(-5, 6):
            shifted = np.roll(noise, (a, b), (2, 3))[:, :, 5:-5, 5:-5]
            rho = (shifted * noise[:, :, 5:-5, 5:-5]).mean() / noise.var()
            expected = max(0, 1 - a / kernel) * max(0, 1 - abs(b) / kernel)
            assert rho == pytest.approx(expected, abs=0.03)
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 0.03 * noise.var()


def test_poisson_has_variance_clean_over_lambda():
    x = np.broadcast_to(np.linspace(0, 1, 11)[:, None, None, None], (11, 1, 300, 300))
    noisy = parse("poisson:30")(x, Noise(0))
    np.testing.assert_allclose(noisy.mean((1, 2, 3)), x[:, 0, 0, 0], atol=0.005)
    np.testing.assert_allclose(noisy.var((1, 2, 3)), x[:, 0, 0, 0] / 30, rtol=0.03)
    np.testing.assert_allclose(noisy * 30, np.rint(noisy * 30), atol=1e-9)


def test_bernoulli_hides_whole_pixels():
    law = Bernoulli(0.3)
    x = latent(law, size=100)
    noisy, mask = law.sample_with_mask(x, Noise(0))
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1}
    assert mask.mean() == pytest.approx(0.7, abs=0.01)
    np.testing.assert_array_equal(noisy, x * mask)
    assert Bernoulli(0.0).sample_with_mask(x, Noise(0)).mask.all()
    assert not Bernoulli(1.0).sample_with_mask(x, Noise(0)).mask.any()


def test_impulse_replaces_whole_pixels():
    law = parse("impulse:0.7")
    x = latent(law, size=100)
    noisy = law(x, Noise(0))
    changed = noisy != x
    assert changed.any(axis=1).mean() == pytest.approx(0.7, abs=0.01)
    # All channels or none, but for a colour that hits a channel's value by chance.
    assert (changed.any(axis=1) != changed.all(axis=1)).mean() < 0.001
    colours = noisy.transpose(0, 2, 3, 1)[changed.all(axis=1)]
    assert colours.mean() == pytest.approx(0.5, abs=0.01)
    assert colours.var() == pytest.approx(1 / 12, abs=0.003)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_text_covers_its_share(share):
    x = np.full((3, 3, 160, 160), 0.5, np.float32)
    noisy = parse(f"text:{share}")(x, Noise(0))
    covered = (np.abs(noisy - x) > 1e-6).any(axis=1).mean(axis=(1, 2))
    # Letters' soft edges add to the covered half; the last string may overshoot.
    assert (covered >= share).all()
    assert (covered <= share + 0.35).all()
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    np.testing.assert_array_equal(parse("text:0")(x, Noise(0)), x)


def test_text_fits_pictures_smaller_than_a_letter():
    x = np.zeros((2, 1, 5, 3), np.float32)
    assert parse("text:0.5")(x, Noise(0)).shape == x.shape


# --- sub-pixel sampling --------------------------------------------------------------------------


def test_subpixel_draws_lie_in_their_block_all_channels_together():
    law = SubPixel(4)
    # Each latent pixel carries its own row and column in its channels.
    rows, columns = np.mgrid[0:32, 0:32] / 255
    x = np.stack([rows, columns])[None].repeat(50, axis=0)
    drawn = np.rint(law(x, Noise(0)) * 255).astype(int)  # (50, 2, 8, 8)
    assert (drawn[:, 0] // 4 == np.arange(8)[:, None]).all()
    assert (drawn[:, 1] // 4 == np.arange(8)).all()
    index = 4 * (drawn[:, 0] % 4) + drawn[:, 1] % 4
    counts = np.bincount(index.ravel(), minlength=16)
    expected = index.size / 16
    assert ((counts - expected) ** 2 / expected).sum() < 45  # chi square, 15 degrees of freedom


def test_subpixel_clean_is_the_rounded_block_mean():
    law = SubPixel(8)
    levels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 40))
    expected = np.zeros((2, 3, 4, 5))
    for y in range(4):
        for x in range(5):
            block = levels[:, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
            expected[:, :, y, x] = np.rint(block.sum(axis=(2, 3)) / 64)
    clean = law.clean((levels / 255).astype(np.float32))
    np.testing.assert_array_equal(clean, (expected / 255).astype(np.float32))


def test_subpixel_noise_is_zero_in_flat_areas():
    law = SubPixel(8)
    x = np.full((1, 3, 64, 64), np.float32(100 / 255))
    first, second, clean = law.pair(x, Noise(0))
    np.testing.assert_array_equal(first, clean)
    np.testing.assert_array_equal(second, clean)


@pytest.mark.parametrize("channels", [1, 3])
def test_subpixel_reads_photographs_as_it_reads_arrays(channels):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (channels, h, w), np.uint8) for h, w in ((50, 60), (70, 40))]
    crops = Photographs(pictures).crops(rng.random((6, 3)), 40)
    law = SubPixel(4)
    x = crops.array()
    np.testing.assert_array_equal(law.observe(crops, Noise(3)).noisy, law(x, Noise(3)))
    np.testing.assert_array_equal(law.clean_of(crops), law.clean(x))


def test_subpixel_refuses_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="multiples of 8: 20x24"):
        SubPixel(8)(np.zeros((1, 1, 20, 24)), Noise(0))


# --- wrong texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gausian:25", "did you mean 'gaussian'"),
        ("sub-pixel:8", "did you mean 'subpixel'"),
        ("Poisson:30", "did you mean 'poisson'"),
        ("", "known: gaussian, brown"),
        ("gaussian", "expected gaussian:25 or gaussian:0-50"),
        ("gaussian:x", "got level 'x'"),
        ("gaussian:-5", "got level '-5'"),
        ("gaussian:50-25", "got 50-25"),
        ("gaussian:1e999", "finite"),
        ("gaussian:25:clop", "unknown option 'clop'"),
        ("gaussian:25:blur=2", "unknown option 'blur=2'"),
        ("brown:25:blur=x", "unknown option 'blur=x'"),
        ("brown:25:blur=0", "blur must lie in"),
        ("brown:25:kernel=2", "unknown option 'kernel=2'; known: clip, blur=PIXELS"),
        ("correlated:20:kernel=1.5", "unknown option 'kernel=1.5'; known: clip, kernel=SIDE"),
        ("correlated:20:kernel=0", "kernel must be a whole number, 1 to 50, got 0"),
        ("corelated:20", "did you mean 'correlated'"),
        ("poisson:0", "1e-06 <= low"),
        ("bernoulli:1.5", "high <= 1"),
        ("text:0.95", "high <= 0.9"),
        ("subpixel:1", "whole number from 2 to 64"),
        ("subpixel:2.5", "expected subpixel:8"),
        ("subpixel:2-8", "expected subpixel:8"),
    ],
)
def test_wrong_texts_are_explained(text, expected):
    with pytest.raises(LawError) as caught:
        parse(text)
    assert expected in str(caught.value)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_law_is_documented_with_formula_and_source():
    for name, (law, example) in LAWS.items():
        assert example.startswith(f"{name}:")
        assert law.kind in (name, "")
        assert law.__doc__
        assert len(law.__doc__.splitlines()) > 4
