"""The command line: `python -m validation WHAT`.

layers      every layer and loss against PyTorch
models      every network of the zoo against its twin
training    training side by side with PyTorch
devices     NumPy against CuPy
bench       time and memory against PyTorch
published   the published experiments, by this engine and by PyTorch
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

OK, FAILED, USAGE, DEVICE = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 (all passed), 1 (a failure), 2 (wrong usage) or 3 (device, disk).

    Without `arguments` this is the program itself: it may choose the BLAS core type, as `zoo` does.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    from zoo import blas

    if arguments is None:
        blas.start()
    from minigrad import DeviceError
    from validation import commands
    from validation.report import UsageError

    try:
        return FAILED if commands.COMMANDS[options.command](options) else OK
    except DeviceError as error:
        print(f"validation: {error}", file=sys.stderr)
        return DEVICE
    except OSError as error:
        print(f"validation: {error}", file=sys.stderr)
        return DEVICE
    except UsageError as error:
        print(f"validation: {error}", file=sys.stderr)
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m validation",
        description="Proofs against PyTorch, and measurements.",
        epilog="Example: python -m validation models --only 'n2n-*'. "
        "Ends with 0 when all passed, 1 when something failed, 2 on wrong usage, "
        "3 on a device or disk error.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="WHAT")

    def add(name: str, words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--only", metavar="PATTERN", help="cases of that name, as 'Conv*'")
        command.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"))
        command.add_argument("--json", action="store_true", help="print one JSON object")
        return command

    layers = add("layers", "every layer and loss against PyTorch")
    layers.add_argument("--examples", type=_positive, default=50, help="random cases a layer")
    layers.add_argument("--seed", type=int, default=0)
    add("models", "every network of the zoo against its PyTorch twin")
    add("training", "training steps side by side with PyTorch")
    add("devices", "NumPy against CuPy")
    bench = add("bench", "time and memory of training and inference against PyTorch")
    bench.add_argument("--quick", action="store_true", help="fewer repetitions: within two minutes")
    bench.add_argument("--out", type=Path, metavar="DIR", help="default docs/benchmarks")
    published = commands.add_parser("published", help="the published experiments")
    published.add_argument("--data", type=Path, metavar="DIR", help="*.jpg files and val.txt")
    published.add_argument("--out", type=Path, required=True, metavar="DIR")
    published.add_argument("--run", nargs="+", default=["*"], metavar="NAME", help="patterns")
    published.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    published.add_argument("--threads", type=_positive, default=1)
    published.add_argument("--draw", action="store_true", help="draw instead of running")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
