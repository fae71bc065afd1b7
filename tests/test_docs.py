"""The code blocks of README.md and docs/ run, print what they say, and quote the real source.

Conventions of the Markdown files:

- a block marked `python` is executed; the blocks of one file share one namespace, top to bottom,
  and run in an empty folder;
- a block marked `output` after it holds exactly what it prints;
- a `python` block below the comment `<!-- source: package.module.Name -->` is a quotation: it is
  not executed, it must be equal to the source of that object;
- blocks in other languages (`sh`, `text`) are not run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import re
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- source: (?P<source>[\w.]+) -->\n)?"
    r"```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")


@dataclass
class Block:
    """A fenced block: language, text, line of its first text line, quoted object ("" for none)."""

    language: str
    text: str
    line: int
    source: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text, in order."""
    return [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start("text")) + 1,
            match["source"] or "",
        )
        for match in FENCE.finditer(text)
    ]


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def find_object(dotted: str) -> object:
    """The object `package.module.Name.attribute`."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise LookupError(f"no module in {dotted}")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "docs"}
    found = blocks(page.read_text(encoding="utf-8"))
    for i, block in enumerate(found):
        if block.language != "python" or block.source:
            continue
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(code, namespace)
        follower = found[i + 1] if i + 1 < len(found) else None
        if follower is not None and follower.language == "output":
            assert printed.getvalue() == follower.text, f"{page_id(page)}:{follower.line}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_quotations_are_verbatim(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.source:
            source = textwrap.dedent(inspect.getsource(find_object(block.source)))  # type: ignore[arg-type]
            assert block.text.strip("\n") == source.strip("\n"), (
                f"{page_id(page)}:{block.line} differs from {block.source}"
            )


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page_id(page)}: {target}"
        if anchor and file.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", t).strip().lower().replace(" ", "-") for t in titles]
            assert anchor in anchors, f"{page_id(page)}: {target}"


def links(page: Path) -> set[Path]:
    """The files that a page links to."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {(page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(text)}


def test_every_page_can_be_reached() -> None:
    """A chain of links leads from docs/index.md to every page."""
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting.extend(links(page))
    assert not set(PAGES) - {ROOT / "README.md"} - reached


def test_every_picture_is_shown() -> None:
    shown = set().union(*(links(page) for page in PAGES))
    assert not set((ROOT / "docs").rglob("*.png")) - shown


def test_readme_lists_the_verbs_of_the_command() -> None:
    from zoo.__main__ import parser

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `zoo ([\w-]+)", text, re.MULTILINE)
    groups = [a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert sorted(told) == sorted(groups[0])
