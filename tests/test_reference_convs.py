"""Stored tensors of the convolutions with Keras' padding and of the reparameterised Gaussian.

The values were made in float64 by PyTorch; they are read from the folders `reference/psl_ae` and
`reference/hdn` of the shared folder. Where it is absent the tests are skipped, but never in
continuous integration.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
from tests.shared import SHARED

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

CASES = {
    "same_conv_s1_8x8": 1,
    "same_conv_s2_8x8": 2,
    "same_conv_s2_7x9": 2,
    "same_deconv_s1_4x5": 1,
    "same_deconv_s2_4x5": 2,
}
"""Name of the stored case -> stride."""


@functools.cache
def tensors(folder: str, name: str) -> dict[str, np.ndarray]:
    return load_file(SHARED / "reference" / folder / f"{name}.safetensors")


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within 1e-10 of the largest entry."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("name", CASES)
def test_same_convolution(name: str) -> None:
    """The stored value is the sum of y times the sines of 0, 1, 2, ..., y taken flat."""
    start, stored = f"{name}_dot_sin.", tensors("psl_ae", "losses_float64")
    t = {k.removeprefix(start): a for k, a in stored.items() if k.startswith(start)}
    weight = "w_oihw" if "_conv_" in name else "w_iohw"
    kind = mg.SameConv2d if "_conv_" in name else mg.SameConvTranspose2d
    layer = kind(3, 4, 3, stride=CASES[name], dtype=np.float64)
    layer.load_state_dict({"weight": t[weight], "bias": t["b"]})
    y, vjp = layer.forward_and_vjp(t["x"])
    dy = np.sin(np.arange(y.size, dtype=np.float64)).reshape(y.shape)
    close((y * dy).sum(), t["value"][0])
    close(vjp(dy), t["grad.x"])
    close(layer.d_weight, t[f"grad.{weight}"])
    assert layer.d_bias is not None
    close(layer.d_bias, t["grad.b"])


@pytest.mark.parametrize(
    ("name", "form", "spread"),
    [("sampling_exp_half", "log_variance", "s"), ("sampling_sigma", "std", "sig")],
)
def test_sample_of_a_gaussian(name: str, form: str, spread: str) -> None:
    """The stored value is the sum of z times the stored weights."""
    t = tensors("psl_ae", "losses_float64")
    layer = mg.GaussianSample(form, mg.Noise.given([t["sampling_eps"]]))
    z, vjp = layer.forward_and_vjp(t[f"{name}.mu"], t[f"{name}.{spread}"])
    dmu, dspread = vjp(t["sampling_weight"])
    close((z * t["sampling_weight"]).sum(), t[f"{name}.value"][0])
    close(dmu, t[f"{name}.grad.mu"])
    close(dspread, t[f"{name}.grad.{spread}"])


def test_sample_of_a_latent_variable() -> None:
    t = tensors("hdn", "ops")
    layer = mg.GaussianSample(noise=mg.Noise.given([t["rsample.eps"]]))
    z, vjp = layer.forward_and_vjp(t["rsample.in.mu"], t["rsample.in.logvar"])
    dmu, dspread = vjp(t["rsample.cot0"])
    close(z, t["rsample.out0"])
    close(dmu, t["rsample.grad.mu"])
    close(dspread, t["rsample.grad.logvar"])
