"""`zoo train`, `zoo resume` and `zoo report`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli.console import (
    FAILED,
    OK,
    CliError,
    add_device,
    add_verb,
    emit,
    first_line,
    say,
)

if TYPE_CHECKING:
    from zoo.progress import Progress
    from zoo.train import TrainResult


def add(verbs: Any) -> None:
    """Add the verbs of this file to the sub-parsers."""
    verb = add_verb(
        verbs,
        "train",
        run_train,
        "train a network by a recipe",
        "zoo train n2n-demo --out runs/demo\n"
        "zoo train n2n-demo --data photos --out runs/mine --set stages.0.steps=2000\n"
        "zoo train runs/demo/config.toml --out runs/again",
    )
    verb.add_argument("recipe", help="a recipe of `zoo list`, or a .toml file")
    verb.add_argument(
        "--data", metavar="DIR", help="folder of pictures (default: the bundled ones)"
    )
    verb.add_argument("--out", metavar="RUN", required=True, help="run folder to make")
    add_device(verb)
    verb.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="a.b=VALUE",
        help="change a setting of the recipe; VALUE is a TOML value, else a text; may be repeated",
    )
    verb = add_verb(
        verbs,
        "resume",
        run_resume,
        "go on with an interrupted run, bit for bit",
        "zoo resume runs/demo",
    )
    verb.add_argument("run_folder", metavar="RUN", help="the run folder")
    add_device(verb)
    verb = add_verb(
        verbs,
        "report",
        run_report,
        "draw the curves and before/after pictures of a run and write a page about it",
        "zoo report runs/demo",
    )
    verb.add_argument("run_folder", metavar="RUN", help="the run folder")


def run_train(args: argparse.Namespace) -> int:
    """Train by a recipe."""
    from zoo.train import train

    device = first_line(args)
    if args.data is not None and not Path(args.data).is_dir():
        raise CliError(f"{args.data}: --data: no such folder")
    return _training(
        args,
        lambda progress: train(
            args.recipe,
            args.data,
            args.out,
            device=device,
            settings=args.settings,
            progress=progress,
        ),
    )


def run_resume(args: argparse.Namespace) -> int:
    """Go on with a run."""
    from zoo.train import resume

    if not Path(args.run_folder).is_dir():
        raise CliError(f"{args.run_folder}: no such run folder")
    device = first_line(args)
    return _training(
        args, lambda progress: resume(args.run_folder, device=device, progress=progress)
    )


def _training(args: argparse.Namespace, work: Callable[[Progress], TrainResult]) -> int:
    from zoo.progress import Progress
    from zoo.recipes import RecipeError
    from zoo.train import TrainError

    try:
        result = work(Progress(stream=sys.stderr if args.json else sys.stdout, announce=False))
    except RecipeError as error:
        raise CliError(str(error)) from error
    except TrainError as error:
        raise CliError(str(error), error.exit_code) from error
    finished = result.cause == "finished"
    if args.json:
        emit({"ok": finished, **asdict(result)})
        return OK if finished else FAILED
    for name, what in (("psnr_images", "mean over pictures"), ("psnr_global", "over all pixels")):
        if name in result.before and name in result.after:
            before, after = result.before[name], result.after[name]
            say(args, f"PSNR, {what}: {before:.2f} dB before, {after:.2f} dB after ({name})")
    say(args, f"weights: {result.weights}")
    if not finished:
        say(args, f"{result.cause} at step {result.step}; go on with: zoo resume {result.run}")
    return OK if finished else FAILED


def run_report(args: argparse.Namespace) -> int:
    """Write curves, pictures and the page of a run."""
    from zoo.report import ReportError, write

    if not Path(args.run_folder).is_dir():
        raise CliError(f"{args.run_folder}: no such run folder")
    try:
        files = write(args.run_folder)
    except ReportError as error:
        raise CliError(str(error), error.exit_code) from error
    if args.json:
        emit({"run": args.run_folder, "files": [str(file) for file in files]})
    else:
        for file in files:
            say(args, str(file))
    return OK
