"""The command line: `python -m validation WHAT`.

layers      every layer and loss against PyTorch
certify     a layer of one's own: against a twin, or against differences
mutate      planted faults, and the checks that see them
mutation    the mutation score of the layers' source, by mutmut
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
    layers.add_argument("--seed", type=_natural, default=0)
    own = commands.add_parser(
        "certify",
        help="a layer of one's own, against a PyTorch twin or against differences",
        description="Certify a layer of one's own.",
        epilog="Example: python -m validation certify mine.py:Swish --input 2,3,8,8 "
        "--twin mine_twin.py:Swish",
    )
    own.add_argument("layer", metavar="FILE.py:CLASS")
    own.add_argument(
        "--input",
        type=_shape,
        action="append",
        required=True,
        metavar="N,C,...",
        help="shape of an input; once for each input",
    )
    own.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the constructor",
    )
    own.add_argument(
        "--twin",
        metavar="FILE.py:NAME",
        help="makes the same layer in PyTorch from the same arguments",
    )
    own.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="inputs between these bounds; default: normal numbers",
    )
    own.add_argument("--linear", action="store_true", help="the adjoint identity must hold")
    own.add_argument(
        "--constant",
        type=_natural,
        action="append",
        default=[],
        metavar="I",
        help="input number I, from 0, gets no cotangent, as the target of a loss",
    )
    own.add_argument("--examples", type=_positive, default=20, help="different values")
    own.add_argument("--seed", type=_natural, default=0)
    own.add_argument("--json", action="store_true", help="print one JSON object")
    faults = commands.add_parser(
        "mutate",
        help="planted faults, and the checks that see them",
        description="Plant known faults in the engine, one by one; fail where the check that a "
        "fault names does not see it.",
        epilog="Example: python -m validation mutate --only 'Conv2d: *'",
    )
    faults.add_argument("--only", metavar="PATTERN", help="faults of that title, as '*: NaN*'")
    faults.add_argument("--json", action="store_true", help="print one JSON object")
    score = commands.add_parser(
        "mutation",
        help="the mutation score of the layers' source",
        description="Change the source of the layers in one place at a time, and see whether a "
        "test notices. A run that was stopped goes on where it ended.",
    )
    score.add_argument("--only", metavar="PATTERN", help="files of that name, as 'layers/conv*'")
    score.add_argument("--processes", type=_positive, default=2, help="mutants at a time")
    score.add_argument("--look", action="store_true", help="sum up what is known, try nothing")
    score.add_argument("--json", action="store_true", help="print one JSON object")
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
    authors = commands.add_parser(
        "authors",
        help="the authors' weights on the standard test sets",
        description="PSNR of the authors' weights on Set12, BSD68 and CBSD68, picture by picture, "
        "against PyTorch's.",
    )
    authors.add_argument("--weights", type=Path, required=True, metavar="DIR")
    authors.add_argument("--data", type=Path, required=True, metavar="DIR")
    authors.add_argument("--expected", type=Path, metavar="FILE", help="PyTorch's PSNR, JSON")
    authors.add_argument("--only", metavar="PATTERN", help="rows of that name, as 'dncnn_s*'")
    authors.add_argument("--most", type=_positive, metavar="N", help="pictures of each row")
    authors.add_argument("--page", type=Path, metavar="FILE", help="write the table in Markdown")
    authors.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in text.replace("x", ",").split(",") if n)
    except ValueError:
        shape = (-1,)
    if min(shape, default=0) < 0:
        raise argparse.ArgumentTypeError(f"expected sizes such as 2,3,8,8, got {text!r}")
    return shape


def _positive(text: str) -> int:
    return _whole(text, 1)


def _natural(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected a whole number >= {least}, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
