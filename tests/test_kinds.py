"""The kind of array that comes out: dtype, device, number of axes; mixed kinds are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import definitions_only
from tests.table import fixed_samples
from validation.cases import Sample, Variant

LOSSES = [
    s
    for s in fixed_samples("normal")
    if s.row.layer.__name__.endswith("Loss")
    and s.settings.arguments.get("reduction") not in ("none", "image")
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sample", LOSSES, ids=str)
def test_the_value_of_a_loss_is_an_array_without_axes(sample: Sample, dtype: type) -> None:
    module, xs = sample.module(dtype), sample.inputs(dtype)
    for value in (module.forward(*xs), module.forward_and_vjp(*xs)[0]):
        assert isinstance(
            value, np.ndarray
        )  # a NumPy scalar is none: nothing can be assigned to it
        assert value.shape == () and value.dtype == dtype


@pytest.mark.parametrize("sample", fixed_samples("normal"), ids=str)
def test_settings_of_a_wider_dtype_promote_nothing(sample: Sample) -> None:
    """A setting taken from an array is a NumPy number of 64 bits."""
    wide = {
        key: type(value)(map(numpy_number, value))
        if isinstance(value, tuple)
        else numpy_number(value)
        for key, value in sample.settings.arguments.items()
    }
    settings = Variant(wide, sample.settings.shapes)
    module = Sample(sample.row, settings, sample.seed).module(np.float32)
    xs = sample.inputs(np.float32)
    with definitions_only():
        y, vjp = module.forward_and_vjp(*xs)
        ys = y if isinstance(y, tuple) else (y,)
        rng = np.random.default_rng(5)
        dxs = vjp(*(np.asarray(rng.standard_normal(a.shape), np.float32) for a in ys))
    for a in (*ys, *(dxs if isinstance(dxs, tuple) else (dxs,))):
        assert a is None or a.dtype == np.float32


def numpy_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return np.float64(value) if isinstance(value, float) else np.int64(value)


@pytest.mark.parametrize("slope", [0.1, 1.5])
def test_the_slope_is_a_python_number(slope: float) -> None:
    layer = mg.LeakyReLU(np.float64(slope))
    assert type(layer.negative_slope) is float
    with definitions_only():
        assert layer(np.full(3, -1, np.float32)).dtype == np.float32


def test_prelu_of_one_slope_takes_an_array_without_axes() -> None:
    layer = mg.PReLU(dtype=np.float64)
    y, vjp = layer.forward_and_vjp(np.array(-2.0))
    dx = vjp(np.array(3.0))
    assert y.shape == dx.shape == ()
    assert (y, dx) == (-0.5, 0.75)
    assert layer.d_weight == [-6.0]


@pytest.mark.parametrize("layer", [mg.AnnealedL0Loss, mg.HDRLoss])
def test_the_text_of_a_loss_shows_its_reduction(layer: Callable[..., mg.Module]) -> None:
    assert repr(layer(eps=0.5)) == f"{layer.__name__}(eps=0.5)"
    assert repr(layer(eps=0.5, reduction="sum")) == f"{layer.__name__}(eps=0.5, reduction='sum')"


# ------------------------------------------------------------------ mixed devices


class OnGpu(np.ndarray):
    """A NumPy array that passes for one on a GPU."""


JOINS: dict[str, tuple[Callable[[], mg.Module], int, str]] = {
    "Add": (mg.Add, 2, "b"),
    "Subtract": (mg.Subtract, 2, "b"),
    "Multiply": (mg.Multiply, 2, "b"),
    "Concat": (mg.Concat, 3, "input 2"),
    "MSELoss": (mg.MSELoss, 2, "target"),
    "L1Loss": (mg.L1Loss, 2, "target"),
    "MaskedMSELoss": (mg.MaskedMSELoss, 3, "mask"),
    "AnnealedL0Loss": (mg.AnnealedL0Loss, 2, "target"),
    "HDRLoss": (mg.HDRLoss, 2, "target"),
}


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize(("first", "last"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_inputs_on_two_devices_are_refused_and_both_are_named(
    name: str, first: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=OnGpu, __name__="cupy"))
    make, inputs, wrong = JOINS[name]
    x = np.random.default_rng(6).standard_normal((2, 3, 4, 4)).astype(np.float32)
    on = {"cpu": x, "cuda": x.view(OnGpu)}
    xs = (*[on[first]] * (inputs - 1), on[last])
    message = f"^{name}: {wrong}: expected float32 on {first} as .*, got float32 on {last}$"
    for call in (make().forward, make().forward_and_vjp):
        with pytest.raises(TypeError, match=message):
            call(*xs)


# ------------------------------------------------------------------ parameters are floating


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, np.bool_])
def test_loading_refuses_what_is_not_floating_and_changes_nothing(dtype: type) -> None:
    layer = mg.Conv2d(1, 2, 1)
    before = layer.weight
    arrays = {"weight": before + 1, "bias": np.zeros(2, dtype)}
    with pytest.raises(TypeError, match=f"bias: expected a floating dtype, got {np.dtype(dtype)}"):
        layer.load_state_dict(arrays)
    assert layer.weight is before


def test_loading_refuses_a_whole_number_for_a_floating_buffer() -> None:
    with pytest.raises(TypeError, match="gamma: expected a floating dtype, got int64"):
        mg.AnnealedL0Loss().load_state_dict({"gamma": np.array(1)})
