"""SGD and Adam against stored traces and against torch.optim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from minigrad.module import Module, Parameter
from minigrad.optim import SGD, Adam, Optimiser
from tests.shared import NOISE2NOISE, stored_index

torch = pytest.importorskip("torch")

SHAPES = [(3, 4), (5,), (2, 3, 3, 3), ()]


class Weights(Module):
    """A module with nothing but parameters w0, w1, ..."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        names = [f"w{i}" for i in range(len(arrays))]
        self.parameter_names = tuple(names)  # type: ignore[misc]
        self.set_parameters(**{n: a.copy() for n, a in zip(names, arrays, strict=True)})

    def give(self, grads: list[np.ndarray | None]) -> None:
        self.zero_grad()
        for i, grad in enumerate(grads):
            if grad is not None:
                self.accumulate(**{f"w{i}": grad})

    @property
    def values(self) -> list[np.ndarray]:
        return [p.value for p in self.parameters()]


def make(dtype: Any = np.float64, seed: int = 0, shapes: Any = SHAPES) -> Weights:
    rng = np.random.default_rng(seed)
    return Weights([np.asarray(rng.standard_normal(s), dtype=dtype) for s in shapes])


def grads_of(rng: np.random.Generator, weights: Weights, scale: float = 1.0) -> list[np.ndarray]:
    return [np.asarray(rng.standard_normal(v.shape) * scale, dtype=v.dtype) for v in weights.values]


STORED = stored_index("optimizers_index").get("optimizers", {"cases": []})["cases"]


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("case", STORED, ids=lambda c: c["name"])
def test_stored_traces(case: dict[str, Any]) -> None:
    tensors = load_file(NOISE2NOISE / "optimizers.safetensors")
    weights = Weights([tensors["p0.initial"], tensors["p1.initial"]])
    args = {k: v for k, v in case["args"].items() if k not in ("kind", "note")}
    lrs = case["lr_per_step"] or [args["lr"]] * 8
    optimiser: Optimiser
    if case["args"]["kind"] == "sgd":
        optimiser = SGD(weights.parameters(), **{**args, "lr": lrs[0]})
    else:
        betas = (args.pop("beta1"), args.pop("beta2"))
        optimiser = Adam(weights.parameters(), **args, betas=betas)
    for step in range(8):
        weights.give([tensors[f"p{i}.grad.{step}"] for i in range(2)])
        optimiser.lr = lrs[step]
        optimiser.step()
        for i in range(2):
            expected = tensors[f"{case['name']}.p{i}.after.{step}"]
            np.testing.assert_allclose(weights.values[i], expected, rtol=1e-13, atol=1e-15)


SGD_SETTINGS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.5, "dampening": 0.3},
    {"weight_decay": 0.1},
    {"momentum": 0.9, "weight_decay": 1e-3},
    {"momentum": 0.95, "nesterov": True},
    {"momentum": 0.7, "nesterov": True, "weight_decay": 0.02},
    {"momentum": 0.9, "dampening": 1.0},
    {"momentum": 1.5, "weight_decay": 0.3},
    {"dampening": 0.4},
    {"momentum": 0.2, "dampening": -0.5, "weight_decay": 0.5},
    {"momentum": 0.99, "dampening": 0.1},
]
ADAM_SETTINGS: list[dict[str, Any]] = [
    {},
    {"betas": (0.9, 0.99)},
    {"betas": (0.5, 0.9)},
    {"betas": (0.3, 0.8)},
    {"betas": (0.0, 0.0)},
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"amsgrad": True, "weight_decay": 0.01, "betas": (0.8, 0.7)},
    {"eps": 1e-3},
    {"eps": 0.0},
    {"betas": (0.99, 0.5), "eps": 1e-6},
    {"amsgrad": True, "eps": 1e-2},
]
PAIRS: list[Any] = [(SGD, torch.optim.SGD, s) for s in SGD_SETTINGS]
PAIRS += [(Adam, torch.optim.Adam, s) for s in ADAM_SETTINGS]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p[0].__name__}-{p[2]}")
def test_equals_torch(pair: Any, dtype: Any) -> None:
    """Random values, gradients of changing size, a changing rate, parameters left out at times."""
    ours_class, twin_class, settings = pair
    rng = np.random.default_rng(3)
    weights = make(dtype)
    twins = [torch.tensor(v, requires_grad=True) for v in weights.values]
    lr = 10 ** rng.uniform(-4, -1)
    ours = ours_class(weights.parameters(), lr=lr, **settings)
    twin = twin_class(twins, lr=lr, **settings, foreach=False)
    for step in range(12):
        grads: list[Any] = grads_of(rng, weights, 10 ** rng.uniform(-3, 1))
        grads[step % 4] = None if step % 3 == 2 else grads[step % 4]
        weights.give(grads)
        for t, g in zip(twins, grads, strict=True):
            t.grad = None if g is None else torch.tensor(g)
        ours.step()
        twin.step()
        if step == 6:
            ours.lr = twin.param_groups[0]["lr"] = lr / 7
    rtol, atol = (1e-12, 1e-13) if dtype is np.float64 else (2e-6, 5e-7)
    for value, t in zip(weights.values, twins, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, t.detach().numpy(), rtol=rtol, atol=atol)


def test_groups_as_torch() -> None:
    weights = make()
    p = weights.parameters()
    twins = [torch.tensor(v, requires_grad=True) for v in weights.values]
    split: list[dict[str, Any]] = [
        {"params": p[:2]},
        {"params": p[2:], "lr": 0.01, "momentum": 0.3},
    ]
    ours = SGD(split, lr=0.1, momentum=0.9)
    twin = torch.optim.SGD(
        [{"params": twins[:2]}, {"params": twins[2:], "lr": 0.01, "momentum": 0.3}],
        lr=0.1,
        momentum=0.9,
    )
    rng = np.random.default_rng(1)
    for step in range(5):
        grads = grads_of(rng, weights)
        weights.give(list(grads))
        for t, g in zip(twins, grads, strict=True):
            t.grad = torch.tensor(g)
        ours.step()
        twin.step()
        if step == 2:
            ours.groups[1]["lr"] = twin.param_groups[1]["lr"] = 0.5
    for value, t in zip(weights.values, twins, strict=True):
        np.testing.assert_allclose(value, t.detach().numpy(), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("settings", [(SGD, {"momentum": 0.9, "weight_decay": 0.1}), (Adam, {})])
def test_in_place_and_untouched(settings: Any) -> None:
    """Addresses stay, gradients are not written, untouched parameters and rate arrays stay."""
    cls, kwargs = settings
    weights = make()
    optimiser = cls(weights.parameters(), lr=0.1, **kwargs)
    addresses = [v.ctypes.data for v in weights.values]
    lr_array = optimiser.groups[0]["lr"]
    before = weights.values[1].copy()
    rng = np.random.default_rng(2)
    for _ in range(3):
        grads: list[Any] = grads_of(rng, weights)
        kept = [g.copy() for g in grads]
        grads[1] = None
        weights.give(grads)
        optimiser.step()
        for i in (0, 2, 3):
            np.testing.assert_array_equal(weights.parameters()[i].grad, kept[i])
    assert addresses == [v.ctypes.data for v in weights.values]
    np.testing.assert_array_equal(weights.values[1], before)
    assert not any(key.startswith("groups.0.params.1.") for key in optimiser.state_dict())
    optimiser.lr = 0.25
    assert optimiser.groups[0]["lr"] is lr_array
    assert lr_array == 0.25 and lr_array.shape == () and lr_array.dtype == np.float64


def test_rate_can_be_scaled_in_place() -> None:
    optimiser = SGD(make(np.float32).parameters(), lr=0.5)
    optimiser.groups[0]["lr"] *= 0.5
    assert optimiser.lr == 0.25
    assert optimiser.groups[0]["lr"].dtype == np.float32


@pytest.mark.parametrize("cls", [SGD, Adam])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_state_round_trip_continues_to_the_bit(cls: Any, dtype: Any) -> None:
    options = {"momentum": 0.9} if cls is SGD else {"amsgrad": True}
    rng = np.random.default_rng(5)
    weights = make(dtype)
    optimiser = cls(weights.parameters(), lr=0.01, weight_decay=0.1, **options)
    for _ in range(4):
        weights.give([*grads_of(rng, weights)[:3], None])
        optimiser.step()
    state = {k: v.copy() for k, v in optimiser.state_dict().items()}
    assert all(isinstance(v, np.ndarray) for v in state.values())

    other = Weights(weights.values)
    resumed = cls(other.parameters(), lr=7.0)
    resumed.load_state_dict(state)
    assert resumed.lr == 0.01
    for _ in range(3):
        grads = grads_of(rng, weights)
        for w, o in ((weights, optimiser), (other, resumed)):
            w.give(list(grads))
            o.step()
    for a, b in zip(weights.values, other.values, strict=True):
        np.testing.assert_array_equal(a, b)
    assert type(resumed.groups[0]["weight_decay"]) is float
    if cls is Adam:
        assert resumed.groups[0]["amsgrad"] is True


def test_load_is_all_or_nothing() -> None:
    weights = make()
    optimiser = Adam(weights.parameters(), lr=0.1)
    weights.give(list(grads_of(np.random.default_rng(0), weights)))
    optimiser.step()
    good = optimiser.state_dict()
    bad: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
        "missing": (
            {k: v for k, v in good.items() if k != "groups.0.eps"},
            KeyError,
            "groups.0.eps",
        ),
        "unknown": ({**good, "groups.9.lr": good["groups.0.lr"]}, KeyError, "groups.9.lr"),
        "shape": (
            {**good, "groups.0.params.0.exp_avg": np.zeros((4, 3))},
            ValueError,
            r"\(3, 4\).*\(4, 3\)",
        ),
        "dtype": (
            {**good, "groups.0.params.0.exp_avg": np.zeros((3, 4), np.float32)},
            ValueError,
            "float32",
        ),
        "range": ({**good, "groups.0.lr": np.asarray(-1.0)}, ValueError, "-1.0"),
        "partial": (
            {k: v for k, v in good.items() if k != "groups.0.params.2.step"},
            KeyError,
            "params.2",
        ),
    }
    for arrays, error, message in bad.values():
        changed = {k: v + 1 if k.endswith("exp_avg") else v for k, v in arrays.items()}
        with pytest.raises(error, match=message):
            optimiser.load_state_dict(changed)
        for key, value in optimiser.state_dict().items():
            np.testing.assert_array_equal(value, good[key])


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (SGD, {"lr": -0.1}, "SGD: lr: .*-0.1"),
        (SGD, {"lr": float("nan")}, "SGD: lr: .*nan"),
        (SGD, {"momentum": -1}, "SGD: momentum: .*-1"),
        (SGD, {"weight_decay": -2.0}, "SGD: weight_decay: .*-2.0"),
        (SGD, {"nesterov": True}, "nesterov.*momentum=0"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening=0.1"),
        (Adam, {"lr": "fast"}, "Adam: lr: .*'fast'"),
        (Adam, {"betas": (0.9, 1.0)}, r"Adam: betas: .*\(0.9, 1.0\)"),
        (Adam, {"betas": 0.9}, "Adam: betas: .*0.9"),
        (Adam, {"eps": -1e-8}, "Adam: eps: .*-1e-08"),
    ],
)
def test_bad_settings(cls: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(make().parameters(), **kwargs)


def test_bad_parameters() -> None:
    weights = make()
    p = weights.parameters()
    with pytest.raises(ValueError, match="at least one"):
        SGD([])
    with pytest.raises(ValueError, match="at least one"):
        SGD([{"params": []}])
    with pytest.raises(ValueError, match="w1.*more than once"):
        SGD([{"params": p[:2]}, {"params": [Parameter(weights, "w1")]}])
    with pytest.raises(KeyError, match="momentun"):
        SGD([{"params": p, "momentun": 0.9}])
    with pytest.raises(TypeError, match="float32 on cpu, float64 on cpu"):
        SGD([*p, *make(np.float32).parameters()])
    optimiser = SGD(p)
    with pytest.raises(KeyError, match="params"):
        optimiser.groups[0]["params"] = []
    with pytest.raises(ValueError, match="lr: .*-3"):
        optimiser.lr = -3
    weights.astype(np.float32)
    weights.give(list(grads_of(np.random.default_rng(0), weights)))
    with pytest.raises(TypeError, match="new optimiser after astype"):
        optimiser.step()


def test_a_group_has_no_back_door() -> None:
    """Whatever way a setting takes into a group, it is checked; the array of the rate stays."""
    group = SGD(make().parameters(), lr=0.1).groups[0]
    rate = group["lr"]
    group.update(lr=5.0, momentum=1)
    assert group["lr"] is rate and rate == 5.0 and group.lr_value == 5.0
    assert type(group["momentum"]) is float
    assert group.setdefault("lr", 7.0) is rate and rate == 5.0
    for wrong in ({"lr": -1.0}, {"momentum": "much"}):
        with pytest.raises(ValueError, match="SGD: (lr|momentum): expected a number >= 0"):
            group.update(wrong)
    with pytest.raises(KeyError, match="unknown setting 'momentun'"):
        group.setdefault("momentun", 0.9)
    with pytest.raises(KeyError, match="params"):
        group.update(params=[])
    with pytest.raises(TypeError):
        group |= {"lr": -1.0}  # type: ignore[operator]
    for remove in (lambda: group.pop("lr"), group.popitem, group.clear):
        with pytest.raises(TypeError, match="cannot be removed"):
            remove()
    assert sorted(group) == ["dampening", "lr", "momentum", "nesterov", "params", "weight_decay"]
    assert "4 parameters" in repr(group) and "'lr': 5.0" in repr(group)


def test_no_temporaries() -> None:
    """A step in the steady state allocates nothing of the size of a parameter."""
    import tracemalloc

    weights = make(shapes=[(200, 500)])
    weights.give(list(grads_of(np.random.default_rng(0), weights)))
    for optimiser in (
        SGD(weights.parameters(), momentum=0.9, weight_decay=0.1, nesterov=True, lr=1e-3),
        Adam(weights.parameters(), weight_decay=0.1, amsgrad=True),
    ):
        optimiser.step()
        tracemalloc.start()
        optimiser.step()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50_000  # one parameter has 800,000 bytes
