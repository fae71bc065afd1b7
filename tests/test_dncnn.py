"""The DnCNN family, the small U-Net and the networks in stages: sizes, first weights, keys,
merging, stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
import zoo
from minigrad.replay import noises
from tests.test_bias_free import lively
from zoo.merge import merge_batch_norm
from zoo.registry import REGISTRY


def count(model: mg.Module) -> int:
    return sum(p.value.size for p in model.parameters())


def picture(channels: int, h: int = 13, w: int = 11, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(5).random((2, channels, h, w)).astype(dtype)


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("dncnn-s", {}, 556_032),
        ("dncnn-b", {}, 667_008),
        ("dncnn-s", {"depth": 20}, 667_008),
        ("dncnn-kair", {}, 555_137),
        ("bf-dncnn", {}, 667_008 - 1_152),
        ("bf-dncnn", {"bias": True}, 668_225),
        ("bf-unet", {}, 233_024),
        ("bf-unet", {"bias": True}, 233_440),
        ("bf-unet", {"channels": 3}, 236_224),
        ("bf-unet", {"channels": 3, "bias": True}, 236_640),
        ("bf-rcnn", {}, 186_048),
        ("bf-rcnn", {"bias": True}, 186_432),
        ("bf-sdensenet", {}, 757_440),
        ("bf-sdensenet", {"bias": True}, 758_991),
        ("pcst-dncnn", {}, 668_160),
    ],
)
def test_parameters(name: str, arguments: dict[str, Any], parameters: int) -> None:
    assert count(zoo.create(name, **arguments)) == parameters


def test_the_unet_fills_odd_sides_with_zeros() -> None:
    model = lively(zoo.create("bf-unet", features=3, bias=True, dtype=np.float64))
    for h, w in ((13, 11), (12, 11), (13, 10), (1, 1)):
        y = picture(1, h, w)
        filled = np.pad(y, ((0, 0), (0, 0), (0, h % 2), (0, w % 2)))
        np.testing.assert_array_equal(model.forward(y), model.forward(filled)[:, :, :h, :w])
        np.testing.assert_array_equal(model.denoise(y), model.forward(y))


def test_the_residual_unet_takes_off_what_the_other_gives() -> None:
    given = {"features": 3, "dtype": np.float64}
    direct, residual = (zoo.create("bf-unet", residual=r, **given) for r in (False, True))
    residual.load_state_dict(direct.state_dict())
    y = picture(1)
    np.testing.assert_allclose(residual.forward(y), y - direct.forward(y), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["dncnn-s", "dncnn-kair", "bf-dncnn", "pcst-dncnn"])
def test_the_noise_estimate_is_a_part_of_its_own(name: str) -> None:
    model: Any = lively(zoo.create(name, features=4, depth=4, dtype=np.float64)).eval()
    y = picture(model.channels)
    noise = model.residual(y)
    np.testing.assert_array_equal(model.forward(y), y - noise)
    part = {"dncnn-s": "dncnn", "dncnn-kair": "model"}.get(name)
    if part:
        np.testing.assert_array_equal(getattr(model, part).forward(y), noise)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("dncnn-s", {"depth": 1}, "DnCNN: depth: expected at least 2, got 1"),
        ("dncnn-s", {"init": "zero"}, "DnCNN: init: expected 'native', 'he' or 'matlab'"),
        ("dncnn-kair", {"form": "B"}, "KairDnCNN: form: expected 'R' or 'BR', got 'B'"),
        ("bf-rcnn", {"max_stage": 0}, "BFRCNN: max_stage: expected at least 1, got 0"),
        ("bf-rcnn", {"hidden": -1}, "hidden: expected at least 0, got -1"),
        ("bf-sdensenet", {"hidden": 0}, "BFSDenseNet: hidden: expected at least 1, got 0"),
        ("bf-sdensenet", {"max_stage": 0}, "BFSDenseNet: max_stage: expected at least 1"),
        ("bf-unet", {"channels": 0}, "in_channels: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        zoo.create(name, **arguments)


ARGUMENTS: dict[str, dict[str, Any]] = {
    "dncnn-s": {"features": 1, "depth": 2, "init": "matlab"},
    "dncnn-b": {"features": 2},
    "dncnn-kair": {"channels": 3, "features": 3, "depth": 3, "form": "BR", "init": "he"},
    "bf-dncnn": {"features": 1, "depth": 3},
    "bf-unet": {"features": 2, "channels": 3, "residual": True},
    "bf-rcnn": {"features": 2, "hidden": 0, "max_stage": 2, "bias": True},
    "bf-sdensenet": {"features": 2, "hidden": 2, "max_stage": 1},
    "pcst-dncnn": {"features": 1, "depth": 2},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    model = lively(zoo.create(name, **ARGUMENTS[name]))
    zoo.save(tmp_path / "model.safetensors", model)
    loaded = zoo.load(tmp_path / "model.safetensors")
    assert loaded.architecture == name and dict(loaded.arguments) == ARGUMENTS[name]
    assert list(loaded.state_dict()) == list(model.state_dict())
    x = picture(model.channels, dtype=np.float32)
    y = model.denoise(x)
    assert y.shape == x.shape and y.dtype == np.float32
    np.testing.assert_array_equal(loaded.denoise(x), y)


def test_two_names_of_one_class_differ_by_a_default() -> None:
    defaults = {name: REGISTRY[name].arguments["depth"] for name in ("dncnn-s", "dncnn-b")}
    assert defaults == {"dncnn-s": 17, "dncnn-b": 20}
    assert dict(zoo.create("dncnn-b").arguments) == {}
    assert count(zoo.create("dncnn-b", depth=17)) == 556_032


# ------------------------------------------------------------------ first weights


@pytest.mark.parametrize("name", ["dncnn-s", "bf-dncnn", "pcst-dncnn"])
def test_first_weights_follow_the_published_laws(name: str) -> None:
    model = zoo.create(name, rng=np.random.default_rng(0))
    arrays = {p.name + key: p.value for key, p in model.named_parameters().items()}
    convs = [a for a in arrays.values() if a.squeeze().ndim > 1]
    scales = [a for a in arrays.values() if a.squeeze().ndim == 1 and a.any()]
    small = np.concatenate([a.ravel() for a in scales])
    hidden = np.stack([a for a in convs if a.shape[:2] == (64, 64)])
    if name == "pcst-dncnn":
        assert np.abs(hidden).max() <= 576**-0.5
        assert small.std() == pytest.approx(2 / 576, rel=0.1)
    else:
        assert hidden.std() == pytest.approx((2 / 576) ** 0.5, rel=0.01)
        assert np.abs(small).max() == np.float32(0.025)
        inside = np.abs(small) < 0.024  # of N(0, 2 / 576) this share lies in there
        assert inside.mean() == pytest.approx(0.316, abs=0.06)
    assert not any(a.any() for key, a in arrays.items() if key.startswith("bias"))


def test_first_weights_of_the_original_are_moved_out() -> None:
    model: Any = zoo.create("dncnn-b", init="matlab", rng=np.random.default_rng(0))
    scales = np.concatenate([model.dncnn[3 * i].weight for i in range(1, 19)])
    assert np.abs(scales).min() == np.float32(0.025) and (scales < 0).mean() > 0.4
    assert (np.abs(scales) > 0.026).mean() == pytest.approx(0.659, abs=0.06)
    for index in (0, 56):
        assert model.dncnn[index].weight.std() == pytest.approx((2 / 576) ** 0.5, rel=0.1)


def test_native_weights_are_those_of_the_layers() -> None:
    model: Any = zoo.create("dncnn-kair", form="BR", rng=np.random.default_rng(0))
    assert np.abs(model.model[2].weight).max() <= 576**-0.5 and model.model[2].bias.any()
    assert (model.model[3].weight == 1).all()
    assert (model.model[3].eps, model.model[3].momentum) == (1e-4, 0.9)


# ------------------------------------------------------------------ keys


def test_keys_of_lists_that_are_no_modules() -> None:
    """Within other modules too, whatever wraps the network."""
    model = zoo.create("pcst-dncnn", features=2, depth=4)
    around = mg.Sequential({"first": mg.Checkpoint(model), "last": mg.Frozen(model)})
    keys = list(around.state_dict())
    assert "first.module.gammas.1" in keys and "last.module.running_sd.0" in keys
    assert list(mg.Frozen(model).parameters()) == []
    assert "first.module.gammas.1" in around.named_parameters()
    assert len(around.named_parameters()) == len(model.named_parameters()) == 6
    state = {key: array + 1 for key, array in around.state_dict().items()}
    around.load_state_dict(state)
    np.testing.assert_array_equal(model.norms[1].gamma, state["last.module.gammas.1"])


# ------------------------------------------------------------------ merging

FAMILY: dict[str, dict[str, Any]] = {
    "dncnn-s": {},
    "dncnn-b": {"depth": 6},
    "dncnn-kair": {"form": "BR"},
    "bf-dncnn": {},
    "bf-dncnn plain": {"bias": True},
    "pcst-dncnn": {},
}


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_merged_norms_change_nothing(name: str, dtype: Any, tmp_path: Path) -> None:
    arguments = {"features": 5, "depth": 5, **FAMILY[name]}
    model = lively(zoo.create(name.split()[0], **arguments)).astype(dtype).eval()
    before = {key: array.copy() for key, array in model.state_dict().items()}
    merged = merge_batch_norm(model)
    y = picture(model.channels, dtype=dtype)
    expected = model.forward(y)
    floor = 1e-14 if dtype == np.float64 else 4e-6
    assert np.abs(merged.forward(y) - expected).max() <= floor * np.abs(expected).max()
    kinds = {type(layer).__name__ for layer in merged.layers()}  # type: ignore[attr-defined]
    assert kinds == {"Conv2d", "ReLU"} and merged.dtype == dtype and not merged.training
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])
    zoo.save(tmp_path / "merged.safetensors", merged)
    loaded = zoo.load(tmp_path / "merged.safetensors")
    assert loaded.architecture == "dncnn-kair"
    np.testing.assert_array_equal(loaded.forward(y), merged.forward(y))


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a DnCNN, got BFUNet"):
        merge_batch_norm(zoo.create("bf-unet"))
    model: Any = zoo.create("dncnn-s", features=2, depth=3)
    setattr(model.dncnn, "3", mg.Sigmoid())
    with pytest.raises(TypeError, match="Sigmoid: expected a norm or a ReLU"):
        merge_batch_norm(model)


# ------------------------------------------------------------------ stages


def test_stages_are_drawn_in_training_only() -> None:
    model: Any = zoo.create("bf-rcnn", features=3, hidden=1, dtype=np.float64)
    lively(model)
    y = picture(1)
    drawn = [model.stages() for _ in range(400)]
    assert set(drawn) == {1, 2, 3, 4}
    assert all(60 < drawn.count(stages) < 140 for stages in (1, 2, 3, 4))
    for stages in (1, 2, 3, 4):
        fixed: Any = zoo.create("bf-rcnn", features=3, hidden=1, max_stage=stages)
        fixed.load_state_dict(model.state_dict())
        model.noise = mg.Noise.given([np.array(stages - 1)])
        np.testing.assert_array_equal(model.forward(y), fixed.eval().forward(y))
        assert fixed.noise.draw == 0


def test_a_pass_is_repeated_at_its_place_in_the_noise() -> None:
    model: Any = zoo.create("bf-rcnn", features=3, hidden=1, rng=np.random.default_rng(1))
    same: Any = zoo.create("bf-rcnn", features=3, hidden=1, rng=np.random.default_rng(1))
    assert noises(model) == [model.noise] and same.noise.seed == model.noise.seed
    y = picture(1, dtype=np.float32)
    model.noise.at(7), same.noise.at(7)
    out = model.forward(y)
    again, vjp = same.forward_and_vjp(y)
    np.testing.assert_array_equal(out, again)
    assert vjp(again).shape == y.shape and same.noise.draw == model.noise.draw == 1
