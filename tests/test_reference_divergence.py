"""Stored values of the divergences, of free bits, of the contrastive loss and of Keras's terms.

The values were made in float64 by PyTorch, and where the name says "tf" in float32 by TensorFlow
with the authors' own code; they are read from the folders `reference/hdn` and `reference/psl_ae` of
the shared folder. Where that is absent the tests are skipped, but never in continuous integration.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
from minigrad import Module
from tests.shared import SHARED

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

Pull = Callable[[np.ndarray], Any]


@functools.cache
def stored(name: str) -> dict[str, np.ndarray]:
    return load_file(SHARED / "reference" / f"{name}.safetensors")


def close(actual: Any, expected: np.ndarray, rtol: float = 1e-10) -> None:
    """Within `rtol` of the largest entry; a number may be stored with shape (1,)."""
    assert actual.size == expected.size and actual.shape in (expected.shape, ())
    size = np.abs(expected).max()
    np.testing.assert_allclose(
        np.reshape(actual, expected.shape), expected, rtol=0, atol=rtol * size
    )


def ones(value: np.ndarray) -> np.ndarray:
    return np.ones_like(value)


# ------------------------------------------------------------------ divergences and free bits

OPS: dict[str, tuple[Module, tuple[str, ...]]] = {
    "kl_analytical_broadcast": (mg.GaussianKLLoss("none"), ("qm", "ql", "pm", "pl")),
    "kl_mc": (mg.SampledKLLoss("none"), ("z", "qm", "ql", "pm", "pl")),
    "kl_standard_normal_sum": (mg.StandardNormalKLLoss("sum"), ("mu", "logvar")),
    "free_bits_1.0": (mg.FreeBits(1.0), ("kl",)),
    "free_bits_batch_average_1.0": (mg.FreeBits(1.0, batch_average=True), ("kl",)),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.filterwarnings("error")
def test_operator(name: str) -> None:
    loss, names = OPS[name]
    t = {k.removeprefix(f"{name}."): v for k, v in stored("hdn/ops").items() if k.startswith(name)}
    y, vjp = loss.forward_and_vjp(*(t[f"in.{k}"] for k in names))
    close(y, t["out0"])
    dxs = vjp(t["cot0"].reshape(y.shape))
    for k, dx in zip(names, dxs if len(names) > 1 else (dxs,), strict=True):
        close(dx, t[f"grad.{k}"])
        assert dx.shape == t[f"in.{k}"].shape


def test_free_bits_pass_the_gradient_where_they_are_met() -> None:
    kl = stored("hdn/ops")["free_bits_1.0.in.kl"]
    _, vjp = mg.FreeBits(1.0).forward_and_vjp(kl)
    dkl = vjp(np.ones(kl.shape[1]))
    assert (kl == 1).any() and (dkl[kl == 1] == 1 / len(kl)).all()


@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 40), (np.float64, 350)])
@pytest.mark.filterwarnings("error")
def test_no_exponential_overflows_within_the_range_that_is_named(dtype: Any, limit: int) -> None:
    one = np.ones(4, dtype)
    l_q, l_p = (limit * np.array(s, dtype) for s in ((-1, 1, -1, 1), (-1, 1, 1, -1)))
    for loss, xs in (
        (mg.GaussianKLLoss("none"), (one, l_q, -one, l_p)),
        (mg.SampledKLLoss("none"), (2 * one, one, l_q, -one, l_p)),
        (mg.StandardNormalKLLoss("none"), (one, l_q)),
    ):
        y, vjp = loss.forward_and_vjp(*xs)
        assert all(np.isfinite(a).all() for a in (y, *vjp(one)))


# ------------------------------------------------------------------ terms of clusters


def losses(name: str) -> dict[str, np.ndarray]:
    every = stored("psl_ae/losses_float64")
    return {k.removeprefix(f"{name}."): v for k, v in every.items() if k.startswith(f"{name}.")}


def test_prior_of_standard_deviations() -> None:
    t, names = losses("kl_two_gauss_mean"), ("mu_q", "sig_q", "mu_p", "sig_p")
    y, vjp = mg.GaussianStdKLLoss().forward_and_vjp(*(t[k] for k in names))
    close(y, t["value"])
    for name, dx in zip(names, vjp(ones(y)), strict=True):
        close(dx, t[f"grad.{name}"])


@pytest.mark.parametrize("clusters", [1, 2, 3, 4])
def test_uniform_kl_of_a_softmax(clusters: int) -> None:
    t = losses(f"y_kl_from_logits_K{clusters}")
    y, pull = mg.Softmax(1).forward_and_vjp(t["logits"])
    value, vjp = mg.UniformKLLoss().forward_and_vjp(y)
    close(value, t["value"])
    dlogits = pull(vjp(ones(value)))
    if clusters == 1:  # its one probability is 1 for all logits
        np.testing.assert_array_equal(dlogits, 0)
    else:
        close(dlogits, t["grad.logits"])


@pytest.mark.parametrize("pi", [None, (1 / 3, 1 / 3, 1 / 3)])
def test_mixture(pi: tuple[float, ...] | None) -> None:
    t, names = losses("true_mixture_kl_uniform_pi"), ("mu_q", "sig_q", "mu_k", "sig_k")
    y, pull = mg.Softmax(1).forward_and_vjp(t["logits"])
    loss = mg.MixtureKLLoss(pi, dtype=np.float64)
    value, vjp = loss.forward_and_vjp(y, *(t[k] for k in names))
    close(value, t["value"])
    dy, *dxs = vjp(ones(value))
    close(pull(dy), t["grad.logits"])
    for name, dx in zip(names, dxs, strict=True):
        close(dx, t[f"grad.{name}"])


def test_one_component_and_a_certain_cluster_leave_the_divergence(rng: np.random.Generator) -> None:
    """With K = 1 the mixture is a single Gaussian: the bound is its divergence, summed over d."""
    mu_q, mu_k = rng.standard_normal((4, 5)), rng.standard_normal((1, 5))
    sigma_q, sigma_k = rng.uniform(0.5, 2, (4, 5)), rng.uniform(0.5, 2, (1, 5))
    mixture = mg.MixtureKLLoss(reduction="none")(np.ones((4, 1)), mu_q, sigma_q, mu_k, sigma_k)
    single = mg.GaussianStdKLLoss("image")(mu_q, sigma_q, mu_k, sigma_k)
    np.testing.assert_allclose(mixture, single, rtol=0, atol=2e-8)  # eps
    logarithms = (2 * np.log(s) for s in (sigma_q, sigma_k))
    l_q, l_k = logarithms
    np.testing.assert_allclose(mg.GaussianKLLoss("image")(mu_q, l_q, mu_k, l_k), single, rtol=1e-12)


# ------------------------------------------------------------------ Keras


@pytest.mark.parametrize("name", ["mse_times_HW", "kld", "mse_plus_kld"])
def test_reconstruction(name: str) -> None:
    """b^2 times the mean squared error is MSELoss with a factor: no loss of its own."""
    t, target = losses(name), stored("psl_ae/losses_float64")["recon_target"]
    value, slope = 0.0, np.zeros_like(target)
    if name.startswith("mse"):
        area = mg.Scale(target.shape[2] * target.shape[3])
        error, error_vjp = mg.MSELoss().forward_and_vjp(t["x_hat"], target)
        scaled, scale_vjp = area.forward_and_vjp(error)
        value, slope = value + scaled, slope + error_vjp(scale_vjp(ones(scaled)))[0]
    if name.endswith("kld"):
        divergence, vjp = mg.PixelKLDLoss().forward_and_vjp(t["x_hat"], target)
        value, slope = value + divergence, slope + vjp(ones(divergence))[0]
    close(value, t["value"])
    close(slope, t["grad.x_hat"])


def test_pixel_kld_at_the_ends_of_the_clip() -> None:
    x = np.array([[1e-8], [1e-7], [0.5], [1.0], [1.0 + 1e-8]])
    _, vjp = mg.PixelKLDLoss(reduction="sum").forward_and_vjp(x, np.full_like(x, 0.5))
    dx, dtarget = vjp(np.ones(()))
    assert dtarget is None
    np.testing.assert_allclose(dx[:, 0], [0, -5e6, -1, -0.5, 0], rtol=1e-12)


def test_penalty() -> None:
    t = losses("l1l2_0.01")
    value, vjp = mg.L1L2Penalty().forward_and_vjp(t["w"])
    close(value, t["value"])
    close(vjp(ones(value)), t["grad.w"])


# ------------------------------------------------------------------ two views


def contrast(p1: np.ndarray, p2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The loss of each sample, and the gradients of their sum, of vectors of any length."""
    u, pull_u = normalised(p1)
    v, pull_v = normalised(p2)
    terms = mg.ContrastiveLoss(0.1, "none")(u, v)
    total, vjp = mg.ContrastiveLoss(0.1).forward_and_vjp(u, v)
    np.testing.assert_allclose(total, terms.sum(), rtol=1e-14)
    du, dv = vjp(ones(total))
    return terms, pull_u(du), pull_v(dv)


def normalised(p: np.ndarray) -> tuple[np.ndarray, Pull]:
    """p / |p| for each row, and its vjp."""
    size = np.sqrt((p * p).sum(1, keepdims=True))
    u = p / size
    return u, lambda du: (du - u * (u * du).sum(1, keepdims=True)) / size


def test_contrastive_loss_and_its_gradients() -> None:
    t = losses("ntxent_tau0.1")
    terms, dp1, dp2 = contrast(t["p1"], t["p2"])
    close(terms, t["value"])
    close(dp1, t["grad.p1"])
    close(dp2, t["grad.p2"])


def test_contrastive_loss_of_trained_vectors() -> None:
    """The stored vectors are float32 numbers of TensorFlow: so far do its loss and gradients go."""
    t = stored("psl_ae/contrastive_stage1")
    terms, dp1, dp2 = contrast(*(t[k].astype(np.float64) for k in ("p1_clean_tf", "p2_noisy_tf")))
    close(terms, t["loss_vector_tf"], rtol=2e-6)
    close(terms, t["loss_vector_f64"], rtol=2e-6)
    close(dp1, t["grad.p1_tf"], rtol=2e-6)
    close(dp2, t["grad.p2_tf"], rtol=2e-6)
