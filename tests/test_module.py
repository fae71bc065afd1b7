"""Modules: parameters, cotangents, state dictionaries, modes, dtypes, text."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import minigrad as mg
import zoo
from validation.transfer import copy_from_twin, copy_to_twin, make_twin
from zoo.architectures import N2NPReLUUNet


class Norm(mg.Module):
    """A leaf with a parameter that may be absent, a buffer, and an optional buffer."""

    parameter_names = ("weight", "bias")
    buffer_names = ("running", "count")
    optional_names = ("count",)

    def __init__(self, bias: bool = True) -> None:
        self.set_parameters(weight=np.ones(3), bias=np.zeros(3) if bias else None)
        self.running, self.count = np.zeros(3), np.array(0)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x


class Tree(mg.Module):
    """Children as attribute, list, tuple and dict; one of them twice."""

    def __init__(self) -> None:
        self.first = mg.Conv2d(1, 2, 1)
        self.listed = [mg.Conv2d(2, 2, 1), self.first]
        self.tupled = (mg.ReLU(), mg.PReLU(2))
        self.named = {"a": Norm(), "b": Norm(bias=False)}
        self.number = 3


# ------------------------------------------------------------------ the tree


def test_children_in_order_with_dotted_names() -> None:
    names = ["first", "listed.0", "listed.1", "tupled.0", "tupled.1", "named.a", "named.b"]
    assert list(Tree().children()) == names
    assert [name for name, _ in Tree().named_modules()] == ["", *names]


def test_a_shared_module_is_visited_once_by_parameters_and_modules() -> None:
    tree = Tree()
    assert list(tree.named_parameters()) == [
        "first.weight",
        "first.bias",
        "listed.0.weight",
        "listed.0.bias",
        "tupled.1.weight",
        "named.a.weight",
        "named.a.bias",
        "named.b.weight",
    ]
    assert len(list(tree.modules())) == 7
    assert sum(m is tree.first for m in tree.modules()) == 1


def test_state_dict_lists_every_alias_and_the_buffers() -> None:
    tree = Tree()
    state = tree.state_dict()
    assert state["first.weight"] is state["listed.1.weight"] is tree.first.weight
    assert {"named.a.running", "named.a.count", "named.b.running"} <= set(state)
    assert "named.b.bias" not in state


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("n2n-simple", {}),
        ("n2n-simple", {"upsampling": "nearest"}),
        ("n2n-prelu-unet", {"features": 4}),
        ("n2n-prelu-unet", {"features": 4, "share_blocks": False, "stem_activation": "relu"}),
        ("n2n-unet", {}),
    ],
)
def test_state_dict_keys_and_shapes_equal_the_twins_both_ways(name: str, arguments: Any) -> None:
    model = zoo.create(name, **arguments)
    twin = make_twin(model)
    ours = {k: a.shape for k, a in model.state_dict().items()}
    assert ours == {k: tuple(t.shape) for k, t in twin.state_dict().items()}
    assert list(model.named_parameters()) == [k for k, _ in twin.named_parameters()]
    other = zoo.create(name, **arguments)
    copy_from_twin(twin, other)
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key], array)
    copy_to_twin(other, twin)


# ------------------------------------------------------------------ loading


def test_load_binds_copies_and_adopts_the_dtype() -> None:
    layer = mg.Conv2d(1, 2, 1)
    arrays = {"weight": np.ones((2, 1, 1, 1)), "bias": np.zeros(2)}
    parameter = layer.parameters()[0]
    layer.load_state_dict(arrays)
    assert layer.weight.dtype == np.float64 and layer.d_weight.dtype == np.float64
    arrays["weight"][...] = 7
    assert layer.weight.max() == 1
    assert parameter.value is layer.weight, "handles stay valid"


def test_load_keeps_a_shared_module_shared() -> None:
    model = N2NPReLUUNet(features=4)
    arrays = {k: a.copy() for k, a in model.state_dict().items()}
    arrays["eblocks.0.conv.bias"] += 1
    arrays["eblocks.3.conv.bias"] += 2  # where aliases differ the last one holds
    model.load_state_dict(arrays)
    assert model.eblocks[0] is model.eblocks[3]
    np.testing.assert_array_equal(model.eblocks[0].conv.bias, arrays["eblocks.3.conv.bias"])


def test_load_errors_list_the_names_and_change_nothing() -> None:
    layer = mg.Conv2d(1, 2, 1)
    before = layer.weight
    with pytest.raises(KeyError, match=r"missing \['bias'\], unexpected \['biases'\]"):
        layer.load_state_dict({"weight": layer.weight, "biases": layer.bias})
    shapes = r"bias: expected shape \(2,\), got \(3,\)"
    with pytest.raises(ValueError, match=shapes):
        layer.load_state_dict({"weight": layer.weight + 1, "bias": np.zeros(3)})
    assert layer.weight is before
    layer.load_state_dict({"weight": layer.weight + 1}, strict=False)
    np.testing.assert_array_equal(layer.weight, before + 1)


def test_optional_buffers_may_be_missing() -> None:
    norm = Norm()
    state = norm.state_dict()
    del state["count"]
    norm.load_state_dict(state)
    del state["running"]
    with pytest.raises(KeyError, match="running"):
        norm.load_state_dict(state)


# ------------------------------------------------------------------ dtype and device


def test_astype_rebinds_everything_that_is_floating_and_zeroes_cotangents() -> None:
    tree = Tree()
    tree.first.accumulate(weight=np.ones_like(tree.first.weight))
    assert tree.astype(np.float16) is tree
    for module in tree.modules():
        for name in module.parameter_names:
            if getattr(module, name) is not None:
                assert getattr(module, name).dtype == getattr(module, f"d_{name}").dtype == "f2"
    assert tree.named["a"].running.dtype == np.float16
    assert tree.named["a"].count.dtype == np.int64
    assert not tree.first.d_weight.any() and not tree.first.touched
    assert tree.first is tree.listed[1]


def test_to_cpu_keeps_the_values() -> None:
    layer = mg.Conv2d(1, 2, 1)
    weight = layer.weight.copy()
    assert layer.to("cpu") is layer
    np.testing.assert_array_equal(layer.weight, weight)


@pytest.mark.skipif(
    mg.resolve_device("auto") == "cuda", reason="there is a usable GPU: nothing to refuse"
)
def test_to_cuda_without_a_gpu_says_why() -> None:
    with pytest.raises(mg.DeviceError, match="device 'cuda' cannot be used"):
        mg.Conv2d(1, 2, 1).to("cuda")


def test_mixed_dtypes_are_refused_and_named() -> None:
    with pytest.raises(TypeError, match="Conv2d: x is float64 but weight is float32: use astype"):
        mg.Conv2d(1, 2, 1).forward(np.ones((1, 1, 2, 2)))


# ------------------------------------------------------------------ cotangents


def test_accumulate_adds_in_place_and_marks() -> None:
    layer = mg.Conv2d(1, 2, 1, dtype=np.float64)
    weight, bias = layer.parameters()
    place = layer.d_weight
    assert not weight.touched
    for _ in range(2):
        layer.accumulate(weight=np.ones((2, 1, 1, 1)), bias=None)
    assert layer.d_weight is place is weight.grad
    np.testing.assert_array_equal(weight.grad, 2)
    assert weight.touched and not bias.touched
    layer.zero_grad()
    assert layer.d_weight is place and not place.any() and not weight.touched


def test_accumulate_skips_absent_parameters() -> None:
    layer = mg.Conv2d(1, 2, 1, bias=False)
    layer.accumulate(bias=np.ones(2, np.float32))
    assert layer.d_bias is None and not layer.touched


@pytest.mark.parametrize(
    ("cotangent", "words"),
    [
        (np.ones((2, 1), np.float32), r"expected float32 \(2, 1, 1, 1\), got float32 \(2, 1\)"),
        (np.ones((2, 1, 1, 1)), r"expected float32 \(2, 1, 1, 1\), got float64"),
    ],
)
def test_accumulate_refuses_another_shape_or_dtype(cotangent: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match="Conv2d: cotangent of weight: " + words):
        mg.Conv2d(1, 2, 1).accumulate(weight=cotangent)


def test_zero_grad_reaches_the_whole_tree() -> None:
    tree = Tree()
    for parameter in tree.parameters():
        parameter.owner.accumulate(**{parameter.name: np.ones_like(parameter.value)})
    tree.zero_grad()
    assert not any(p.touched or p.grad.any() for p in tree.parameters())


def test_parameter_values_can_be_assigned_but_not_reshaped() -> None:
    layer = mg.Conv2d(1, 2, 1)
    bias = layer.parameters()[1]
    bias.value = np.ones(2, np.float32)
    np.testing.assert_array_equal(layer.bias, 1)
    for wrong in (np.ones(3, np.float32), np.ones(2)):
        with pytest.raises(ValueError, match=r"Conv2d.bias: expected float32 \(2,\)"):
            bias.value = wrong
    assert repr(bias) == "Parameter(Conv2d.bias float32 (2,))"


def test_one_instance_does_not_touch_another() -> None:
    a, b = mg.Conv2d(1, 1, 1), mg.Conv2d(1, 1, 1)
    a.accumulate(weight=np.ones((1, 1, 1, 1), np.float32))
    assert a.touched == {"weight"} and not b.touched
    assert not mg.ReLU().touched


# ------------------------------------------------------------------ modes, text, copies


def test_train_and_eval_set_the_whole_tree() -> None:
    tree = Tree()
    assert all(m.training for m in tree.modules())
    assert tree.eval() is tree
    assert not any(m.training for m in tree.modules())
    tree.train()
    assert all(m.training for m in tree.modules())


def test_repr_shows_the_tree_with_arguments() -> None:
    text = repr(mg.Sequential(mg.Conv2d(3, 8, 3, padding=1), mg.LeakyReLU(0.1)))
    assert text.splitlines()[0] == "Sequential("
    assert "(0): Conv2d(3, 8" in text and "(1): LeakyReLU(0.1)" in text
    assert repr(mg.ReLU()) == "ReLU()"


def test_undefined_methods_name_the_class() -> None:
    class Nothing(mg.Module):
        """Has neither."""

    with pytest.raises(NotImplementedError, match="Nothing does not define forward"):
        Nothing()(np.ones(1))
    with pytest.raises(NotImplementedError, match="Nothing does not define forward_and_vjp"):
        Nothing().forward_and_vjp(np.ones(1))


def test_modules_can_be_pickled() -> None:
    model = N2NPReLUUNet(features=3)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.eblocks[0] is copy.eblocks[3]
    x = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    np.testing.assert_array_equal(copy(x), model(x))


def test_a_partial_load_keeps_the_gradients_of_the_other_parameters(
    rng: np.random.Generator,
) -> None:
    layer = mg.Conv2d(2, 3, 3, dtype=np.float64)
    x = rng.standard_normal((2, 2, 5, 5))
    y, vjp = layer.forward_and_vjp(x)
    vjp(rng.standard_normal(y.shape))
    optimiser = mg.SGD(layer.parameters(), lr=0.5)
    expected = layer.bias - 0.5 * layer.d_bias
    loaded = rng.standard_normal(layer.weight.shape)
    layer.load_state_dict({"weight": loaded}, strict=False)
    assert layer.touched == {"bias"}
    optimiser.step()
    np.testing.assert_array_equal(layer.weight, loaded)
    np.testing.assert_allclose(layer.bias, expected)
