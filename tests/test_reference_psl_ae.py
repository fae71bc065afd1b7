"""PSL-AE against the authors' programs: networks, gradients, losses, training steps.

What TensorFlow computed is float32, what the small pipelines hold is float64; both are read from
the folder `reference/psl_ae` of the shared folder. Where that is absent the tests are skipped, but
never in continuous integration.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
import zoo
from tests.shared import PSL_AE as FOLDER
from tests.shared import stored_index
from zoo import objectives
from zoo.architectures import PSLAE
from zoo.architectures.psl_ae import Classifier, PatchDecoder, PatchEncoder, ProjectionHead
from zoo.architectures.psl_ae_prior import UP, PriorEncoder
from zoo.recipes.psl_ae import adam, decay
from zoo.recipes.schema import Stage
from zoo.training import parts

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

Tensors = Mapping[str, np.ndarray]
INDEX = stored_index("index", FOLDER)


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(FOLDER / f"{name}.safetensors")


def under(prefix: str, arrays: Tensors) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}


def close(found: Any, expected: np.ndarray, rtol: float, what: str = "") -> None:
    """To `rtol` of the largest entry."""
    size = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * size, err_msg=what)


def released(dtype: Any = np.float32, encoder: str = "weights_encoder", **arguments: Any) -> Any:
    """The network with the released weights."""
    model = zoo.create("psl-ae", **arguments)
    model.encoder.load_state_dict(tensors(encoder))
    model.classifier.load_state_dict(tensors("weights_classifier"))
    for decoder in model.decoders:
        decoder.load_state_dict({k: a.copy() for k, a in tensors("weights_decoder").items()})
    return model.astype(dtype)


def patches(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    t = tensors("forward_tf")
    return t["x_noisy"].astype(dtype), t["x_clean"].astype(dtype)


def tiny() -> PSLAE:
    """The network of the small pipelines, patches of 8 pixels."""
    return zoo.create("psl-ae", block=8, overlap=2, clusters=3, width=2, dtype=np.float64)  # type: ignore[return-value]


def gradients(module: mg.Module) -> dict[str, np.ndarray]:
    return {k: p.grad.copy() for k, p in module.named_parameters().items() if p.touched}


def check(found: Tensors, expected: Tensors, rtol: float) -> None:
    assert set(found) == set(expected)
    for name, gradient in found.items():
        close(gradient, expected[name], rtol, name)


# ----------------------------------------------------------------------- networks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_released_weights_on_real_patches(dtype: Any) -> None:
    model, t = released(dtype), tensors("forward_tf")
    noisy, clean = patches(dtype)
    z, y = model.code(noisy)
    x = model.decoders(z, y)
    for found, name, atol in (
        (z, "z", 5e-5),
        (model.encoder(clean), "z_of_clean", 5e-5),
        (y, "y", 5e-6),
        (x, "x_hat", 2e-6),
        (model(noisy), "x_hat", 2e-6),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, t[name], rtol=0, atol=atol, err_msg=name)


def test_every_layer_of_the_released_networks() -> None:
    model, t = released(), tensors("forward_tf")
    x, found = patches(np.float32)[0][:2], {}
    for name in ("encoder", "contrastive_encoder"):
        net = released(encoder=f"weights_{name}").encoder
        h = x
        for i in range(1, 6):
            h = net.relu(getattr(net, f"conv{i}")(h))
            found[f"{name}.conv{i}_relu"] = h
        found[f"{name}.bn"] = net.bn(h)
        h = net.relu(net.fc1(net.flatten(found[f"{name}.bn"])))
        found |= {f"{name}.fc1_relu": h, f"{name}.fc2_relu": net.relu(net.fc2(h))}
    net = model.decoders[0]
    h = net.reshape(net.relu(net.fc(found["encoder.fc2_relu"])))
    found["decoder.fc_relu_reshaped"] = h
    for i in range(1, 6):
        h = net.relu(getattr(net, f"deconv{i}")(h))
        found[f"decoder.deconv{i}_relu"] = h
    found["decoder.deconv6_sigmoid"] = net.sigmoid(net.deconv6(h))
    stored = under("act.", t)
    for name, expected in stored.items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=5e-5, err_msg=name)


def test_padding_on_both_sides_is_not_what_the_weights_were_trained_with() -> None:
    model, t = released(), tensors("forward_tf")
    x = patches(np.float32)[0]
    for name in ("conv2", "conv5"):
        old = getattr(model.encoder, name)
        new = mg.Conv2d(old.in_channels, old.out_channels, 3, 2, 1)
        new.load_state_dict(old.state_dict())
        setattr(model.encoder, name, new)
    z, y = model.code(x)
    assert np.abs(z - t["z"]).max() > 1
    assert np.abs(model.decoders(z, y) - t["x_hat"]).max() > 0.1


# ----------------------------------------------------------------------- gradients


def test_stage_two_gradients_of_the_released_weights() -> None:
    t, model = tensors("grads_stage2_tf"), released(np.float64)
    step: Any = objectives.create("patch-autoencoder", model, "reconstruction")
    noisy, clean = patches(np.float64)
    (loss, x), vjp = step.autoencode.forward_and_vjp(noisy, clean)
    np.testing.assert_allclose(loss, t["loss"][0], rtol=1e-6)
    dx = vjp(np.ones(()), None)[0]
    expected = under("grad.", t)
    found = {"x": dx, **{f"encoder.{k}": g for k, g in gradients(model.encoder).items()}}
    found |= {f"decoder.{k}": g for k, g in gradients(model.decoders[0]).items()}
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-5, err_msg=name)
        close(gradient, expected[name], 2e-5, name)
    z = model.encoder(x)
    np.testing.assert_allclose(z, t["z_of_reconstruction"], rtol=0, atol=5e-5)
    y, pull = model.classifier.forward_and_vjp(z)
    value, back = mg.UniformKLLoss().forward_and_vjp(y)
    # The stored value is what float32 leaves of a sum that cancels to 5e-7.
    np.testing.assert_allclose(value, t["y_kl_loss"][0], rtol=1e-2)
    found = {"z_of_reconstruction": pull(back(np.ones(())))}
    found |= {f"classifier.{k}": g for k, g in gradients(model.classifier).items()}
    for name, gradient in found.items():
        close(gradient, expected[name], 3e-3, name)
    assert len(expected) == 1 + 16 + 2 + 14 + 1 + 4 - 2  # x, encoder, decoder, z, classifier


def contrast(dtype: Any) -> Any:
    """Stage 1 with the stored head."""
    model = released(dtype, encoder="weights_contrastive_encoder")
    step: Any = objectives.create("patch-contrast", model, "sum")
    step.head.load_state_dict(under("head.", tensors("contrastive_stage1")))
    return step.astype(dtype)


def test_the_contrastive_stage() -> None:
    t, step = tensors("contrastive_stage1"), contrast(np.float64)
    noisy, clean = patches(np.float64)
    p1, p2 = (step.head(step.network.encoder(x)) for x in (clean, noisy))
    close(p1, t["p1_clean_tf"], 1e-5)
    close(p2, t["p2_noisy_tf"], 1e-5)
    unit = mg.Normalize(floor="square")
    (u, pull_u), (v, pull_v) = unit.forward_and_vjp(p1), unit.forward_and_vjp(p2)
    vector = mg.ContrastiveLoss(0.1, "none")(u, v)
    close(vector, t["loss_vector_f64"], 1e-9)
    np.testing.assert_allclose(vector, t["loss_vector_tf"], rtol=0, atol=5e-6)
    _, back = mg.ContrastiveLoss(0.1, "sum").forward_and_vjp(u, v)
    du, dv = back(np.ones(()))
    close(pull_u(du), t["grad.p1_tf"], 2e-5)
    close(pull_v(dv), t["grad.p2_tf"], 2e-5)
    outputs, vjp = step.forward_and_vjp(noisy, clean)
    close(outputs.loss, t["loss_vector_f64"].sum(), 1e-10)
    vjp(np.ones(()), None)
    head, encoder = gradients(step.head), gradients(step.network.encoder)
    for key, expected in under("grad.", t).items():
        name, _, kind = key.rpartition("_")
        rtol = 1e-9 if kind == "f64" else 1e-6
        if name.startswith("head."):
            close(head[name.removeprefix("head.")], expected, rtol, name)
        elif name.startswith("contrastive_encoder."):
            close(encoder[name.removeprefix("contrastive_encoder.")], expected, rtol, name)
    told = INDEX["files"]["contrastive_stage1.safetensors"]["encoder_gradient_summaries_f64"]
    for name, summary in told.items():
        g = encoder[name]
        np.testing.assert_allclose(np.linalg.norm(g), summary["l2"], rtol=1e-9, err_msg=name)
        if "fc1" not in name:  # its columns are in the order of Keras there
            close(g.ravel()[:8], np.array(summary["first8"]), 1e-8, name)


# ----------------------------------------------------------------------- small pipelines


def test_all_stages_of_the_small_pipeline() -> None:
    t, model = tensors("tiny_v1_float64"), tiny()
    how: Any = {"dtype": np.float64}
    model.encoder = PatchEncoder(3, 8, (4, 5, 6, 7, 8), 12, 10, **how)
    for k in range(3):
        setattr(model.decoders, str(k), PatchDecoder(3, 8, (8, 7, 6, 5, 4, 3), 10, **how))
    model.classifier, model.latent = Classifier(10, 6, 3, **how), 10
    model.encoder.load_state_dict(under("w.encoder.", t), strict=False)
    for decoder in model.decoders:
        decoder.load_state_dict({k: a.copy() for k, a in under("w.decoder.", t).items()})
    model.classifier.load_state_dict(under("w.classifier.", t))
    noisy, clean = t["x_noisy"], t["x_clean"]

    first: Any = objectives.create("patch-contrast", model, "sum")
    first.head = ProjectionHead(10, **how)
    first.head.load_state_dict(under("w.head.", t))
    outputs, vjp = first.forward_and_vjp(noisy, clean)
    close(outputs.loss, t["stage1.loss_vector"].sum(), 1e-10)
    vjp(np.ones(()), None)
    found = {f"encoder.{k}": g for k, g in gradients(model.encoder).items()}
    found |= {f"head.{k}": g for k, g in gradients(first.head).items()}
    check(found, under("stage1.grad.", t), 1e-10)

    model.zero_grad()
    second: Any = objectives.create("patch-autoencoder", model, "reconstruction")
    outputs, vjp = second.forward_and_vjp(noisy, clean)
    close(outputs.loss, t["stage2.loss"][0], 1e-10)
    close(outputs.uniform, t["stage2.y_kl"][0], 1e-10)
    vjp(np.full((), 1.0), np.full((), 1.0), None)
    found = {f"encoder.{k}": g for k, g in gradients(model.encoder).items()}
    found |= {f"decoder.{k}": g for k, g in gradients(model.decoders[0]).items()}
    found |= {f"classifier.{k}": g for k, g in gradients(model.classifier).items()}
    check(found, {k: g for k, g in under("stage2.grad.", t).items() if k in found}, 1e-10)
    z = model.encoder(noisy)
    close(z, t["stage2.z"], 1e-10)
    x = model.decoders[0](z)
    close(x, t["stage2.x_hat"], 1e-10)
    close(model.classifier(model.encoder(x)), t["stage2.y"], 1e-10)

    model.zero_grad()
    third: Any = objectives.create("patch-decoders", model, "reconstruction")
    outputs, vjp = third.forward_and_vjp(noisy, clean)
    close(outputs.loss, t["stage3.loss"][0], 1e-10)
    vjp(np.ones(()), None)
    total: dict[str, np.ndarray] = {}
    for decoder in model.decoders:  # all hold the same weights: their gradients add up
        for k, g in gradients(decoder).items():
            total[f"decoder.{k}"] = total.get(f"decoder.{k}", 0) + g
    check(total, under("stage3.grad.", t), 1e-10)
    assert not gradients(model.encoder)
    assert not gradients(model.classifier)


@pytest.mark.parametrize("sampling", ["authors", "sigma"])
def test_the_small_pipeline_with_a_prior(sampling: Any) -> None:
    t, model = tensors("tiny_v2_mixture_float64"), tiny()
    how: Any = {"dtype": np.float64}
    model = zoo.create(  # type: ignore[assignment]
        "psl-ae",
        block=8,
        overlap=2,
        clusters=3,
        width=2,
        latent=6,
        prior="gate",
        sampling=sampling,
        two_heads=True,
        dtype=np.float64,
    )
    model.encoder = PriorEncoder(3, 8, (4, 5, 6, 7, 8), 12, 6, 3, (9, 11), True, **how)
    setattr(model.decoders, "0", PatchDecoder(3, 8, (8, 7, 6, 5, 4), 6, (*UP, 1), **how))
    model.encoder.load_state_dict(under("w.encoder.", t), strict=False)
    model.decoders[0].load_state_dict(under("w.decoder.", t))
    model.sample.noise = mg.Noise.given([t["eps"]])
    settings = {"kld_weight": 0.0}
    step: Any = objectives.create("patch-prior", model, "reconstruction", **settings)
    outputs, vjp = step.forward_and_vjp(t["x_noisy"], t["x_clean"])
    rec, xkl, ykl, total = t[f"{sampling}.losses_rec_xkl_ykl_total"]
    close(outputs.reconstruction, rec, 1e-10)
    close(outputs.prior, xkl, 1e-10)
    close(outputs.uniform, ykl, 1e-10)
    close(outputs.loss, total, 1e-10)
    dx = vjp(np.ones(()), None, None, None, None)[0]
    found = {"x": dx, **{f"encoder.{k}": g for k, g in gradients(model.encoder).items()}}
    found |= {f"decoder.{k}": g for k, g in gradients(model.decoders[0]).items()}
    check(found, under(f"{sampling}.grad.", t), 1e-10)
    mu, sigma, reg, gate = model.encoder(t["x_noisy"])
    prior = model.encoder.prior(gate)
    z = model.sample(mu, sigma) if model.sample.noise.rewind() else None
    for name, value in (
        ("z_mean", mu),
        ("z_sig", sigma),
        ("y_reg", reg),
        ("y_gate", gate),
        ("prior_mean", prior[0]),
        ("prior_sig", prior[1]),
        ("z", z),
        ("x_hat", model.decoders[0](z)),
    ):
        close(value, t[f"{sampling}.{name}"], 1e-10, name)


# ----------------------------------------------------------------------- training


def trained(objective: str, loss: str, step: Any, how: Stage) -> tuple[Any, list[Any]]:
    """Five steps of a stage on the 32 patches: the optimiser, and the outputs."""
    optimiser, factors = parts.optimiser(how, step.trained())
    schedule, outputs = parts.schedule(how), []
    step.begin(None)
    for number in range(5):
        for group, factor in zip(optimiser.groups, factors, strict=True):
            group["lr"] = factor * schedule.lr(number)
        outputs.append(step.training_step([patches(step.network.dtype)], optimiser))
    return optimiser, outputs


def check_after(found: list[np.ndarray], name: str) -> None:
    """Norm and sum of every weight, in the order of Keras."""
    told = [v for k, v in INDEX["train_trajectories"][name].items() if "moving" not in k]
    assert len(found) == len(told)
    for array, (norm, total) in zip(found, told, strict=True):
        np.testing.assert_allclose(np.linalg.norm(array), norm, rtol=1e-4)
        np.testing.assert_allclose(
            array.sum(), total, rtol=0, atol=1e-4 * max(1, np.abs(array).sum())
        )


def values(*modules: mg.Module) -> list[np.ndarray]:
    return [p.value for module in modules for p in module.parameters()]


def test_five_steps_of_stage_one() -> None:
    told, step = INDEX["train_trajectories"], contrast(np.float64)
    how = Stage(5, "patch-contrast", "sum", optimiser=adam())
    _, outputs = trained("patch-contrast", "sum", step, how)
    losses = np.array([float(o.loss) for o in outputs]) / 32
    np.testing.assert_allclose(losses, told["stage1_c_loss"], rtol=1e-4)
    check_after(values(step.network.encoder, step.head), "stage1_after")


def test_five_steps_of_stage_two() -> None:
    told, model = INDEX["train_trajectories"], released(np.float64)
    how = Stage(
        5,
        "patch-autoencoder",
        "reconstruction",
        optimiser=adam(rates={"classifier": 0.9**0.001}),
        schedule=decay(500),
    )
    step = objectives.create("patch-autoencoder", model, "reconstruction")
    optimiser, outputs = trained("patch-autoencoder", "reconstruction", step, how)
    np.testing.assert_allclose([o.loss for o in outputs], told["stage2_elbo"], rtol=1e-4)
    np.testing.assert_allclose([o.uniform for o in outputs], told["stage2_ykl"], rtol=2e-3)
    assert optimiser.clock.steps == told["stage2_iterations_after_5_steps"]
    check_after(values(model.encoder, model.decoders[0], model.classifier), "stage2_after")
    penalty, total = mg.L1L2Penalty(0.01, 0.01), 0.0  # attached by the authors, and never added
    for part in (model.encoder, model.decoders[0]):
        for name, p in part.named_parameters().items():
            if name.endswith("weight") and (p.value.ndim == 4 or name == "fc.weight"):
                total += float(penalty(p.value))
    stored = told["stage2_unused_regulariser_value_if_it_were_added"]
    np.testing.assert_allclose(total, stored, rtol=1e-6)


def test_five_steps_of_stage_three() -> None:
    told, model = INDEX["train_trajectories"], released(np.float64, clusters=2)
    how = Stage(5, "patch-decoders", "reconstruction", optimiser=adam(5e-4), schedule=decay())
    for name, array in model.classifier.state_dict().items():  # all patches to decoder 0
        array[...] = np.array([1.0, 0.0]) if name == "fc2.bias" else 0
    step = objectives.create("patch-decoders", model, "reconstruction")
    before = [v.copy() for v in values(model.encoder, model.decoders[1])]
    _, outputs = trained("patch-decoders", "reconstruction", step, how)
    np.testing.assert_allclose([o.loss for o in outputs], told["stage3_elbo"], rtol=1e-4)
    check_after(values(model.decoders[0]), "stage3_after")
    for old, new in zip(before, values(model.encoder, model.decoders[1]), strict=True):
        np.testing.assert_array_equal(old, new)
