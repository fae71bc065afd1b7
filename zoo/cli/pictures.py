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
    path_of,
    say,
    table,
)

if TYPE_CHECKING:
    from zoo.architectures import BlindSpotDenoiser, Denoiser
    from zoo.denoise import FileResult
    from zoo.evaluate import Evaluation, Failure

Show = Callable[[str, int, int, int, int], None]
"""Called with (picture, its number, pictures in all, tiles done, tiles of this picture)."""
LINE_EVERY = 5.0  # seconds between plain progress lines


def add(verbs: Any) -> None:
    """Add the verbs of this file to the sub-parsers."""
    verb = add_verb(
        verbs,
        "evaluate",
        run_evaluate,
        "add noise to pictures, denoise them, and measure PSNR and SSIM",
        "zoo evaluate runs/demo/model.safetensors --data photos --noise gaussian:25\n"
        "zoo evaluate runs/dbsn --data photos --noise gaussian:25 --estimates",
    )
    verb.add_argument("model", help="a .safetensors file, a run folder, or bundled weights")
    verb.add_argument(
        "--data", metavar="DIR", help="folder of clean pictures (default: the bundled test ones)"
    )
    verb.add_argument(
        "--noise",
        required=True,
        help="the law, such as gaussian:25, poisson:30, subpixel:8; or stored, for a folder of "
        "pairs, noisy and clean (names with _real and _mean, NOISY and GT, _noisy and _clean)",
    )
    verb.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    verb.add_argument(
        "--samples", type=int, metavar="N", help="draws to average, of networks that draw"
    )
    verb.add_argument("--limit", type=int, metavar="N", help="use the first N pictures only")
    verb.add_argument(
        "--protocol",
        choices=("zoo", "psl-ae"),
        default="zoo",
        help="psl-ae: compare bytes, and measure SSIM and UQI as that study does (default: zoo)",
    )
    verb.add_argument(
        "--estimates",
        action="store_true",
        help="for blind-spot networks (dbsn): judge also the mean of the surroundings alone, mu, "
        "and tell how strong the noise is and is taken for, in units of 1/255; three passes",
    )
    _add_tiles(verb)
    add_device(verb)
    verb = add_verb(
        verbs,
        "denoise",
        run_denoise,
        "denoise picture files and folders",
        "zoo denoise photo.png --out clean\n"
        "zoo denoise photos --weights runs/demo --out clean --ensemble 8\n"
        "zoo denoise photos --weights runs/dbsn --out clean --noise-maps noise\n"
        "zoo denoise frames.tif --weights runs/hdn --out clean --samples 100 --save-samples",
    )
    verb.add_argument("inputs", nargs="+", metavar="IN", help="picture files or folders of them")
    verb.add_argument(
        "--weights",
        metavar="FILE",
        help="a .safetensors file, a run folder, or bundled weights (default: the bundled)",
    )
    verb.add_argument("--out", metavar="DIR", required=True, help="folder for the results")
    verb.add_argument(
        "--noise-maps",
        metavar="DIR",
        help="folder for the estimated noise as pictures: the value of a pixel is its standard "
        "deviation (25 of 255 is noise of sigma 25); for networks that estimate it, such as dbsn",
    )
    verb.add_argument(
        "--samples",
        type=int,
        metavar="N",
        help="draws to average, of networks that draw (hdn, divnoising; default: 10)",
    )
    verb.add_argument(
        "--save-samples",
        action="store_true",
        help="also write each draw, to DIR/samples; needs --samples",
    )
    verb.add_argument(
        "--halo",
        type=int,
        metavar="N",
        help="pixels read around a tile in place of the whole receptive field: an approximation, "
        "for networks that see very far",
    )
    verb.add_argument(
        "--overwrite", action="store_true", help="replace results that are in the folder already"
    )
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
    from zoo.architectures import NoiseMap
    from zoo.denoise import (
        ChannelError,
        OutputError,
        check_output,
        denoise_files,
        find_pictures,
    )
    from zoo.inference.weights import default_weights

    device = first_line(args)
    _check(args)
    inputs = [path_of("IN", text) for text in args.inputs]
    given = None if args.weights is None else path_of("--weights", args.weights)
    try:
        weights = default_weights() if given is None else {3: given}
    except FileNotFoundError as error:
        raise CliError(str(error)) from error
    networks = {channels: models.trained(str(path))[0] for channels, path in weights.items()}
    for network in networks.values():
        network.to(device)
    _check_draws(args, networks)
    if args.halo is not None and args.halo < 0:
        raise CliError(f"--halo: expected at least 0 pixels, got {args.halo}")
    if args.save_samples and args.samples is None:
        raise CliError("--save-samples: needs the number of draws: --samples N")
    passes: list[tuple[Path, dict[int, Denoiser]]] = [(path_of("--out", args.out), networks)]
    if args.noise_maps is not None:
        maps: dict[int, Denoiser] = {}
        for channels, network in networks.items():
            maps[channels] = NoiseMap(_estimating("--noise-maps", network))
        passes.append((path_of("--noise-maps", args.noise_maps), maps))
        if passes[0][0].resolve() == passes[1][0].resolve():
            raise CliError("--noise-maps: expected another folder than --out: names are the same")
        try:
            check_output(find_pictures(inputs)[0], passes[1][0])
        except OutputError as error:  # before the first pass, not after it
            raise CliError(f"--noise-maps: {error}") from error
    results: list[FileResult] = []
    sources: list[Path] = inputs
    for out, chosen in passes:
        try:
            with _progress(args, every=0.0) as show:
                results += denoise_files(
                    chosen,
                    sources,
                    out,
                    overwrite=args.overwrite,
                    tile=args.tile,
                    ensemble=args.ensemble,
                    samples=args.samples,
                    save_samples=args.save_samples and chosen is networks,
                    halo=args.halo,
                    progress=lambda file, *where, show=show: show(str(file), *where),
                    notice=complain,
                )
        except (OutputError, ChannelError) as error:
            raise CliError(str(error)) from error
        except OSError as error:
            raise CliError(f"{out}: {error.strerror or error}", MACHINE) from error
        # What could not be denoised is said once.
        sources = [result.source for result in results if result.error is None]
    used = args.weights or {"gray": weights[1], "colour": weights[3]}
    return _tell_results(args, device, used, results)


def _check_draws(args: argparse.Namespace, networks: dict[int, Denoiser]) -> None:
    from zoo.architectures import StochasticDenoiser

    if args.samples is None:
        return
    if args.samples < 1:
        raise CliError(f"--samples: expected at least 1, got {args.samples}")
    for network in networks.values():
        if not isinstance(network, StochasticDenoiser):
            name = network.architecture or type(network).__name__
            raise CliError(f"--samples: {name} draws nothing; hdn and divnoising do")


def _estimating(option: str, network: Denoiser) -> BlindSpotDenoiser:
    """The network, if it is one that estimates the noise."""
    from zoo.architectures import BlindSpotDenoiser

    if not isinstance(network, BlindSpotDenoiser):
        name = network.architecture or type(network).__name__
        raise CliError(f"{option}: {name} estimates no noise; dbsn-gray and -color do")
    return network


def _tell_results(
    args: argparse.Namespace, device: str, weights: Any, results: list[FileResult]
) -> int:
    for result in results:
        if result.error is not None:
            complain(result.error)
    good = [result for result in results if result.target is not None]
    if args.json:
        emit(
            {
                "ok": len(good) == len(results),
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
        where = args.out if args.noise_maps is None else f"{args.out} and {args.noise_maps}"
        say(args, f"{len(good)} of {len(results)} pictures written to {where}")
    return _code(results)


def _code(results: list[FileResult] | list[Failure]) -> int:
    """The exit code for what became of the pictures."""
    if any(result.machine for result in results):
        return MACHINE
    return USAGE if any(result.error is not None for result in results) else OK


@contextmanager
def _progress(args: argparse.Namespace, every: float) -> Iterator[Show]:
    """A bar on a terminal; elsewhere a line for a picture that is done, at most one in `every`
    seconds, and one every few seconds within a large picture.
    """
    stream = sys.stderr if args.json else sys.stdout
    if stream.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(file=stream), transient=True) as bar:
            task = bar.add_task(args.verb, total=None, name="")

            def draw(picture: str, number: int, count: int, done: int, tiles: int) -> None:
                name = f"{number}/{count} {Path(picture).name}"
                bar.update(task, total=count, completed=number - 1 + done / tiles, name=name)

            yield draw
        return
    last = time.monotonic()

    def write(picture: str, number: int, count: int, done: int, tiles: int) -> None:
        nonlocal last
        if time.monotonic() - last >= (every if done == tiles else LINE_EVERY):
            last = time.monotonic()
            inside = "" if done == tiles else f", tile {done}/{tiles}"
            say(args, f"{number}/{count} {picture}{inside}")

    yield write


# --------------------------------------------------------------------------- evaluate


def run_evaluate(args: argparse.Namespace) -> int:
    """Print one row per picture, the means, and the protocol that every figure belongs to.

    A picture that cannot be judged is complained about, and the others are.
    """
    from zoo.data.bundled import samples_dir
    from zoo.data.picture import ImageError
    from zoo.denoise import ChannelError
    from zoo.evaluate import evaluate_folder
    from zoo.noise import LawError, parse

    device = first_line(args)
    _check(args)
    if args.limit is not None and args.limit < 1:
        raise CliError(f"--limit: expected at least 1 picture, got {args.limit}")
    if args.seed < 0:
        raise CliError(f"--seed: must not be negative, got {args.seed}")
    try:
        law = None if args.noise == "stored" else parse(args.noise)
    except LawError as error:
        raise CliError(f"--noise: {error}") from error
    folder = samples_dir("test") if args.data is None else path_of("--data", args.data)
    if not folder.exists():
        raise CliError(f"{folder}: --data: no such folder")
    model, _ = models.trained(args.model)
    _check_draws(args, {3: model})
    if args.estimates:
        _estimating("--estimates", model)
    model.to(device)
    try:
        with _progress(args, every=LINE_EVERY) as show:
            found = evaluate_folder(
                model,
                folder,
                law,
                args.seed,
                limit=args.limit,
                protocol=args.protocol,
                tile=args.tile,
                ensemble=args.ensemble,
                samples=args.samples,
                progress=show,
                notice=complain,
                estimates=args.estimates,
            )
    except (ImageError, ChannelError) as error:
        raise CliError(str(error)) from error
    for failure in found.failures:
        complain(failure.error)
    if args.json:
        record = {"ok": not found.failures, "device": device, "model": args.model, "data": folder}
        emit({**record, **found.record()})
    else:
        _print_evaluation(args, found, folder)
    return _code(found.failures)


def _print_evaluation(args: argparse.Namespace, found: Evaluation, folder: Path) -> None:
    if not found.rows:
        return
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
    """PSNR in dB with two decimals, SSIM and UQI with four, noise in units of 1/255 with two."""
    if name.startswith("psnr"):
        return f"{value:.2f} dB"
    return f"{value:.4f}" if name.startswith(("ssim", "uqi")) else f"{value:.2f}"
