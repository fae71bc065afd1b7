"""Every public class, function, method, property and constructor of the engine says what it does.

Read from the source, so that neither an inherited text nor a decorator stands in for one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "minigrad").rglob("*.py"))
Documented = ast.Module | ast.ClassDef | ast.FunctionDef


def public(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Documented]]:
    """The definitions of a file that a reader may use, by dotted name; setters follow getters."""
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef):
            continue
        setter = any(ast.unparse(d).endswith(".setter") for d in child.decorator_list)
        if (child.name.startswith("_") and child.name != "__init__") or setter:
            continue
        yield prefix + child.name, child
        if isinstance(child, ast.ClassDef):
            yield from public(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_public_has_a_docstring_of_its_own(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions: list[tuple[str, Documented]] = [("the file", tree), *public(tree, "")]
    assert not [name for name, node in definitions if not ast.get_docstring(node)]
