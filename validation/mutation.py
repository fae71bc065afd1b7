"""The mutation score of the layers, by mutmut: `python -m validation mutation`, or `make mutation`.

mutmut changes the source in one place at a time (an operator, a number, an argument, an assignment)
and asks whether a test notices. Here it changes the bodies of layers and losses, and the tests are
`tests/mutation_checks.py`. It runs on a copy of the project in `runs/mutation`, in which

- decorated functions are written `def f ...` and `f = replaceable(f)`, since mutmut leaves out what
  is decorated, and that is where the mathematics stands;
- `describe` is marked as not to be changed; messages are left out by the patterns in setup.cfg.

Verdicts are kept: a second run goes on where the first ended, and tries again what was changed, or
all survivors when the tests were. A survivor needs a reason in `validation/survivors.toml`.
"""

from __future__ import annotations

import ast
import configparser
import difflib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from validation.report import Case, UsageError, gather, silent

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "runs" / "mutation"
REASONS = Path(__file__).with_name("survivors.toml")
COPIED = ("minigrad", "validation", "tests", "zoo", "setup.cfg", "pyproject.toml")
MUTATED = ("minigrad/layers", "minigrad/losses")
"""The folders whose functions are rewritten for mutmut; setup.cfg says what it changes."""
TEXT_ALONE = "text alone"

KILLED, SURVIVED, TIMEOUTS = (1, 3), 0, (-24, 24, 36, 152, 255)
"""Exit codes of a mutant's tests, as mutmut keeps them; None = not tried yet."""


@dataclass(frozen=True)
class Mutant:
    """One change, and what became of it.

    Attributes:
        name: mutmut's, for `mutmut show`.
        function: module and function, dotted.
        was: the changed lines, as they were.
        now: the same lines, changed.
        verdict: "killed", "survived", "timeout", "undecided" or "other" (no test).
    """

    name: str
    function: str
    was: str
    now: str
    verdict: str


def run_mutation(
    only: str | None = None,
    processes: int = 2,
    look: bool = False,
    work: Path = WORK,
    say: Callable[[str], None] = silent,
) -> list[Case]:
    """Try the mutants and sum up: one case a source file.

    A case passes when every mutant is decided, and every survivor has a reason.

    Args:
        only: a pattern for paths below `minigrad/`, such as `layers/conv*`.
        processes: how many mutants at a time.
        look: sum up what is known, and try nothing.
        work: the folder of the copy.
        say: hears of each file, and of each survivor without a reason.
    """
    if not look:
        _try(only, processes, work)
    paths = [p for p in _mutated_files(work) if only is None or fnmatch(_short(p), only)]
    return gather((case for path in paths for case in _sum_up(path, work, say)), say)


# --------------------------------------------------------------------------- running


def _try(only: str | None, processes: int, work: Path) -> None:
    tool = Path(sys.executable).with_name("mutmut")
    if not tool.exists():
        raise UsageError("mutation: mutmut is missing: pip install -e '.[dev]'")
    changed = prepare(work)
    chosen = [] if only is None else _names(only, changed, work)
    if only is not None and not chosen:
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [str(tool), "run", "--max-children", str(processes), *chosen]
    done = subprocess.run(command, cwd=work, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise UsageError(f"mutation: mutmut ended with {done.returncode}, see above")


def _names(only: str, changed: set[str], work: Path) -> list[str]:
    """What to ask mutmut for: mutants that are not decided, and files that are new or changed.

    What is asked for by name is tried again, whatever is known of it.
    """
    names = []
    for folder in MUTATED:
        for path in sorted((work / folder).glob("*.py")):
            text = path.relative_to(work).as_posix()
            if path.name == "__init__.py" or not fnmatch(_short(text), only):
                continue
            known = _exit_codes(text, work)
            if text in changed or not known:
                names.append(text.removesuffix(".py").replace("/", ".") + ".*")
            else:
                names += [name for name, code in known.items() if code is None]
    return names


def prepare(work: Path) -> set[str]:
    """Bring the copy up to date; returns the paths of the sources that were changed.

    Where the tests are new, mutmut forgets which test runs what, and which mutants survived.
    """
    changed = set()
    for name in COPIED:
        source = ROOT / name
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file() and "__pycache__" not in path.parts:
                place = path.relative_to(ROOT).as_posix()
                if _copy(path, place, work):
                    changed.add(place)
    digest = hashlib.sha256()
    for path in [*_tests(), *sorted((ROOT / "validation").rglob("*.py"))]:
        if path.name not in ("__main__.py", "commands.py", "mutation.py"):
            digest.update(path.read_bytes())
    mark, today = work / "tests.sha256", digest.hexdigest()
    if not mark.exists() or mark.read_text() != today:
        (work / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
        for meta in (work / "mutants").rglob("*.meta"):
            _forget_survivors(meta)
        mark.write_text(today)
    return {p for p in changed if p.startswith(MUTATED)}


def _tests() -> list[Path]:
    """The files of tests that setup.cfg names, and the wrong inputs that they read."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg")
    named = config["mutmut"]["pytest_add_cli_args_test_selection"].split()
    return [*(ROOT / name for name in named), *sorted((ROOT / "tests" / "errors").glob("*.py"))]


def _copy(path: Path, place: str, work: Path) -> bool:
    """Copy one file where it differs; mutmut compares times, so an equal one stays untouched."""
    target, data = work / place, path.read_bytes()
    if place.startswith(MUTATED) and path.suffix == ".py":
        data = undecorated(data.decode()).encode()
    if target.exists() and target.read_bytes() == data:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    if place.startswith(MUTATED):  # also where the clock is coarse
        shutil.rmtree(work / "mutants" / place, ignore_errors=True)
        (work / "mutants" / place).unlink(missing_ok=True)
    return True


def undecorated(source: str) -> str:
    """`@f` above a function as `name = f(name)` below it; `describe` marked for mutmut.

    Caches are left out: what the sound function gave would hide the changed one.
    """
    lines = source.splitlines()
    after: dict[int, list[str]] = {}
    dropped = set()
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            assert node.end_lineno is not None
            made = node.name
            for decorator in reversed(node.decorator_list):
                text = ast.unparse(decorator)
                made = made if "cache" in text else f"{text}({made})"
                dropped |= {*range(decorator.lineno, (decorator.end_lineno or 0) + 1)}
            after[node.end_lineno] = ["", "", f"{node.name} = {made}"]
    for inner in ast.walk(tree):
        if isinstance(inner, ast.FunctionDef) and inner.name.startswith("describe"):
            lines[inner.lineno - 1] += "  # pragma: no mutate block"
    kept = []
    for number, line in enumerate(lines, start=1):
        if number not in dropped:
            kept.append(line)
        kept += after.get(number, [])
    return "\n".join(kept) + "\n"


def _forget_survivors(meta: Path) -> None:
    known = json.loads(meta.read_text())
    codes = known["exit_code_by_key"]
    known["exit_code_by_key"] = {
        k: c if _verdict(c) == "killed" else None for k, c in codes.items()
    }
    meta.write_text(json.dumps(known))


# --------------------------------------------------------------------------- summing up


def mutants_of(path: str, work: Path = WORK) -> list[Mutant]:
    """Every mutant of one source file, in the order of the source."""
    spans = json.loads((work / "mutants" / f"{path}.spans").read_text())["spans"]
    lines = (work / "mutants" / path).read_text().splitlines()
    module = path.removesuffix(".py").replace("/", ".")

    def text(name: str) -> list[str]:
        first, last = spans[name]
        return [line.replace(name, "f") for line in lines[first - 1 : last]]

    found = []
    for name, code in _exit_codes(path, work).items():
        local = name.rpartition(".")[2]
        stem = local.rpartition("_")[0]
        delta = [*difflib.ndiff(text(f"{stem}_orig"), text(local))]
        was, now = (
            "\n".join(line[2:].strip() for line in delta if line.startswith(sign))
            for sign in ("- ", "+ ")
        )
        function = stem.removesuffix("__mutmut")[2:].replace("ǁ", ".")  # x_f, xǁClassǁmethod
        found.append(Mutant(name, f"{module}.{function}", was, now, _verdict(code)))
    return found


def _sum_up(path: str, work: Path, say: Callable[[str], None]) -> Iterator[Case]:
    reasons = known_reasons()
    mutants = mutants_of(path, work)
    survivors = [m for m in mutants if m.verdict in ("survived", "other")]
    why = {m.name: reason_of(m, reasons) for m in survivors}
    open_ones = [m for m in survivors if not why[m.name]]
    undecided = sum(m.verdict == "undecided" for m in mutants)
    killed = sum(m.verdict in ("killed", "timeout") for m in mutants)
    counted = len(mutants) - undecided
    figures: dict[str, Any] = {"mutants": len(mutants), "killed": killed}
    figures |= {"survivors": len(survivors), "without a reason": len(open_ones)}
    figures["score"] = killed / counted if counted else 0.0
    figures["reasons"] = {name: text for name, text in why.items() if text}
    figures["open"] = {m.name: f"{m.function}: {m.was}  ->  {m.now}" for m in open_ones}
    for m in open_ones:
        say(f"survived {m.name}\n  - {m.was}\n  + {m.now}")
    case = Case(_short(path), not open_ones, figures=figures)
    if open_ones:
        case.detail = f"{len(open_ones)} survivors without a reason"
    elif undecided:
        case.passed, case.detail = None, f"{undecided} are not tried yet"
    yield case


@dataclass(frozen=True)
class Reason:
    """Why no test can notice some mutants; an entry of `survivors.toml`.

    Attributes:
        now: a regular expression that is found in the changed lines.
        why: the reason.
        place: a pattern for the function, module and all; by default any.
    """

    now: re.Pattern[str]
    why: str
    place: str = "*"

    def holds(self, mutant: Mutant) -> bool:
        """Whether it speaks of this mutant."""
        if not (self.now.search(mutant.now) and fnmatch(mutant.function, self.place)):
            return False
        return self.place != "*" or not self.now.search(mutant.was)


def known_reasons() -> list[Reason]:
    """The entries of `survivors.toml`."""
    listed = tomllib.loads(REASONS.read_text("utf-8"))["survivor"]
    return [Reason(re.compile(s["now"]), s["why"], s.get("in", "*")) for s in listed]


def reason_of(mutant: Mutant, reasons: Sequence[Reason]) -> str:
    """Why this mutant may survive; empty where nobody knows."""
    if only_text_differs(mutant.was, mutant.now):
        return TEXT_ALONE
    return next((reason.why for reason in reasons if reason.holds(mutant)), "")


def only_text_differs(was: str, now: str) -> bool:
    """Whether the two differ in string literals alone."""
    return was != now and _without_text(was) == _without_text(now)


def _without_text(code: str) -> list[str]:
    tokens = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            tokens.append("text" if token.type == tokenize.STRING else token.string)
    except (tokenize.TokenError, IndentationError):  # a part of a statement: what was read counts
        pass
    return [token for token in tokens if token.strip()]


def _mutated_files(work: Path) -> list[str]:
    if not (work / "mutants").is_dir():
        return []
    metas = sorted((work / "mutants").rglob("*.meta"))
    paths = [m.relative_to(work / "mutants").as_posix().removesuffix(".meta") for m in metas]
    return [path for path in paths if _exit_codes(path, work)]


def _exit_codes(path: str, work: Path) -> dict[str, int | None]:
    meta = work / "mutants" / f"{path}.meta"
    if not meta.exists():
        return {}
    codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    return codes


def _verdict(code: int | None) -> str:
    if code is None:
        return "undecided"
    if code in KILLED or -20 < code < 0:  # a signal: the process did not outlive the mutant
        return "killed"
    if code == SURVIVED:
        return "survived"
    return "timeout" if code in TIMEOUTS else "other"


def _short(path: str) -> str:
    return path.removeprefix("minigrad/")
