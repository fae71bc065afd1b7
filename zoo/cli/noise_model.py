"""`zoo noise-model fit` and `zoo noise-model show`."""

from __future__ import annotations

import argparse
import importlib.util
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli.console import FAILED, OK, CliError, add_verb, emit, path_of, say, table

if TYPE_CHECKING:
    from zoo.noise.calibration import Calibration
    from zoo.noise.models import NoiseModel

SHOWN = 5  # signals in the table


def add(verbs: Any) -> None:
    """Add the verbs of this file to the sub-parsers."""
    parent = verbs.add_parser(
        "noise-model", help="measure the noise of a camera, and look at what was measured"
    )
    inner = parent.add_subparsers(title="verbs", metavar="VERB", required=True)
    verb = add_verb(
        inner,
        "fit",
        run_fit,
        "fit a noise model to frames of a scene that does not change",
        "zoo noise-model fit calibration.tif --out camera.safetensors\n"
        "zoo noise-model fit noisy.tif --signal denoised.tif --percentiles 0.5 99.5 --out "
        "camera.safetensors\n"
        "zoo noise-model fit calibration.tif --kind histogram --bins 256 --out camera.safetensors",
    )
    verb.set_defaults(verb="noise-model fit")
    verb.add_argument("frames", nargs="+", metavar="IN", help="TIFF files, pictures, or folders")
    verb.add_argument("--out", metavar="FILE", required=True, help="file to write (.safetensors)")
    verb.add_argument(
        "--signal",
        nargs="+",
        metavar="IN",
        help="the clean frames, one for each or one for several (default: the mean of all frames)",
    )
    verb.add_argument("--kind", choices=("gmm", "histogram"), default="gmm")
    verb.add_argument(
        "--percentiles",
        nargs=2,
        type=float,
        default=(0.0, 100.0),
        metavar=("LOW", "HIGH"),
        help="of the signal; pairs between them count (default: 0 100)",
    )
    verb.add_argument("--gaussians", type=int, default=3, help="components (default: 3)")
    verb.add_argument("--coefficients", type=int, default=2, help="of each curve (default: 2)")
    verb.add_argument(
        "--min-variance",
        type=float,
        default=50.0,
        help="least variance of a component, in squared gray values (default: 50)",
    )
    verb.add_argument("--steps", type=int, default=2000, help="of Adam (default: 2000)")
    verb.add_argument("--batch", type=int, default=25_000, help="pairs a step (default: 25000)")
    verb.add_argument("--lr", type=float, default=0.1, help="first learning rate (default: 0.1)")
    verb.add_argument("--bins", type=int, default=256, help="of a histogram (default: 256)")
    verb.add_argument("--seed", type=int, default=0, help="of weights and pairs (default: 0)")
    verb.add_argument("--plot", metavar="PNG", help="also draw the model and the measurement")
    verb.add_argument("--overwrite", action="store_true", help="replace files that are there")
    verb = add_verb(
        inner,
        "show",
        run_show,
        "print and draw what a noise model says",
        "zoo noise-model show camera.safetensors --out camera.png --data calibration.tif",
    )
    verb.set_defaults(verb="noise-model show")
    verb.add_argument("model", metavar="FILE", help=".safetensors, or the authors' .npz, .npy")
    verb.add_argument("--out", metavar="PNG", help="picture to write (needs the extra 'plots')")
    verb.add_argument("--data", nargs="+", metavar="IN", help="frames to compare it with")
    verb.add_argument("--overwrite", action="store_true", help="replace a picture that is there")


def run_fit(args: argparse.Namespace) -> int:
    """Read the frames, fit, write the file, and say how well it fits."""
    from zoo.noise.models import NoiseModel, save_noise_model

    out = _target("--out", args.out, ".safetensors", args.overwrite)
    plot = None if args.plot is None else _target("--plot", args.plot, ".png", args.overwrite)
    seen, white = _calibration(args.frames, args.signal, tuple(args.percentiles))
    frames, pixels = seen.observations.shape
    say(args, f"{frames} frames of {pixels} pixels, signals {seen.low:.1f} to {seen.high:.1f}")
    try:
        model = NoiseModel(_fitted(args, seen), white)
    except ValueError as error:
        raise CliError(str(error)) from error
    save_noise_model(out, model)
    errors = _errors(model, seen)
    if plot is not None:
        _draw(plot, model, seen)
    if args.json:
        emit({"out": out, "kind": model.kind, "white": white, **errors})
    else:
        say(args, f"variance: {errors['variance_error']:.1%} off the measured one in the median")
        say(args, f"written: {out}")
    return OK


def _target(option: str, text: str, suffix: str, overwrite: bool) -> Path:
    """A file to write: its folder is there, and so is nothing of its name, unless it may be."""
    path = path_of(option, text)
    if path.suffix != suffix:
        raise CliError(f"{option}: expected a {suffix} file, got {path}")
    if not path.parent.is_dir():
        raise CliError(f"{option}: {path.parent}: no such folder")
    if path.exists() and not overwrite:
        raise CliError(f"{option}: {path} exists already; --overwrite replaces it")
    return path


def _fitted(args: argparse.Namespace, seen: Calibration) -> Any:
    from zoo.noise.calibration import fit_histogram, fit_mixture
    from zoo.progress import Progress

    if args.kind == "histogram":
        return fit_histogram(seen, bins=args.bins)
    progress = Progress(stream=sys.stderr if args.json else sys.stdout, unit="pairs")
    progress.start(args.steps, 0)
    try:

        def tell(done: int, total: int, loss: float) -> None:
            progress.show(loss=loss)
            progress.step(done, args.batch)

        return fit_mixture(
            seen,
            n_gaussian=args.gaussians,
            n_coeff=args.coefficients,
            min_sigma=args.min_variance,
            steps=args.steps,
            batch=args.batch,
            lr=args.lr,
            seed=args.seed,
            tell=tell,
        )
    finally:
        progress.stop()


def _calibration(
    frames: Iterable[str], signals: Iterable[str] | None, percentiles: tuple[float, float]
) -> tuple[Calibration, float]:
    """The frames, in gray values, and what these call white."""
    import numpy as np

    from zoo.data.picture import ImageError
    from zoo.data.stack import FrameStack
    from zoo.noise.calibration import Calibration

    try:
        stack = FrameStack([path_of("IN", text) for text in frames])
        observed = [stack.levels(i) for i in range(len(stack))]
        true = None
        if signals is not None:
            clean = FrameStack([path_of("--signal", text) for text in signals])
            true = [frame[0] * np.float32(stack.white) for frame in clean]
        return Calibration.of(observed, true, percentiles), stack.white
    except (ImageError, ValueError) as error:
        raise CliError(str(error)) from error


def _errors(model: NoiseModel, seen: Calibration) -> dict[str, float]:
    """How far mean and variance lie from those measured, relative, in the median."""
    import numpy as np

    signal, mean, variance = seen.moments()
    found_mean, found_variance = model.moments(signal)
    return {
        "mean_error": float(np.median(np.abs(found_mean - mean) / np.sqrt(variance))),
        "variance_error": float(np.median(np.abs(found_variance / variance - 1))),
    }


def run_show(args: argparse.Namespace) -> int:
    """Print a table of mean and deviation over the signal, and draw."""
    import numpy as np

    from zoo.noise.models import NoiseModelError, load_noise_model

    try:
        model = load_noise_model(path_of("FILE", args.model))
    except NoiseModelError as error:
        raise CliError(str(error)) from error
    out = None if args.out is None else _target("--out", args.out, ".png", args.overwrite)
    seen = None if args.data is None else _calibration(args.data, None, (0.0, 100.0))[0]
    low, high = model.signals
    signal = np.linspace(low, high, SHOWN + 2)[1:-1]
    mean, variance = model.moments(signal)
    columns = {"signal": signal, "mean": mean, "deviation": np.sqrt(variance)}
    if out is not None:
        _draw(out, model, seen)
    if args.json:
        told = {name: values.tolist() for name, values in columns.items()}
        emit({"kind": model.kind, "white": model.white, "signals": model.signals, **told})
        return OK
    title = f"{args.model}: {model.kind}, signals {low:.1f} to {high:.1f}, white {model.white:.0f}"
    table(
        title,
        [*columns],
        [[f"{x:.1f}" for x in row] for row in zip(*columns.values(), strict=True)],
        words=0,
    )
    if args.out is not None:
        say(args, f"drawn: {args.out}")
    return OK


def _draw(path: Path, model: NoiseModel, seen: Calibration | None) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise CliError("drawing needs matplotlib: pip install '.[plots]'", FAILED)
    from minigrad.files import replacing
    from zoo.noise.figure import figure

    drawn = io.BytesIO()
    figure(model, seen).savefig(drawn, format="png", dpi=110)
    with replacing(path) as file:
        file.write(drawn.getvalue())
