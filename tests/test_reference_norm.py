"""Normalisations: stored tensors, the state of BatchNorm2d, and what the rows do not draw.

The tensors were made in float64 by PyTorch; they are read from the folders `reference/hdn` and
`reference/psl_ae` of the shared folder. Where it is absent those tests are skipped, but never in
continuous integration.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import minigrad as mg
from tests.table import fixed_samples
from validation.against_torch import check_float64
from validation.cases import Sample

RNG = np.random.default_rng(21)
PUBLISHED = (
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
)


def close(actual: Any, expected: Any) -> None:
    """Float64: 1e-10 of the largest entry."""
    assert actual.dtype == np.float64
    size = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10 * size)


# --------------------------------------------------------------------------- stored tensors


def stored_batch_norm(shared: Path, case: str) -> dict[str, np.ndarray]:
    stored = load_file(shared / "reference" / "hdn" / "ops.safetensors")
    prefix = f"batchnorm_{case}."
    return {k.removeprefix(prefix): a for k, a in stored.items() if k.startswith(prefix)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", ["train", "eval"])
def test_batch_norm(shared: Path, case: str) -> None:
    t = stored_batch_norm(shared, case)
    layer = mg.BatchNorm2d(3, dtype=np.float64).train(case == "train")
    arrays = {"weight": t["in.gamma"], "bias": t["in.beta"]}
    arrays |= {k: t.get(k, getattr(layer, k)) for k in ("running_mean", "running_var")}
    layer.load_state_dict(arrays)  # the count of batches may be absent
    y, vjp = layer.forward_and_vjp(t["in.x"])
    close(y, t["out0"])
    close(vjp(t["cot0"]), t["grad.x"])
    close(layer.d_weight, t["grad.gamma"])
    close(layer.d_bias, t["grad.beta"])


@pytest.mark.filterwarnings("error")
def test_frozen_batch_norm_is_the_evaluation_mode_of_the_stored_one(shared: Path) -> None:
    t = stored_batch_norm(shared, "eval")
    layer = mg.BatchNorm2d(3, frozen=True, dtype=np.float64)
    arrays = {"weight": t["in.gamma"], "bias": t["in.beta"]}
    layer.load_state_dict(arrays | {k: t[k] for k in ("running_mean", "running_var")})
    y, vjp = layer.forward_and_vjp(t["in.x"])
    close(y, t["out0"])
    close(vjp(t["cot0"]), t["grad.x"])
    close(layer.d_weight, t["grad.gamma"])
    assert layer.training and layer.num_batches_tracked == 0
    np.testing.assert_array_equal(layer.running_var, t["running_var"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dim", [1, -1])
def test_l2_normalize_with_the_floor_under_the_square(shared: Path, dim: int) -> None:
    """The stored value is <y, (1, ..., 10)> summed over the rows; one row is nearly zero."""
    file = shared / "reference" / "psl_ae" / "losses_float64.safetensors"
    t = {k: a for k, a in load_file(file).items() if k.startswith("l2_normalize_dot_1to10.")}
    p = t["l2_normalize_dot_1to10.p"]
    weights = np.broadcast_to(np.arange(1.0, 11.0), p.shape)
    y, vjp = mg.Normalize(dim=dim, eps=1e-12, floor="square").forward_and_vjp(p)
    close(np.asarray((y * weights).sum()), t["l2_normalize_dot_1to10.value"][0])
    close(vjp(weights), t["l2_normalize_dot_1to10.grad.p"])
    same = mg.Normalize(dim=dim, eps=1e-6)
    np.testing.assert_array_equal(same(p), y)


# --------------------------------------------------------------------------- odd values


@pytest.mark.parametrize(
    "sample",
    [
        s
        for s in fixed_samples("normal")
        if s.row.name in ("BatchNorm2d", "BFBatchNorm2d", "BFStdNorm2d", "Normalize")
    ],
    ids=str,
)
def test_infinities_and_nan_stand_where_torch_has_them(sample: Sample) -> None:
    """In float64 only: in float32 the variance of huge numbers is no float32 number."""
    check_float64(sample.with_values("special"))


@pytest.mark.parametrize("dim", [0, -1, 2])
@pytest.mark.parametrize("eps", [1e-12, 1.0])
def test_normalize_along_any_axis(dim: int, eps: float) -> None:
    x, dy = RNG.standard_normal((2, 4, 3, 5))[..., 0], RNG.standard_normal((2, 4, 3))
    y, vjp = mg.Normalize(dim=dim, eps=eps).forward_and_vjp(x)
    theirs = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.normalize(theirs, dim=dim, eps=eps)
    (dx,) = torch.autograd.grad(expected, theirs, torch.tensor(dy))
    close(y, expected.detach().numpy())
    close(vjp(dy), dx.numpy())


def test_a_constant_channel_gives_no_nan() -> None:
    """The deviation is 0 there; its derivative counts as 0."""
    x = RNG.standard_normal((2, 2, 3, 3))
    x[:, 0] = 0.0
    layer = mg.BFBatchNorm2d(2, dtype=np.float64)
    with np.errstate(all="raise"):
        y, vjp = layer.forward_and_vjp(x)
        dx = vjp(np.ones_like(y))
    assert not y[:, 0].any() and np.isfinite(dx).all()
    np.testing.assert_allclose(dx[:, 0], 1 / layer.eps)


def test_a_variance_far_from_zero_keeps_its_digits() -> None:
    """Numbers around 4096 with deviation 1: a mean of squares would lose them in float32."""
    x = RNG.standard_normal((8, 1, 16, 16))
    high = (x + 4096).astype(np.float32)
    layer = mg.BatchNorm2d(1)
    y = layer(high)
    exact = high.astype(np.float64)
    expected = (exact - exact.mean()) / exact.std()
    assert np.abs(y - expected).max() < 1e-3
    assert layer.running_var[0] == pytest.approx(0.9 + 0.1 * exact.var(ddof=1), rel=1e-4)


# --------------------------------------------------------------------------- single values


def test_a_cotangent_far_from_zero_costs_the_weight_no_digits() -> None:
    """x around 100 with deviation 1, dy around 10: sum xh is rounding alone, and counts as 0."""
    rng = np.random.default_rng(8)
    x = (100 + rng.standard_normal((8, 4, 32, 32))).astype(np.float32)
    dy = (10 + rng.standard_normal(x.shape)).astype(np.float32)
    found = {}
    for dtype in (np.float32, np.float64):
        layer = mg.BatchNorm2d(4, dtype=dtype)
        dx = layer.forward_and_vjp(x.astype(dtype))[1](dy.astype(dtype))
        found[dtype] = dx, layer.d_weight
    for single, exact in zip(*found.values(), strict=True):
        np.testing.assert_allclose(single, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


def test_one_value_per_channel_is_enough_with_running_statistics() -> None:
    x = RNG.standard_normal((1, 3, 1, 1)).astype(np.float32)
    for layer in (mg.BatchNorm2d(3), mg.BFBatchNorm2d(3)):
        with pytest.raises(ValueError, match=r"more than one value per channel.*\(1, 3, 1, 1\)"):
            layer(x)
        y, vjp = layer.eval().forward_and_vjp(x)
        np.testing.assert_allclose(y, x, rtol=1e-4)
        assert vjp(y).shape == x.shape
    np.testing.assert_allclose(mg.BFStdNorm2d(3)(x), x / math.sqrt(1e-5), rtol=1e-6)


# --------------------------------------------------------------------------- several batches


@pytest.mark.parametrize("momentum", [0.1, 0.95, None])
def test_running_statistics_of_several_batches(momentum: float | None) -> None:
    layer = mg.BatchNorm2d(3, momentum=momentum, dtype=np.float64)
    twin = torch.nn.BatchNorm2d(3, momentum=momentum, dtype=torch.float64)
    addresses = [layer.running_mean.ctypes.data, layer.running_var.ctypes.data]
    for n in (1, 4, 0, 2):
        x = RNG.standard_normal((n, 3, 4, 5)) + n
        layer(x)
        twin(torch.tensor(x))
    state = layer.state_dict()
    assert list(state) == list(twin.state_dict()) == list(PUBLISHED)
    for key, tensor in twin.state_dict().items():
        np.testing.assert_allclose(state[key], tensor.numpy(), rtol=1e-13, err_msg=key)
    assert addresses == [layer.running_mean.ctypes.data, layer.running_var.ctypes.data]


def test_cumulative_average_is_the_mean_over_the_batches() -> None:
    layer = mg.BatchNorm2d(2, momentum=None, dtype=np.float64)
    batches = [RNG.standard_normal((3, 2, 2, 2)) for _ in range(4)]
    for x in batches:
        layer(x)
    np.testing.assert_allclose(layer.running_mean, np.mean([x.mean((0, 2, 3)) for x in batches], 0))


def test_frozen_statistics_stay_while_the_weights_learn() -> None:
    layer = mg.BatchNorm2d(2, eps=1e-3, frozen=True)
    x = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
    y, vjp = layer.forward_and_vjp(x)
    vjp(y)
    np.testing.assert_allclose(y, x / math.sqrt(1 + 1e-3), rtol=1e-6)
    assert layer.training and not layer.running_mean.any() and (layer.running_var == 1).all()
    assert layer.num_batches_tracked == 0
    assert all(p.touched and p.grad.all() for p in layer.parameters())


def test_a_batch_in_between_does_not_change_a_vjp_by_running_statistics() -> None:
    x, dy = RNG.standard_normal((2, 4, 2, 3, 3))
    for make in (mg.BatchNorm2d, mg.BFBatchNorm2d, mg.BFStdNorm2d):
        alone, disturbed = (make(2, dtype=np.float64).eval() for _ in range(2))
        expected = alone.forward_and_vjp(x)[1](dy)
        _, vjp = disturbed.forward_and_vjp(x)
        disturbed.train()(5 * x + 1)
        np.testing.assert_array_equal(vjp(dy), expected)
        for a, b in zip(alone.parameters(), disturbed.parameters(), strict=True):
            np.testing.assert_array_equal(a.grad, b.grad)


# --------------------------------------------------------------------------- state


def test_the_count_of_batches_is_a_whole_number_whatever_the_dtype(tmp_path: Path) -> None:
    layer = mg.BatchNorm2d(3)
    layer(RNG.standard_normal((2, 3, 4, 4)).astype(np.float32))
    layer.astype(np.float64)
    count = layer.state_dict()["num_batches_tracked"]
    assert count.dtype == np.int64 and count.shape == () and count == 1
    assert layer.running_mean.dtype == layer.weight.dtype == np.float64
    mg.checkpoint.save(tmp_path / "norm.safetensors", layer.state_dict())
    other = mg.BatchNorm2d(3)
    other.load_state_dict(mg.checkpoint.load(tmp_path / "norm.safetensors")[0])
    for key, array in layer.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key], array)
        assert other.state_dict()[key].dtype == array.dtype


def test_old_files_lack_the_count_and_nothing_else_may_be_missing() -> None:
    layer = mg.BatchNorm2d(3)
    state = {k: a.copy() for k, a in layer.state_dict().items()}
    del state["num_batches_tracked"]
    layer.load_state_dict(state)
    del state["running_var"]
    with pytest.raises(KeyError, match="running_var"):
        layer.load_state_dict(state)


def test_without_weights_or_statistics_the_state_has_no_such_keys() -> None:
    assert list(mg.BatchNorm2d(3, affine=False).state_dict()) == list(PUBLISHED[2:])
    bare = mg.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert not bare.state_dict() and not bare.parameters()
    assert repr(bare) == (
        "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)"
    )


def test_the_published_bias_free_states() -> None:
    layer = mg.BFBatchNorm2d(3)
    assert list(layer.state_dict()) == list(PUBLISHED)
    assert list(layer.named_parameters()) == ["weight"], "the bias has no gradient"
    layer(RNG.standard_normal((2, 3, 4, 4)).astype(np.float32))
    assert layer.num_batches_tracked == 0 and not layer.running_mean.any()
    assert (layer.running_var != 1).all()
    other = mg.BFStdNorm2d(3)
    shapes = {key: array.shape for key, array in other.state_dict().items()}
    assert shapes == {"gamma": (1, 3, 1, 1), "running_sd": (1, 3, 1, 1)}


@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_bias_free_norms_are_homogeneous_in_evaluation_mode(factor: float) -> None:
    x = RNG.standard_normal((2, 3, 4, 4))
    for layer in (mg.BFBatchNorm2d(3, dtype=np.float64), mg.BFStdNorm2d(3, dtype=np.float64)):
        layer(x)
        np.testing.assert_array_equal(layer.eval()(factor * x), factor * layer(x))


def test_a_checkpointed_norm_counts_a_batch_once() -> None:
    inner = mg.BatchNorm2d(3, dtype=np.float64)
    x = RNG.standard_normal((2, 3, 4, 4))
    y, vjp = mg.Checkpoint(inner).forward_and_vjp(x)
    vjp(y)
    assert inner.num_batches_tracked == 1
    np.testing.assert_allclose(inner.running_mean, 0.1 * x.mean((0, 2, 3)))
