"""Stored tensors of likelihoods and noise models, from the folder `reference/hdn` of the shared
folder.

The values were made in float64 by PyTorch and by the authors' own code. Where the folder is absent
the tests are skipped, but never in continuous integration.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
from minigrad.module import Vjp
from tests.shared import SHARED

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

Tensors = Mapping[str, np.ndarray]
ONE = np.ones(())


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(SHARED / "reference" / "hdn" / f"{name}.safetensors")


def close(actual: np.ndarray, expected: np.ndarray, what: str = "") -> None:
    """To 1e-10 of the largest entry."""
    atol = 1e-10 * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol, err_msg=what)


def operation(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Any, Any]:
    """Inputs, gradients, output and cotangent of a stored operation."""
    stored = {
        k.removeprefix(f"{name}."): a for k, a in tensors("ops").items() if k.startswith(f"{name}.")
    }
    inputs = {k.removeprefix("in."): a for k, a in stored.items() if k.startswith("in.")}
    grads = {k.removeprefix("grad."): a for k, a in stored.items() if k.startswith("grad.")}
    return inputs, grads, stored["out0"], stored["cot0"]


def one_by_one(loss: mg.Module, entries: list[tuple[np.ndarray, ...]], cot: np.ndarray) -> Any:
    """The losses of single entries, whose cotangents are stored: values and input cotangents."""
    values, cotangents = [], []
    for xs, dvalue in zip(entries, cot.ravel(), strict=True):
        value, vjp = loss.forward_and_vjp(*xs)
        values.append(value)
        cotangents.append(vjp(np.asarray(dvalue)))
    return np.stack(values), [np.stack(parts, -1) for parts in zip(*cotangents, strict=True)]


# ------------------------------------------------------------------ Gaussians


def test_gaussian_with_a_learned_log_variance() -> None:
    xs, grads, out, cot = operation("gaussian_nll_learned_logvar")
    assert {*xs} == {*grads} == {"mu", "x", "lv"}
    entries = list(zip(*(xs[k].reshape(-1, 1) for k in ("mu", "x", "lv")), strict=True))
    values, dxs = one_by_one(mg.LogVarianceNLLLoss(full=True), entries, cot)
    close(values, out.ravel())
    for name, dx in zip(("mu", "x", "lv"), dxs, strict=True):
        close(dx.ravel(), grads[name].ravel(), name)


def test_the_same_by_its_variance() -> None:
    xs, grads, out, cot = operation("gaussian_nll_learned_logvar")
    var = np.exp(xs["lv"])
    entries = list(zip(*(a.reshape(-1, 1) for a in (xs["mu"], xs["x"], var)), strict=True))
    loss, values, d_mu, d_var = mg.GaussianNLLLoss(full=True), [], [], []
    for entry, dvalue in zip(entries, cot.ravel(), strict=True):
        value, vjp = loss.forward_and_vjp(*entry)
        dprediction, dtarget, dv = vjp(np.asarray(dvalue))
        assert dtarget is None
        values.append(value), d_mu.append(dprediction), d_var.append(dv)
    close(np.stack(values), out.ravel())
    close(np.concatenate(d_mu), grads["mu"].ravel())
    close(np.concatenate(d_var) * var.ravel(), grads["lv"].ravel())


def test_mean_and_sum_of_learned_log_variances() -> None:
    xs, _, out, _ = operation("gaussian_nll_learned_logvar")
    for reduction, expected in (("mean", out.mean()), ("sum", out.sum())):
        loss = mg.LogVarianceNLLLoss(full=True, reduction=reduction)
        close(loss(xs["mu"], xs["x"], xs["lv"]), expected)


def test_log_mixture() -> None:
    xs, grads, out, cot = operation("log_mixture")
    assert {*xs} == {*grads} == {"logits", "mu", "logsig", "x"}
    names = ("logits", "mu", "logsig", "x")
    entries = [tuple(xs[k][..., i] for k in names) for i in range(len(out))]
    values, dxs = one_by_one(mg.LogMixtureLoss(dim=0), entries, -cot)  # stored is log p
    close(-values, out)
    for name, dx in zip(names, dxs, strict=True):
        close(dx, grads[name], name)
    close(mg.LogMixtureLoss(dim=0)(*(xs[k] for k in names)), -out.mean())


# ------------------------------------------------------------------ noise models


def gaussian_mixture(t: Tensors, weight: np.ndarray | None = None) -> mg.GaussianMixtureNoiseModel:
    weight = t["weight"] if weight is None else weight
    settings = {k: t[k].item() for k in ("min_signal", "max_signal", "min_sigma", "tol")}
    rows, n_coeff = weight.shape
    model = mg.GaussianMixtureNoiseModel(
        **settings, n_gaussian=rows // 3, n_coeff=n_coeff, dtype=np.float64
    )
    model.load_state_dict({"weight": weight})
    return model


def mean_nll(
    model: mg.Module, signal: np.ndarray, observation: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Vjp]:
    """(p, mean of -log p, the vjp of both)."""
    p, model_vjp = model.forward_and_vjp(signal, observation)
    value, loss_vjp = mg.DensityNLLLoss().forward_and_vjp(p)
    return p, value, lambda dvalue: model_vjp(loss_vjp(dvalue))


@pytest.mark.parametrize("name", ["noise_gmm_3_2_init", "noise_gmm_3_2_edges", "noise_gmm_2_4"])
def test_gaussian_mixture_noise_model(name: str) -> None:
    t = tensors(name)
    model = gaussian_mixture(t)
    p, value, vjp = mean_nll(model, t["signal"], t["observation"])
    close(p, t["likelihood"])
    np.testing.assert_allclose(p, t["likelihood"], rtol=1e-10)  # also where it is almost tol
    close(value, t["loss_mean_nll"][0])
    dsignal, dobservation = vjp(ONE)
    close(dsignal, t["grad_signal"])
    close(dobservation, t["grad_observation"])
    close(model.d_weight, t["grad_weight"])


def test_the_parts_of_the_mixture() -> None:
    t = tensors("noise_gmm_3_2_edges")
    model = gaussian_mixture(t)
    alpha, m, _, variance, r, _ = model._mixture(t["signal"], t["observation"])
    close(alpha, t["alpha"])
    close(t["observation"] - r, t["mu"])
    close(np.sqrt(variance), t["sigma"])
    assert (variance == 50).any() and (variance > 50).any(), "the floor bounds the variance"
    close((alpha * t["mu"]).sum(0), t["signal"], "the mean of the mixture is the signal")


def test_calibration_of_a_noise_model() -> None:
    """Six steps of Adam with learning rate 0.1 on stored batches."""
    t = tensors("noise_gmm_3_2_init")
    model = gaussian_mixture(t)
    optimiser = mg.Adam(model.parameters(), lr=0.1)
    for step in range(6):
        model.zero_grad()
        _, value, vjp = mean_nll(model, t["train_signal"][step], t["train_observation"][step])
        vjp(ONE)
        optimiser.step()
        close(value, t["train_loss_before_step"][step], f"loss of step {step}")
        close(model.weight, t["train_weight_after_step"][step], f"weight after step {step}")


def histogram(t: Tensors) -> mg.HistogramNoiseModel:
    model = mg.HistogramNoiseModel(
        int(t["bins"][0]), t["minv"].item(), t["maxv"].item(), dtype=np.float64
    )
    model.load_state_dict({"histogram": t["histogram"][0]})
    return model


def test_histogram_noise_model() -> None:
    """The last entries of the stored ones lie outside the range, and on edges of bins."""
    t = tensors("noise_hist")
    p, vjp = histogram(t).forward_and_vjp(t["signal"], t["observation"])
    close(p, t["likelihood"])
    dsignal, dobservation = vjp(np.ones_like(p))
    close(dsignal, t["grad_signal_of_sum"])
    assert dobservation is None
    _, value, vjp = mean_nll(histogram(t), t["signal"][:300], t["observation"][:300])
    close(value, t["nll_first300"][0])
    close(vjp(ONE)[0], t["grad_signal_of_nll_first300"])


@pytest.mark.parametrize(("dtype", "bins"), [(np.float16, 64), (np.float32, 64), (np.float64, 64)])
def test_the_upper_end_of_the_range_has_a_next_row(dtype: type, bins: int) -> None:
    """bins - 1 - 1e-3 is bins - 1 in float16."""
    model = mg.HistogramNoiseModel(bins, 0, 1, dtype=dtype)
    model.histogram[-2:, -2] = 0.25, 0.5
    p, vjp = model.forward_and_vjp(np.ones(2, dtype), np.ones(2, dtype))
    np.testing.assert_allclose(p, 0.5, atol=1e-3)
    assert not vjp(np.ones_like(p))[0].any()


# ------------------------------------------------------------------ PN2V


@pytest.mark.parametrize(
    ("name", "prefix"), [("pn2v_gmm_loss", ""), ("noise_hist", "pn2v_")], ids=["mixture", "table"]
)
def test_pn2v_loss(name: str, prefix: str) -> None:
    names = ("samples", "labels", "masks", "likelihood", "loss", "mmse", "grad_samples")
    t = {k: tensors(name)[prefix + k] for k in names}
    model = (histogram if prefix else gaussian_mixture)(tensors(name))
    p, model_vjp = model.forward_and_vjp(t["samples"], t["labels"])
    value, vjp = mg.PN2VLoss().forward_and_vjp(p, t["masks"])
    dp, dmask = vjp(ONE)
    close(p, t["likelihood"])
    close(value, t["loss"][0])
    close((p * t["samples"]).sum(0) / p.sum(0), t["mmse"])
    close(model_vjp(dp)[0], t["grad_samples"])
    assert dmask is None
    if isinstance(model, mg.GaussianMixtureNoiseModel):
        close(model.d_weight, tensors(name)["grad_weight"])
