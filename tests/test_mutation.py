"""The mutation score: the copy that mutmut works on, and how its verdicts are summed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from validation import mutation
from validation.__main__ import main
from validation.mutation import Mutant, known_reasons, only_text_differs, prepare, reason_of

SOURCE = '''@replaceable
def f(x):
    """Twice."""
    return 2 * x


@functools.lru_cache(maxsize=4)
def g(x):
    return x


class A:
    @property
    def h(self):
        return 1

    def describe(self) -> str:
        return "1"
'''
PLAIN = '''def f(x):
    """Twice."""
    return 2 * x


f = replaceable(f)


def g(x):
    return x


g = g


class A:
    @property
    def h(self):
        return 1

    def describe(self) -> str:  # pragma: no mutate block
        return "1"
'''


def test_decorators_stand_below_functions() -> None:
    assert mutation.undecorated(SOURCE) == PLAIN


def test_the_copy_is_brought_up_to_date(tmp_path: Path, monkeypatch: Any) -> None:
    root, work = tmp_path / "root", tmp_path / "work"
    for place, text in {
        "minigrad/layers/a.py": SOURCE,
        "minigrad/__init__.py": "",
        "tests/checks.py": "1",
        "tests/errors/a.py": "1",
        "validation/b.py": "1",
        "setup.cfg": "[mutmut]\npytest_add_cli_args_test_selection =\n    tests/checks.py\n",
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    monkeypatch.setattr(mutation, "ROOT", root)
    assert prepare(work) == {"minigrad/layers/a.py"}
    assert (work / "minigrad/layers/a.py").read_text() == PLAIN and (work / "setup.cfg").exists()
    verdicts(work, {"killed": 1, "survived": 0, "crashed": -6, "late": 36})
    assert prepare(work) == set()
    assert codes(work) == {"killed": 1, "survived": 0, "crashed": -6, "late": 36}
    (root / "tests/errors/a.py").write_text("2")
    assert prepare(work) == set()
    assert codes(work) == {"killed": 1, "survived": None, "crashed": -6, "late": None}
    (root / "minigrad/layers/a.py").write_text("x = 1\n")
    assert prepare(work) == {"minigrad/layers/a.py"}


def verdicts(work: Path, found: dict[str, int | None]) -> None:
    meta = work / "mutants" / "minigrad" / "layers" / "a.py.meta"
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_text(json.dumps({"exit_code_by_key": found}))


def codes(work: Path) -> dict[str, int | None]:
    meta = work / "mutants" / "minigrad" / "layers" / "a.py.meta"
    return dict(json.loads(meta.read_text())["exit_code_by_key"])


MUTATED = """def x_f__mutmut_orig(x):
    return g(x, "a") + 1
def x_f__mutmut_1(x):
    return g(x, "XXaXX") + 1
def x_f__mutmut_2(x):
    return g(x, "a") - 1
def xǁAǁh__mutmut_orig(x):
    return -1
def xǁAǁh__mutmut_1(x):
    return +1
"""
NAMES = [line[4:].partition("(")[0] for line in MUTATED.splitlines() if line.startswith("def")]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "mutants" / "minigrad" / "layers"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(MUTATED)
    spans = {name: [2 * i + 1, 2 * i + 2] for i, name in enumerate(NAMES)}
    (folder / "a.py.spans").write_text(json.dumps({"version": 1, "spans": spans}))
    return tmp_path


def decide(work: Path, *found: int | None) -> None:
    names = [f"minigrad.layers.a.{n}" for n in NAMES if not n.endswith("orig")]
    verdicts(work, dict(zip(names, found, strict=True)))


def test_survivors_need_a_reason(work: Path, monkeypatch: Any) -> None:
    said: list[str] = []
    decide(work, 0, 0, 1)
    (case,) = mutation.run_mutation(look=True, work=work, say=said.append)
    assert case.name == "layers/a.py" and case.passed is False
    assert case.figures["score"] == pytest.approx(1 / 3)
    assert case.figures["reasons"] == {"minigrad.layers.a.x_f__mutmut_1": mutation.TEXT_ALONE}
    where = 'minigrad.layers.a.f: return g(x, "a") + 1  ->  return g(x, "a") - 1'
    assert case.figures["open"] == {"minigrad.layers.a.x_f__mutmut_2": where}
    assert said[0] == 'survived minigrad.layers.a.x_f__mutmut_2\n  - return g(x, "a") + 1\n  + ' + (
        'return g(x, "a") - 1'
    )
    reasons = work / "survivors.toml"
    reasons.write_text("[[survivor]]\nnow = '- 1'\nin = '*.a.f'\nwhy = 'why not'\n")
    monkeypatch.setattr(mutation, "REASONS", reasons)
    (case,) = mutation.run_mutation(look=True, work=work)
    assert case.passed and case.figures["score"] == pytest.approx(1 / 3)
    decide(work, 0, None, 36)
    (case,) = mutation.run_mutation(look=True, work=work)
    assert case.passed is None and case.detail == "1 are not tried yet"
    decide(work, 1, 33, -11)
    (case,) = mutation.run_mutation("layers/*", look=True, work=work)
    assert case.figures["killed"] == 2 and case.passed
    assert not mutation.run_mutation("losses/*", look=True, work=work)


def test_what_is_asked_for_by_name(work: Path) -> None:
    source = work / "minigrad" / "layers" / "a.py"
    source.parent.mkdir(parents=True)
    source.touch()
    assert mutation._names("layers/*", set(), work) == ["minigrad.layers.a.*"]
    decide(work, 0, None, 1)
    assert mutation._names("layers/*", set(), work) == ["minigrad.layers.a.x_f__mutmut_2"]
    assert mutation._names("losses/*", set(), work) == []
    changed = {"minigrad/layers/a.py"}
    assert mutation._names("layers/*", changed, work) == ["minigrad.layers.a.*"]


@pytest.mark.parametrize(
    ("was", "now", "alone"),
    [
        ('f(x, "a")', 'f(x, "XXaXX")', True),
        ('f(x, "a")', 'f(y, "b")', False),
        ('g(x, "a",', 'g(x, "A",', True),
        ("f(1)", "f(2)", False),
        ("f(1)", "f(1)", False),
    ],
)
def test_text_alone(was: str, now: str, alone: bool) -> None:
    assert only_text_differs(was, now) is alone


def test_the_reasons_can_be_read() -> None:
    reasons = known_reasons()
    assert reasons and all(reason.why for reason in reasons)
    mutant = Mutant(
        "", "minigrad.layers.a.f", "xp = array_module(x)", "xp = array_module(None)", ""
    )
    assert "CPU" in reason_of(mutant, reasons)


def test_a_pattern_of_no_file_is_wrong_usage(monkeypatch: Any, tmp_path: Path) -> None:
    assert main(["mutation", "--look", "--only", "no such*"]) == 2
    monkeypatch.setattr(mutation.sys, "executable", str(tmp_path / "python"))
    assert main(["mutation", "--only", "no such*"]) == 2
