"""House rules that no module can break unnoticed: imports, banned calls, what must exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import minigrad
import minigrad.layers
import minigrad.losses
from minigrad import Module
from validation.rows import ROWS
from validation.twins.layers import TWINS

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {"minigrad": 0, "zoo": 1, "validation": 2, "tests": 3}
"""A package imports its own floor and those below."""
LINES = {"minigrad": 400, "zoo": 400, "validation": 400, "tests": 450}
"""A longer file says in its docstring why: "Longer than usual because ..."."""
IMPORT_SECONDS = 0.15
"""What `import minigrad` may take beyond NumPy's own import."""


def sources(*folders: str) -> list[Path]:
    """The Python files below the given top-level folders."""
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that a file imports, at whatever depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_at_top(tree: ast.Module) -> Iterator[str]:
    """What a file imports when it is imported: not in functions, not under TYPE_CHECKING."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        waiting.extend(ast.iter_child_nodes(node))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def run_python(code: str, **environment: str) -> str:
    """Run `code` in a fresh interpreter at the root of the project; its output."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --------------------------------------------------------------------------- who imports whom


@pytest.mark.parametrize("path", sources(*FLOORS), ids=relative)
def test_imports_point_downwards(path: Path) -> None:
    floor = FLOORS[relative(path).split("/")[0]]
    above = {n for n in imports(parse(path)) if FLOORS.get(n.split(".")[0], -1) > floor}
    assert not above


@pytest.mark.parametrize("path", sources("minigrad", "zoo"), ids=relative)
def test_no_torch_in_engine_and_zoo(path: Path) -> None:
    assert not [name for name in imports(parse(path)) if name.split(".")[0] == "torch"]


@pytest.mark.parametrize("path", sources(*FLOORS), ids=relative)
def test_cupy_only_in_backend_and_kernels(path: Path) -> None:
    tree, name = parse(path), relative(path)
    if name.startswith("tests/"):
        return
    if name != "minigrad/backend.py" and not name.startswith("minigrad/kernels/"):
        assert not [n for n in imports(tree) if n.split(".")[0] == "cupy"]
    assert not [n for n in imports_at_top(tree) if n.split(".")[0] == "cupy"], "must be lazy"


@pytest.mark.parametrize("path", sources("minigrad", "zoo"), ids=relative)
def test_matplotlib_is_imported_where_it_draws(path: Path) -> None:
    assert not [n for n in imports_at_top(parse(path)) if n.split(".")[0] == "matplotlib"]


@pytest.mark.parametrize("path", sources("minigrad/layers", "minigrad/losses"), ids=relative)
def test_leaves_do_not_know_composites(path: Path) -> None:
    upper = {"wiring", "containers", "optim", "kernels", "checkpoint", "gradcheck"}
    found = {n.split(".")[1] for n in imports(parse(path)) if n.startswith("minigrad.")}
    assert not found & upper


@pytest.mark.parametrize("path", sources("minigrad"), ids=relative)
def test_nothing_needs_the_kernels(path: Path) -> None:
    if relative(path) == "minigrad/__init__.py" or relative(path).startswith("minigrad/kernels/"):
        return
    assert not [n for n in imports(parse(path)) if n.startswith("minigrad.kernels")]


# --------------------------------------------------------------------------- running alone

WITHOUT = """
import importlib, pkgutil, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocked())
import minigrad as mg, numpy as np, zoo
for package in (mg, zoo):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
network = mg.Sequential(mg.Conv2d(3, 4, 3, padding=1), mg.ReLU(), mg.ConvTranspose2d(4, 3, 2, 2))
x = np.ones((1, 3, 6, 6), np.float32)
y, vjp = network.forward_and_vjp(x)
assert vjp(np.ones_like(y)).shape == x.shape
model = zoo.create("n2n-simple")
x = np.full((1, 3, 8, 8), 0.5, np.float32)
y, vjp = model.forward_and_vjp(x)
assert vjp(np.ones_like(y)).shape == x.shape
assert model.denoise(np.full((1, 3, 9, 7), 0.5, np.float32)).shape == (1, 3, 9, 7)
print("ran")
"""


@pytest.mark.parametrize("blocked", [("torch",), ("cupy",), ("torch", "cupy", "matplotlib")])
def test_engine_and_zoo_run_without(blocked: tuple[str, ...]) -> None:
    assert run_python(WITHOUT.format(blocked=blocked)).strip().endswith("ran")


@pytest.mark.parametrize("package", ["minigrad", "zoo"])
def test_import_loads_nothing_heavy(package: str) -> None:
    heavy = ("torch", "cupy", "matplotlib", "skimage", "scipy", "h5py")
    code = f"import sys, {package}; print([m for m in {heavy!r} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def import_seconds(clock: str, cache: Path) -> float:
    """Median time of `import minigrad` after `import numpy`, of five fresh interpreters.

    The sources are compiled once into `cache`, as pip does for every installed package (numpy's
    import, which is not counted, comes from bytecode too).
    """
    code = (
        f"import numpy; from time import {clock} as clock; t = clock(); import minigrad; "
        "print(clock() - t)"
    )
    bytecode = {"PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    run_python(code, **bytecode)
    return statistics.median(float(run_python(code, **bytecode)) for _ in range(5))


def test_import_is_quick(tmp_path: Path) -> None:
    # A busy machine makes us wait for others: then the time of our own thread decides (the
    # whole process's would count the threads that numpy's BLAS has just started).
    if import_seconds("perf_counter", tmp_path) > IMPORT_SECONDS:
        assert import_seconds("thread_time", tmp_path) <= IMPORT_SECONDS


# --------------------------------------------------------------------------- what a leaf may not do

BANNED_METHODS = {
    *("item", "get", "tolist", "any", "all", "nonzero", "flatnonzero", "argwhere", "unique"),
    *("float64", "double", "default_rng"),
}
BANNED_NAMES = {"float", "bool", "default_rng"}


def calls_outside_constructors(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls in all functions but `__init__`, whose arguments are Python numbers, not arrays."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def banned_calls(tree: ast.Module) -> list[str]:
    """What no leaf may call where it computes, with the line.

    Rule 8: nothing that reads a value back to the host: it waits for the device, and cannot stand
    in a captured graph. Rule 9: no scalar that promotes. Rule 11: no randomness but `self.noise`.
    """
    found = []
    for call in calls_outside_constructors(tree):
        text = ast.unparse(call.func)
        name = text.rpartition(".")[2]
        banned = BANNED_METHODS if isinstance(call.func, ast.Attribute) else BANNED_NAMES
        if name in banned or "random" in text.split("."):
            found.append(f"line {call.lineno}: {text}()")
    return found


@pytest.mark.parametrize("path", sources("minigrad/layers", "minigrad/losses"), ids=relative)
def test_leaves_call_nothing_banned_where_they_compute(path: Path) -> None:
    assert not banned_calls(parse(path))


@pytest.mark.parametrize(
    ("line", "banned"),
    [
        ("return x * np.random.default_rng().uniform(size=x.shape)", True),
        ("return x * default_rng(0).random()", True),
        ("return x + np.random.standard_normal(x.shape)", True),
        ("return x * random.random()", True),
        ("return x * float(x.max())", True),
        ("return x if x.any() else -x", True),
        ("return x * np.float64(2)", True),
        ("return x * self.noise.uniform(x.shape, x.dtype)", False),
    ],
)
def test_a_banned_call_is_seen(line: str, banned: bool) -> None:
    method = "class Leaf:\n    def {}(self, x):\n        " + line
    assert bool(banned_calls(ast.parse(method.format("forward")))) is banned
    assert not banned_calls(ast.parse(method.format("__init__")))


# --------------------------------------------------------------------------- what must exist


def public_leaves() -> list[type[Module]]:
    """The leaf layers and losses that the engine exports."""
    found = []
    for room in (minigrad.layers, minigrad.losses):
        found += [getattr(room, name) for name in room.__all__]
    return found


def leaf_id(leaf: type[Module]) -> str:
    return leaf.__name__


def test_every_leaf_class_is_exported() -> None:
    """A leaf class without a leading underscore is in its room's list and in the engine's."""
    exported = {leaf.__name__ for leaf in public_leaves()}
    for path in sources("minigrad/layers", "minigrad/losses"):
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert node.name in exported, f"{relative(path)}: {node.name}"
    assert exported <= set(minigrad.__all__)


@pytest.mark.parametrize("leaf", public_leaves(), ids=leaf_id)
def test_leaf_documents_itself(leaf: type[Module]) -> None:
    text = inspect.getdoc(leaf) or ""
    for section in ("VJP", "Keeps:", "PyTorch:"):
        assert re.search(rf"^{section}", text, re.MULTILINE), f"no line {section}"


@pytest.mark.parametrize("leaf", public_leaves(), ids=leaf_id)
def test_leaf_has_a_docs_page(leaf: type[Module]) -> None:
    room = leaf.__module__.rsplit(".", 1)[-1]
    page = ROOT / "docs" / "layers" / f"{room}.md"
    assert page.exists()
    assert re.search(rf"^## .*\b{leaf.__name__}\b", page.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("leaf", public_leaves(), ids=leaf_id)
def test_leaf_has_a_row_and_a_twin(leaf: type[Module]) -> None:
    row = ROWS[leaf.__name__]
    assert row.layer is leaf and len(row.variants) >= 2
    assert leaf.__name__ in TWINS


def test_every_row_and_twin_is_of_a_public_leaf() -> None:
    assert {*TWINS} == {*ROWS} == {leaf.__name__ for leaf in public_leaves()}


def packages() -> list[str]:
    return [name for name in ("minigrad", "zoo", "validation") if (ROOT / name).is_dir()]


@pytest.mark.parametrize("package", packages())
def test_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def modules_of(package: str) -> list[ModuleType]:
    """Every module of a package that can be imported without a GPU."""
    root = importlib.import_module(package)
    names = [m.name for m in pkgutil.walk_packages(root.__path__, f"{package}.")]
    return [root, *(importlib.import_module(n) for n in names if not n.endswith("__main__"))]


@pytest.mark.parametrize("package", packages())
def test_public_names_have_docstrings(package: str) -> None:
    """A method may inherit its docstring; `inspect.getdoc` looks there."""
    missing = []
    for module in modules_of(package):
        if not module.__doc__ and (module.__file__ or "").count("__init__") == 0:
            missing.append(module.__name__)
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
                continue
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            if not inspect.getdoc(thing):
                missing.append(f"{module.__name__}.{name}")
            if inspect.isclass(thing) and not getattr(thing, "_is_protocol", False):
                missing += [
                    f"{module.__name__}.{name}.{key}"
                    for key, method in vars(thing).items()
                    if inspect.isfunction(method)
                    and not key.startswith("_")
                    and key not in getattr(thing, "__dataclass_fields__", {})
                    and not inspect.getdoc(getattr(thing, key))
                ]
    assert not missing


# --------------------------------------------------------------------------- sizes and paths


@pytest.mark.parametrize("path", sources(*FLOORS), ids=relative)
def test_files_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    reason = "Longer than usual because" in (ast.get_docstring(ast.parse(text)) or "")
    assert lines <= LINES[relative(path).split("/")[0]] or reason, f"{lines} lines"


def tracked_texts() -> list[Path]:
    """The text files of the project, as git sees them (without git: the source folders)."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        paths = [ROOT / name for name in listing]
    else:
        paths = [p for folder in (*FLOORS, "docs") for p in (ROOT / folder).rglob("*")]
    suffixes = {".py", ".md", ".cfg", ".toml", ".cu", ".json", ".txt", ".yml", ""}
    return [p for p in paths if p.is_file() and p.suffix in suffixes]


def test_no_path_of_a_machine() -> None:
    folders = ("work", "root", "home", "farm", "tmp", "Users")
    pattern = re.compile(r"(?<![\w.}])/(?:" + "|".join(folders) + r")/")
    found = []
    for path in tracked_texts():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{relative(path)}: {m.group()}" for m in pattern.finditer(text)]
    assert not found
