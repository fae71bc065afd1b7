"""Stored tensors of the noise2noise networks: operators, small networks, trained networks.

The values were made in float64 by PyTorch and by the authors' own code; they are read from the
folder `reference/noise2noise` of the shared folder. Traces of optimisers and schedules lie in the
same folder and are read by test_optim.py and test_schedule.py. Where the folder is absent the
tests are skipped, but never in continuous integration.
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
from minigrad.layers.pool import max_pool2d
from tests.shared import NOISE2NOISE, stored_index
from zoo.metrics import psnr_global, psnr_images

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

Tensors = Mapping[str, np.ndarray]


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(NOISE2NOISE / f"{name}.safetensors")


CASES: list[dict[str, Any]] = stored_index("ops_index").get("cases", [])


def test_the_reference_data_is_complete() -> None:
    assert len(CASES) == 74
    optimisers = stored_index("optimizers_index")
    assert len(optimisers["optimizers"]["cases"]) == 9
    assert len(optimisers["schedulers"]) == 12


# ------------------------------------------------------------------ operators

EXACT = {"rtol": 1e-10, "atol": 1e-10}
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}


def pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def make_layer(op: str, args: Mapping[str, Any], t: Tensors, dtype: Any) -> mg.Module:
    """The layer of a case, without its weights."""
    how = {k: pair(v) for k, v in args.items() if k not in ("note", "uncovered_input_pixels")}
    if op in ("conv2d", "conv_transpose2d"):
        weight, groups = t["weight"], how["groups"]
        how |= {"kernel_size": weight.shape[2:], "dtype": dtype}
        if op == "conv2d":
            return mg.Conv2d(weight.shape[1] * groups, weight.shape[0], **how)
        return mg.ConvTranspose2d(weight.shape[0], weight.shape[1] * groups, **how)
    if op == "prelu":
        return mg.PReLU(how["num_parameters"], dtype=dtype)
    kinds = {
        "max_pool2d": mg.MaxPool2d,
        "upsample_nearest": mg.Upsample,
        "relu": mg.ReLU,
        "leakyrelu": mg.LeakyReLU,
        "sigmoid": mg.Sigmoid,
        "cat": mg.Concat,
    }
    return kinds[op](**how)


def make_loss(args: Mapping[str, Any], dtype: Any) -> mg.Module:
    if args["kind"] == "mse":
        return mg.MSELoss(args["reduction"])
    if args["kind"] == "l1":
        return mg.L1Loss(args["reduction"])
    if args["kind"] == "l0":
        return mg.AnnealedL0Loss(args["gamma"], args["eps"], dtype=dtype)
    if args["kind"] == "masked_mse":
        return mg.MaskedMSELoss("valid" if "valid elements" in args["reduction"] else "mean")
    return mg.HDRLoss(args["eps"])


def case_tensors(case: Mapping[str, Any], dtype: Any) -> dict[str, np.ndarray]:
    stored = tensors("ops")
    return {
        k: stored[f"{case['name']}.{k}"].astype(dtype if k != "indices" else np.int64)
        for k in case["tensors"]
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
@pytest.mark.filterwarnings("error")
def test_operator(case: dict[str, Any], dtype: Any) -> None:
    t = case_tensors(case, dtype)
    close = functools.partial(
        np.testing.assert_allclose, **(EXACT if dtype == np.float64 else FLOAT32)
    )
    if case["op"] == "loss":
        check_loss(make_loss(case["args"], dtype), t, close)
        return
    layer = make_layer(case["op"], case["args"], t, dtype)
    layer.load_state_dict({k: t[k] for k in ("weight", "bias") if k in t})
    inputs = ("a", "b") if case["op"] == "cat" else ("x",)
    y, vjp = layer.forward_and_vjp(*(t[k] for k in inputs))
    dxs = vjp(t["dL_dy"])
    close(y, t["y"])
    for name, dx in zip(inputs, dxs if len(inputs) > 1 else (dxs,), strict=True):
        assert dx.dtype == dtype
        close(dx, t[f"dL_d{name}"])
    for name, parameter in layer.named_parameters().items():
        assert parameter.touched
        close(parameter.grad, t[f"dL_d{name}"])


def check_loss(loss: mg.Module, t: Tensors, close: Any) -> None:
    arguments = [t[k] for k in ("prediction", "target", "mask") if k in t]
    value, vjp = loss.forward_and_vjp(*arguments)
    dprediction, *others = vjp(np.ones_like(value))
    close(value, t["value"].reshape(()))
    close(dprediction, t["dL_dprediction"])
    assert others == [None] * (len(arguments) - 1)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["op"] == "max_pool2d"], ids=lambda c: c["name"]
)
def test_max_pool_indices(case: dict[str, Any]) -> None:
    t = case_tensors(case, np.float64)
    layer = make_layer(case["op"], case["args"], t, np.float64)
    assert isinstance(layer, mg.MaxPool2d)
    window, count = layer._windows(t["x"])
    _, taps = max_pool2d(t["x"], window, count)
    rows, columns = np.divmod(taps.astype(np.int64), window.kernel[1])
    rows = rows * window.dilation[0] + np.arange(count[0])[:, None] * window.stride[0]
    columns = columns * window.dilation[1] + np.arange(count[1]) * window.stride[1]
    flat = (rows - window.padding[0]) * t["x"].shape[3] + columns - window.padding[2]
    np.testing.assert_array_equal(flat, t["indices"])


# ------------------------------------------------------------------ the small networks


def small(name: str) -> zoo.Denoiser:
    if name == "simple_f4":
        return zoo.create("n2n-simple", features=4, dtype=np.float64)
    shared = name.endswith("shared")
    return zoo.create("n2n-prelu-unet", features=4, share_blocks=shared, dtype=np.float64)


def loss_and_gradients(
    model: mg.Module, x: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """(y, loss, dx); the parameters' gradients are left in the model."""
    model.zero_grad()
    y, vjp = model.forward_and_vjp(x)
    value, loss_vjp = mg.MSELoss().forward_and_vjp(y, target)
    return y, float(value), vjp(loss_vjp(np.ones_like(value))[0])


def strip(t: Tensors, prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): a for k, a in t.items() if k.startswith(prefix)}


def load_once(model: mg.Module, arrays: Tensors) -> None:
    """Load arrays that are listed under the first name of each parameter only."""
    named = model.named_parameters()
    assert set(arrays) == set(named)
    for name, parameter in named.items():
        parameter.value[...] = arrays[name]


@pytest.mark.parametrize("name", ["unet_ce4_shared", "unet_ce4_separate", "simple_f4"])
def test_small_network(name: str) -> None:
    t = tensors(name)
    model = small(name)
    load_once(model, strip(t, "param."))
    y, value, dx = loss_and_gradients(model, t["x"], t["target"])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-14)
    close(y, t["y"])
    close(value, t["losses"][0])
    close(dx, t["dL_dx"])
    for key, expected in strip(t, "grad.").items():
        close(model.named_parameters()[key].grad, expected, err_msg=key)

    lr, momentum = (10.0, 0.0) if name == "simple_f4" else (0.5, 0.9)
    optimiser = mg.SGD(model.parameters(), lr=lr, momentum=momentum)
    losses = []
    for _ in range(5):
        losses.append(loss_and_gradients(model, t["x"], t["target"])[1])
        optimiser.step()
    close(losses, t["losses"])
    for key, expected in strip(t, "after.").items():
        close(model.named_parameters()[key].value, expected, rtol=1e-10, atol=1e-12, err_msg=key)


# ------------------------------------------------------------------ the trained networks


def unit(levels: np.ndarray, dtype: Any) -> np.ndarray:
    return levels.astype(dtype) / dtype(255)


def trained_unet(dtype: Any) -> zoo.Denoiser:
    model = zoo.create("n2n-prelu-unet", stem_activation="relu", dtype=dtype)
    weights = {k: a.astype(dtype) for k, a in tensors("dlfleuret_unet_weights").items()}
    load_once(model, weights)
    aliases = stored_index("pretrained_index")["dlfleuret_unet"]["aliases"]
    assert set(model.state_dict()) == set(weights) | set(aliases)
    for alias, name in aliases.items():
        assert model.state_dict()[alias] is model.state_dict()[name]
    return model


def trained_simple(dtype: Any) -> zoo.Denoiser:
    model = zoo.create("n2n-simple", features=64, dtype=dtype)
    weights = strip(tensors("dlfleuret_simple"), "weight.")
    load_once(model, {k: a.astype(dtype) for k, a in weights.items()})
    return model


TRAINED = {
    "dlfleuret_unet": (trained_unet, "dlfleuret_unet_io"),
    "dlfleuret_simple": (trained_simple, "dlfleuret_simple"),
}


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_trained_network(name: str, dtype: Any) -> None:
    make, file = TRAINED[name]
    stored, images, model = tensors(file), tensors("test_images"), make(dtype)
    x = unit(images["noisy_input"], dtype)
    y, value, _ = loss_and_gradients(model, x, unit(images["noisy_target"], dtype))
    grey_levels = 1e-9 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(255 * y, stored["y_float64"], rtol=0, atol=grey_levels)
    np.testing.assert_allclose(value, stored["loss_noisy_target"][0], rtol=1e-6)
    for key, expected in strip(stored, "grad.").items():
        scale = np.abs(expected).max()
        grad = model.named_parameters()[key].grad
        np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-5 * scale, err_msg=key)
    psnr = psnr_images(y, unit(images["clean"], dtype))
    assert psnr == pytest.approx(stored_index("pretrained_index")[name]["psnr_out"], abs=1e-4)


def test_the_noisy_test_images_have_the_stored_psnr() -> None:
    images = tensors("test_images")
    noisy, clean = (unit(images[k], np.float64) for k in ("noisy_input", "clean"))
    stored = stored_index("pretrained_index")["dlfleuret_unet"]["psnr_in"]
    assert psnr_images(noisy, clean) == pytest.approx(stored, abs=1e-9)
    assert psnr_global(noisy, clean) < stored


def test_activations_of_the_trained_unet() -> None:
    """Every block's output for the first image, found by following the wiring."""
    seen: dict[str, list[np.ndarray]] = {}

    class Watch(mg.Composite):
        def __init__(self, module: mg.Module, name: str) -> None:
            self.module, self.name = module, name

        def forward(self, *xs: Any) -> Any:
            y = self.module(*xs)
            seen.setdefault(self.name, []).append(y)
            return y

    model: Any = trained_unet(np.float64)
    middle = model.dblocks[1]
    model.eblocks = [Watch(model.eblocks[0], "eblock")] * 4
    model.dblocks = [
        Watch(model.dblocks[0], "dblock0"),
        *[Watch(middle, "dblock1")] * 2,
        Watch(model.dblocks[3], "dblock2"),
    ]
    for conv in ("conv0", "conv1", "conv2"):
        setattr(model, conv, Watch(getattr(model, conv), conv))
    model.forward(unit(tensors("test_images")["noisy_input"][:1], np.float64))
    stored = strip(tensors("dlfleuret_unet_io"), "act.")
    assert len(stored) == 11
    for key, expected in stored.items():
        name, use = key.split("#")
        np.testing.assert_allclose(
            seen[name][int(use)], expected, rtol=1e-6, atol=1e-6, err_msg=key
        )


# ------------------------------------------------------------------ two sibling networks


class SiblingUNet(mg.Composite):
    """Five scales of shared blocks, strided and transposed convolutions instead of pooling."""

    def __init__(self) -> None:
        up = {"stride": 2, "padding": 1, "output_padding": 1, "dtype": np.float64}
        self.act = mg.LeakyReLU(0.1)
        self.cat = mg.Concat()
        self.block1 = self.chain(self.conv(3, 48), self.conv(48, 48), self.conv(48, 48, 2))
        self.block2 = self.chain(self.conv(48, 48), self.conv(48, 48), self.conv(48, 48, 2))
        self.block3 = self.chain(
            self.conv(48, 48), self.conv(48, 48), mg.ConvTranspose2d(48, 48, 3, **up)
        )
        self.block4 = self.chain(
            self.conv(96, 96), self.conv(96, 96), mg.ConvTranspose2d(96, 96, 3, **up)
        )
        self.block5 = self.chain(
            self.conv(144, 96), self.conv(96, 96), mg.ConvTranspose2d(96, 96, 3, **up)
        )
        self.block6 = self.chain(self.conv(99, 64), self.conv(64, 32), self.conv(32, 3))

    @staticmethod
    def conv(inputs: int, outputs: int, stride: int = 1) -> mg.Conv2d:
        return mg.Conv2d(inputs, outputs, 3, stride=stride, padding=1, dtype=np.float64)

    def chain(self, a: mg.Module, b: mg.Module, c: mg.Module) -> mg.Sequential:
        return mg.Sequential({"0": a, "1": self.act, "2": b, "3": self.act, "4": c})

    def wire(self, x: Any) -> Any:
        downs = [x, self.block1(x)]
        for _ in range(3):
            downs.append(self.block2(downs[-1]))
        h = self.block3(self.block2(downs[-1]))
        h = self.block4(self.cat(h, downs[4]))
        for skip in (downs[3], downs[2], downs[1]):
            h = self.block5(self.cat(h, skip))
        return self.block6(self.cat(h, downs[0]))


def test_sibling_unet() -> None:
    model, images = SiblingUNet(), tensors("test_images")
    weights = {
        k.removeprefix("unet._"): a.astype(np.float64)
        for k, a in tensors("teocala_unet_weights").items()
    }
    assert sum(a.size for a in weights.values()) == 783_747
    model.load_state_dict(weights)
    stored = tensors("teocala_unet_io")
    y = model.forward(images["noisy_input"].astype(np.float64))
    np.testing.assert_allclose(y, stored["y_unclamped_float64"], rtol=0, atol=1e-9)
    y32 = model.astype(np.float32).forward(images["noisy_input"].astype(np.float32))
    np.testing.assert_allclose(y32, stored["y_unclamped_float64"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(np.clip(y32, 0, 255), stored["y_float32"], rtol=0, atol=1e-3)
    psnr = psnr_images(np.clip(y, 0, 255) / 255, unit(images["clean"], np.float64))
    assert psnr == pytest.approx(
        stored_index("pretrained_index")["teocala_unet"]["psnr_out"], abs=1e-4
    )


def test_sibling_simple_network() -> None:
    def point(inputs: int, outputs: int) -> mg.Sequential:
        conv = mg.Conv2d(inputs, outputs, 1, dtype=np.float64)
        return mg.Sequential(mg.Upsample(scale_factor=2), conv)

    stored, images = tensors("teocala_simple"), tensors("test_images")
    how = {"stride": 2, "dtype": np.float64}
    model = mg.Sequential(
        mg.Conv2d(3, 6, 2, **how),
        mg.ReLU(),
        mg.Conv2d(6, 12, 2, **how),
        mg.ReLU(),
        point(12, 6),
        mg.ReLU(),
        point(6, 3),
        mg.Sigmoid(),
    )
    weights = {k: a.astype(np.float64) for k, a in strip(stored, "weight.").items()}
    for name in ("weight", "bias"):
        for i in ("4", "6"):
            weights[f"{i}.1.{name}"] = weights.pop(f"{i}.{name}")
    model.load_state_dict(weights)
    x = images["noisy_input"].astype(np.float64)
    mean, std = stored["input_mean_std"]
    np.testing.assert_allclose([x.mean(), x.std(ddof=1)], [mean, std], rtol=1e-6)
    y = 255 * model.forward((x - mean) / std)
    np.testing.assert_allclose(y, stored["y_float32"], rtol=0, atol=1e-3)
    psnr = psnr_images(y / 255, unit(images["clean"], np.float64))
    assert psnr == pytest.approx(
        stored_index("pretrained_index")["teocala_simple"]["psnr_out"], abs=1e-4
    )
