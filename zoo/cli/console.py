"""What every verb shares: exit codes, the two output channels, the first line, nearest names.

With `--json` the standard output holds exactly one JSON object, whose `ok` says whether all went
well; everything said on the way goes to the standard error. A failure is the object
{"ok": false, "error": TEXT, "exit_code": CODE}.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

OK, FAILED, USAGE, MACHINE = 0, 1, 2, 3

EXIT_CODES = (
    "exit codes: 0 ok; 1 the work failed; 2 wrong usage or input; "
    "3 disk or device (130: interrupted)"
)


class CliError(Exception):
    """Ends a verb with one line on the standard error and an exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        """`message` is what the user reads; `code` is one of OK, FAILED, USAGE, MACHINE."""
        super().__init__(message)
        self.code = code


def add_verb(
    verbs: Any, name: str, run: Any, summary: str, example: str
) -> argparse.ArgumentParser:
    """Add the verb `name` to the sub-parsers, with `--json`, its examples and the exit codes in
    its help.
    """
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n{_indent(example)}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    verb.set_defaults(run=run, verb=name)
    return verb


def add_device(verb: argparse.ArgumentParser) -> None:
    """Add `--device cpu|cuda|auto`."""
    verb.add_argument(
        "--device",
        choices=("cpu", "cuda", "auto"),
        default="auto",
        help="where to compute; auto takes the GPU when there is a usable one (default: auto)",
    )


def say(args: argparse.Namespace, text: str) -> None:
    """Print a line: on the standard output, or on the standard error when that is kept for JSON."""
    print(text, file=sys.stderr if args.json else sys.stdout, flush=True)


def complain(text: str) -> None:
    """Print one line on the standard error."""
    print(text, file=sys.stderr, flush=True)


def first_line(args: argparse.Namespace, device: str | None = None) -> str:
    """Settle the device, print it as the first line, and return `"cpu"` or `"cuda"`.

    Raises:
        DeviceError: `--device cuda` without a usable GPU.
    """
    from minigrad.backend import resolve_device
    from zoo import blas

    device = resolve_device(args.device if device is None else device)
    note = blas.note() if device == "cpu" else ""
    say(args, f"device: {device}" + (f"; {note}" if note else ""))
    return device


def emit(record: dict[str, Any]) -> None:
    """Print one JSON object on the standard output, with `ok` true unless the record says it.

    Paths become text, non-finite numbers null. All characters are ASCII, so that any file name
    can be printed whatever the terminal's encoding.
    """
    print(json.dumps(_plain({"ok": True, **record}), allow_nan=False))


def emit_failure(error: str, code: int) -> None:
    """Print the JSON object of a verb that failed as a whole."""
    emit({"ok": False, "error": error, "exit_code": code})


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1
) -> None:
    """Print a table on the standard output; columns after the first `words` ones hold numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, not str: square brackets in a file's name are no markup.
    sheet = Table(title=Text(title) if title else None, box=SIMPLE_HEAD, title_justify="left")
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if index < words else "right"
        sheet.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        sheet.add_row(*(Text(str(cell)) for cell in row))
    # A pipe has no width: wide enough that no cell is folded there.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(sheet)


def path_of(option: str, text: str) -> Path:
    """A path that was typed; an empty one, as of a variable that is not set, is refused."""
    if not text:
        raise CliError(f"{option}: expected a path, got an empty text")
    return Path(text)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; nearest: a, b, c` for an unknown name, or `` when nothing resembles it."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f"; nearest: {', '.join(close)}" if close else ""


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.strip().splitlines())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.item() if hasattr(value, "item") else str(value)
