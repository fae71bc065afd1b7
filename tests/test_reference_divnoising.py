"""Stored passes of DivNoising: outputs, losses and gradients.

They were made in float64 by the authors' own code; they are read from the folder `reference/hdn` of
the shared folder. Where that is absent the tests are skipped, but never in continuous integration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import zoo
from minigrad.noise import Noise
from tests.shared import HDN as FOLDER
from tests.shared import stored_index
from tests.test_reference_hdn import by_rule, check_gradients, close, noise_model, tensors, under
from zoo.objectives.elbo import ELBO

pytestmark = pytest.mark.usefixtures("shared")

CASES: dict[str, Any] = {
    name: case
    for name, case in stored_index("index", FOLDER).get("cases", {}).items()
    if case["kind"] == "divnoising"
}


def network(name: str) -> Any:
    """The network of a stored case with its parameters and its draw, float64."""
    case, t = CASES[name], tensors(name)
    how = {**case["config"], "data_mean": case["data_mean"], "data_std": case["data_std"]}
    model = zoo.create("divnoising", **how, dtype=np.float64)
    model.load_state_dict(under("param.", t) or by_rule(model))
    assert sum(p.value.size for p in model.parameters()) == case["n_params"]
    model.sample.noise = Noise.given([t["eps"]])
    return model


@pytest.mark.parametrize("name", CASES)
def test_a_pass_of_training(name: str) -> None:
    t, case, model = tensors(name), CASES[name], network(name)
    kind = "noise-model" if case["noise_model"] else "gaussian"
    std = 255 * (case["gaussian_noise_std"] or 0)  # the stored pictures are in units of one
    step = ELBO(model, kind, noise_std=std, noise_model=noise_model(t))
    outputs, vjp = step.forward_and_vjp(t["input_raw"])
    for key, found in outputs._asdict().items():
        close(found, t[f"loss.{'total' if key == 'loss' else key}"], key)
    dx = vjp(np.full((), -1.7), None, None)
    close(dx, -1.7 * t["grad.input_raw"], "input", np.abs(t["grad.input_raw"]).max())
    check_gradients(model, t, [], -1.7)


@pytest.mark.parametrize("name", CASES)
def test_a_draw(name: str) -> None:
    t, model = tensors(name), network(name)
    x = model.normalise(t["input_raw"])
    close(x, t["out.input_normalized"])
    mean, log_variance = model.encoder(x)
    close(mean, t["out.mu"])
    close(log_variance, t["out.logvar"])
    y = model.forward(t["input_raw"])
    close(y, t["out.recon_denormalized"])
    close(model.normalise(y), t["out.recon_normalized"])
