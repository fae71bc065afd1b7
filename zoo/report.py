"""What a run looks like: curves, pictures before and after, and one page that holds everything.

    write("runs/demo")      # curves.png, before_after.png, report.html in the run folder

The page stands alone: pictures are inside it, nothing is fetched. Drawing needs matplotlib (extra
`plots`).
"""

from __future__ import annotations

import html
import io
import json
from pathlib import Path
from typing import Any

from minigrad import CheckpointError, checkpoint
from minigrad.files import write_whole
from zoo import recipes, registry
from zoo.data.bundled import sample_files
from zoo.noise import Law, parse
from zoo.page import STYLE, inline_png, inline_svg, number, table
from zoo.patch_craft import Threshold
from zoo.patch_craft.figure import figure as targets_figure
from zoo.recipes import Recipe
from zoo.report_pictures import Example, before_after, grid
from zoo.training import crafted
from zoo.training.contents import arrays_digest

INSTALL = "pip install '.[plots]'"
PICTURES = 3
TARGETS, TILES = 40, 32  # bursts whose statistics are drawn, tiles of each to choose from
INK, GRAY = "#1f4e79", "#767676"


class ReportError(RuntimeError):
    """The report cannot be written; `exit_code` is 1 for the work, 2 for the input, 3 for the
    disk.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        """`message` names the file and the reason."""
        super().__init__(message)
        self.exit_code = exit_code


def write(run: str | Path) -> list[Path]:
    """Write `curves.png`, `before_after.png` and `report.html` into a run folder, and `targets.png`
    where targets were crafted; returns their paths.

    A run that has no weights yet gets its curves and the page only.

    Raises:
        ReportError: not a run folder, matplotlib is missing, or the disk refuses.
    """
    folder = Path(run)
    _need_matplotlib()
    recipe, log = _recipe(folder), _read_log(folder / "log.jsonl")
    weights = folder / "model.safetensors"
    examples = _examples(recipe, weights) if weights.is_file() else []
    curves = _curves(log, recipe)
    files = {"curves.png": _rendered(curves, "png")}
    if examples:
        files["before_after.png"] = _rendered(grid(examples), "png")
    pictures = [("Curves", inline_svg(_rendered(curves, "svg")))]
    targets = _targets(folder, log)
    if targets is not None:
        files["targets.png"] = _rendered(targets, "png")
        pictures.append(("Targets", inline_png(files["targets.png"])))
    if examples:
        seen = "Photographs that training has not seen"
        pictures.append((seen, inline_png(files["before_after.png"])))
    page = _page(folder, recipe, log, examples, pictures)
    files["report.html"] = page.encode()
    for name, content in files.items():
        _replace(folder / name, content)
    return [folder / name for name in files]


# --------------------------------------------------------------------------- reading the run


def _need_matplotlib() -> None:
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise ReportError(f"drawing needs matplotlib: {INSTALL}", exit_code=1) from error


def _recipe(folder: Path) -> Recipe:
    config = folder / "config.toml"
    if not config.is_file():
        raise ReportError(f"{folder}: not a run folder, config.toml is missing")
    try:
        return recipes.get(config)
    except recipes.RecipeError as error:
        raise ReportError(str(error)) from error


def _read_log(path: Path, damaged: bool = False) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that was cut off by a kill is left out.

    damaged: leave out whatever is not a record instead of raising ReportError.
    """
    if not path.is_file():
        raise ReportError(f"{path}: no such file: the run has not logged anything")
    records: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for place, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            records.append(dict(record))
        except (ValueError, TypeError) as error:
            if damaged:
                continue
            raise ReportError(f"{path}: line {place} is not a JSON object: {error}") from error
    return records


def _law(recipe: Recipe) -> Law | None:
    """The noise that the run was validated on; None for stored pairs, which have their own."""
    if recipe.stored_pairs:
        return None
    return parse(recipe.validation.noise or recipe.stages[0].sampler.noise)


def _examples(recipe: Recipe, weights: Path) -> list[Example]:
    """Bundled photographs that no training sees, with the run's noise."""
    try:
        model = registry.load(weights)
    except CheckpointError as error:
        raise ReportError(str(error)) from error
    law = _law(recipe)
    if law is None:
        return []
    files = sample_files("test")[:PICTURES]
    return [before_after(model, law, file, number) for number, file in enumerate(files)]


# --------------------------------------------------------------------------- drawing


def _curves(log: list[dict[str, Any]], recipe: Recipe) -> Any:
    """Loss and validation PSNR against the number of images seen; the noise where it is learnt."""
    from matplotlib.figure import Figure

    learnt = any("sigma_n" in record for record in log)
    figure = Figure(figsize=(13 if learnt else 9, 3.4), layout="constrained")
    left, right, *more = figure.subplots(1, 3 if learnt else 2)
    losses = ", ".join(dict.fromkeys(stage.loss for stage in recipe.stages))
    _line(left, log, "train", "loss", f"loss ({losses})")
    if all(record.get("loss") is None or record["loss"] > 0 for record in log):
        left.set_yscale("log")  # a likelihood may be negative
    left.set_title("training loss", loc="left", fontsize=10)
    label = "PSNR in dB, mean over images"
    if learnt:
        _line(right, log, "validation", "psnr_images_mu", label, GRAY, "mean of the surroundings")
    _line(right, log, "validation", "psnr_images", label, legend="denoised")
    for axes in more:
        label = "standard deviation, of 255"
        _line(axes, log, "train", "sigma_mu", label, GRAY, "of the surroundings (sigma_mu)")
        _line(axes, log, "train", "sigma_n", label, legend="of the noise (sigma_n)")
        axes.set_title("estimated variances, their roots", loc="left", fontsize=10)
    for axes in (right, *more) if learnt else ():
        axes.legend(fontsize=8, frameon=False)
    _level(right, log, "noisy", "noisy input")
    if recipe.start is not None:
        _level(right, log, "validation", "weights at the start")
    right.set_title("validation", loc="left", fontsize=10)
    for axes in (left, right, *more):
        axes.grid(color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _level(axes: Any, log: list[dict[str, Any]], kind: str, words: str) -> None:
    """A line across, at the PSNR of the first record of this kind, made before the first step."""
    psnr = next((r.get("psnr_images") for r in log if r.get("kind") == kind), None)
    if psnr is None:
        return
    axes.axhline(psnr, color=GRAY, linestyle="--", linewidth=1)
    axes.annotate(
        f"{words} {psnr:.2f} dB",
        (0.98, psnr),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        color=GRAY,
        fontsize=8,
    )


def _targets(folder: Path, log: list[dict[str, Any]]) -> Any:
    """The histogram behind crafted targets, and some of them; None for other runs."""
    told = next((record for record in log if record.get("kind") == "targets"), None)
    parts = crafted.stored(folder, TARGETS, TILES)
    if told is None or not parts:
        return None
    return targets_figure(parts, Threshold(**{n: told[n] for n in Threshold._fields if n in told}))


def _line(
    axes: Any,
    log: list[dict[str, Any]],
    kind: str,
    name: str,
    label: str,
    color: str = INK,
    legend: str = "",
) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    points = [
        (record["images"], record[name])
        for record in log
        if record.get("kind") == kind
        and record.get("images", 0) > 0
        and record.get(name) is not None
    ]
    axes.set_xlabel("images seen")
    axes.set_ylabel(label)
    if not points:
        axes.text(0.5, 0.5, "nothing logged yet", ha="center", transform=axes.transAxes, color=GRAY)
        return
    images, values = zip(*points, strict=True)
    marker = "." if len(points) < 60 else ""
    axes.plot(images, values, color=color, linewidth=1.3, marker=marker, label=legend or None)
    if images[-1] >= 4 * images[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _rendered(figure: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    figure.savefig(buffer, format=kind, dpi=130, metadata=metadata)
    return buffer.getvalue()


# --------------------------------------------------------------------------- the page


def _page(
    folder: Path,
    recipe: Recipe,
    log: list[dict[str, Any]],
    examples: list[Example],
    pictures: list[tuple[str, str]],
) -> str:
    """The page as HTML text."""
    shown = "".join(f"<h2>{caption}</h2>{picture}" for caption, picture in pictures)
    config = (folder / "config.toml").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(recipe.name)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(recipe.name)}</h1><p>{html.escape(recipe.description)}</p>"
        f"<h2>Result</h2>{_results(log)}"
        f"{shown}{_example_table(examples, recipe)}"
        f"<h2>Configuration</h2><pre>{html.escape(config)}</pre>"
        f"<h2>Environment</h2>{table(_environment(folder))}"
    )


def _results(log: list[dict[str, Any]]) -> str:
    names = (
        ("psnr_images", "PSNR, mean over images (dB)"),
        ("psnr_global", "PSNR of the mean squared error of all images (dB)"),
    )
    noisy = next((r for r in log if r.get("kind") == "noisy"), {})
    found = [r for r in log if r.get("kind") == "validation" and r.get("step", 0) > 0]
    if not found:
        return "<p>No validation yet.</p>"
    rows: list[tuple[str, ...]] = [("", "noisy", "best", f"last (step {found[-1]['step']:,})")]
    for name, label in names:
        values = [r[name] for r in found if r.get(name) is not None]
        if values:
            figures = (noisy.get(name), max(values), values[-1])
            rows.append((label, *map(number, figures)))
    return table(rows, numbers=True, head=True)


def _example_table(examples: list[Example], recipe: Recipe) -> str:
    law = _law(recipe)
    if law is None:
        return "<p>No pictures: only the stored pairs have this noise.</p>"
    if not examples:
        return "<p>No weights yet: no pictures.</p>"
    rows: list[tuple[str, ...]] = [("photograph", "size", "noisy (dB)", "denoised (dB)")]
    for e in examples:
        size = f"{e.size[1]} x {e.size[0]}"
        rows.append((e.name, size, number(e.psnr_noisy), number(e.psnr)))
    protocol = (
        f"Noise {law.name}, minigrad.noise.Noise; peak 1, all pixels and channels; "
        "output clipped to [0, 1], not quantised; the noisy picture neither."
    )
    return table(rows, numbers=True, head=True) + f"<p>{html.escape(protocol)}</p>"


def _environment(folder: Path) -> list[tuple[str, ...]]:
    """What the run wrote down of its machine, and the sums of its files."""
    rows: list[tuple[str, ...]] = []
    timing = folder / "timing.jsonl"
    if timing.is_file():
        records = [r for r in _read_log(timing, damaged=True) if r.get("kind") == "start"]
        for name, value in (records[-1] if records else {}).items():
            if name not in ("kind", "time"):
                rows.append((name, str(value)))
    weights = folder / "model.safetensors"
    if weights.is_file():
        rows.append(("weights", weights.name))
        rows.append(("sha256 of the arrays in it", arrays_digest(checkpoint.load(weights)[0])))
    return rows


def _replace(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}", exit_code=3) from error
