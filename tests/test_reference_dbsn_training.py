"""Stored training steps of the blind-spot networks and of distillation: outputs and gradients.

They were made in float64 by the authors' own code; they are read from the folder `reference/dbsn`
of the shared folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import zoo
from minigrad.noise import Noise
from tests.test_reference_dbsn import Tensors, check_gradients, close, tensors, under
from zoo import objectives
from zoo.architectures import BlindSpotDenoiser
from zoo.objectives.distillation import DISTURBANCE

pytestmark = pytest.mark.usefixtures("shared")

STEPS = {
    "gray_awgn_MAPLoss": ("blind-spot", "map"),
    "gray_hg_MAPLoss": ("blind-spot", "map"),
    "gray_awgn_DBSNLoss": ("blind-spot", "dbsn"),
    "gray_hg_DBSNLoss_Pretrain": ("blind-spot-sigma", "dbsn"),
    "color_awgn_MAPLoss": ("blind-spot", "map"),
    "color_hg_MAPLoss": ("blind-spot", "map"),
    "color_mg_MAPLoss": ("blind-spot", "map"),
    "color_mg_DBSNLoss_Pretrain": ("blind-spot-sigma", "dbsn"),
}
AUTHORS = {"minimum": 1e-6}
"""The clamp of determinants, which is not our default."""
NETS = (("dbsn", "dbsn"), ("sigma_mu", "sigma_mu_net"), ("sigma_n", "sigma_n_net"))


def stored_network(t: Tensors, name: str, **more: Any) -> Any:
    """The denoiser of a stored step with its weights."""
    kind, noise = name.split("_")[:2]
    width, small = t["dbsn/param/dbsn_head.0.weight"], t["sigma_mu_net/param/conv.0.weight"]
    how = {"width": len(width), "sigma_width": len(small), "blocks": 2, "noise": noise, **more}
    model = zoo.create(f"dbsn-{kind}", dtype=np.float64, **how)
    model.load_state_dict(
        {
            f"{ours}.{key}": array
            for ours, theirs in NETS
            for key, array in under(f"{theirs}/param/", t).items()
        }
    )
    return model


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_stage_one(name: str) -> None:
    t, (objective, loss) = tensors(f"stage1_{name}"), STEPS[name]
    model: BlindSpotDenoiser = stored_network(t, name)
    step = objectives.create(objective, model, loss, batch=len(t["noisy"]), **AUTHORS)
    outputs, vjp = step.forward_and_vjp(t["noisy"])
    close(outputs[0], t["loss"].reshape(()), 1e-10)
    vjp(np.full((), 0.37), *[None] * (len(outputs) - 1))
    expected = {
        f"{ours}.{key}": 0.37 * gradient
        for ours, theirs in NETS
        for key, gradient in under(f"{theirs}/grad/", t).items()
    }
    frozen = {k for k, p in model.named_parameters().items() if not p.touched}
    assert frozen == {
        k for k in model.named_parameters() if k.startswith("dbsn.") and "sigma" in objective
    }
    for key, parameter in model.named_parameters().items():
        if key not in frozen:
            close(parameter.grad, expected[key], 1e-10, key)
    assert set(expected) == set(model.named_parameters()) - frozen
    (mu, features), estimates = model.dbsn(t["noisy"]), model.estimates(t["noisy"])
    close(mu, t["mu"], 1e-10)
    close(features, t["mid"], 1e-10)
    for found, key in zip(estimates[1:], ("sigma_mu", "sigma_n"), strict=True):
        close(found, np.broadcast_to(t[key], found.shape), 1e-10, key)
    close(model.denoise(t["noisy"]), t["posterior_mean"], 1e-10)
    gamma = stored_network(t, name, gamma=0.9)
    close(gamma.denoise(t["noisy"]), t["posterior_mean_gamma09"], 1e-10)


@pytest.mark.parametrize("noise", ["awgn", "hg"])
def test_a_step_of_distillation(noise: str) -> None:
    t = tensors(f"kd_step_gray_{noise}")
    teacher = stored_network(t, f"gray_{noise}")
    widths = {f"level{i}": len(t[f"student/param/level{i}_prev.block.0.weight"]) for i in (1, 2, 3)}
    student = zoo.create("mwcnn", dtype=np.float64, **widths)
    student.load_state_dict(under("student/param/", t))
    uniform = (t["disturb"].reshape(()) - (1 - DISTURBANCE)) / (2 * DISTURBANCE)
    step = objectives.create(
        "distillation",
        student,
        "mse",
        teacher=teacher,
        batch=len(t["noisy"]),
        noise=Noise.given([t["z"], uniform]),
    )
    made: Any = step
    x_i, y_j = made.teacher(t["noisy"][:1], t["clean"][1:])
    close(x_i, t["x_i_star"], 1e-10)
    close(y_j, t["y_j"], 1e-10)
    close(np.sqrt(teacher.noise_of(t["clean"][1:])) + 0 * y_j, t["sigma_j"], 1e-10)
    close(student.forward(t["noisy"][:1]), t["out_i"], 1e-10)
    close(student.forward(t["y_j"]), t["out_j"], 1e-10)
    made.teacher.module.noise.at(0)
    outputs, vjp = step.forward_and_vjp(t["noisy"], t["clean"])
    close(outputs[0], t["loss"].reshape(()), 1e-10)
    vjp(np.full((), -2.5), None, None)
    expected = {k: -2.5 * g for k, g in under("student/grad/", t).items()}
    check_gradients(student, expected, 1e-10)
    assert not any(p.touched for p in teacher.parameters())
