"""`zoo train`, `zoo resume` and `zoo report`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli.console import (
    MACHINE,
    OK,
    CliError,
    add_device,
    add_verb,
    emit,
    first_line,
    path_of,
    say,
)

INTERRUPTED = 130
STOPPING = (
    "Ctrl-C (or SIGTERM) ends the run after the current step, with a checkpoint and weights, and\n"
    "exit code 130: `zoo resume` goes on. A second Ctrl-C ends it at once."
)
DATA = (
    "--data DIR: a folder of pictures. With `train` and `val` inside those are taken; else the\n"
    "names in DIR/val.txt, one file name (or name without suffix) on each line, are kept for\n"
    "validation; without that file every tenth picture is.\n"
    "--data FILE: stored pairs, noisy as they are: a .pkl of two uint8 tensors (N, C, H, W) from\n"
    "torch.save, or a .safetensors with the keys input and target. A file val_data.pkl (noisy,\n"
    "clean) beside it is used for validation, else the last pairs. It needs a noise2noise recipe\n"
    "with --set stages.0.sampler.noise=stored; stages.0.sampler.shuffle=true changes the order in\n"
    "every epoch."
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
        "zoo train runs/demo/config.toml --out runs/again\n"
        "zoo train n2n-simple --data train_data.pkl --out runs/pairs "
        "--set stages.0.sampler.noise=stored",
    )
    verb.epilog = f"{verb.epilog}\n\n{DATA}\n\n{STOPPING}"
    verb.add_argument("recipe", help="a recipe of `zoo list`, or a .toml file")
    verb.add_argument(
        "--data",
        metavar="DIR|FILE",
        help="folder of pictures, or file of stored pairs (default: the bundled pictures)",
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
    verb.epilog = f"{verb.epilog}\n\n{STOPPING}"
    verb.add_argument("run_folder", metavar="RUN", help="the run folder")
    verb.add_argument(
        "--device",
        choices=("cpu", "cuda", "auto"),
        help="where to compute (default: where the run was; elsewhere the last bits differ)",
    )
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
    if args.data is not None and not path_of("--data", args.data).exists():
        raise CliError(f"{args.data}: --data: no such folder or file")
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
    from minigrad import DeviceError
    from zoo.train import TrainError, recorded_device, resume

    if not Path(args.run_folder).is_dir():
        raise CliError(f"{args.run_folder}: no such run folder")
    try:
        device = first_line(args, args.device or recorded_device(args.run_folder))
    except TrainError as error:
        raise CliError(str(error), error.exit_code) from error
    except DeviceError as error:
        hint = "" if args.device else "; the run was there: --device cpu goes on elsewhere"
        raise CliError(f"{error}{hint}", MACHINE) from error
    return _training(
        args, lambda progress: resume(args.run_folder, device=device, progress=progress)
    )


def _training(args: argparse.Namespace, work: Callable[[Progress], TrainResult]) -> int:
    from zoo.progress import Progress
    from zoo.recipes import RecipeError
    from zoo.train import TrainError

    progress = Progress(stream=sys.stderr if args.json else sys.stdout, announce=False)
    try:
        result = work(progress)
    except RecipeError as error:
        raise CliError(str(error)) from error
    except TrainError as error:
        raise CliError(str(error), error.exit_code) from error
    finished = result.cause == "finished"
    if args.json:
        emit({"ok": finished, **asdict(result)})
    else:
        _tell(result, progress)
    return OK if finished else INTERRUPTED


def _tell(result: TrainResult, progress: Progress) -> None:
    """The outcome in words. The reader may have gone: the work is done all the same."""
    for name, what in (("psnr_images", "mean over pictures"), ("psnr_global", "over all pixels")):
        if name in result.before and name in result.after:
            before, after = result.before[name], result.after[name]
            progress.say(f"PSNR, {what}: {before:.2f} dB before, {after:.2f} dB after ({name})")
    progress.say(f"weights: {result.weights} (step {result.weights_step})")
    if result.cause != "finished":
        progress.say(f"{result.cause} at step {result.step}; go on with: zoo resume {result.run}")
    if progress.lost:
        # Python would flush what is left at exit, and complain.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
