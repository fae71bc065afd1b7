"""D-BSN and the denoisers around it: sizes, first weights, and that no pixel sees itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import zoo
from minigrad.backend import definitions_only
from zoo import architectures
from zoo.architectures import (
    DBSN,
    MWCNN,
    BlindSpotDenoiser,
    NoiseMap,
    PriorMean,
    SigmaMuNet,
    SigmaNNet,
)
from zoo.architectures import dbsn as module

BLIND_SPOTS = ("masked", "trimmed")
ACTIVATIONS = ("relu", "leaky_relu")
KINDS = [
    ("dbsn-gray", "awgn"),
    ("dbsn-gray", "hg"),
    ("dbsn-color", "awgn"),
    ("dbsn-color", "hg"),
    ("dbsn-color", "mg"),
]


def count(model: mg.Module) -> int:
    return sum(p.value.size for p in model.parameters())


def narrow(name: str, noise: str, seed: int = 0, **more: Any) -> Any:
    """A small denoiser in double precision whose every layer matters."""
    rng = np.random.default_rng(seed)
    how = {"width": 4, "blocks": 1, "sigma_width": 3, **more}
    model = zoo.create(name, noise=noise, dtype=np.float64, rng=rng, **how)
    for key, parameter in model.named_parameters().items():
        parameter.value[...] += 0.1 * rng.standard_normal(parameter.value.shape)
        if key.startswith("sigma") and parameter.name == "bias":
            parameter.value[...] += 0.3  # few units: none may be shut for all pixels
    return model


# ------------------------------------------------------------------ sizes and first weights


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: DBSN(), 6_612_289),
        (lambda: DBSN(3), 6_612_675),
        (lambda: DBSN().br1, 3_213_696),
        (lambda: DBSN().br2, 3_361_152),
        (lambda: DBSN(blocks=1).br1.branch[6], 387_840),
        (lambda: SigmaMuNet(96, 16, 1), 1_841),
        (lambda: SigmaMuNet(96, 16, 3), 1_875),
        (lambda: SigmaMuNet(96, 16, 6), 1_926),
        (lambda: SigmaMuNet(96, 32, 1), 4_193),
        (lambda: SigmaMuNet(96, 32, 3), 4_259),
        (lambda: SigmaMuNet(96, 32, 6), 4_358),
        (lambda: SigmaNNet(1, 16, 1), 865),
        (lambda: SigmaNNet(1, 32, 1), 3_265),
        (lambda: SigmaNNet(3, 16, 1), 897),
        (lambda: SigmaNNet(3, 16, 3), 931),
        (lambda: SigmaNNet(3, 16, 6), 982),
        (lambda: SigmaNNet(3, 32, 1), 3_329),
        (lambda: SigmaNNet(3, 32, 3), 3_395),
        (lambda: SigmaNNet(3, 32, 6), 3_494),
        (lambda: zoo.create("dbsn-gray"), 6_614_995),
        (lambda: zoo.create("dbsn-gray", noise="hg"), 6_619_747),
        (lambda: zoo.create("dbsn-color"), 6_620_329),
        (lambda: zoo.create("dbsn-color", noise="mg"), 6_620_527),
        (lambda: zoo.create("mwcnn"), 16_145_892),
    ],
)
def test_parameters(network: Any, expected: int) -> None:
    assert count(network()) == expected


def test_convolutions_and_keys() -> None:
    model: Any = zoo.create("dbsn-gray", width=2)
    convs = [m for m in model.dbsn.modules() if isinstance(m, mg.Conv2d)]
    assert len(convs) == 141
    state = {key: a.shape for key, a in zoo.create("dbsn-gray", blocks=1).state_dict().items()}
    assert state["dbsn.br2.branch.0.weight"] == (96, 96, 5, 5)
    assert state["dbsn.br2.branch.6.inception_br1.2.weight"] == (96, 96, 5, 5)
    assert state["dbsn.br1.branch.6.concat.weight"] == (96, 288, 1, 1)
    assert state["dbsn.br1.branch.7.bias"] == (96,)
    assert state["dbsn.concat.weight"] == (96, 192, 1, 1)
    assert {"sigma_mu.conv.4.weight", "sigma_n.conv.6.bias", "sigma_n.conv_final.weight"} < {*state}


def test_first_weights() -> None:
    rng = np.random.default_rng(0)
    gray, colour = zoo.create("dbsn-gray", blocks=1, rng=rng), zoo.create("dbsn-color", rng=rng)
    state = gray.state_dict()
    for key, fan_in in (
        ("dbsn.br1.branch.0.weight", 96 * 9),  # the dead centre is counted
        ("dbsn.br2.branch.6.inception_br1.2.weight", 96 * 25),
        ("dbsn.concat.weight", 192),
        ("sigma_mu.conv.0.weight", 96),
    ):
        assert state[key].std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.06), key
    biases = {key for key in state if key.endswith("bias") and state[key].any()}
    assert biases == {"dbsn.concat.bias"}
    bound = 192**-0.5
    assert 0.9 * bound < np.abs(state["dbsn.concat.bias"]).max() <= bound
    assert not state["sigma_n.conv_final.weight"].any()
    final = colour.state_dict()["sigma_n.conv_final.weight"]
    assert 0 < np.abs(final).max() <= 32**-0.5
    level = NoiseMap(gray).denoise(rng.random((1, 1, 9, 8), np.float32))
    np.testing.assert_allclose(level * 255, 4.88, atol=0.01)
    orthogonal = zoo.create("mwcnn", level1=8, level2=6, level3=5).state_dict()
    w = orthogonal["level2_prev.block.2.weight"].reshape(6, -1)
    np.testing.assert_allclose(w @ w.T, np.eye(6), atol=1e-6)


@pytest.mark.parametrize(("name", "noise"), KINDS)
def test_a_chosen_start(name: str, noise: str) -> None:
    """The noise estimate begins at that level, sigma_mu as small as is asked for."""
    how = {"noise": noise, "width": 4, "blocks": 1, "dtype": np.float64}
    make = [
        zoo.create(name, rng=np.random.default_rng(3), sigma_n_start=25, sigma_mu_gain=gain, **how)
        for gain in (1.0, 0.01)
    ]
    y = np.random.default_rng(0).random((1, make[0].channels, 12, 11))
    np.testing.assert_allclose(NoiseMap(make[1]).denoise(y) * 255, 25, rtol=1e-5)
    plain, small = (model.estimates(y).sigma_mu for model in make)
    np.testing.assert_allclose(small, 1e-4 * plain, rtol=1e-10)
    raw, vjp = make[0].sigma_n.forward_and_vjp(y)
    vjp(np.random.default_rng(1).standard_normal(raw.shape))
    assert np.all(make[0].sigma_n.conv_final.d_bias != 0)  # whatever the start, all entries learn


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DBSN(blind_spot="dead"), "blind_spot: expected one of"),
        (lambda: DBSN(activation="tanh"), "activation: expected one of"),
        (lambda: DBSN(blocks=-1), "blocks: expected at least 0"),
        (lambda: zoo.create("dbsn-gray", noise="mg"), r"noise: expected one of \('awgn', 'hg'\)"),
        (lambda: zoo.create("dbsn-color", noise="x"), "noise: expected one of"),
        (lambda: zoo.create("dbsn-gray", sigma_n_start=0.2), "start: expected a finite number abo"),
        (lambda: SigmaMuNet(layers=0), "layers: expected at least 1"),
        (lambda: SigmaMuNet(gain=0), "gain: expected a finite number above 0"),
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wavelets_in_the_authors_files_are_checked() -> None:
    """32 numbers beside the weights."""
    model, kernels = MWCNN(1, 2, 2, 2), dict(MWCNN.constants)
    assert sum(a.size for a in kernels.values()) == 32
    state = model.state_dict()
    model.load_state_dict({**state, **{k: a.reshape(4, 1, 2, 2) for k, a in kernels.items()}})
    with pytest.raises(ValueError, match=r"MWCNN.load_state_dict: DWT\.weight: expected \[\[0\.5"):
        model.load_state_dict({**state, "DWT.weight": np.ones((4, 1, 2, 2), np.float32)})


# ------------------------------------------------------------------ the blind spot

variants = st.tuples(
    st.sampled_from(BLIND_SPOTS),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from([1, 3]),
    st.integers(1, 6),  # width
    st.integers(0, 3),  # blocks
)


def random_network(variant: tuple[Any, ...], seed: int, dtype: Any) -> DBSN:
    blind_spot, activation, channels, width, blocks = variant
    rng = np.random.default_rng(seed)
    network = DBSN(channels, width, blocks, blind_spot, activation, dtype=dtype, rng=rng)
    for parameter in network.parameters():  # biases too
        parameter.value[...] += 0.05 * rng.standard_normal(parameter.value.shape).astype(dtype)
    return network


@given(variants, st.integers(0, 1000), st.sampled_from([np.float32, np.float64]))
def test_no_output_pixel_sees_its_own_input_pixel(variant: Any, seed: int, dtype: Any) -> None:
    """The VJP of any pixel is exactly 0 there, and mu and features do not move in the last bit
    when the pixel does; others do.
    """
    network, rng = random_network(variant, seed, dtype), np.random.default_rng(seed + 1)
    h, w = rng.integers(1, 20, 2)
    i, j = rng.integers(h), rng.integers(w)
    y = rng.standard_normal((2, variant[2], h, w)).astype(dtype)
    (mu, features), vjp = network.forward_and_vjp(y)
    dmu, dfeatures = np.zeros_like(mu), np.zeros_like(features)
    dmu[1, :, i, j] = rng.standard_normal(variant[2])
    dfeatures[1, :, i, j] = rng.standard_normal(variant[3])
    dy = vjp(dmu, dfeatures)
    assert not dy[1, :, i, j].any() and not dy[0].any()
    moved = y.copy()
    moved[1, :, i, j] += 3
    for before, after in zip((mu, features), network.forward(moved), strict=True):
        assert np.array_equal(before[:, :, i, j], after[:, :, i, j])
        assert np.array_equal(before[0], after[0])


@pytest.mark.parametrize("blind_spot", BLIND_SPOTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wide_network_is_blind_to_the_last_bit(blind_spot: Any, dtype: Any) -> None:
    """With kernels on, which run plain 3x3 convolutions of many channels by sums that hold every
    pixel, the centre too.
    """
    rng = np.random.default_rng(0)
    network = DBSN(1, 32, 1, blind_spot, dtype=dtype, rng=rng)
    y = rng.random((1, 1, 48, 48)).astype(dtype)
    (mu, features), vjp = network.forward_and_vjp(y)
    moved = y.copy()
    moved[0, 0, 20, 21] += 3
    for before, after in zip((mu, features), network.forward(moved), strict=True):
        assert np.array_equal(before[0, :, 20, 21], after[0, :, 20, 21])
        assert not np.array_equal(before, after)
    dmu = np.zeros_like(mu)
    dmu[0, 0, 20, 21] = 0.7
    assert vjp(dmu, None)[0, 0, 20, 21] == 0


@pytest.mark.parametrize("blind_spot", BLIND_SPOTS)
def test_the_jacobian_has_a_diagonal_of_zeros(blind_spot: Any) -> None:
    network = random_network((blind_spot, "leaky_relu", 1, 3, 2), 0, np.float64)
    y = np.random.default_rng(1).standard_normal((1, 1, 12, 12))
    rows = []
    for pixel in range(144):
        (mu, _), vjp = network.forward_and_vjp(y)
        dmu = np.zeros(144)
        dmu[pixel] = 1
        rows.append(vjp(dmu.reshape(mu.shape), None).ravel())
    jacobian = np.array(rows)
    assert not np.diag(jacobian).any()
    assert np.count_nonzero(jacobian) > 0.9 * jacobian.size


def support(network: DBSN, reach: int) -> np.ndarray:
    """Offsets at which an output pixel sees the input, (2 reach + 1) square, on a larger picture.

    Positive weights and inputs keep every ReLU open, and nothing cancels.
    """
    for parameter in network.parameters():
        parameter.value = np.full_like(parameter.value, 1 / parameter.value[0].size)
    side, centre = 2 * reach + 9, reach + 4
    y = np.random.default_rng(0).random((1, 1, side, side)) + 0.1
    with definitions_only():
        (mu, _), vjp = network.forward_and_vjp(y)
        dmu = np.zeros_like(mu)
        dmu[0, 0, centre, centre] = 1
        seen = vjp(dmu, None)[0, 0] != 0
    assert seen[4:-4, 4:-4].sum() == seen.sum()
    return seen[4:-4, 4:-4]


def expected_support(blocks: int) -> np.ndarray:
    """Branch 1 misses the even offsets, branch 2 those that are multiples of 3."""
    reach = 2 + 6 * blocks
    offsets = np.arange(-reach, reach + 1)
    row, column = np.meshgrid(offsets, offsets, indexing="ij")
    near = np.maximum(abs(row), abs(column)) <= 1 + 4 * blocks
    return (near & ((row % 2 != 0) | (column % 2 != 0))) | (row % 3 != 0) | (column % 3 != 0)


@pytest.mark.parametrize("blind_spot", BLIND_SPOTS)
@pytest.mark.parametrize(("blocks", "seen"), [(1, 272), (2, 800), (8, 9520)])
def test_the_support_is_the_derived_one(blind_spot: Any, blocks: int, seen: int) -> None:
    found = support(DBSN(1, 1, blocks, blind_spot, dtype=np.float64), 2 + 6 * blocks)
    assert found.sum() == seen
    np.testing.assert_array_equal(found, expected_support(blocks))


def centre_is_seen(network: DBSN, reach: int) -> bool:
    return bool(support(network, reach)[reach, reach])


def test_negative_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the mask, and with a branch whose steps lead back, the tests above would fail."""
    blind = DBSN(1, 2, 2, dtype=np.float64)
    assert not centre_is_seen(blind, 14)
    unmasked = DBSN(1, 2, 2, dtype=np.float64)
    for layer in unmasked.modules():
        if isinstance(layer, mg.MaskedConv2d):
            layer.mask = ((1,) * layer.window.kernel[1],) * layer.window.kernel[0]
    assert centre_is_seen(unmasked, 14)

    class Short(module.MDCBlock):
        """Dilation 2 in branch 2 as well."""

        def __init__(self, width: int, dilation: int, *more: Any) -> None:
            super().__init__(width, 2, *more)

    monkeypatch.setattr(module, "MDCBlock", Short)
    assert centre_is_seen(DBSN(1, 2, 2, dtype=np.float64), 14)


@pytest.mark.parametrize(("name", "noise"), KINDS)
def test_what_of_a_denoiser_is_blind(name: str, noise: str) -> None:
    """sigma_mu is, and sigma_n where it follows from mu; where it comes from the picture, the pixel
    enters by the mean over the picture alone.
    """
    model: BlindSpotDenoiser = (
        narrow(name, noise, pixelwise=True) if noise == "mg" else narrow(name, noise)
    )
    y = np.random.default_rng(2).random((1, model.channels, 13, 12))
    moved = y.copy()
    moved[0, :, 6, 5] += 3
    before, after = model.estimates(y), model.estimates(moved)
    assert np.array_equal(before.mu[0, :, 6, 5], after.mu[0, :, 6, 5])

    def pixel(variance: np.ndarray) -> np.ndarray:
        return variance[0, :, 6, 5] if variance.ndim == 4 else variance[0, 6, 5]

    assert np.array_equal(pixel(before.sigma_mu), pixel(after.sigma_mu))
    assert np.array_equal(pixel(before.sigma_n), pixel(after.sigma_n)) == (noise == "hg")
    one_level = np.ptp(after.sigma_n, axis=(2, 3) if after.sigma_n.ndim == 4 else (1, 2)).max() == 0
    assert one_level == (noise != "hg")
    assert not np.array_equal(model.denoise(y)[0, :, 6, 5], model.denoise(moved)[0, :, 6, 5])


# ------------------------------------------------------------------ denoisers


@pytest.mark.parametrize(("name", "noise"), KINDS)
@settings(max_examples=10)
@given(h=st.integers(1, 20), w=st.integers(1, 20))
def test_pictures_of_any_size(name: str, noise: str, h: int, w: int) -> None:
    model = narrow(name, noise)
    y = np.random.default_rng(h * w).random((2, model.channels, h, w))
    x = model.denoise(y)
    assert x.shape == y.shape and np.isfinite(x).all()
    mu, sigma_mu, sigma_n = model.estimates(y)
    np.testing.assert_allclose(x, model.bayes(mu, y, sigma_mu, sigma_n), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(PriorMean(model).denoise(y), mu)
    assert NoiseMap(model).denoise(y).shape == y.shape


@pytest.mark.parametrize(("name", "noise"), KINDS)
def test_gradients_of_the_whole_denoiser(name: str, noise: str) -> None:
    model = narrow(name, noise, activation="leaky_relu")
    y = np.random.default_rng(4).random((2, model.channels, 7, 6))
    mg.check_vjp(model, y)
    mg.check_vjp(NoiseMap(model), y)


def test_the_authors_test_program_takes_the_noise_of_each_pixel() -> None:
    model = narrow("dbsn-gray", "awgn")
    faithful = narrow("dbsn-gray", "awgn", faithful_test=True)
    y = np.random.default_rng(5).random((1, 1, 9, 9))
    assert np.ptp(NoiseMap(model).denoise(y)) == 0
    assert np.ptp(NoiseMap(faithful).denoise(y)) > 0
    np.testing.assert_array_equal(faithful.train().forward(y), model.train().forward(y))


def test_views_share_the_network_and_are_not_in_its_state() -> None:
    model = narrow("dbsn-gray", "awgn")
    assert PriorMean(model).model is model
    assert all("model." not in key for key in model.state_dict())
    assert architectures.DBSNGray is type(model)
