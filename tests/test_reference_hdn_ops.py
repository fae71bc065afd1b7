"""Stored tensors of single operations of the ladder networks: outputs and cotangents.

The values were made in float64 by PyTorch; they are read from the folder `reference/hdn` of the
shared folder. Where the folder is absent the tests are skipped, but never in continuous
integration.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
from minigrad.wiring import as_tuple
from tests.shared import SHARED

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

FOLDER = SHARED / "reference" / "hdn"
Tensors = Mapping[str, np.ndarray]


class Gate(mg.Composite):
    """ELU of the first half of the channels, times the logistic function of the second."""

    def __init__(self, channels: int) -> None:
        self.halves, self.activation = mg.Split((channels, channels)), mg.ELU()
        self.sigmoid, self.multiply = mg.Sigmoid(), mg.Multiply()

    def wire(self, x: Any) -> Any:
        u, g = self.halves(x)
        return self.multiply(self.activation(u), self.sigmoid(g))


class Terms(mg.Module):
    """The terms, times `sign`, of a loss that knows only their sum: each is a sum of one.

    The terms have the shape of the input of fewest axes, and these are the last axes of the others.
    """

    def __init__(self, loss: mg.Module, sign: int = 1) -> None:
        self.loss, self.sign = loss, sign

    def forward_and_vjp(self, *xs: np.ndarray) -> tuple[np.ndarray, mg.module.Vjp]:
        shape = min((x.shape for x in xs), key=len)
        runs = {
            (..., *i): self.loss.forward_and_vjp(*(x[(..., *i)] for x in xs))
            for i in np.ndindex(shape)
        }
        y = np.array([self.sign * value for value, _ in runs.values()]).reshape(shape)

        def vjp(dy: np.ndarray) -> tuple[np.ndarray, ...]:
            dxs = tuple(np.zeros_like(x) for x in xs)
            for i, (_, term_vjp) in runs.items():
                for dx, d in zip(dxs, term_vjp(self.sign * dy[i]), strict=True):
                    dx[i] = d
            return dxs

        return y, vjp


@dataclass(frozen=True)
class Case:
    """One stored operation.

    make: the layer, from a dtype and the stored tensors.
    inputs: names of the layer's inputs, in its order, in the file.
    state: the layer's name -> the file's, of parameters and buffers.
    """

    make: Callable[[Any, Tensors], mg.Module]
    inputs: tuple[str, ...] = ("x",)
    state: Mapping[str, str] = field(default_factory=dict)


WEIGHT = {"weight": "in.w", "bias": "in.b"}
NORM = {"weight": "in.gamma", "bias": "in.beta"}
RUNNING = {"running_mean": "running_mean", "running_var": "running_var"}
PRIOR = ("qm", "ql", "pm", "pl")


def conv(inputs: int, kernel: int, **how: Any) -> Case:
    return Case(lambda d, t: mg.Conv2d(inputs, 4, kernel, dtype=d, **how), state=WEIGHT)


def transposed(kernel: int, **how: Any) -> Case:
    return Case(
        lambda d, t: mg.ConvTranspose2d(3, 5, kernel, stride=2, dtype=d, **how), state=WEIGHT
    )


CASES: dict[str, Case] = {
    "conv_k3_s2_p1": conv(3, 3, stride=2, padding=1),
    "conv_k3_s2_p1_odd": conv(3, 3, stride=2, padding=1),
    "conv_k5_p2": conv(1, 5, padding=2),
    "convT_k3_s2_p1_op1": transposed(3, padding=1, output_padding=1),
    "convT_k2_s2": transposed(2),
    "maxpool2": Case(lambda d, t: mg.MaxPool2d(2)),
    "maxpool2_ties_after_relu": Case(lambda d, t: mg.Sequential(mg.ReLU(), mg.MaxPool2d(2))),
    "batchnorm_train": Case(lambda d, t: mg.BatchNorm2d(3, dtype=d), state=NORM),
    "batchnorm_eval": Case(lambda d, t: mg.BatchNorm2d(3, dtype=d).eval(), state=NORM | RUNNING),
    "elu": Case(lambda d, t: mg.ELU()),
    "leakyrelu_0.01": Case(lambda d, t: mg.LeakyReLU(0.01)),
    "selu": Case(lambda d, t: mg.SELU()),
    "sigmoid_gate_with_elu": Case(lambda d, t: Gate(2)),
    "rsample": Case(
        lambda d, t: mg.GaussianSample(noise=mg.Noise.given([t["eps"]])), ("mu", "logvar")
    ),
    "kl_analytical_broadcast": Case(lambda d, t: mg.GaussianKLLoss("none"), PRIOR),
    "kl_mc": Case(lambda d, t: mg.SampledKLLoss("none"), ("z", *PRIOR)),
    "kl_standard_normal_sum": Case(lambda d, t: mg.StandardNormalKLLoss("sum"), ("mu", "logvar")),
    "gaussian_nll_learned_logvar": Case(
        lambda d, t: Terms(mg.LogVarianceNLLLoss(full=True)), ("mu", "x", "lv")
    ),
    "free_bits_1.0": Case(lambda d, t: mg.FreeBits(1.0), ("kl",)),
    "free_bits_batch_average_1.0": Case(lambda d, t: mg.FreeBits(1.0, batch_average=True), ("kl",)),
    "upsample_bilinear_x2": Case(lambda d, t: mg.Upsample(scale_factor=2, mode="bilinear")),
    "upsample_nearest_x2": Case(lambda d, t: mg.Upsample(scale_factor=2)),
    "log_mixture": Case(
        lambda d, t: Terms(mg.LogMixtureLoss(dim=0), sign=-1), ("logits", "mu", "logsig", "x")
    ),
}


@functools.cache
def stored() -> Tensors:
    return load_file(FOLDER / "ops.safetensors")


def test_every_stored_operation_has_a_case() -> None:
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    assert [*CASES] == index["cases"]["ops"]["ops"]


TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}
"""Relative to the largest entry of a tensor."""


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("error")
def test_operation(name: str, dtype: Any) -> None:
    case, prefix = CASES[name], f"{name}."
    t = {
        key.removeprefix(prefix): array.astype(dtype)
        for key, array in stored().items()
        if key.startswith(prefix)
    }
    layer = case.make(dtype, t)
    layer.load_state_dict({key: t[name] for key, name in case.state.items()}, strict=False)
    y, vjp = layer.forward_and_vjp(*(t[f"in.{key}"] for key in case.inputs))
    dxs = as_tuple(vjp(t["cot0"].reshape(y.shape)))  # a single number is stored with one axis
    results = {"out0": y.reshape(t["out0"].shape)}
    results |= {f"grad.{key}": dx for key, dx in zip(case.inputs, dxs, strict=True)}
    for key, parameter in layer.named_parameters().items():
        results[case.state[key].replace("in.", "grad.")] = parameter.grad
    assert results.keys() == {key for key in t if key.startswith(("out", "grad."))}
    for key, result in results.items():
        assert result.dtype == dtype
        atol = TOLERANCE[dtype] * np.abs(t[key]).max()
        np.testing.assert_allclose(result, t[key], rtol=0, atol=atol, err_msg=key)
