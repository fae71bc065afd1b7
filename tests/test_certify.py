"""The certificate of a layer of one's own: right ones pass, wrong ones fail, words are clear."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from validation.__main__ import main
from validation.certify import certify

OWN = '''
import numpy as np
from minigrad import Module, array_module, once


class Swish(Module):
    """y = x sigmoid(b x)."""

    slip = 1.0

    def __init__(self, b=1.0):
        self.b = b

    def forward(self, x):
        return x / (1 + array_module(x).exp(-self.b * x))

    def forward_and_vjp(self, x):
        s = 1 / (1 + array_module(x).exp(-self.b * x))
        return self.forward(x), once(lambda dy: self.slip * dy * (s + self.b * x * s * (1 - s)))


class Slipped(Swish):
    slip = 1.001


class Rough(Swish):
    def forward(self, x):
        return (x.astype(np.float16) * 1).astype(x.dtype)

    def forward_and_vjp(self, x):
        return self.forward(x), once(lambda dy: dy.astype(np.float16).astype(dy.dtype))


class Writes(Swish):
    def forward_and_vjp(self, x):
        y, vjp = super().forward_and_vjp(x)
        x += 0
        return y, vjp


class Forgets(Swish):
    def forward_and_vjp(self, x):
        return self.forward(x), once(lambda dy: None)


class Evaluated(Swish):
    """Right in training mode only."""

    def forward(self, x):
        return super().forward(x) if self.training else x

    def forward_and_vjp(self, x):
        return self.forward(x), super().forward_and_vjp(x)[1]


class Ramp(Module):
    """PyTorch's derivative at 0 is 0."""

    def forward(self, x):
        return array_module(x).maximum(x, 0)

    def forward_and_vjp(self, x):
        return self.forward(x), once(lambda dy: dy * (x >= 0))


number = 3
'''
TWIN = """
import torch


class Swish(torch.nn.Module):
    def __init__(self, b=1.0):
        super().__init__()
        self.b = b

    def forward(self, x):
        return x * torch.sigmoid(self.b * x)


class Ramp(torch.nn.ReLU):
    pass


class Raises(torch.nn.Module):
    def forward(self, x):
        raise ValueError("not today")


def function():
    return torch.sigmoid
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own_twin.py").write_text(TWIN)
    (tmp_path / "own_layer.py").write_text(OWN)
    return tmp_path / "own_layer.py"


def run(own: Path, name: str, *more: str) -> int:
    return main(["certify", f"{own}:{name}", "--input", "2,3,4", "--examples", "3", *more])


def test_a_right_layer_passes_with_and_without_a_twin(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own, "Swish", "--set", "b=1.5") == 0
    twin = f"{own.with_name('own_twin.py')}:Swish"
    assert run(own, "Swish", "--set", "b=1.5", "--twin", twin, "--range", "0", "1") == 0
    capsys.readouterr()
    assert run(own, "Swish", "--twin", twin, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["failed"] == 0 and answer["checks"] == 3 * 7 * 2
    layouts = answer["cases"][0]["figures"]["layouts"]
    assert set(layouts["broadcast"]["worst"]) == {"output 0", "cotangent of input 0"}


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("Slipped", "Slipped differences"),
        ("Rough", "Rough differences"),
        ("Writes", "Writes nobody_writes"),
        ("Forgets", "Forgets arity_and_forms"),
        ("Forgets", "Forgets differences"),
        ("Evaluated", "Evaluated differences"),
    ],
)
def test_a_wrong_layer_fails(
    own: Path, name: str, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own, name, "--json") == 1
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert case in {c["name"] for c in cases if c["passed"] is False}


def test_the_twin_sees_what_is_wrong(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(own, "Slipped", "--twin", f"{own.with_name('own_twin.py')}:Swish") == 1
    assert "FAILED Slipped float64" in capsys.readouterr().err
    assert run(own, "Forgets", "--twin", f"{own.with_name('own_twin.py')}:Swish") == 1
    assert "instead of ['output 0', 'cotangent of input 0']" in capsys.readouterr().err
    assert run(own, "Ramp") == 0, "no differences at a kink"
    assert run(own, "Ramp", "--twin", f"{own.with_name('own_twin.py')}:Ramp") == 1
    assert "ties values" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("twin", "words"),
    [
        ("Raises", "the twin: ValueError: not today"),
        ("function", "the twin: AttributeError: 'builtin_function_or_method' object has no"),
    ],
)
def test_a_twin_that_fails_is_a_failed_case(
    own: Path, twin: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own, "Swish", "--twin", f"{own.with_name('own_twin.py')}:{twin}", "--json") == 1
    cases = json.loads(capsys.readouterr().out)["cases"]
    failed = [case for case in cases if case["passed"] is False]
    assert [case["name"] for case in failed] == ["Swish float64", "Swish float32"]
    assert all(words in case["detail"] for case in failed)


@pytest.mark.parametrize(
    ("spec", "more", "words"),
    [
        ("own_layer.py", (), "expected path/to/file.py:Name"),
        ("none.py:Swish", (), "no file"),
        ("own_layer.py:Nothing", (), "has no Nothing"),
        ("own_layer.py:number", (), "expected a subclass of minigrad.Module, got 3"),
        ("own_layer.py:Swish", ("--set", "c=1"), "Swish: cannot be made from {'c': 1}"),
        ("own_layer.py:Swish", ("--set", "c"), "--set: expected KEY=VALUE, got 'c'"),
        ("broken.py:Swish", (), "cannot be run: SyntaxError"),
        ("leaves.py:Swish", (), "cannot be run: SystemExit(0)"),
        ("own_layer.py:Swish", ("--input", "0,3"), "shape (0, 3) has no elements"),
        ("own_layer.py:Swish", ("--range", "nan", "1"), "two finite numbers, low < high"),
        ("own_layer.py:Swish", ("--range", "1", "0"), "two finite numbers, low < high"),
        ("own_layer.py:Swish", ("--range", "0", "inf"), "two finite numbers, low < high"),
        ("own_layer.py:Swish", ("--constant", "1"), "constant: expected 0 to 0, got 1"),
        ("own_layer.py:Swish", ("--seed", "-1"), "expected a whole number >= 0, got -1"),
        ("own_layer.py:Swish", ("--examples", "0"), "expected a whole number >= 1, got 0"),
    ],
)
def test_wrong_usage_is_told(
    own: Path, spec: str, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own.with_name("broken.py").write_text("def (")
    own.with_name("leaves.py").write_text("import sys\n\nsys.exit(0)")
    assert main(["certify", str(own.with_name(spec)), "--input", "2", *more]) == 2
    assert words in capsys.readouterr().err
    assert main(["certify", str(own), "--input", "2,a"]) == 2


def test_a_file_may_be_called_as_a_module_that_is_in_use(own: Path) -> None:
    other = own.with_name("json.py")
    other.write_text(f"import sys\n\nsys.path.insert(0, 'mine')\n{OWN}")
    before = list(sys.path)
    assert run(other, "Swish") == 0
    assert sys.modules["json"] is json
    sys.path.remove("mine")
    assert sys.path == before


def test_losses_and_linear_layers() -> None:
    """An input without a cotangent is named; the adjoint identity is checked where asked."""
    shapes = [(2, 3), (2, 3)]
    cases = certify(mg.MSELoss, shapes, {"reduction": "sum"}, constant=(1,), examples=2)
    assert all(case.passed for case in cases)
    cases = certify(mg.MSELoss, shapes, {}, examples=2)
    failed = [case.name for case in cases if not case.passed]
    assert failed == ["MSELoss differences", "MSELoss arity_and_forms"]
    cases = certify(mg.Sigmoid, [(2, 3)], {}, linear=True, examples=2)
    assert [case.name for case in cases if not case.passed] == ["Sigmoid adjoint"]
    arguments = {"in_channels": 2, "out_channels": 3, "kernel_size": 3}
    cases = certify(mg.Conv2d, [(1, 2, 5, 4)], arguments, linear=True)
    assert all(case.passed for case in cases)
    assert next(c for c in cases if c.name == "Conv2d keeps").figures["bytes held"] == 160


def test_dtype_is_given_to_the_constructor() -> None:
    layer = certify(mg.PReLU, [(2, 3, 4)], {"num_parameters": 3}, examples=1)
    assert all(case.passed for case in layer) and mg.PReLU().weight.dtype == np.float32
