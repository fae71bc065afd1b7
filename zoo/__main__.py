"""The command line: `zoo VERB ...` or `python -m zoo VERB ...`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from zoo import blas

TRACEBACK = "ZOO_TRACEBACK"

EPILOG = f"""\
examples:
  zoo list
  zoo train n2n-demo --out runs/demo
  zoo denoise photos --out clean

exit codes: 0 ok; 1 the work failed; 2 wrong usage or input; 3 disk or device (130: interrupted)

environment:
  {blas.KEEP}=1    never set {blas.VARIABLE}; without it the command sets
                              {blas.RECOMMENDED} where OpenBLAS would leave AVX-512 unused
  {TRACEBACK}=1             show the traceback of an unexpected error
"""


class UsageError(Exception):
    """The command line cannot be read; the usage has been shown."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse ends the process."""

    def error(self, message: str) -> NoReturn:
        """Show the usage, and raise."""
        self.print_usage(sys.stderr)
        raise UsageError(f"{self.prog}: error: {message}")


class Version(argparse.Action):
    """`--version`; imports the package only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the version and end."""
        from minigrad import __version__

        print(f"zoo {__version__}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The parser with all verbs."""
    from zoo.cli import convert, health, models, noise_model, pictures, training

    top = Parser(
        prog="zoo",
        description="Train and run published image denoisers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=Version, nargs=0, help="show the version and end")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for group in (models, training, pictures, noise_model, convert, health):
        group.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name.

    Without `argv` this is the program itself: it reads `sys.argv` and may choose the BLAS core
    type.
    """
    if argv is None:
        blas.start()
        _print_any_name()
        argv = sys.argv[1:]
    from zoo.cli.console import USAGE, complain, emit_failure

    try:
        args = parser().parse_args(argv)
    except UsageError as error:
        complain(str(error))
        if "--json" in argv:
            emit_failure(str(error), USAGE)
        return USAGE
    except SystemExit as stop:  # argparse ends with 0 after --help
        return int(stop.code or 0)
    return _run(args)


def _print_any_name() -> None:
    """Let file names that are not text in the terminal's encoding be shown by escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(args: argparse.Namespace) -> int:
    from zoo.cli.console import FAILED, complain, emit_failure

    try:
        return int(args.run(args))
    except BrokenPipeError:
        # The reader of our output (such as `head`) has gone; Python would complain once more at
        # exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        text, code = _explained(error)
        complain(f"zoo {args.verb}: {text}")
        if args.json:
            emit_failure(text, code)
        return code


def _explained(error: BaseException) -> tuple[str, int]:
    """One line for an error, and the exit code of its kind."""
    from minigrad import DeviceError
    from zoo.cli.console import FAILED, MACHINE, CliError

    if isinstance(error, CliError):
        return str(error), error.code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, MemoryError):
        return f"out of memory{f': {error}' if str(error) else ''}", MACHINE
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        raise error
    if isinstance(error, DeviceError):
        return str(error), MACHINE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", MACHINE
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({TRACEBACK}=1 shows where)", FAILED


if __name__ == "__main__":
    sys.exit(main())
