"""PSL-AE's network and its clusters: shapes, routing, sampling, sides, leaves of its objectives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
import zoo
from zoo.architectures import PSLAE
from zoo.architectures.psl_ae import Decoders, PatchDecoder
from zoo.inference.receptive import receptive_field
from zoo.objectives.clusters import (
    Agreement,
    CrossEntropy,
    ExpertErrors,
    GatedExperts,
    Nearest,
    Used,
    kmeans,
)

SMALL: dict[str, Any] = {"width": 2, "block": 8, "overlap": 2, "latent": 5, "clusters": 3}


def small(**arguments: Any) -> Any:
    """A network whose patches go to different decoders, in float64."""
    rng = np.random.default_rng(0)
    model: Any = zoo.create("psl-ae", dtype=np.float64, rng=rng, **{**SMALL, **arguments})
    for parameter in model.parameters():
        parameter.value[...] += 0.1 * rng.standard_normal(parameter.value.shape)
    if model.classifier is not None:
        fc1, fc2, b = model.classifier.fc1, model.classifier.fc2, model.block
        fc2.weight *= 20
        fc2.bias[...] = 0
        z = model.encoder(picture(20, 3, b, b) * np.linspace(0, 1, 20)[:, None, None, None])
        fc2.bias[...] = -fc2(np.maximum(fc1(z), 0)).mean(0)
    return model


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape)


# ----------------------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("arguments", "encoder", "decoder", "classifier"),
    [
        ({}, 416_424, 782_491, 8_386),
        ({"clusters": 1}, 416_424, 782_491, 8_321),
        ({"clusters": 4, "block": 24, "overlap": 8}, 785_064, 1_442_971, 8_516),
        ({"prior": "gate", "two_heads": True, "clusters": 1}, 749_210, 821_243, 0),
        (
            {"prior": "gate", "two_heads": True, "clusters": 4, "released": True},
            750_560,
            825_435,
            0,
        ),
    ],
)
def test_published_numbers_of_parameters(
    arguments: Any, encoder: int, decoder: int, classifier: int
) -> None:
    model: Any = zoo.create("psl-ae", **arguments)

    def count(module: mg.Module | None) -> int:
        return 0 if module is None else sum(p.value.size for p in module.parameters())

    found = count(model.encoder), count(model.decoders[0]), count(model.classifier)
    assert found == (encoder, decoder, classifier)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (14, 20), (15, 9), (3, 1), (13, 31)])
def test_any_size(h: int, w: int) -> None:
    model, x = small(), picture(2, 3, h, w)
    y = model.denoise(x)
    assert y.shape == x.shape
    assert y.min() > 0 and y.max() < 1
    np.testing.assert_allclose(model.denoise(x[1:]), y[1:], rtol=1e-12)


def test_the_whole_is_its_patches_faded() -> None:
    model, x = small(), picture(1, 3, 14, 20) * np.linspace(0, 1, 20)
    patches = model.divide(x)
    assert patches.shape == (6, 3, 8, 8)  # 2 down, 3 across, column by column
    np.testing.assert_array_equal(patches[1], x[0, :, 6:14, :8])
    z, y = model.code(patches)
    made = np.stack([model.decoders[int(k)](z[i : i + 1])[0] for i, k in enumerate(y.argmax(1))])
    np.testing.assert_allclose(model(x), model.merge(made, x.shape), rtol=1e-12)
    assert len(set(y.argmax(1))) > 1
    np.testing.assert_allclose(model.merge(patches, x.shape), x, rtol=0, atol=1e-12)


def test_blending_and_overlap_can_be_switched_off() -> None:
    x, plain, cut = picture(1, 3, 14, 14), small(), small(blend=False)
    assert np.abs(plain(x) - cut(x)).max() > 1e-3
    patches = cut.decoders(*cut.code(cut.divide(x)))
    np.testing.assert_array_equal(cut(x)[0, :, :7, :7], patches[0, :, :7, :7])
    np.testing.assert_array_equal(cut(x)[0, :, 7:, 7:], patches[3, :, 1:, 1:])
    apart = small(overlap=0)
    np.testing.assert_allclose(apart(x[..., :8, :8]), plain(x[..., :8, :8]), rtol=1e-12)
    assert (apart.multiple, apart.margin) == (8, 0)
    assert receptive_field(apart).size == (8, 8)
    assert receptive_field(plain).size == (6 + 6 + 2, 14)


def test_soft_routing_is_the_mean_of_all_decoders() -> None:
    model, x = small(routing="soft"), picture(4, 3, 8, 8)
    z, y = model.code(x)
    expected = sum(y[:, k, None, None, None] * model.decoders[k](z) for k in range(3))
    np.testing.assert_allclose(model.decoders(z, y), expected, rtol=1e-12)
    one = small(routing="soft", clusters=1)
    hard = small(clusters=1)
    np.testing.assert_allclose(one(x), hard(x), rtol=1e-12)


@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_the_vjp_of_both_routings(routing: Any) -> None:
    rng = np.random.default_rng(0)
    widths = (8, 7, 6, 5, 4, 3)
    decoders = Decoders(
        lambda: PatchDecoder(2, 8, widths, 5, dtype=np.float64, rng=rng), 3, routing
    )
    z, y = rng.standard_normal((6, 5)), rng.dirichlet(np.ones(3), 6)
    x, vjp = decoders.forward_and_vjp(z, y)
    np.testing.assert_array_equal(x, decoders(z, y))
    dx = rng.standard_normal(x.shape)
    dz, dy = vjp(dx)
    step, towards = 1e-6, rng.standard_normal(z.shape)
    moved = (decoders(z + step * towards, y) - decoders(z - step * towards, y)) / (2 * step)
    np.testing.assert_allclose((moved * dx).sum(), (dz * towards).sum(), rtol=1e-6)
    if routing == "hard":
        assert dy is None
        return
    towards = rng.standard_normal(y.shape)
    moved = (decoders(z, y + step * towards) - decoders(z, y - step * towards)) / (2 * step)
    np.testing.assert_allclose((moved * dx).sum(), (dy * towards).sum(), rtol=1e-6)


def test_a_decoder_without_patches_gets_no_gradient() -> None:
    model = small()
    z = np.abs(picture(4, 5))
    y = np.tile([0.1, 0.2, 0.7], (4, 1))
    _, vjp = model.decoders.forward_and_vjp(z, y)
    vjp(picture(4, 3, 8, 8))
    touched = [any(p.touched for p in decoder.parameters()) for decoder in model.decoders]
    assert touched == [False, False, True]


def test_a_prior_draws_only_when_asked() -> None:
    model, x = small(prior="mixture"), picture(1, 3, 14, 14)
    mean = model.denoise(x)
    np.testing.assert_array_equal(model.denoise(x), mean)
    first, same, other = (model.denoise(x, samples=1, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-6 and np.abs(first - mean).max() > 1e-6
    second = model.denoise(x, samples=2, seed=0) * 2 - first
    assert np.abs(second - first).max() > 1e-6
    assert not model.drawing
    with pytest.raises(ValueError, match="samples: expected at least 1, got 0"):
        model.denoise(x, samples=0)
    plain = small()
    np.testing.assert_array_equal(plain.denoise(x, samples=5), plain.denoise(x))


def test_the_norm_stays_as_it_is_unless_asked() -> None:
    for mode, moves in (("frozen", False), ("train", True)):
        model = small(bn_mode=mode)
        model.train()
        before = model.encoder.bn.running_mean.copy()
        model(picture(3, 3, 8, 8))
        assert (np.abs(model.encoder.bn.running_mean - before).max() > 0) == moves


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": "vague"}, "prior: expected one of"),
        ({"routing": "loud"}, "routing: expected one of"),
        ({"block": 10}, "block: expected a multiple of 4, got 10"),
        ({"width": 3}, "width: expected an even number, got 3"),
        ({"clusters": 0}, "clusters: .*at least 1"),
        ({"overlap": 5}, "overlap: expected at most half the block"),
        ({"latent": 0}, "latent: .*at least 1"),
        ({"bn_mode": "on"}, "bn_mode: expected one of"),
        ({"sampling": "no"}, "sampling: expected one of"),
    ],
)
def test_arguments_that_cannot_be(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create("psl-ae", **{**SMALL, **arguments})


def test_wrong_inputs_of_the_decoders() -> None:
    decoders, z = small().decoders, np.zeros((4, 5))
    with pytest.raises(ValueError, match=r"Decoders: y: expected shape \(4, 3\)"):
        decoders(z, np.zeros((4, 2)))
    with pytest.raises(TypeError, match="Decoders: y: expected float64"):
        decoders(z, np.zeros((4, 3), np.float32))


# ----------------------------------------------------------------------------- leaves


def test_the_numbers_for_the_log() -> None:
    y = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7]])
    assert float(Used()(y)) == pytest.approx(2)
    assert float(Used()(y[:2])) == pytest.approx(1)
    unit = np.eye(3)
    assert float(Agreement()(unit, unit)) == 1
    assert float(Agreement()(unit, unit[[0, 2, 1]])) == pytest.approx(1 / 3)
    assert Used().forward_and_vjp(y)[1](np.ones(())) is None


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_gated_experts(temperature: float) -> None:
    """Derivatives are those of the likelihood of the mixture, and each patch is given out once."""
    rng = np.random.default_rng(0)
    g, e = rng.dirichlet(np.ones(4), 7), rng.gamma(2.0, size=(7, 4))
    value, vjp = GatedExperts(temperature).forward_and_vjp(g, e)
    dg, de = vjp(np.full((), 0.7))

    def likelihood(g: np.ndarray, e: np.ndarray) -> float:
        mixture = ((g + 1e-8) * np.exp(-e / temperature)).sum(1)
        return float(-temperature * np.log(mixture).mean())

    for x, dx, other in (
        (g, dg, lambda a: likelihood(a, e)),
        (e, de, lambda a: likelihood(g, a)),
    ):
        step, towards = 1e-6, g * rng.standard_normal(x.shape)
        moved = 0.7 * (other(x + step * towards) - other(x - step * towards)) / (2 * step)
        assert (dx * towards).sum() == pytest.approx(moved, rel=1e-5)
    assert de.sum() == pytest.approx(0.7)
    h = de / 0.7 * 7
    entropy = -(h * np.log(h + 1e-300)).sum(1).mean()
    assert float(value) - temperature * entropy == pytest.approx(likelihood(g, e), rel=1e-6)
    huge = GatedExperts(temperature)(g.astype(np.float32), 1e6 * e.astype(np.float32))
    assert np.isfinite(huge)


def test_equal_shares_leave_no_expert_without_patches() -> None:
    rng = np.random.default_rng(0)
    g = np.tile([0.97, 0.01, 0.01, 0.01], (64, 1))
    e = rng.gamma(2.0, size=(64, 4)) + np.array([0.0, 3.0, 3.0, 3.0])

    def shares(rounds: int) -> np.ndarray:
        _, vjp = GatedExperts(1.0, rounds).forward_and_vjp(g, e)
        return np.asarray(vjp(np.ones(()))[1].sum(0))

    assert shares(0).min() < 0.01 and shares(3).min() > 0.15
    np.testing.assert_allclose(shares(100), 0.25, atol=1e-3)


def test_errors_of_all_decoders() -> None:
    model, rng = small(), np.random.default_rng(0)
    errors = ExpertErrors(model.decoders)
    z, t = np.abs(rng.standard_normal((5, 5))), rng.random((5, 3, 8, 8))
    e, vjp = errors.forward_and_vjp(z, t)
    expected = [64 * ((d(z) - t) ** 2).mean((1, 2, 3)) for d in model.decoders]
    np.testing.assert_allclose(e, np.stack(expected, 1), rtol=1e-12)
    np.testing.assert_array_equal(errors(z, t), e)
    de = rng.standard_normal(e.shape)
    dz, none = vjp(de)
    step, towards = 1e-6, rng.standard_normal(z.shape)
    moved = (errors(z + step * towards, t) - errors(z - step * towards, t)) / (2 * step)
    np.testing.assert_allclose((moved * de).sum(), (dz * towards).sum(), rtol=1e-6)
    assert none is None


def test_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    y, t = rng.dirichlet(np.ones(3), 5), np.eye(3)[[0, 1, 2, 2, 1]]
    value, vjp = CrossEntropy().forward_and_vjp(y, t)
    assert float(value) == pytest.approx(-np.log((y * t).sum(1)).mean(), rel=1e-4)
    dy, none = vjp(np.full((), 2.0))
    np.testing.assert_allclose(dy, -2 * t / (y + 1e-8) / 5)
    assert none is None


def test_kmeans_finds_clusters_that_are_there() -> None:
    rng = np.random.default_rng(0)
    true = 20 * rng.standard_normal((4, 3))
    points = np.concatenate([c + rng.standard_normal((50, 3)) for c in true])
    centres = kmeans(points, 4)
    nearest = np.sqrt(((centres[:, None] - true) ** 2).sum(-1)).argmin(1)
    assert sorted(nearest) == [0, 1, 2, 3]
    labels = Nearest(centres)(points)
    assert labels.sum(0).tolist() == [50, 50, 50, 50]
    np.testing.assert_array_equal(kmeans(points, 4), centres)
    few = kmeans(np.array([[0.0], [0.0], [1.0]]), 3)  # more centres than different points
    assert few.shape == (3, 1) and np.isfinite(few).all()


def test_describe_tells_what_layers_do_not() -> None:
    model = zoo.create("psl-ae", prior="gate", clusters=1, width=2)
    assert isinstance(model, PSLAE)
    assert "prior='gate'" in model.describe() and "routing='hard'" in model.decoders.describe()
    assert model.decoders.macs((3, 96)) == 3 * model.decoders[0].macs((1, 96))
