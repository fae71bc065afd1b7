"""Stored passes of HDN's ladder: outputs, losses, gradients, running statistics, prior samples.

They were made in float64 by the authors' own code; they are read from the folder `reference/hdn` of
the shared folder. Where that is absent the tests are skipped, but never in continuous integration.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import minigrad as mg
import zoo
from minigrad.noise import Noise
from tests.shared import HDN as FOLDER
from tests.shared import stored_index
from zoo.architectures import HDN, evaluating
from zoo.noise.models import NoiseModel
from zoo.objectives.elbo import ELBO, use_of_latents

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

CASES: dict[str, Any] = stored_index("index", FOLDER).get("cases", {})
TRAINED = [n for n, c in CASES.items() if c["kind"] == "hdn" and not c["mode_pred"]]
NOTEBOOK = [n for n in TRAINED if "notebook" in n]
PREDICTED = [n for n, c in CASES.items() if c["kind"] == "hdn" and c["mode_pred"]]
RTOL, ATOL = 1e-9, 1e-11
"""What the index asks of float64."""


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(FOLDER / f"{name}.safetensors")


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}


def close(found: Any, expected: np.ndarray, what: str = "", size: float = 0.0) -> None:
    """Within the tolerances, for an array whose entries are rounded like those of `size`."""
    found = np.asarray(found).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, RTOL, ATOL + RTOL * size, err_msg=what)


def uniforms(seed: int, count: int) -> np.ndarray:
    """The stored numbers that are told by a rule: SplitMix64's output function of a counter."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(1 << 32) + np.arange(count, dtype=np.uint64)
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


def by_rule(model: zoo.architectures.Denoiser) -> dict[str, np.ndarray]:
    """The parameters of the wide networks, which are not stored but follow from their place."""
    found: dict[str, np.ndarray] = {}
    ladder = isinstance(model, HDN)
    for j, (key, array) in enumerate(model.state_dict().items()):
        c = (2 * uniforms(1000 + j, array.size) - 1).reshape(array.shape)
        if key.endswith("num_batches_tracked"):
            found[key] = np.zeros((), np.int64)
        elif key.endswith("top_prior_params"):
            found[key] = 0.3 * c
        elif array.ndim > 1:
            found[key] = (0.5 if ladder else 1.0) * c * np.sqrt(3 / np.prod(array.shape[1:]))
        elif key.endswith("running_var"):
            found[key] = 1 + c / 2
        else:
            base, width = (1, 0.2) if key.endswith(".weight") else (0, 0.1)
            found[key] = base + (0.2 if key.endswith("running_mean") else width) * c
    return found


def noise_model(t: dict[str, np.ndarray]) -> NoiseModel | None:
    """The stored one, in gray values."""
    part = under("noise_model.", t)
    if "weight" in part:
        low, high, least, tol = (
            float(part[k][0]) for k in ("min_signal", "max_signal", "min_sigma", "tol")
        )
        rows, columns = part["weight"].shape
        mixture = mg.GaussianMixtureNoiseModel(low, high, rows // 3, columns, least, tol)
        mixture.load_state_dict({"weight": part["weight"]})
        return NoiseModel(mixture, 1.0)
    if "fullHist_used" in part:
        low, high, bins = part["minv_maxv_bins"].tolist()
        table = mg.HistogramNoiseModel(int(bins), low, high)
        table.load_state_dict({"histogram": part["fullHist_used"]})
        return NoiseModel(table, 1.0)
    return None


def network(name: str) -> Any:
    """The network of a stored case with its parameters, float64, in the mode of the case."""
    case, t = CASES[name], tensors(name)
    how = {k: v for k, v in case["config"].items() if k not in ("free_bits", "analytical_kl")}
    how["channels"] = how.pop("color_ch", 1)
    how["use_uncond_mode_at"] = case["use_uncond_mode_at"]
    if isinstance(how["dropout"], str):
        how["dropout"] = 0.2
    model = zoo.create("hdn", **how, dtype=np.float64)
    stored, shapes = under("param.", t), {k: a.shape for k, a in model.state_dict().items()}
    stored = {key: array.reshape(shapes[key]) for key, array in stored.items()}  # 0-d are (1,)
    model.load_state_dict(stored if stored else by_rule(model))
    assert sum(p.value.size for p in model.parameters()) + _fixed(model) == case["n_params"]
    return model.train(case["mode"] == "train")


def _fixed(model: HDN) -> int:
    """What the authors count as a parameter although it is not trained."""
    state, trained = model.state_dict(), model.named_parameters()
    return sum(a.size for k, a in state.items() if k.endswith("prior_params") and k not in trained)


def give_noise(model: HDN, t: dict[str, np.ndarray]) -> None:
    """The stored draws: of the latents from the top down, of the dropouts layer by layer."""
    eps = [t[key] for key in sorted((k for k in t if k.startswith("eps.")), reverse=True)]
    model.sample.noise = Noise.given(eps)
    for key, layer in model.named_modules():
        if isinstance(layer, mg.Dropout2d):
            layer.noise = Noise.given([(t[m] > 0) + 0.0 for m in [f"dropmask.{key}"] if m in t])


def objective(name: str, model: HDN) -> ELBO:
    case = CASES[name]
    how = {k: case["config"][k] for k in ("free_bits", "analytical_kl") if k in case["config"]}
    std = (case["gaussian_noise_std"] or 0) * 255  # the stored pictures are in units of one
    kind = "gaussian" if case["likelihood"] == "gaussian" else "noise-model"
    return ELBO(model, kind, noise_std=std, noise_model=noise_model(tensors(name)), **how)


def test_the_rule_of_the_parameters() -> None:
    vectors = stored_index("index", FOLDER)["hash_test_vectors"]
    for seed in (1000, 900000):
        expected = [float.fromhex(text) for text in vectors[f"unif({seed},0..2)"]]
        assert uniforms(seed, 3).tolist() == expected


def test_every_stored_case_is_looked_at() -> None:
    """The others are in test_reference_divnoising, _likelihood and _hdn_ops."""
    others = {
        n for n in CASES if n.startswith(("divnoising", "noise_", "pn2v", "ops", "data_prep"))
    }
    assert {*TRAINED, *PREDICTED, "hdn_small_prior_samples"} | others == set(CASES)
    assert len(CASES) == 38


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.proof if n in NOTEBOOK else ()) for n in TRAINED]
)
def test_a_pass_of_training(name: str) -> None:
    t, case = tensors(name), CASES[name]
    model = network(name)
    step = objective(name, model)
    give_noise(model, t)
    noisy = model.denormalise(t["input"])
    outputs, vjp = step.forward_and_vjp(noisy)
    for key, found in outputs._asdict().items():
        close(found, t[f"loss.{'total' if key == 'loss' else key}"], key)
    dx = vjp(np.full((), 0.37), None, None) * model.data_std
    close(dx, 0.37 * t["grad.input"], "input", np.abs(t["grad.input"]).max())
    check_gradients(model, t, case["params_without_grad"], 0.37)
    after = {k: a for k, a in under("after.", t).items() if not k.endswith("tracked")}
    assert bool(after) == (case["mode"] == "train" and case["config"].get("batchnorm", True))
    for key, expected in after.items():
        close(model.state_dict()[key], expected, key)


def check_gradients(
    model: zoo.architectures.Denoiser, t: dict[str, np.ndarray], none: list[str], seed: float
) -> None:
    """`seed` times those stored, whole or by some of their entries and three sums; none
    for the parameters `none`.
    """
    named = model.named_parameters()
    without = {key for key in none if key in named}
    assert {key for key, p in named.items() if not p.touched} == without
    whole, heads, sums = (under(f"{p}.", t) for p in ("grad", "gradhead", "gradsum"))
    whole = {key: array for key, array in whole.items() if not key.startswith("input")}
    assert {*whole, *sums} == set(named) - without
    biggest = max(np.abs(a).max() for a in [*whole.values(), *heads.values()])
    for j, (key, parameter) in enumerate(named.items()):
        g = parameter.grad / seed
        if key in whole:
            close(g, whole[key], key, biggest)
        elif key in sums:
            close(g.ravel()[:64], heads[key], key, biggest)
            r = (2 * uniforms(900000 + j, g.size) - 1).reshape(g.shape)
            found = np.array([np.linalg.norm(g), g.sum(), (g * r).sum()])
            norm = np.linalg.norm(g) * g.size**0.5
            close(found, sums[key], key, norm)


@pytest.mark.parametrize("name", [n for n in TRAINED if n not in NOTEBOOK])
def test_what_a_pass_tells(name: str) -> None:
    t, model = tensors(name), network(name)
    step = objective(name, model)
    give_noise(model, t)
    use = use_of_latents(step, model.denormalise(t["input"]))
    close(use.by_picture, t["out.kl_by_sample_layer"])
    close(use.by_picture.sum(1), t["out.kl_samplewise"])
    close(use.by_picture.mean(0), t["out.kl_avg_layerwise"])
    close(use.by_picture.sum(1).mean(), t["out.kl_mean_total"])
    close(use.log_prior, t["out.logp"])
    for i, spatial in enumerate(use.spatial):
        close(spatial, t[f"out.kl_spatial.{i}"])
    free = step.free.forward(use.by_picture)
    close(free.sum(), t["out.kl_loss_freebits"])
    model = network(name)
    give_noise(model, t)
    signal, latents = model.infer(t["input"])
    close(signal, t["out.out_mean"])
    for i, latent in enumerate(latents):
        close(latent.z, t[f"out.z.{i}"])
    if CASES[name]["likelihood"] == "gaussian":
        close(-0.5 * (signal - t["input"]) ** 2, t["out.ll"])
    else:
        found = noise_model(t)
        assert found is not None
        raw = model.denormalise(signal), model.denormalise(t["input"])
        # The authors' axes: channels first.
        close(np.log(found.density.forward(*raw)).swapaxes(0, 1), t["out.ll"])


@pytest.mark.parametrize("name", PREDICTED)
def test_a_draw(name: str) -> None:
    t, model = tensors(name), network(name)
    give_noise(model, t)
    y = model.forward(model.denormalise(t["input"]))
    close(model.normalise(y), t["out.out_mean"])


def test_pictures_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    t, model = tensors("hdn_small_prior_samples"), network("hdn_small_gauss_eval")
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "mode01": {"mode_layers": (0, 1)},
        "const2": {"constant_layers": (2,)},
    }
    for kind, how in kinds.items():
        part = under(f"{kind}.", t)
        eps = [part[k] for k in sorted((k for k in part if k.startswith("eps")), reverse=True)]
        monkeypatch.setattr("zoo.architectures.hdn.Noise", lambda _, eps=eps: Noise.given(eps))
        close(model.normalise(model.sample_prior(3, **how)), part["out"])


def test_the_parts_of_the_mean_over_draws() -> None:
    model = network("hdn_small_gauss_predict")
    x = np.random.default_rng(0).normal(118, 40, (1, 1, 16, 16))
    with evaluating(model):
        mean = model.denoise(x, samples=3, seed=5)
        draws = [model.denoise(x, samples=1, seed=5, first=k) for k in range(3)]
    np.testing.assert_allclose(mean, sum(draws) / 3, rtol=1e-12)
    assert not np.allclose(draws[0], draws[1])
