"""The command line: `zoo VERB ...` or `python -m zoo VERB ...`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from zoo.cli import blas

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


def parser() -> argparse.ArgumentParser:
    """The parser with all verbs."""
    from zoo.cli import health, models, pictures, training

    top = argparse.ArgumentParser(
        prog="zoo",
        description="Train and run published image denoisers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for group in (models, training, pictures, health):
        group.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name.

    Without `argv` this is the program itself: it reads `sys.argv` and may choose the BLAS core
    type.
    """
    if argv is None:
        blas.start()
    try:
        args = parser().parse_args(argv)
    except SystemExit as stop:  # argparse ends with 0 after --help and with 2 after a wrong usage
        return int(stop.code or 0)
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    from zoo.cli.console import FAILED, MACHINE, CliError, complain

    try:
        return int(args.run(args))
    except CliError as error:
        complain(f"zoo {args.verb}: {error}")
        return error.code
    except KeyboardInterrupt:
        complain(f"zoo {args.verb}: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output (such as `head`) has gone; Python would complain once more at
        # exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MemoryError as error:
        complain(f"zoo {args.verb}: out of memory{f': {error}' if str(error) else ''}")
        return MACHINE
    except Exception as error:
        if os.environ.get(TRACEBACK, "") not in ("", "0"):
            raise
        return _unexpected(args, error)


def _unexpected(args: argparse.Namespace, error: Exception) -> int:
    """One line for an error that no verb translated, and the exit code of its kind."""
    from minigrad import DeviceError
    from zoo.cli.console import FAILED, MACHINE, complain

    if isinstance(error, DeviceError):
        complain(f"zoo {args.verb}: {error}")
        return MACHINE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        complain(f"zoo {args.verb}: {where}{error.strerror or error}")
        return MACHINE
    text = " ".join(str(error).split())
    complain(f"zoo {args.verb}: {type(error).__name__}: {text} ({TRACEBACK}=1 shows where)")
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
