"""The contract of docs/contributing.md on every row, container and network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad.losses
from minigrad import Checkpoint, Conv2d, Detach, Frozen, LeakyReLU, Module, Noise, Sequential
from minigrad.wiring import as_tuple
from tests.leaves import Dropout, RunningMean
from tests.strategies import samples
from tests.table import COMPOSITES, NETWORKS, fixed_samples
from validation.cases import Sample, Subject, Variant, cotangents, gradients
from validation.composites import conv
from validation.contract import CONTRACT, like_the_wrapped, pull, same
from validation.numeric import empty_batch, keeps, keeps_traced
from validation.residuals import held_arrays
from validation.rows import ROWS

IN_PROOF = True
RULES = list(CONTRACT)


# --------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("sample", fixed_samples("normal", "ties"), ids=str)
def test_contract_of_hand_picked_samples(sample: Sample) -> None:
    for rule in CONTRACT.values():
        rule(sample)


@pytest.mark.parametrize("name", ROWS)
def test_contract(name: str) -> None:
    """Each example is held to one of the rules; the hand-picked samples above to all."""

    @given(samples(name).filter(lambda s: s.values != "special"), st.sampled_from(RULES))
    def check(sample: Sample, rule: str) -> None:
        CONTRACT[rule](sample)

    check()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", [*COMPOSITES, *NETWORKS])
def test_contract_of_composites(name: str, rule: str) -> None:
    CONTRACT[rule]((COMPOSITES | NETWORKS)[name])


@pytest.mark.parametrize("name", ROWS)
def test_the_vjp_keeps_what_the_docstring_names(name: str) -> None:
    @given(samples(name).filter(lambda s: s.values != "special"))
    def check(sample: Sample) -> None:
        keeps(sample)

    check()
    assert "Keeps:" in (ROWS[name].layer.__doc__ or "")


@pytest.mark.parametrize("name", ROWS)
def test_no_more_memory_is_alive_than_kept(name: str) -> None:
    for sample in ROWS[name].samples():
        shapes = sample.settings.shapes
        if sample.values == "normal" and len({(len(s), s[0]) for s in shapes}) == 1:
            large = tuple((40 * s[0], *s[1:]) for s in shapes)
            settings = Variant(sample.settings.arguments, large)
            keeps_traced(Sample(sample.row, settings, sample.seed))


@pytest.mark.parametrize("sample", fixed_samples("normal"), ids=str)
def test_a_batch_of_no_images_gives_what_torch_gives(sample: Sample) -> None:
    if not empty_batch(sample):
        assert len(sample.settings.shapes) > 1  # only where shapes no longer broadcast


# --------------------------------------------------------------------------- no value branches


class Opaque(np.ndarray):
    """An array whose values cannot be looked at: a branch on one raises."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the layer looks at a value")

    __bool__ = __float__ = __int__ = __index__ = item = tolist = nonzero = _refuse

    def __getitem__(self, key: Any) -> Any:
        for part in key if isinstance(key, tuple) else (key,):
            assert getattr(part, "dtype", None) != np.bool_, "the layer indexes with a mask"
        return super().__getitem__(key)


@pytest.mark.parametrize("sample", fixed_samples("normal"), ids=str)
def test_no_layer_looks_at_a_value(sample: Sample) -> None:
    module, xs = sample.module(np.float64), sample.inputs(np.float64)
    for parameter in module.parameters():
        parameter.value = parameter.value.view(Opaque)
    y, vjp = module.forward_and_vjp(*(x.view(Opaque) for x in xs))
    dys = cotangents(tuple(np.asarray(a) for a in as_tuple(y)))
    vjp(*(np.asarray(dy).view(Opaque) for dy in dys))


def test_opaque_arrays_refuse() -> None:
    x = np.ones(3).view(Opaque)
    for look in (lambda: bool(x[:1]), lambda: x[x > 0], lambda: float(x[:1].sum(keepdims=True))):
        with pytest.raises(AssertionError, match="the layer"):
            look()


# --------------------------------------------------------------------------- noise and buffers


def test_a_random_leaf_draws_from_its_noise() -> None:
    x = np.ones((4, 5), np.float32)
    leaf = Dropout(noise=Noise(5))
    first, second = leaf(x), leaf(x)
    assert not same(first, second) and leaf.noise.draw == 2
    leaf.noise.rewind()
    assert same(leaf(x), first), "the same draw gives the same mask"
    leaf.noise.at(1)
    assert not same(leaf(x), first), "another step gives another mask"
    assert same(leaf.eval()(x), x) and leaf.noise.draw == 1, "none is drawn in evaluation mode"


@pytest.mark.parametrize("name", [n for n in COMPOSITES if n.startswith("Checkpoint")])
def test_checkpoint_changes_nothing_but_memory(name: str) -> None:
    like_the_wrapped(COMPOSITES[name])


def test_checkpoint_keeps_its_input_alone() -> None:
    built = COMPOSITES["Checkpoint"]
    xs = built.inputs(np.float64)
    held = held_arrays(built.module(np.float64).forward_and_vjp(*xs)[1])
    assert len(held) == 1 and held[0] is xs[0]


def test_noise_of_later_modules_is_not_disturbed_by_a_recomputed_pass() -> None:
    noise, x = Noise(3), np.ones((2, 3))
    _, vjp = Checkpoint(Dropout(noise=noise)).forward_and_vjp(x)
    noise.uniform(4)
    before = noise.draw
    vjp(np.ones((2, 3)))
    assert noise.draw == before


def test_buffers_change_in_training_only() -> None:
    module, x = Checkpoint(RunningMean(np.float64)), np.full((2, 3), 4.0)
    inner = module.module
    module.eval().forward_and_vjp(x)[1](x)
    assert inner.running_mean[0] == 0
    module.train().forward_and_vjp(x)[1](x)
    assert inner.running_mean[0] == pytest.approx(0.4), "the recomputed pass does not count"


def test_frozen_stays_in_evaluation_mode_and_shows_no_parameters() -> None:
    frozen = Frozen(Sequential(conv(np.float64), Dropout()))
    network = Sequential(frozen, conv(np.float64))
    network.train()
    assert not any(m.training for m in frozen.modules()) and network.training
    assert list(network.named_parameters()) == ["1.weight", "1.bias"]
    assert {k.split(".")[0] for k in network.state_dict()} == {"0", "1"}
    x = np.ones((1, 2, 4, 4))
    y, vjp = network.forward_and_vjp(x)
    assert vjp(*cotangents(y)) is None
    assert np.any(gradients(network)["1.weight"]) and not frozen.module[0].d_weight.any()


def test_detach_passes_the_value_and_no_cotangent() -> None:
    x = np.ones((2, 3))
    y, vjp = Detach().forward_and_vjp(x)
    assert same(y, x) and vjp(x) is None


def test_a_leaf_used_twice_receives_both_cotangents() -> None:
    one, x = conv(np.float64), np.random.default_rng(0).standard_normal((1, 2, 5, 5))
    twice, copies = Sequential(one, one), Sequential(conv(np.float64), conv(np.float64))
    pull(twice, (x,)), pull(copies, (x,))
    total = gradients(copies)
    assert list(gradients(twice)) == ["0.weight", "0.bias"]
    np.testing.assert_allclose(one.d_weight, total["0.weight"] + total["1.weight"], rtol=1e-12)


def test_outputs_of_losses_are_single_numbers() -> None:
    """But where a loss is asked for its terms or for one an image; FreeBits gives one a layer."""
    for name in minigrad.losses.__all__:
        for sample in ROWS[name].samples():
            many = sample.settings.arguments.get("reduction") in ("none", "image")
            layers = sample.settings.shapes[0][1:] if name == "FreeBits" else ()
            for dtype in (np.float32, np.float64):
                with np.errstate(all="ignore"):  # infinities are among the special values
                    value = sample.module(dtype).forward(*sample.inputs(dtype))
                assert value.dtype == dtype and (many or value.shape == layers), sample.name


def test_subject_protocol_is_met() -> None:
    subjects: list[Subject] = [*fixed_samples("normal"), *COMPOSITES.values(), *NETWORKS.values()]
    assert len({s.name for s in subjects}) == len(subjects)
    assert isinstance(Conv2d(1, 1, 1), Module) and isinstance(LeakyReLU(), Module)
