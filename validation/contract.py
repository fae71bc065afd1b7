"""The contract, as plain functions on a module with inputs; each raises `AssertionError`.

They take a `Subject`, so that a leaf, a container, a network, and a module with a planted fault
are held to the same rules. `CONTRACT` lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from minigrad import Module
from minigrad.probe import same
from minigrad.replay import noises
from minigrad.wiring import as_tuple
from validation.cases import Arrays, Subject, cotangents, gradients
from validation.layouts import LAYOUTS, flat_along
from validation.residuals import held_arrays, held_bytes
from validation.tolerances import LAYOUT_RTOL

DTYPES = (np.float32, np.float64)


def pull(module: Module, xs: Arrays, seed: int = 0) -> tuple[Arrays, tuple[Any, ...], Arrays]:
    """Outputs, input cotangents and output cotangents of one forward and reverse pass."""
    y, vjp = module.forward_and_vjp(*xs)
    ys = as_tuple(y)
    dys = cotangents(ys, seed)
    return ys, as_tuple(vjp(*dys)), dys


# --------------------------------------------------------------------------- the rules


def same_outputs(subject: Subject) -> None:
    """Rule 1: forward and forward_and_vjp give the same bits, and calling is forward; all leave
    the same buffers and the same place in the noise behind.
    """
    for dtype in DTYPES:
        xs = subject.inputs(dtype)
        first, second, third = (subject.module(dtype) for _ in range(3))
        plain = as_tuple(first.forward(*xs))
        called = as_tuple(second(*xs))
        paired = as_tuple(third.forward_and_vjp(*xs)[0])
        assert len(plain) == len(called) == len(paired), f"{subject.name}: number of outputs"
        for i, ys in enumerate(zip(plain, called, paired, strict=True)):
            assert same(ys[0], ys[1]), f"{subject.name}: output {i}: a call differs from forward"
            assert same(ys[0], ys[2]), (
                f"{subject.name}: output {i}: forward_and_vjp differs from forward by up to "
                f"{np.abs(ys[0] - ys[2]).max()}"
            )
        for other in (second, third):
            _same_state(subject, first, other)


def arity_and_forms(subject: Subject) -> None:
    """Rules 2 and 3: a cotangent per input, of its shape and dtype, or None; one alone is bare."""
    for dtype in DTYPES:
        module, xs = subject.module(dtype), subject.inputs(dtype)
        y, vjp = module.forward_and_vjp(*xs)
        dx = vjp(*cotangents(y))
        assert isinstance(dx, tuple) == (len(xs) > 1), f"{subject.name}: form of the cotangents"
        dxs = as_tuple(dx)
        assert len(dxs) == len(xs), f"{subject.name}: {len(dxs)} cotangents for {len(xs)} inputs"
        for i, (x, d) in enumerate(zip(xs, dxs, strict=True)):
            if d is not None:
                assert d.shape == x.shape, f"{subject.name}: input {i}: {d.shape}, not {x.shape}"
                assert d.dtype == x.dtype, f"{subject.name}: input {i}: {d.dtype}, not {x.dtype}"
        found = tuple(i for i, d in enumerate(dxs) if d is not None)
        expected = tuple(range(len(xs))) if subject.wrt is None else subject.wrt
        assert found == expected, f"{subject.name}: cotangents for {found}, not {expected}"


def none_is_zero(subject: Subject) -> None:
    """Rule 2: zero cotangents give zeros, where others give finite numbers; with several outputs,
    None for one of them is the same as zeros.
    """
    for dtype in DTYPES:
        xs = subject.inputs(dtype)
        dys = cotangents(subject.module(dtype).forward(*xs))
        _zero_gives_zero(subject, dtype, xs, dys)
        for k in range(len(dys) if len(dys) > 1 else 0):
            results = []
            for stand_in in (None, np.zeros_like(dys[k])):
                module = subject.module(dtype)
                vjp = module.forward_and_vjp(*xs)[1]
                dxs = as_tuple(vjp(*dys[:k], stand_in, *dys[k + 1 :]))
                results.append([*dxs, *gradients(module).values()])
            for pair in zip(*results, strict=True):
                arrays: list[Any] = [np.zeros(1, dtype) if c is None else c for c in pair]
                a, b = arrays
                what = f"{subject.name}: None for output {k}"
                assert a.dtype == b.dtype == dtype, f"{what}: {a.dtype}, not {np.dtype(dtype)}"
                assert np.array_equal(a + 0 * b, b + 0 * a), what


def accumulates(subject: Subject) -> None:
    """Rule 4: parameter cotangents are added, in place; two passes give the double of one."""
    module, xs = subject.module(np.float64), subject.inputs(np.float64)
    arrays = {name: p.grad for name, p in module.named_parameters().items()}
    pull(module, xs)
    first = gradients(module)
    for name, p in module.named_parameters().items():
        assert p.touched, f"{subject.name}: {name} not marked as touched"
    _rewind(module)
    pull(module, xs)
    for name, p in module.named_parameters().items():
        assert p.grad is arrays[name], f"{subject.name}: d_{name} was replaced, not added to"
        assert np.allclose(p.grad, 2 * first[name], rtol=1e-12, atol=0), (
            f"{subject.name}: cotangent of {name}: two passes do not give the double of one"
        )
    module.zero_grad()
    for name, p in module.named_parameters().items():
        assert p.grad is arrays[name] and not p.grad.any(), f"{subject.name}: {name}: zero_grad"
        assert not p.touched, f"{subject.name}: {name}: zero_grad leaves it touched"


def single_use(subject: Subject) -> None:
    """Rule 5: a vjp is used once, and what it kept is gone then; the module keeps nothing."""
    module, xs = subject.module(np.float64), subject.inputs(np.float64)
    size, plain = _attached_bytes(module), _plain_attributes(module)
    y, vjp = module.forward_and_vjp(*xs)
    dys = cotangents(y)
    vjp(*dys)
    left = _attached_bytes(module) - size
    assert left <= 0, f"{subject.name}: a pass leaves {left} bytes of arrays in the module"
    changed = sorted({name for name, _ in plain ^ _plain_attributes(module)})
    assert not changed, f"{subject.name}: a pass changes the attributes {changed}"
    assert not held_arrays(vjp), f"{subject.name}: the used vjp still holds arrays"
    before = gradients(module)
    try:
        vjp(*dys)
    except RuntimeError:
        pass
    else:
        raise AssertionError(f"{subject.name}: a second call of the vjp does not raise")
    for name, grad in gradients(module).items():
        assert same(grad, before[name]), f"{subject.name}: the second call changed {name}"


def nobody_writes(subject: Subject) -> None:
    """Rule 6: inputs, cotangents, parameters and returned outputs are never written."""
    module, xs = subject.module(np.float64), subject.inputs(np.float64)
    values = [p.value for p in module.parameters()]
    copies = [a.copy() for a in (*xs, *values)]
    with read_only((*xs, *values)):
        plain = as_tuple(subject.module(np.float64).forward(*xs))
        y, vjp = module.forward_and_vjp(*xs)
        ys = as_tuple(y)
        kept = [a.copy() for a in ys]
        dys = cotangents(ys)
        seeds = [dy.copy() for dy in dys]
        with read_only((*ys, *dys)):
            dxs = as_tuple(vjp(*dys))
    results = [*zip((*xs, *values), copies, strict=True), *zip(ys, kept, strict=True)]
    results += [*zip(plain, kept, strict=True), *zip(dys, seeds, strict=True)]
    assert all(same(a, b) for a, b in results), f"{subject.name}: an array was written"
    for dx in dxs:
        for p in module.parameters():
            assert dx is None or not np.shares_memory(dx, p.grad), f"{subject.name}: dx is d_param"


def calls_are_independent(subject: Subject) -> None:
    """Rule 6 and observation: a call in between changes nothing; outputs do not share memory."""
    module, xs = subject.module(np.float64), subject.inputs(np.float64)
    others = tuple(np.where(np.isfinite(x), x + 0.5, 1.0) for x in xs)
    fresh = subject.module(np.float64)
    _, alone, _ = pull(fresh, xs)
    y, vjp = module.forward_and_vjp(*xs)
    ys, kept = as_tuple(y), [a.copy() for a in as_tuple(y)]
    draws = _draws(module)
    later = as_tuple(module.forward_and_vjp(*others)[0])
    _run_in_the_other_mode(module, others)
    for noise, draw in draws:
        noise.rewind(draw)
    for a in ys:
        assert not any(np.shares_memory(a, b) for b in later), f"{subject.name}: outputs share"
    dxs = as_tuple(vjp(*cotangents(ys)))
    assert all(map(same, ys, kept)), f"{subject.name}: an output changed after it was returned"
    for i, (a, b) in enumerate(zip(alone, dxs, strict=True)):
        assert (a is None) == (b is None) and (a is None or same(a, b)), (
            f"{subject.name}: cotangent of input {i} depends on a call in between"
        )
    found = gradients(module)
    for name, grad in gradients(fresh).items():
        assert same(grad, found[name]), f"{subject.name}: d_{name} depends on a call in between"


def dtype_kept(subject: Subject) -> None:
    """Rule 9: dtype in = dtype out, for outputs, cotangents and gradients."""
    for dtype in DTYPES:
        module, xs = subject.module(dtype), subject.inputs(dtype)
        ys, dxs, _ = pull(module, xs)
        arrays = {f"output {i}": y for i, y in enumerate(ys)}
        arrays |= {f"cotangent {i}": dx for i, dx in enumerate(dxs) if dx is not None}
        arrays |= {name: p.grad for name, p in module.named_parameters().items()}
        wrong = {name: str(a.dtype) for name, a in arrays.items() if a.dtype != dtype}
        assert not wrong, f"{subject.name}: expected {np.dtype(dtype)}, got {wrong}"


def float64_does_not_leak(subject: Subject) -> None:
    """Rule 9: a float32 pass keeps no float64 array of any size."""
    module, xs = subject.module(np.float32), subject.inputs(np.float32)
    leaked = [a for a in held_arrays(module.forward_and_vjp(*xs)[1]) if a.dtype == np.float64]
    assert not leaked, f"{subject.name}: the vjp keeps float64 arrays {[a.shape for a in leaked]}"


def training_is_a_bool(subject: Subject) -> None:
    """Rule 10: `training` is a plain bool on every module, set by train() and eval()."""
    module = subject.module(np.float64)
    for mode in (False, True):
        module.train(mode)
        for name, m in module.named_modules():
            assert type(m.training) is bool, f"{subject.name}: {name}.training"
    assert module.eval() is module and module.train() is module, f"{subject.name}: returns self"


def buffers_rest_in_eval(subject: Subject) -> None:
    """Rule 12: buffers are the same arrays after a pass, and unchanged in evaluation mode."""
    module, xs = subject.module(np.float64), subject.inputs(np.float64)
    names = {n for m in module.modules() for n in m.buffer_names}
    held = {k: a for k, a in module.state_dict().items() if k.rsplit(".", 1)[-1] in names}
    copies = {k: a.copy() for k, a in held.items()}
    pull(module.eval(), xs)
    state = module.state_dict()
    for key, array in held.items():
        assert same(array, copies[key]), f"{subject.name}: {key} changed in evaluation mode"
    pull(module.train(), xs)
    for key, array in held.items():
        assert state[key] is array, f"{subject.name}: {key} was replaced, not updated in place"


def layouts_agree(subject: Subject) -> None:
    """Inputs and cotangents of any strides give the result of contiguous ones."""
    xs = subject.inputs(np.float64)
    reference: tuple[Any, ...] | None = None
    for name, layout in LAYOUTS.items():
        module = subject.module(np.float64)
        strided = [layout(x) for x in xs]
        y, vjp = module.forward_and_vjp(*strided)
        dxs = as_tuple(vjp(*[layout(dy) for dy in cotangents(y)]))
        results = (*as_tuple(y), *dxs, *gradients(module).values())
        _expect_close(subject, f"layout {name}", results, reference or results)
        reference = reference or results


def broadcast_views_agree(subject: Subject) -> None:
    """Inputs and cotangents with strides of zero give the result of their copies."""
    for axis in (0, -1):
        xs = [flat_along(x, axis) for x in subject.inputs(np.float64)]
        results = []
        for form in (np.asarray, np.copy):
            module = subject.module(np.float64)
            with np.errstate(all="ignore"):  # a matrix of equal columns has no inverse
                y, vjp = module.forward_and_vjp(*map(form, xs))
                dys = [form(flat_along(dy, axis)) for dy in cotangents(y)]
                dxs = as_tuple(vjp(*dys))
            results.append((*as_tuple(y), *dxs, *gradients(module).values()))
        _expect_close(subject, f"zero stride on axis {axis}", *results)


def like_the_wrapped(subject: Subject) -> None:
    """For `Checkpoint`: outputs, cotangents and gradients of three steps are the module's own."""
    wrapped, plain = subject.module(np.float64), subject.module(np.float64).children()["module"]
    xs = subject.inputs(np.float64)
    for _ in range(3):  # noise and buffers go on in step
        (ys, dxs, _), (zs, dzs, _) = pull(wrapped, xs), pull(plain, xs)
        assert all(map(same, ys, zs)), f"{subject.name}: outputs differ from the module's own"
        assert all(map(same, dxs, dzs)), f"{subject.name}: cotangents differ from the module's own"
    state = wrapped.state_dict()
    for name, array in plain.state_dict().items():
        assert same(array, state[f"module.{name}"]), f"{subject.name}: {name} differs"
    for name, grad in gradients(plain).items():
        assert same(grad, gradients(wrapped)[f"module.{name}"]), f"{subject.name}: d_{name}"
    assert [draw for _, draw in _draws(wrapped)] == [draw for _, draw in _draws(plain)]


# --------------------------------------------------------------------------- helpers


@contextmanager
def read_only(arrays: Sequence[np.ndarray]) -> Iterator[None]:
    """Within this context a write into one of the arrays raises; the error becomes a verdict."""
    locked = [a for a in arrays if a.flags.writeable]
    for a in locked:
        a.flags.writeable = False
    try:
        yield
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise AssertionError(f"a received or returned array is written: {error}") from error
    finally:
        for a in reversed(locked):
            if a.base is None or a.base.flags.writeable:
                a.flags.writeable = True


def _zero_gives_zero(subject: Subject, dtype: Any, xs: Arrays, dys: Arrays) -> None:
    found = []
    for seeds in (dys, tuple(np.zeros_like(dy) for dy in dys)):
        module = subject.module(dtype)
        dxs = as_tuple(module.forward_and_vjp(*xs)[1](*seeds))
        found.append([*(d for d in dxs if d is not None), *gradients(module).values()])
    for d, zero in zip(*found, strict=True):
        assert not np.any(zero, where=np.isfinite(d)), (
            f"{subject.name}: cotangents of zero give numbers other than zero"
        )


def _same_state(subject: Subject, module: Module, other: Module) -> None:
    """Raise where the buffers or the noise of two modules differ after equal passes."""
    state = other.state_dict()
    for key, array in module.state_dict().items():
        assert same(array, state[key]), (
            f"{subject.name}: {key}: forward, a call and forward_and_vjp leave different values"
        )
    draws = [[draw for _, draw in _draws(m)] for m in (module, other)]
    assert draws[0] == draws[1], f"{subject.name}: forward_and_vjp draws other noise than forward"


def _attached_bytes(module: Module) -> int:
    """The bytes of all arrays among the attributes of the module and of those it contains."""
    return held_bytes([vars(m) for m in module.modules()])


def _plain_attributes(module: Module) -> set[tuple[str, str]]:
    """The attributes of the module and of those it contains that are plain values, as texts."""
    return {
        (f"{name}.{key}" if name else key, repr(value))
        for name, m in module.named_modules()
        for key, value in vars(m).items()
        if isinstance(value, int | float | str | tuple | None) and not held_arrays(value)
    }


def _draws(module: Module) -> list[tuple[Any, int]]:
    return [(noise, noise.draw) for noise in noises(module)]


def _run_in_the_other_mode(module: Module, xs: Arrays) -> None:
    """A pass in evaluation mode between two in training, or the other way round: buffers move."""
    modes = [(m, m.training) for m in module.modules()]
    module.train(not module.training)
    with suppress(ValueError):  # a layer may refuse these inputs in the other mode
        module.forward_and_vjp(*xs)
    for m, mode in modes:
        m.training = mode


def _rewind(module: Module) -> None:
    for noise, _ in _draws(module):
        noise.rewind(0)


def _expect_close(subject: Subject, what: str, results: Any, expected: Any) -> None:
    """Equal to rounding, relative to the largest number of the pass: what cancels to nearly zero
    in one result has the rounding errors of the others.
    """
    finite = [b[np.isfinite(b)] for b in expected if b is not None]
    size = max((np.abs(b).max(initial=0) for b in finite), default=0.0)
    for i, (a, b) in enumerate(zip(results, expected, strict=True)):
        assert (a is None) == (b is None), f"{subject.name}: {what}: result {i}"
        if a is not None and a.size:
            assert np.allclose(a, b, rtol=LAYOUT_RTOL, atol=LAYOUT_RTOL * size, equal_nan=True), (
                f"{subject.name}: {what}: result {i} differs by {np.abs(a - b).max():.2e}"
            )


CONTRACT: dict[str, Callable[[Subject], None]] = {
    rule.__name__: rule
    for rule in (
        same_outputs,
        arity_and_forms,
        none_is_zero,
        accumulates,
        single_use,
        nobody_writes,
        calls_are_independent,
        dtype_kept,
        float64_does_not_leak,
        training_is_a_bool,
        buffers_rest_in_eval,
        layouts_agree,
        broadcast_views_agree,
    )
}
