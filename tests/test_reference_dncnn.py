"""Stored tensors of the DnCNN family, the small U-Net and the networks in stages.

They were made by PyTorch with the authors' own code and weights; they are read from the folder
`reference/patch_craft` of the shared folder. Where that is absent the tests are skipped, but never
in continuous integration.
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
from tests.shared import PATCH_CRAFT, stored_index
from zoo.merge import merge_batch_norm
from zoo.metrics import psnr_global

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

Tensors = Mapping[str, np.ndarray]

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "dncnn_s15": ("dncnn-s", {}),
    "dncnn_s25": ("dncnn-s", {}),
    "dncnn_s50": ("dncnn-s", {}),
    "dncnn_b": ("dncnn-b", {}),
    "kair_dncnn_25": ("dncnn-kair", {}),
    "bf_dncnn_bias_0-100": ("bf-dncnn", {"bias": True}),
    "bf_dncnn_biasfree_0-100": ("bf-dncnn", {}),
    "bf_unet_bias_0-100": ("bf-unet", {"bias": True}),
    "bf_unet_biasfree_0-100": ("bf-unet", {}),
    "pcst_unet_orig": ("bf-unet", {"channels": 3}),
    "pcst_unet_CRVD_ISO3200": ("bf-unet", {"channels": 3}),
    "pcst_unet_sig10.0_ker2": ("bf-unet", {"channels": 3}),
    "pcst_unet_sig10.0_ker3": ("bf-unet", {"channels": 3}),
    "pcst_unet_sig20.0_ker2": ("bf-unet", {"channels": 3}),
}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "saoyan_dncnn_depth4": ("dncnn-s", {"depth": 4}),
    "kair_dncnn_r": ("dncnn-kair", {"channels": 3, "features": 8, "depth": 4}),
    "kair_dncnn_br": ("dncnn-kair", {"features": 8, "depth": 5, "form": "BR"}),
    "bf_dncnn_bias": ("bf-dncnn", {"features": 8, "depth": 5, "bias": True}),
    "bf_dncnn_biasfree": ("bf-dncnn", {"features": 8, "depth": 5}),
    "bf_rcnn_bias": ("bf-rcnn", {"features": 8, "hidden": 2, "max_stage": 2, "bias": True}),
    "bf_rcnn_biasfree": ("bf-rcnn", {"features": 8, "hidden": 2, "max_stage": 3}),
    "bf_sdensenet_bias": (
        "bf-sdensenet",
        {"features": 8, "hidden": 2, "max_stage": 3, "bias": True},
    ),
    "bf_sdensenet_biasfree": ("bf-sdensenet", {"features": 8, "hidden": 2, "max_stage": 3}),
    "pcst_dncnn": ("pcst-dncnn", {"features": 8, "depth": 5}),
    "pcst_unet_bias_residual": ("bf-unet", {"channels": 3, "bias": True, "residual": True}),
}


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(PATCH_CRAFT / f"{name}.safetensors")


def index() -> Any:
    return stored_index("index", PATCH_CRAFT)


def official(arrays: Tensors) -> dict[str, np.ndarray]:
    """The arrays by the authors' keys: without the wrapper's prefix, and counters without axes."""
    counters = "num_batches_tracked"
    return {
        key.removeprefix("module."): array.reshape(()) if key.endswith(counters) else array
        for key, array in arrays.items()
    }


def under(prefix: str, arrays: Tensors) -> dict[str, np.ndarray]:
    """What begins with `prefix`, without it."""
    found = {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}
    return official(found)


def trained(name: str, dtype: Any) -> zoo.Denoiser:
    """The network with the authors' weights, in evaluation mode."""
    model, arguments = NETWORKS[name]
    made = zoo.create(model, **arguments)
    made.load_state_dict(official(tensors(f"weights/{name}")))
    return made.astype(dtype).eval()


def test_the_reference_data_is_complete() -> None:
    stored = index()
    assert {m["name"] for m in stored["models"]} == set(NETWORKS)
    assert {m["name"] for m in stored["small"]} == set(SMALL)


# ------------------------------------------------------------------ the trained networks


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs(name: str, dtype: Any) -> None:
    t, model = tensors(f"io/{name}"), trained(name, dtype)
    ending, atol = ("f32", 5e-6) if dtype == np.float32 else ("f64", 1e-10)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=atol)
    y = model.forward(t["noisy"].astype(dtype))
    assert y.dtype == dtype
    close(y, t[f"denoised_{ending}"])
    np.testing.assert_array_equal(model.denoise(t["noisy"].astype(dtype)), y)
    if f"net_out_{ending}" in t:
        raw: Any = model
        close(raw.dncnn.forward(t["noisy"].astype(dtype)), t[f"net_out_{ending}"])
    if "noisy_odd" in t:
        odd = t["noisy_odd"].astype(dtype)
        close(model.forward(odd), t[f"denoised_odd_{ending}"])
        np.testing.assert_array_equal(model.denoise(odd), model.forward(odd))


@pytest.mark.parametrize("entry", index().get("models", []), ids=lambda m: m["name"])
def test_counts_and_keys(entry: Mapping[str, Any]) -> None:
    model = trained(entry["name"], np.float32)
    state = model.state_dict()
    stored = official(tensors(f"weights/{entry['name']}"))
    assert set(stored) <= set(state)
    assert all("num_batches_tracked" in key for key in set(state) - set(stored))
    assert len(stored) == entry["n_tensors"]
    assert sum(a.size for a in stored.values()) == entry["n_values"]
    unused = [k for k in state if "bn_layer_list" in k and k.endswith("bias")]
    dead = [k for k in unused if k not in model.named_parameters()]
    parameters = sum(p.value.size for p in model.parameters())
    assert parameters + sum(state[k].size for k in dead) == entry["n_nn_parameters"]
    clean, y = (tensors(f"io/{entry['name']}")[k] for k in ("clean", "noisy"))
    psnr = psnr_global(np.clip(model.denoise(y), 0, 1), clean)
    assert psnr == pytest.approx(entry["psnr_denoised_clip"], abs=1e-4)


def test_keys_stand_in_the_authors_order() -> None:
    keys = list(zoo.create("bf-dncnn", depth=4, features=2, bias=True).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert keys == [
        *("first_layer.weight", "first_layer.bias"),
        *(f"hidden_layer_list.{i}.{name}" for i in range(2) for name in ("weight", "bias")),
        *(f"bn_layer_list.{i}.{name}" for i in range(2) for name in norm),
        *("last_layer.weight", "last_layer.bias"),
    ]
    model = zoo.create("pcst-dncnn", depth=5, features=2)
    lists = (("conv_layers.{}.weight", 5), ("running_sd.{}", 3), ("gammas.{}", 3))
    keys = [name.format(i) for name, count in lists for i in range(count)]
    assert list(model.state_dict()) == keys
    assert list(model.named_parameters()) == [k for k in keys if "running" not in k]


def test_the_file_of_the_colour_dncnn() -> None:
    """It has no stored outputs; its keys and shapes are the network's."""
    stored = tensors("weights/pcst_dncnn_orig")
    model = zoo.create("pcst-dncnn")
    model.load_state_dict(stored)
    assert len(stored) == 56 and sum(a.size for a in stored.values()) == 669_312
    assert sum(p.value.size for p in model.parameters()) == 668_160
    np.testing.assert_array_equal(model.state_dict()["gammas.17"], stored["gammas.17"])
    with pytest.raises(KeyError, match=r"missing \['gammas\.3'\], unexpected \['gammas\.18'\]"):
        renamed = {"gammas.18" if k == "gammas.3" else k: a for k, a in stored.items()}
        model.load_state_dict(renamed)


@pytest.mark.parametrize(
    "name", ["dncnn_s25", "dncnn_b", "bf_dncnn_bias_0-100", "bf_dncnn_biasfree_0-100"]
)
def test_merged_norms(name: str) -> None:
    """The published networks as chains of convolutions: the same estimates."""
    t, merged = tensors(f"io/{name}"), merge_batch_norm(trained(name, np.float64))
    assert merged.architecture == "dncnn-kair"
    y = merged.forward(t["noisy"].astype(np.float64))
    np.testing.assert_allclose(y, t["denoised_f64"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("sigma", "atol"), [(10, 3.3e-6), (30, 6.9e-6), (100, 2.4e-5)])
def test_the_authors_own_outputs(sigma: int, atol: float) -> None:
    """Stored by the authors, in float32 and on another machine: so far from float64 are they."""
    t = tensors("io/bf_dncnn_biasfree_authors_precomputed")
    y = t[f"noisy_{sigma}"][None, None]
    found = trained("bf_dncnn_biasfree_0-100", np.float64).forward(y)
    np.testing.assert_allclose(found[0, 0], t[f"denoised_{sigma}"], rtol=0, atol=atol)


# ------------------------------------------------------------------ gradients


def loss_and_gradients(
    model: zoo.Denoiser, t: Tensors, dtype: Any
) -> tuple[np.ndarray, float, np.ndarray]:
    """(f(y), half the sum of (f(y) - x)^2, its gradient in y); the others stay in the model."""
    model.zero_grad()
    f, vjp = model.forward_and_vjp(t["noisy"].astype(dtype))
    difference = f - t["clean"].astype(dtype)
    return f, 0.5 * float((difference**2).sum()), vjp(difference)


def check_state(model: zoo.Denoiser, after: Tensors, close: Any) -> None:
    state = model.state_dict()
    for key, expected in after.items():
        close(state[key], expected, err_msg=key)


NORMED = [(n, m) for n in ("dncnn_s25", "bf_dncnn_biasfree_0-100") for m in ("eval", "train")]


@pytest.mark.parametrize(("name", "mode"), [*NORMED, ("pcst_unet_orig", "eval")])
def test_gradients_in_float64(name: str, mode: str) -> None:
    stored = tensors(f"grads/{name}__{mode}_f64")
    model = trained(name, np.float64).train(mode == "train")
    f, loss, dy = loss_and_gradients(model, tensors(f"io/{name}"), np.float64)
    np.testing.assert_allclose(f, stored["denoised"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(loss, stored["loss"][0], rtol=1e-10)
    expected = under("grad.", stored)
    scaled(dy, expected.pop("input"), 1e-8)
    assert set(expected) == set(model.named_parameters())
    for key, parameter in model.named_parameters().items():
        scaled(parameter.grad, expected[key], 1e-8, key)
    after = under("after.", stored)
    assert bool(after) == (mode == "train")
    check_state(model, after, functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-12))


def scaled(found: np.ndarray, expected: np.ndarray, rtol: float, key: str = "input") -> None:
    """Every entry agrees to `rtol`; entries near 0 to that part of a thousandth of the largest."""
    atol = 1e-3 * rtol * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=key)


def sides_of_float64(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From here on ReLUs take the side of 0 that they take in float64, in the order of a pass;
    returned is the list of how many units of each would have taken the other.

    A gradient jumps where an input of a ReLU is 0. Of some four million units one or the other
    lies so near to it that rounding decides, differently in each library.
    """
    sides: list[np.ndarray] = []
    turned: list[int] = []
    plain = mg.ReLU.forward_and_vjp

    def record(self: mg.ReLU, x: np.ndarray) -> Any:
        sides.append(x > 0)
        return plain(self, x)

    def replay(self: mg.ReLU, x: np.ndarray) -> Any:
        side = sides.pop(0).astype(x.dtype)
        turned.append(int((side != (x > 0)).sum()))
        return x * side, mg.once(lambda dy: dy * side, self, x)

    monkeypatch.setattr(mg.ReLU, "forward_and_vjp", record)
    model = trained(name, np.float64).train(mode == "train")
    loss_and_gradients(model, tensors(f"io/{name}"), np.float64)
    monkeypatch.setattr(mg.ReLU, "forward_and_vjp", replay)
    return turned


@pytest.mark.parametrize(("name", "mode"), NORMED)
def test_gradients_in_float32(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, stored = (tensors(f"grads/{name}__{mode}_{b}") for b in ("f64", "f32"))
    turned = sides_of_float64(name, mode, monkeypatch)
    model = trained(name, np.float32).train(mode == "train")
    f, loss, dy = loss_and_gradients(model, tensors(f"io/{name}"), np.float32)
    assert sum(turned) <= 10
    np.testing.assert_allclose(f, stored["denoised"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(loss, stored["loss"][0], rtol=1e-5)
    found = {"input": dy} | {key: p.grad for key, p in model.named_parameters().items()}
    for key, expected in under("grad.", exact).items():
        error = np.linalg.norm(found[key] - expected) / np.linalg.norm(expected)
        assert error < 2e-5, key
    after = under("after.", stored)
    check_state(model, after, functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6))


# ------------------------------------------------------------------ the small networks


@pytest.mark.parametrize(
    ("name", "mode"),
    [(m["name"], mode) for m in index().get("small", []) for mode in m["modes"]],
)
def test_small_network(name: str, mode: str) -> None:
    t, (model_name, arguments) = tensors(f"small/{name}"), SMALL[name]
    model = zoo.create(model_name, dtype=np.float64, **arguments)
    model.load_state_dict(under("state.", t))
    model.train(mode == "train")
    f, loss, dy = loss_and_gradients(model, t, np.float64)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    close(f, t[f"{mode}.denoised"])
    np.testing.assert_allclose(loss, t[f"{mode}.loss"][0], rtol=1e-8)
    expected = under(f"{mode}.grad.", t)
    close(dy, expected.pop("input"))
    assert set(expected) == set(model.named_parameters())
    for key, parameter in model.named_parameters().items():
        close(parameter.grad, expected[key], err_msg=key)
    check_state(model, under(f"{mode}.after.", t), close)
