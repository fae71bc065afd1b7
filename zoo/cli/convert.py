"""`zoo convert`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zoo.cli.console import MACHINE, OK, USAGE, CliError, add_verb, emit, say

if TYPE_CHECKING:
    from zoo.convert import Conversion

_MIB = 1 << 20


def add(verbs: Any) -> None:
    """Add the verb of this file to the sub-parsers."""
    verb = add_verb(
        verbs,
        "convert",
        run_convert,
        "make a .safetensors file of the zoo from an official weights file, running nothing of it",
        "zoo convert net.pth --model dncnn-s --out dncnn_s25.safetensors --sigma 25\n"
        "zoo convert 0-55.pt --model bf-unet --out bf_unet.safetensors --set residual=false",
    )
    verb.add_argument(
        "file",
        metavar="OFFICIAL_FILE",
        help="of PyTorch (.pt, .pth), Keras (.h5), MatConvNet (.mat), or .safetensors; for psl-ae "
        "a folder with its networks as Keras saved them",
    )
    verb.add_argument("--model", metavar="NAME", required=True, help="a network of `zoo list`")
    verb.add_argument("--out", metavar="FILE", required=True, help="the file to write")
    verb.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="arg=VALUE",
        help="an argument of the network that the tensors' shapes do not tell; may be repeated",
    )
    verb.add_argument(
        "--part", metavar="PLACE", help="the state dict to take where there are several: ema"
    )
    trained = verb.add_mutually_exclusive_group()
    trained.add_argument(
        "--sigma",
        metavar="LOW-HIGH",
        help="Gaussian noise that the network is for, of 255: 25, 0-55 (default: as the file says)",
    )
    trained.add_argument(
        "--noise", metavar="LAW", help="the same for any law: correlated:10:kernel=2"
    )
    verb.add_argument("--source", metavar="TEXT", help="where it comes from (default: its name)")
    verb.add_argument(
        "--max-size",
        type=int,
        default=512,
        metavar="MIB",
        help="largest file, and largest sum of its tensors (default: 512)",
    )
    verb.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")


def run_convert(args: argparse.Namespace) -> int:
    """Convert one file."""
    from minigrad import CheckpointError
    from zoo import UnknownModelError
    from zoo.convert import convert
    from zoo.noise import LawError

    if args.max_size < 1:
        raise CliError(f"--max-size: expected at least 1 MiB, got {args.max_size}")
    try:
        done = convert(
            args.file,
            args.model,
            args.out,
            arguments=_arguments(args.settings),
            part=args.part,
            noise=args.noise if args.sigma is None else f"gaussian:{args.sigma}",
            source=args.source,
            max_bytes=args.max_size * _MIB,
            overwrite=args.overwrite,
        )
    except (UnknownModelError, TypeError, LawError) as error:
        raise CliError(str(error)) from error
    except CheckpointError as error:
        # Only writing fails because of the machine; a file that cannot be read is wrong input.
        broken = isinstance(error.__cause__, OSError)
        raise CliError(str(error), MACHINE if broken else USAGE) from error
    if args.json:
        emit(asdict(done))
    else:
        _tell(args, done)
    return OK


def _arguments(settings: list[str]) -> dict[str, Any]:
    """`arg=VALUE`, each value as in TOML, else a text."""
    from zoo.recipes.config import parsed

    found = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise CliError(f"--set {setting}: expected arg=VALUE, such as channels=3")
        found[name.strip()] = parsed(text.strip())
    return found


def _tell(args: argparse.Namespace, done: Conversion) -> None:
    from zoo.convert.budget import plain

    arguments = ", ".join(f"{key}={value}" for key, value in done.arguments.items())
    say(args, f"read     {done.source}: {done.container}, {done.part}")
    say(args, f"network  {done.model} ({arguments}), {done.parameters:,} parameters")
    if done.left_out:
        say(args, f"left out {', '.join(map(plain, done.left_out))}")
    say(args, f"noise    {done.metadata.get('noise', 'not known; say it with --sigma or --noise')}")
    say(args, f"written  {done.out}: {done.tensors} tensors")
