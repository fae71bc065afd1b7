"""Blind-spot losses, covariances, posterior means: stored tensors, and what the rows do not draw.

The tensors were made in float64 by the authors' own code; they are read from the folder
`reference/dbsn` of the shared folder. Where it is absent those tests are skipped, but never in
continuous integration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg

RNG = np.random.default_rng(31)
Tensors = dict[str, np.ndarray]


def stored(shared: Path, name: str, prefix: str = "") -> Tensors:
    """The tensors of a file whose names start with `prefix`, without it."""
    arrays = load_file(shared / "reference" / "dbsn" / f"{name}.safetensors")
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}


def close(actual: Any, expected: Any) -> None:
    """Float64: 1e-10 of the largest entry."""
    assert actual.dtype == np.float64
    size = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(actual, expected.reshape(actual.shape), rtol=0, atol=1e-10 * size)


def check_loss(loss: mg.Module, inputs: Tensors, expected: Tensors, names: tuple[str, ...]) -> None:
    """The value, the cotangents that are stored, and None where none is."""
    value, vjp = loss.forward_and_vjp(*(inputs[name] for name in names))
    close(value, expected["value"])
    for name, d in zip(names, vjp(np.ones_like(value)), strict=True):
        if f"d_{name}" in expected:
            close(d, expected[f"d_{name}"])
        else:
            assert d is None, name


# --------------------------------------------------------------------------- stored tensors

MAP = ("mu", "target", "sigma_y")
DBSN = ("mu", "target", "sigma_y", "sigma_mu", "sigma_n")
GRAY = {
    "MAPLoss": (mg.MAPLoss(), MAP),
    "MAPLoss_Pretrain": (mg.MAPLoss(pretrain=True), MAP),
    "MAPLoss_guard": (mg.MAPLoss(), MAP),
    "DBSNLoss": (mg.DBSNLoss(), DBSN),
    "DBSNLoss_Pretrain": (mg.DBSNLoss(pretrain=True), DBSN),
}
COLOUR = {
    "MAPLoss": (mg.MultivariateMAPLoss(), MAP),
    "MAPLoss_Pretrain": (mg.MultivariateMAPLoss(pretrain=True), MAP),
    "DBSNLoss": (mg.MultivariateDBSNLoss(), DBSN),
    "DBSNLoss_Pretrain": (mg.MultivariateDBSNLoss(pretrain=True), DBSN),
}
NOISES = ("gaussian", "poisson_gaussian", "multivariate_gaussian")


@pytest.mark.parametrize("name", GRAY)
def test_gray_loss(shared: Path, name: str) -> None:
    t = stored(shared, "losses_gray", f"{name}/")
    check_loss(GRAY[name][0], t, t, GRAY[name][1])


@pytest.mark.parametrize("name", COLOUR)
@pytest.mark.parametrize("case", ["large", "small"])
def test_colour_loss(shared: Path, case: str, name: str) -> None:
    """In `small` nine of ten determinants of sigma_y are below the minimum."""
    inputs = stored(shared, "losses_color", f"{case}/")
    expected = stored(shared, "losses_color", f"{case}/{name}/")
    check_loss(COLOUR[name][0], inputs, expected, COLOUR[name][1])


def test_squared_error(shared: Path) -> None:
    """A mean in gray, a sum in colour."""
    t = stored(shared, "losses_gray", "L2Loss/")
    check_loss(mg.MSELoss(), t, t, ("mu", "target"))
    t = stored(shared, "losses_color", "L2Loss/")
    check_loss(mg.MSELoss(reduction="sum"), t, t, ("output", "target"))


class SpatialMean(mg.Composite):
    """The mean over rows and columns, on axes `dim`, at each pixel again."""

    def __init__(self, *dim: int) -> None:
        self.mean, self.expand = mg.Mean(dim, keepdim=True), mg.ExpandAs()

    def wire(self, x: Any) -> Any:
        """The repeated mean."""
        return self.expand(self.mean(x), x)


def heads(noise: str) -> tuple[mg.Module, mg.Module]:
    """What makes sigma_mu and sigma_n of the outputs of two networks."""
    if noise == "multivariate_gaussian":
        averaged = mg.Sequential(mg.Covariance3x3(), SpatialMean(1, 2))
        return averaged, averaged
    positive: list[mg.Module] = [mg.Offset(-4), mg.Softplus(), mg.Offset(1e-3), mg.Covariance3x3(3)]
    if noise == "gaussian":
        positive.insert(0, SpatialMean(2, 3))
    return mg.Covariance3x3(3), mg.Sequential(*positive)


@pytest.mark.parametrize("noise", NOISES)
def test_covariances_of_the_outputs_of_networks(shared: Path, noise: str) -> None:
    t = stored(shared, "covariance_heads_and_bayes_color", f"{noise}/")
    for name, head in zip(("sigma_mu", "sigma_n"), heads(noise), strict=True):
        sigma, vjp = head.forward_and_vjp(t[f"raw_{name}"])
        close(sigma, t[name])
        close(vjp(t[f"dL_d{name}"]), t[f"dL_draw_{name}"])


@pytest.mark.parametrize("noise", NOISES)
def test_posterior_mean(shared: Path, noise: str) -> None:
    t = stored(shared, "covariance_heads_and_bayes_color", f"{noise}/")
    for gamma, name in ((1.0, "bayes/out_gamma1"), (0.9, "bayes/out_gamma09")):
        layer = mg.MultivariatePosteriorMean(gamma)
        close(layer(t["bayes/mu"], t["bayes/noisy"], t["sigma_mu"], t["sigma_n"]), t[name])


STEPS = {
    "gray_awgn_MAPLoss": GRAY["MAPLoss"],
    "gray_hg_MAPLoss": GRAY["MAPLoss"],
    "gray_awgn_DBSNLoss": GRAY["DBSNLoss"],
    "gray_hg_DBSNLoss_Pretrain": GRAY["DBSNLoss_Pretrain"],
    "color_awgn_MAPLoss": COLOUR["MAPLoss"],
    "color_hg_MAPLoss": COLOUR["MAPLoss"],
    "color_mg_MAPLoss": COLOUR["MAPLoss"],
    "color_mg_DBSNLoss_Pretrain": COLOUR["DBSNLoss_Pretrain"],
}


@pytest.mark.parametrize("name", STEPS)
def test_loss_and_posterior_mean_of_a_training_step(shared: Path, name: str) -> None:
    """The loss is divided by twice the batch size; a covariance may be stored once an image."""
    t = stored(shared, f"stage1_{name}")
    gray = name.startswith("gray")
    n, _, h, w = t["mu"].shape
    per_pixel = t["mu"].shape if gray else (n, h, w, 3, 3)
    for sigma in ("sigma_mu", "sigma_n"):
        t[sigma] = np.broadcast_to(t[sigma], per_pixel)
    t |= {"target": t["noisy"], "sigma_y": t["sigma_mu"] + t["sigma_n"]}
    loss, names = STEPS[name]
    close(loss(*(t[k] for k in names)) / (2 * n), t["loss"])
    layer = mg.PosteriorMean if gray else mg.MultivariatePosteriorMean
    inputs = [t[k] for k in ("mu", "noisy", "sigma_mu", "sigma_n")]
    close(layer()(*inputs), t["posterior_mean"])
    close(layer(gamma=0.9)(*inputs), t["posterior_mean_gamma09"])


# --------------------------------------------------------------------------- at the edges


def diagonal(*entries: float) -> np.ndarray:
    return np.diag(entries)[None]


def test_the_gradient_passes_where_the_noise_is_the_least_that_counts() -> None:
    one = np.ones(3)
    sigma_n = np.array([0.25, 0.125, 0.5])
    _, vjp = mg.DBSNLoss(minimum=0.25, reduction="sum").forward_and_vjp(one, one, one, one, sigma_n)
    np.testing.assert_array_equal(vjp(np.ones(()))[4], [1 / 0.25 - 1 / 0.25**2, 0, 2 - 4])
    x = np.concatenate([diagonal(0.5, 0.5, 0.5), diagonal(0.5, 0.5, 0.25)])
    y, vjp = mg.LogDet3x3(minimum=0.125).forward_and_vjp(x)
    np.testing.assert_array_equal(y, np.log([0.125, 0.125]))
    np.testing.assert_array_equal(vjp(np.ones(2)), [2 * np.eye(3), np.zeros((3, 3))])


@pytest.mark.filterwarnings("error")
def test_a_singular_matrix_is_infinite_and_harms_no_other() -> None:
    x = np.concatenate([diagonal(1, 2, 0), np.ones((1, 3, 3)), diagonal(1, 2, 4)])
    inverse = mg.Inverse3x3()(x)
    assert np.isposinf(inverse[:2]).all()
    np.testing.assert_array_equal(inverse[2:], diagonal(1, 0.5, 0.25))
    y, vjp = mg.LogDet3x3(minimum=1e-6).forward_and_vjp(x)
    np.testing.assert_allclose(y, np.log([1e-6, 1e-6, 8]))
    dx = vjp(np.ones(3))
    assert not dx[:2].any()
    np.testing.assert_array_equal(dx[2:], inverse[2:])


def test_log_det_without_a_minimum() -> None:
    """As `torch.logdet`: -infinity for 0, NaN below; and no product leaves the range of numbers."""
    with np.errstate(divide="ignore"):
        x = np.concatenate([diagonal(1, 2, 0), diagonal(1, -2, 1), np.eye(3)[None]])
        y, vjp = mg.LogDet3x3().forward_and_vjp(x)
    np.testing.assert_array_equal(y, [-np.inf, np.nan, 0])
    np.testing.assert_array_equal(vjp(np.ones(3)), [np.zeros((3, 3))] * 2 + [np.eye(3)])
    for scale in (1e-20, 1e20):
        x = np.array([[2, 1, 0], [1, 2, 1], [0, 1, 3]], np.float32) * np.float32(scale)
        expected = np.log(7.0) + 3 * np.log(scale)
        assert mg.LogDet3x3()(x) == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(mg.Inverse3x3()(x) @ x, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("levels", [5, 25, 50])
def test_log_det_of_noise_in_float32(levels: float) -> None:
    """Colours in [0, 1], correlated: the determinant is down to 1e-11."""
    u = (levels / 255) * (np.eye(3) + 0.5 * np.triu(RNG.standard_normal((1000, 3, 3)), 1))
    sigma = (u @ u.swapaxes(1, 2)).astype(np.float32)
    expected = np.linalg.slogdet(sigma.astype(np.float64))[1]
    np.testing.assert_allclose(mg.LogDet3x3()(sigma), expected, rtol=1e-6)


def test_inverse_where_the_first_entry_is_zero() -> None:
    x = np.array([[0, 1, 0], [0, 0, 2.0], [4, 0, 0]])
    np.testing.assert_array_equal(mg.Inverse3x3()(x), [[0, 0, 0.25], [1, 0, 0], [0, 0.5, 0]])
    assert mg.LogDet3x3()(x) == pytest.approx(np.log(8))
    x = RNG.standard_normal((500, 3, 3))
    np.testing.assert_allclose(mg.Inverse3x3()(x), np.linalg.inv(x), rtol=1e-9, atol=1e-9)


def with_q(loss: mg.Module, largest: float) -> list[np.ndarray]:
    """Inputs of the loss whose quadratic terms are 0 but for one, which is `largest`."""
    mu = np.zeros((1, 3, 1, 2))
    if isinstance(loss, mg.MAPLoss | mg.DBSNLoss):
        sigma = np.ones_like(mu)
        d = np.sqrt(largest)
    else:
        sigma = np.broadcast_to(np.eye(3), (1, 1, 2, 3, 3))
        d = np.sqrt(2 * largest)
    target = mu.copy()
    target[0, 1, 0, 1] = d
    single = isinstance(loss, mg.MAPLoss | mg.MultivariateMAPLoss)
    return [mu, target, *([sigma] if single else [sigma, sigma, sigma])]


@pytest.mark.parametrize(
    ("make", "pretrain", "limit"),
    [
        (mg.MAPLoss, False, 1e8),
        (mg.MAPLoss, True, None),
        (mg.DBSNLoss, False, 1e8),
        (mg.DBSNLoss, True, 1e8),
        (mg.MultivariateMAPLoss, False, 1e7),
        (mg.MultivariateMAPLoss, True, 1e8),
        (mg.MultivariateDBSNLoss, False, 1e7),
        (mg.MultivariateDBSNLoss, True, 1e7),
    ],
)
def test_a_guarded_value_is_zero_and_its_cotangents_stay(
    make: Any, pretrain: bool, limit: float | None
) -> None:
    for largest in (0.99 * (limit or 1e12), 1.01 * (limit or 1e12)):
        results = []
        for guard in (True, False):
            loss = make(pretrain=pretrain, guard=guard)
            value, vjp = loss.forward_and_vjp(*with_q(loss, largest))
            results.append((value, [d for d in vjp(np.ones(())) if d is not None]))
        (guarded, cotangents), (plain, expected) = results
        assert guarded == (0 if limit and largest > limit else plain) and plain > largest / 7
        for a, b in zip(cotangents, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_ratio_of_variances_is_guarded_too() -> None:
    one, small = np.ones(2), np.array([1.0, 1e-6])
    for factor, guarded in ((0.99, False), (1.01, True)):
        value = mg.DBSNLoss()(one, one, one, 100 * factor * one, small)
        assert (value == 0) == guarded


def test_a_guard_does_not_hide_nan() -> None:
    mu, sigma = np.array([np.nan, 1.0]), np.array([1.0, 1e-9])
    assert np.isnan(mg.MAPLoss()(mu, np.zeros(2), sigma))


def covariances(n: int, size: float) -> np.ndarray:
    u = np.triu(RNG.standard_normal((1, n, n, 3, 3)))
    return size * (u @ u.swapaxes(-1, -2) + 0.1 * np.eye(3))


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_the_dbsn_loss_is_an_upper_bound(size: float) -> None:
    """Close where the prior is sharp."""
    d = RNG.standard_normal((1, 3, 4, 4))
    s_mu, s_n = size * RNG.random(d.shape) + 1e-6, RNG.random(d.shape) + 0.1
    gray = mg.MAPLoss()(0 * d, d, s_mu + s_n), mg.DBSNLoss()(0 * d, d, s_mu + s_n, s_mu, s_n)
    s_mu, s_n = covariances(4, size), covariances(4, 1.0)
    colour = (
        mg.MultivariateMAPLoss()(0 * d, d, s_mu + s_n),
        mg.MultivariateDBSNLoss()(0 * d, d, s_mu + s_n, s_mu, s_n),
    )
    for likelihood, bound in (gray, colour):
        assert likelihood <= bound
        assert size > 0.01 or bound == pytest.approx(likelihood, abs=1)


def test_posterior_mean_is_the_weighted_mean_of_two_opinions() -> None:
    mu, noisy = RNG.standard_normal((2, 1, 3, 4, 4))
    s_mu, s_n = covariances(4, 1.0), covariances(4, 1.0)
    mean = mg.MultivariatePosteriorMean(eps=0.0)
    total = np.linalg.inv(s_mu + s_n)
    parts = ((s_n @ total, mu), (s_mu @ total, noisy))
    expected = sum(np.einsum("nhwij,njhw->nihw", weight, x) for weight, x in parts)
    np.testing.assert_allclose(mean(mu, noisy, s_mu, s_n), expected, rtol=1e-10, atol=1e-10)
    # Certainty on either side, where the inverse of a covariance does not exist.
    np.testing.assert_allclose(mean(mu, noisy, 0 * s_mu, s_n), mu, rtol=1e-12)
    np.testing.assert_allclose(mean(mu, noisy, s_mu, 0 * s_n), noisy, rtol=1e-12)
    one = np.ones_like(mu)
    np.testing.assert_array_equal(mg.PosteriorMean()(mu, noisy, 0 * one, one), mu)
    np.testing.assert_array_equal(mg.PosteriorMean()(mu, noisy, one, 0 * one), noisy)


@pytest.mark.parametrize("gamma", [0.25, 0.9])
def test_gamma_trusts_the_pixel_in_gray_and_the_prior_in_colour(gamma: float) -> None:
    mu, noisy = np.zeros((1, 3, 2, 2)), np.ones((1, 3, 2, 2))
    eye = np.broadcast_to(np.eye(3), (1, 2, 2, 3, 3))
    assert (mg.PosteriorMean(gamma)(mu, noisy, noisy, noisy) > 0.5).all()
    assert (mg.MultivariatePosteriorMean(gamma)(mu, noisy, eye, eye) < 0.5).all()


def test_sharp_opinions_in_colour_keep_their_gradients() -> None:
    """Differences, where PyTorch's derivatives of the authors' formula cancel."""
    mu, noisy = RNG.standard_normal((2, 1, 3, 2, 2))
    for sizes in ((1e-4, 1.0), (1.0, 1e-4)):
        sigmas = (covariances(2, size) for size in sizes)
        mg.check_vjp(mg.MultivariatePosteriorMean(), mu, noisy, *sigmas, step=1e-7, rtol=1e-5)
