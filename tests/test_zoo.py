"""The zoo: parameter counts, products, pictures of any size, registry, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import zoo
from minigrad.checkpoint import CheckpointError
from zoo.architectures import N2NUNet, evaluating, pad_to_multiple
from zoo.registry import REGISTRY

NAMES = ("n2n-prelu-unet", "n2n-simple", "n2n-unet")
SMALL: dict[str, dict[str, Any]] = {
    "n2n-simple": {"features": 4},
    "n2n-prelu-unet": {"features": 3},
    "n2n-unet": {},
}


def count(model: mg.Module) -> int:
    return sum(p.value.size for p in model.parameters())


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("features", "shared", "separate"),
    [
        (4, 3_606, 5_534),
        (8, 13_789, 21_389),
        (16, 53_638, 83_814),
        (32, 211_845, 332_101),
        (64, 841_286, 1_321_414),
        (128, 3_354_149, 5_272_869),
    ],
)
def test_parameters_of_the_prelu_unet(features: int, shared: int, separate: int) -> None:
    for share, expected in ((True, shared), (False, separate)):
        how = {"features": features, "share_blocks": share}
        assert count(zoo.create("n2n-prelu-unet", **how)) == expected
        assert count(zoo.create("n2n-prelu-unet", stem_activation="relu", **how)) == expected - 1


def test_parameters_of_each_layer_of_the_prelu_unet() -> None:
    model: Any = zoo.create("n2n-prelu-unet")
    assert count(model.conv0) == 896 and count(model.conv1) == 9_248
    assert count(model.eblocks[0]) == 9_248 + 32
    assert count(model.dblocks[0]) == 2 * 36_928 + 2 * 64
    assert count(model.dblocks[1]) == 55_360 + 36_928 + 2 * 64
    assert count(model.dblocks[3]) == 19_328 + 32 + 6_069 + 21
    assert count(model.conv2) == 570 and count(model.relu) == 1
    assert len(model.state_dict()) == 43 and len(model.named_parameters()) == 28


@pytest.mark.parametrize(("features", "expected"), [(64, 34_499), (32, 9_059), (4, 239)])
def test_parameters_of_the_simple_network(features: int, expected: int) -> None:
    assert count(zoo.create("n2n-simple", features=features)) == expected


@pytest.mark.parametrize(
    ("n", "m", "expected"), [(3, 3, 991_203), (1, 1, 988_609), (9, 3, 997_251)]
)
def test_parameters_of_the_unet(n: int, m: int, expected: int) -> None:
    model: Any = zoo.create("n2n-unet", channels=n, out_channels=m)
    assert count(model) == expected
    if n == 3:
        assert count(model.enc_conv0) == 1_344 and count(model.enc_conv6) == 20_784
        assert count(model.dec_conv5a) == 83_040 and count(model.dec_conv4a) == 124_512
        assert count(model.dec_conv1a) == 57_088 and count(model.dec_conv1c) == 867


@pytest.mark.parametrize(("name", "millions"), [("n2n-prelu-unet", 70.66), ("n2n-simple", 2.49)])
def test_products_of_a_forward_pass(name: str, millions: float) -> None:
    model, x = zoo.create(name), np.zeros((1, 3, 32, 32), np.float32)
    macs = sum(step.macs for step in mg.Trace(model).follow(x).steps)
    assert macs / 1e6 == pytest.approx(millions, abs=0.005)
    separate = {"share_blocks": False} if name == "n2n-prelu-unet" else {}
    again = mg.Trace(zoo.create(name, **separate)).follow(x).steps
    assert sum(step.macs for step in again) == macs


def test_first_weights_follow_the_published_laws() -> None:
    rng = np.random.default_rng(0)
    native: Any = zoo.create("n2n-simple", rng=rng)
    for key, fan in (("0", 3 * 4), ("2", 64 * 4), ("4", 64 * 4), ("6", 3 * 4)):
        weight = native.state_dict()[f"{key}.weight"]
        assert np.abs(weight).max() <= fan**-0.5
        assert weight.std() == pytest.approx((3 * fan) ** -0.5, rel=0.1)
    xavier = zoo.create("n2n-simple", init="xavier", rng=rng).state_dict()
    assert not xavier["2.bias"].any()
    assert xavier["2.weight"].std() == pytest.approx((4 / (2 * 64 * 4)) ** 0.5, rel=0.05)
    unet = zoo.create("n2n-unet", rng=rng).state_dict()
    assert unet["dec_conv4a.weight"].std() == pytest.approx((2 / (144 * 9)) ** 0.5, rel=0.05)
    assert unet["dec_conv1c.weight"].std() == pytest.approx((1 / (32 * 9)) ** 0.5, rel=0.1)
    assert not any(unet[k].any() for k in unet if k.endswith("bias"))
    assert zoo.create("n2n-prelu-unet").state_dict()["relu.weight"] == np.float32(0.25)


def test_the_same_generator_gives_the_same_network() -> None:
    for name in NAMES:
        a, b = (zoo.create(name, rng=np.random.default_rng(5)).state_dict() for _ in range(2))
        assert all(np.array_equal(a[k], b[k]) for k in a)


# ------------------------------------------------------------------ denoise

MODELS = {name: zoo.create(name, rng=np.random.default_rng(1), **SMALL[name]) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@given(h=st.integers(1, 70), w=st.integers(1, 70))
def test_pictures_of_any_size(name: str, h: int, w: int) -> None:
    noisy = np.random.default_rng(h * 71 + w).random((1, 3, h, w), dtype=np.float32)
    before = noisy.copy()
    y = MODELS[name].denoise(noisy)
    assert y.shape == noisy.shape and y.dtype == np.float32 and np.isfinite(y).all()
    np.testing.assert_array_equal(noisy, before)


@pytest.mark.parametrize("name", NAMES)
def test_denoise_is_the_forward_pass_where_nothing_is_padded(name: str) -> None:
    x = np.random.default_rng(0).random((2, 3, 32, 64), dtype=np.float32)
    np.testing.assert_array_equal(MODELS[name].denoise(x), MODELS[name].forward(x))


def test_denoise_pads_by_reflection_and_crops() -> None:
    model = MODELS["n2n-simple"]
    x = np.random.default_rng(0).random((1, 3, 6, 5), dtype=np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 3)), mode="reflect")
    np.testing.assert_array_equal(model.denoise(x), model.forward(padded)[:, :, :6, :5])


@given(h=st.integers(1, 20), w=st.integers(1, 20), multiple=st.integers(1, 32))
def test_padding_equals_numpys_reflection(h: int, w: int, multiple: int) -> None:
    x = np.random.default_rng(0).random((1, 2, h, w))
    y = pad_to_multiple(x, multiple)
    assert y.shape[2] % multiple == y.shape[3] % multiple == 0
    assert y.shape[2] - h < multiple and y.shape[3] - w < multiple
    widths = ((0, 0), (0, 0), (0, y.shape[2] - h), (0, y.shape[3] - w))
    np.testing.assert_array_equal(y, np.pad(x, widths, mode="reflect"))


def test_denoise_keeps_the_dtype_of_the_picture() -> None:
    for dtype in (np.float16, np.float64):
        assert MODELS["n2n-simple"].denoise(np.ones((1, 3, 5, 5), dtype)).dtype == dtype


def test_denoise_restores_every_modules_mode() -> None:
    model: Any = zoo.create("n2n-prelu-unet", features=3)
    model.train()
    model.conv0.eval()
    seen = []

    class Look(mg.ReLU):
        def forward(self, x: Any) -> Any:
            seen.append(self.training)
            return super().forward(x)

    model.relu = Look()
    model.denoise(np.ones((1, 3, 16, 16), np.float32))
    assert seen == [False, False]
    assert model.training and model.relu.training and not model.conv0.training
    with pytest.raises(RuntimeError, match="on purpose"), evaluating(model):
        raise RuntimeError("on purpose")
    assert model.training


@pytest.mark.parametrize(
    ("noisy", "error", "words"),
    [
        (np.ones((1, 3, 4, 4), np.uint8), TypeError, "expected a floating array.*got uint8"),
        ([[1.0]], TypeError, "got list"),
        (np.ones((3, 4, 4)), ValueError, r"expected \(N, 3, H, W\).*got \(3, 4, 4\)"),
        (np.ones((1, 1, 4, 4)), ValueError, r"got \(1, 1, 4, 4\)"),
        (np.ones((0, 3, 4, 4)), ValueError, "not empty"),
    ],
)
def test_denoise_refuses_what_is_no_picture(noisy: Any, error: type, words: str) -> None:
    with pytest.raises(error, match="N2NSimple.denoise: noisy: .*" + words):
        MODELS["n2n-simple"].denoise(noisy)


def test_sides_that_do_not_divide_are_refused_inside_the_network() -> None:
    with pytest.raises(ValueError, match="Concat"):
        MODELS["n2n-prelu-unet"].forward(np.ones((1, 3, 40, 40), np.float32))


# ------------------------------------------------------------------ the registry


def test_list_models() -> None:
    assert zoo.list_models("n2n-*") == sorted(NAMES)
    assert set(NAMES) <= set(zoo.list_models())
    assert zoo.list_models("no such*") == []


@pytest.mark.parametrize("name", NAMES)
def test_create_remembers_name_and_arguments(name: str) -> None:
    model = zoo.create(name, channels=1, dtype=np.float64)
    assert model.architecture == name and dict(model.arguments) == {"channels": 1}
    assert model.channels == 1 and model.dtype == np.float64
    assert "channels" in REGISTRY[name].arguments and REGISTRY[name].source


def test_unknown_names_and_arguments_name_the_nearest() -> None:
    with pytest.raises(zoo.UnknownModelError, match="'n2n-simpel'; the nearest: n2n-simple"):
        zoo.create("n2n-simpel")
    with pytest.raises(TypeError, match="n2n-simple: no argument is called 'feature'.*features"):
        zoo.create("n2n-simple", feature=3)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("n2n-simple", {"upsampling": "cubic"}, "upsampling: expected 'transpose' or 'nearest'"),
        ("n2n-simple", {"init": "zero"}, "init: expected 'native' or 'xavier', got 'zero'"),
        ("n2n-prelu-unet", {"depth": 1}, "depth: expected at least 2, got 1"),
        ("n2n-prelu-unet", {"stem_activation": "elu"}, "expected 'prelu' or 'relu', got 'elu'"),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        zoo.create(name, **arguments)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    model = zoo.create(name, rng=np.random.default_rng(2), **SMALL[name])
    zoo.save(file, model, {"noise": "gaussian:25"})
    loaded = zoo.load(file)
    assert type(loaded) is type(model) and not loaded.training
    assert loaded.architecture == name and dict(loaded.arguments) == SMALL[name]
    assert loaded.metadata["noise"] == "gaussian:25"
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[key], array)
    again = tmp_path / "again.safetensors"
    zoo.save(again, loaded)
    x = np.random.default_rng(0).random((1, 3, 9, 9), dtype=np.float32)
    np.testing.assert_array_equal(zoo.load(again).denoise(x), model.denoise(x))
    assert zoo.load(again).metadata == loaded.metadata


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"expected a model from zoo\.create"):
        zoo.save(file, N2NUNet())
    assert not file.exists()
    mg.checkpoint.save(file, {"a": np.ones(1)}, {})
    with pytest.raises(CheckpointError, match="names no architecture"):
        zoo.load(file)
    mg.checkpoint.save(file, {"a": np.ones(1)}, {"architecture": "n2n-simple", "arguments": "{}"})
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors.*more parameters than the 1 value"
    ):
        zoo.load(file)
    mg.checkpoint.save(file, {"a": np.ones(1)}, {"architecture": "n2n-simpler"})
    with pytest.raises(CheckpointError, match="nearest: n2n-simple"):
        zoo.load(file)
    with pytest.raises(CheckpointError, match="absent"):
        zoo.load(tmp_path / "absent.safetensors")
