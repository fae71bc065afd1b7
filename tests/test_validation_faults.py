"""The certificate itself under faults: what must fail a case, what must not end the run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from minigrad import Module, Noise, Sigmoid, once
from minigrad.layers import activation
from tests.leaves import Dropout
from validation import commands, compare_training
from validation.__main__ import main
from validation.agreement import finite_error, relative_error
from validation.compare_layers import grid, worst_of
from validation.compare_training import TRAININGS, Trace, compare
from validation.composites import Built
from validation.contract import CONTRACT, same
from validation.faults import FAULTS, planted
from validation.residuals import held_arrays, held_bytes
from validation.rows import ROWS

PLANTED = {fault.title: fault for fault in FAULTS}
COMMANDS = {
    "layers": ("--only", "Sigmoid", "--examples", "2"),
    "models": ("--only", "n2n-simple[[]features=5*"),
    "training": ("--only", "n2n-simple sgd float*"),
}


def cases(capsys: Any, command: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the cases by name."""
    code = main((command, *COMMANDS[command], "--json"))
    return code, {c["name"]: c for c in json.loads(capsys.readouterr().out)["cases"]}


# ------------------------------------------------------------------ NaN


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("command", COMMANDS)
def test_nan_fails_every_command(capsys: Any, command: str, precision: str) -> None:
    with planted(PLANTED[f"Sigmoid: NaN in {precision}"]):
        code, found = cases(capsys, command)
    assert code == 1
    hit = {name: case for name, case in found.items() if name.endswith(precision)}
    assert hit
    for case in hit.values():
        assert case["passed"] is False and "finite" in case["detail"]


def test_losses_that_are_nan_on_both_sides_fail(monkeypatch: Any) -> None:
    trace = Trace([1.0, float("nan")], {"w": np.ones(2)}, 0.1)
    monkeypatch.setattr(compare_training, "train_both", lambda *_: (trace, trace))
    for dtype in (np.float32, np.float64):
        case = compare("n2n-simple", TRAININGS[0], dtype)
        assert case.passed is False and "losses: ours: 1 of 2 entries are not finite" in case.detail


def test_nan_is_never_the_smaller_error() -> None:
    nan = float("nan")
    for one, other in ((nan, 0.5), (0.5, nan)):
        mine, theirs = worst_of({"y": (one, 1.0)}, {"y": (other, 2.0)})["y"]
        assert np.isnan(mine) and theirs == 2


def test_relative_error() -> None:
    inf, nan = np.inf, np.nan
    a = np.array([1.0, inf, nan, -inf, 4.0])
    b = np.array([1.5, inf, nan, -inf, 4.0])
    assert relative_error(a, b, what="y") == 0.125 and relative_error(a, b, 2.0, what="y") == 0.25
    assert relative_error(np.zeros((0, 3)), np.zeros((0, 3)), what="y") == 0
    assert relative_error(np.array(2.0), np.array(0.0), what="y") == 2
    for other in ([1.5, inf, nan, -inf, nan], [1.5, -inf, nan, -inf, 4], [1.5, nan, inf, -inf, 4]):
        for left, right in ((a, np.array(other)), (np.array(other), b)):
            with pytest.raises(AssertionError, match="y: "):
                relative_error(left, right, what="y")
    with pytest.raises(AssertionError, match=r"shape \(5,\), not \(1, 5\)"):
        relative_error(a, b[None], what="y")
    with pytest.raises(AssertionError, match="PyTorch's: 3 of 5 entries are not finite"):
        finite_error(np.ones(5), b, what="y")


class LosesInfinity(Sigmoid):
    """1 at infinity in float64, NaN in float32."""

    def forward_and_vjp(self, x: Any) -> Any:
        y, vjp = super().forward_and_vjp(x)
        return np.where((x == np.inf) & (x.dtype == np.float32), np.nan, y).astype(x.dtype), vjp


def test_infinities_count_in_both_precisions() -> None:
    for layer, right in ((Sigmoid, True), (LosesInfinity, False)):
        row = replace(ROWS["Sigmoid"], layer=layer, twin=torch.nn.Sigmoid)
        double, single = grid(row, row.samples(), 0)
        assert double.passed and single.passed is right
    assert "special values" in single.detail and "in float32: infinities and NaN" in single.detail


# ------------------------------------------------------------------ failures of any kind


def divide_by_zero(dy: Any, y: Any) -> Any:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda dy, y: dy[..., :-1], "ValueError: |shape"),
        (divide_by_zero, "ZeroDivisionError: "),
    ],
    ids=["wrong shape", "division"],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_failure_fails_the_case_and_not_the_run(
    capsys: Any, monkeypatch: Any, command: str, fault: Callable[..., Any], kind: str
) -> None:
    monkeypatch.setattr(activation, "sigmoid_dx", fault)
    code, found = cases(capsys, command)
    assert code == 1 and len(found) >= 2
    words = [case["detail"] for name, case in found.items() if name.endswith(("32", "64"))]
    assert all(any(k in detail for k in kind.split("|")) for detail in words)


def test_only_usage_errors_end_with_2(monkeypatch: Any, capsys: Any) -> None:
    def broken(options: Any) -> bool:
        raise ValueError("a defect of the command")

    assert main(["models", "--only", "no such*"]) == 2
    monkeypatch.setitem(commands.COMMANDS, "models", broken)
    with pytest.raises(ValueError, match="a defect"):
        main(["models"])


@pytest.mark.parametrize("command", COMMANDS)
def test_each_case_is_told_when_it_is_done(capsys: Any, command: str) -> None:
    main((command, *COMMANDS[command], "--json"))
    out, err = capsys.readouterr()
    told = [f"passed {case['name']}" for case in json.loads(out)["cases"]]
    assert err.splitlines() == told


# ------------------------------------------------------------------ the helpers of the rules


def test_same_compares_bits() -> None:
    assert same(np.array([0.0, np.nan]), np.array([0.0, -np.nan]))
    assert same(np.array(3), np.array(3)) and not same(np.array([True]), np.array([False]))
    assert not same(np.array([0.0]), np.array([-0.0]))
    assert not same(np.zeros(2), np.zeros(2, np.float32)) and not same(np.zeros(2), np.zeros(1))


class Mean(Module):
    """Twice its input, and how many were seen."""

    buffer_names = ("seen",)

    def __init__(self, dtype: Any) -> None:
        self.seen = np.zeros((), dtype)

    def forward(self, x: Any) -> Any:
        return self.forward_and_vjp(x)[0]

    def forward_and_vjp(self, x: Any) -> Any:
        if self.training:
            self.seen += len(x)
        return x * 2, once(lambda dy: dy * 2)


class PlainForward(Mean):
    """The forward pass alone does not count."""

    def forward(self, x: Any) -> Any:
        return x * 2


class Quotient(Mean):
    """Right for every cotangent but 0."""

    def forward_and_vjp(self, x: Any) -> Any:
        return super().forward_and_vjp(x)[0], once(lambda dy: dy * dy / dy * 2)


class Remembers(Mean):
    """Holds on to its last input."""

    def forward_and_vjp(self, x: Any) -> Any:
        self.last = [x.copy()]
        return super().forward_and_vjp(x)


class Measures(Mean):
    """Holds on to the size of its last input, so that a call of another shape breaks the vjp."""

    def forward_and_vjp(self, x: Any) -> Any:
        self.shape = x.shape
        y = super().forward_and_vjp(x)[0]
        return y, once(lambda dy: np.broadcast_to(dy, self.shape) * 2)


class Jumps(Mean):
    """Draws noise for a derivative that needs none."""

    def __init__(self, dtype: Any) -> None:
        super().__init__(dtype)
        self.noise = Noise(1)

    def forward(self, x: Any) -> Any:
        return super().forward_and_vjp(x)[0]

    def forward_and_vjp(self, x: Any) -> Any:
        self.noise.uniform(x.shape)
        return super().forward_and_vjp(x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("layer", "rule", "words"),
    [
        (PlainForward, "same_outputs", "seen: forward, a call and forward_and_vjp leave different"),
        (Jumps, "same_outputs", "forward_and_vjp draws other noise than forward"),
        (Quotient, "none_is_zero", "cotangents of zero give numbers other than zero"),
        (Measures, "single_use", r"a pass changes the attributes \['shape'\]"),
        (Remembers, "single_use", "a pass leaves 960 bytes of arrays in the module"),
    ],
)
def test_what_no_output_shows(layer: type[Module], rule: str, words: str) -> None:
    for name, check in CONTRACT.items():
        check(Built("right", Mean))
        if name == rule:
            with pytest.raises(AssertionError, match=words):
                check(Built("wrong", layer))
        else:
            check(Built("wrong", layer))


class Slots:
    __slots__ = ("kept", "unset")

    def __init__(self, kept: Any) -> None:
        self.kept = kept


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: lambda dy: dy * a,
        lambda a: lambda dy, a=a: dy * a,
        lambda a: lambda dy, *, a=a: dy * a,
        lambda a: functools.partial(np.multiply, a),
        lambda a: functools.partial(np.multiply, out=a),
        lambda a: Slots(a),
        lambda a: Slots([{"deep": (a[1:],)}]),
        lambda a: a.sum,
        lambda a: iter([a]),
        lambda a: {1: a}.values(),
    ],
)
def test_every_way_to_hold_an_array_is_seen(hold: Callable[[Any], Any]) -> None:
    array = np.arange(5.0)
    held = held_arrays(hold(array))
    assert len(held) == 1 and held[0] is array and held_bytes(hold(array)) == 40


def test_globals_and_modules_are_not_residuals() -> None:
    assert not held_arrays(lambda: LARGE) and not held_arrays(lambda m=Dropout(): m)


LARGE = np.zeros(1000)


@pytest.mark.parametrize("rule", CONTRACT)
def test_the_rules_take_a_module_whose_noise_is_none(rule: str) -> None:
    def make(dtype: Any) -> Module:
        module: Any = Sigmoid()
        module.noise = None
        return module

    CONTRACT[rule](Built("silent", make))
