"""Figures and table of the published experiments, from the files of `validation.published`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from validation.published import LAST, RUNS, Run
from validation.report import UsageError

TITLES = {"simple": "Simple strided network", "unet": "U-Net with PReLU"}
LABELS = {
    "noisy-minigrad": "noise2noise, minigrad",
    "noisy-torch": "noise2noise, PyTorch",
    "clean-minigrad": "noise2clean, minigrad",
}
COLOURS = {"noisy-minigrad": "tab:blue", "noisy-torch": "tab:orange", "clean-minigrad": "tab:green"}

Results = dict[str, list[dict[str, Any]]]


def read_results(out: Path) -> Results:
    """The result files in `out`: for each experiment its runs, by seed."""
    results: Results = {name: [] for name in RUNS}
    for name in RUNS:
        for file in sorted(out.glob(f"{name}-*.json")):
            results[name].append(json.loads(file.read_text(encoding="utf-8")))
        results[name].sort(key=lambda r: r["seed"])
    return {name: runs for name, runs in results.items() if runs}


def draw(out: Path, figures: Path, table: Path) -> list[Path]:
    """Write figures into the folder `figures`, the table into the file `table`; returns the files.

    Raises:
        UsageError: `out` holds no results.
    """
    results = read_results(out)
    if not results:
        raise UsageError(f"published: {out}: no result files; run the experiments first")
    figures.mkdir(parents=True, exist_ok=True)
    files = []
    for short in TITLES:
        pairs = {
            "libraries": ("noisy-torch", "noisy-minigrad"),
            "targets": ("clean-minigrad", "noisy-minigrad"),
        }
        for topic, kinds in pairs.items():
            if all(f"{short}-{kind}" in results for kind in kinds):
                file = figures / f"n2n_{short}_{topic}.png"
                _figure(results, short, kinds, file)
                files.append(file)
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(_table(results), encoding="utf-8")
    return [*files, table]


def _figure(results: Results, short: str, kinds: Sequence[str], file: Path) -> None:
    """PSNR against the images seen, mean of the seeds and the band between their extremes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for i, kind in enumerate(kinds):
        runs = results[f"{short}-{kind}"]
        images = [p["images"] for p in runs[0]["curve"]]
        curves = np.array([[p["psnr_images"] for p in run["curve"]] for run in runs])
        style: dict[str, Any] = {"color": COLOURS[kind], "linestyle": "-" if i == 0 else "--"}
        axes.fill_between(
            images, curves.min(0), curves.max(0), color=COLOURS[kind], alpha=0.2, linewidth=0
        )
        axes.plot(images, curves.mean(0), label=LABELS[kind], linewidth=1.8, **style)
    noisy = results[f"{short}-{kinds[0]}"][0]["noisy"]["psnr_images"]
    axes.axhline(noisy, color="0.5", linestyle=":", label="noisy input")
    axes.set(
        xscale="log",
        xlabel="training images seen",
        ylabel="validation PSNR, mean over images [dB]",
        title=f"{TITLES[short]}, {len(results[f'{short}-{kinds[0]}'])} seeds",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right")
    fig.savefig(file, dpi=130)
    plt.close(fig)


# ------------------------------------------------------------------ the table


def _table(results: Results) -> str:
    lines = [
        "<!-- made by `python -m validation published --out DIR --draw`; do not edit -->",
        "",
        "| network | targets | library | seeds | PSNR, mean of images | PSNR, all pixels | gain |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    first = next(iter(results.values()))[0]["noisy"]
    noisy = f"{first['psnr_images']:.2f} dB | {first['psnr_global']:.2f} dB"
    lines.append(f"| (noisy input) | | | | {noisy} | |")
    for runs in results.values():
        run = Run(**runs[0]["run"])
        images, total = (_values(runs, key) for key in ("psnr_images", "psnr_global"))
        gain = images.mean() - first["psnr_images"]
        lines.append(
            f"| {run.model} | {run.targets} | {run.library} | {len(runs)} "
            f"| {_spread(images)} | {_spread(total)} | {gain:+.2f} dB |"
        )
    lines += ["", *_differences(results), "", _protocol(results), ""]
    return "\n".join(lines)


def _values(runs: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([run["result"][key] for run in runs])


def _spread(values: np.ndarray) -> str:
    """Mean over the seeds, and half the distance of the extremes."""
    if len(values) == 1:
        return f"{values[0]:.2f} dB"
    return f"{values.mean():.2f} ± {np.ptp(values) / 2:.2f} dB"


def _differences(results: Results) -> list[str]:
    """One line for each comparison: the difference of the means and of every seed."""
    lines = [
        "| comparison | network | difference of the means | seed by seed |",
        "| --- | --- | --- | --- |",
    ]
    for words, kind in (
        ("minigrad - PyTorch", "noisy-torch"),
        ("noise2noise - noise2clean", "clean-minigrad"),
    ):
        for short in TITLES:
            ours, other = (results.get(f"{short}-{k}", []) for k in ("noisy-minigrad", kind))
            a = {r["seed"]: r["result"]["psnr_images"] for r in ours}
            b = {r["seed"]: r["result"]["psnr_images"] for r in other}
            both = [a[s] - b[s] for s in a if s in b]
            if both:
                each = ", ".join(f"{d:+.3f}" for d in both)
                model = RUNS[f"{short}-{kind}"].model
                lines.append(f"| {words} | {model} | {np.mean(both):+.3f} dB | {each} |")
    return lines


def _protocol(results: Results) -> str:
    where = next(iter(results.values()))[0]["environment"]
    return (
        "Tiles of 32x32 by sub-pixel sampling (k = 8), 20,000 training pairs, 1,000 validation "
        "tiles of other photographs; plain SGD, learning rate constant over the first half, then "
        f"a squared cosine ramp to 0; each figure is the mean of the last {LAST} validations, then "
        f"of the seeds (± half the range). {where['threads']} thread(s), BLAS core "
        f"{where['blas_core']}, NumPy {where['numpy']}, PyTorch {where['torch']}."
    )
