"""The certificate of a layer of one's own: right ones pass, wrong ones fail, words are clear."""

from __future__ import annotations

import json
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
    ],
)
def test_wrong_usage_is_told(
    own: Path, spec: str, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own.with_name("broken.py").write_text("def (")
    assert main(["certify", str(own.with_name(spec)), "--input", "2", *more]) == 2
    assert words in capsys.readouterr().err
    assert main(["certify", str(own), "--input", "2,a"]) == 2


def test_losses_and_linear_layers() -> None:
    """The inputs without a cotangent are found; the adjoint identity is checked where asked."""
    cases = certify(mg.MSELoss, [(2, 3), (2, 3)], {"reduction": "sum"}, examples=2)
    assert all(case.passed for case in cases)
    cases = certify(mg.Sigmoid, [(2, 3)], {}, linear=True, examples=2)
    assert [case.name for case in cases if not case.passed] == ["Sigmoid adjoint"]
    arguments = {"in_channels": 2, "out_channels": 3, "kernel_size": 3}
    cases = certify(mg.Conv2d, [(1, 2, 5, 4)], arguments, linear=True)
    assert all(case.passed for case in cases)
    assert next(c for c in cases if c.name == "Conv2d keeps").figures["bytes held"] == 160


def test_dtype_is_given_to_the_constructor() -> None:
    layer = certify(mg.PReLU, [(2, 3, 4)], {"num_parameters": 3}, examples=1)
    assert all(case.passed for case in layer) and mg.PReLU().weight.dtype == np.float32
