"""`zoo denoise` and `zoo evaluate`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli import models
from zoo.cli.console import (
    MACHINE,
    OK,
    USAGE,
    CliError,
    add_device,
    add_verb,
    complain,
    emit,
    first_line,
    say,
    table,
)

if TYPE_CHECKING:
    from zoo.denoise import FileResult
    from zoo.evaluate import Evaluation

FileProgress = Callable[[Path, int, int, int, int], None]
LINE_EVERY = 5.0  # seconds between plain progress lines


def add(verbs: Any) -> None:
    """Add the verbs of this file to the sub-parsers."""
    verb = add_verb(
        verbs,
        "evaluate",
        run_evaluate,
        "add noise to pictures, denoise them, and measure PSNR and SSIM",
        "zoo evaluate runs/demo/model.safetensors --data photos --noise gaussian:25",
    )
    verb.add_argument("model", help="a .safetensors file, a run folder, or bundled weights")
    verb.add_argument(
        "--data", metavar="DIR", help="folder of clean pictures (default: the bundled test ones)"
    )
    verb.add_argument(
        "--noise", required=True, help="the law, such as gaussian:25, poisson:30, subpixel:8"
    )
    verb.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    verb.add_argument("--limit", type=int, metavar="N", help="use the first N pictures only")
    _add_tiles(verb)
    add_device(verb)
    verb = add_verb(
        verbs,
        "denoise",
        run_denoise,
        "denoise picture files and folders",
        "zoo denoise photo.png --out clean\n"
        "zoo denoise photos --weights runs/demo/model.safetensors --out clean --ensemble 8",
    )
    verb.add_argument("inputs", nargs="+", metavar="IN", help="picture files or folders of them")
    verb.add_argument("--weights", metavar="FILE", help="trained network (default: the bundled)")
    verb.add_argument("--out", metavar="DIR", required=True, help="folder for the results")
    _add_tiles(verb)
    add_device(verb)


def _add_tiles(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="side in pixels of what is computed at once; the result does not depend on it "
        "(default: as the memory allows)",
    )
    verb.add_argument(
        "--ensemble",
        type=int,
        choices=(1, 2, 4, 8),
        default=1,
        help="average over this many flips and turns of the picture (default: 1)",
    )


def _check(args: argparse.Namespace) -> None:
    if args.tile is not None and args.tile < 1:
        raise CliError(f"--tile: expected at least 1 pixel, got {args.tile}")


# --------------------------------------------------------------------------- denoise


def run_denoise(args: argparse.Namespace) -> int:
    """Denoise every picture named; complain about each that cannot be read, and go on."""
    from zoo.denoise import check_output, default_weights, denoise_files, find_pictures

    device = first_line(args)
    _check(args)
    out = Path(args.out)
    try:
        weights = Path(args.weights) if args.weights else default_weights()
        files = find_pictures(args.inputs)
        check_output(files, out)
    except (FileNotFoundError, ValueError) as error:
        raise CliError(str(error)) from error
    if not files:
        raise CliError(f"{' '.join(args.inputs)}: holds no picture files")
    model = models.load(weights).to(device)
    try:
        with _progress(args, len(files)) as show:
            results = denoise_files(
                model,
                files,
                out,
                tile=args.tile,
                ensemble=args.ensemble,
                progress=show,
                notice=complain,
            )
    except OSError as error:
        raise CliError(f"{out}: {error.strerror or error}", MACHINE) from error
    return _tell_results(args, device, weights, results)


def _tell_results(
    args: argparse.Namespace, device: str, weights: Path, results: list[FileResult]
) -> int:
    for result in results:
        if result.error is not None:
            complain(result.error)
    good = [result for result in results if result.target is not None]
    if args.json:
        emit(
            {
                "device": device,
                "weights": weights,
                "ensemble": args.ensemble,
                "files": [
                    {
                        "source": r.source,
                        "target": r.target,
                        "error": r.error,
                        "height_width": r.shape,
                        "seconds": round(r.seconds, 3),
                    }
                    for r in results
                ],
            }
        )
    else:
        say(args, f"{len(good)} of {len(results)} pictures written to {args.out}")
    if any(result.machine for result in results):
        return MACHINE
    return OK if len(good) == len(results) else USAGE


@contextmanager
def _progress(args: argparse.Namespace, files: int) -> Iterator[FileProgress]:
    """A bar on a terminal; elsewhere a line for each file, and every few seconds within a large
    one.
    """
    stream = sys.stderr if args.json else sys.stdout
    if stream.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(file=stream), transient=True) as bar:
            task = bar.add_task("denoise", total=float(files), name="")

            def draw(file: Path, number: int, count: int, done: int, tiles: int) -> None:
                place = number - 1 + done / tiles
                bar.update(task, completed=place, name=f"{number}/{count} {file.name}")

            yield draw
        return
    last = time.monotonic()

    def write(file: Path, number: int, count: int, done: int, tiles: int) -> None:
        nonlocal last
        if done == tiles or time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            inside = "" if done == tiles else f", tile {done}/{tiles}"
            say(args, f"{number}/{count} {file}{inside}")

    yield write


# --------------------------------------------------------------------------- evaluate


def run_evaluate(args: argparse.Namespace) -> int:
    """Print one row per picture, the means, and the protocol that every figure belongs to."""
    from zoo.data.bundled import samples_dir
    from zoo.data.picture import ImageError
    from zoo.evaluate import evaluate_folder
    from zoo.noise import LawError, parse

    device = first_line(args)
    _check(args)
    try:
        law = parse(args.noise)
    except LawError as error:
        raise CliError(f"--noise: {error}") from error
    folder = Path(args.data) if args.data else samples_dir("test")
    if not folder.exists():
        raise CliError(f"{folder}: --data: no such folder")
    model = models.trained(args.model).to(device)
    begun = time.monotonic()

    def show(name: str, number: int, count: int) -> None:
        nonlocal begun
        if time.monotonic() - begun >= LINE_EVERY:
            begun = time.monotonic()
            complain(f"{number}/{count} {name}")

    try:
        found = evaluate_folder(
            model,
            folder,
            law,
            args.seed,
            limit=args.limit,
            tile=args.tile,
            ensemble=args.ensemble,
            progress=show,
        )
    except (ImageError, ValueError) as error:
        raise CliError(str(error)) from error
    if args.json:
        emit({"device": device, "model": args.model, "data": folder, **found.record()})
    else:
        _print_evaluation(args, found, folder)
    return OK


def _print_evaluation(args: argparse.Namespace, found: Evaluation, folder: Path) -> None:
    names = {name: name.replace("_", " ") for name in found.rows[0].values}
    rows: list[list[object]] = [
        [row.name, f"{row.size[1]}x{row.size[0]}", *(_figure(n, row.values[n]) for n in names)]
        for row in found.rows
    ]
    table(f"{args.model} on {folder}", ("picture", "size", *names.values()), rows)
    for key, value in found.means.items():
        say(args, f"{key:24} {_figure(key, value)}")
    for key, text in found.protocol.items():
        say(args, f"protocol: {key:12} {text}")


def _figure(name: str, value: float) -> str:
    """PSNR in dB with two decimals, SSIM with four."""
    return f"{value:.2f} dB" if name.startswith("psnr") else f"{value:.4f}"
