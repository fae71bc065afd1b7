"""The authors' own weights on the standard test sets: per-image PSNR, against PyTorch's.

    python -m validation authors --weights WEIGHTS --data DATA --expected psnr.json

WEIGHTS holds the official files, converted to safetensors with their own tensor names; DATA the
folders Set12, BSD68 and CBSD68. Every figure has the protocol of `zoo evaluate`: noise by
`numpy.random.default_rng(0)` anew for each picture, neither clipped nor quantised; output clipped;
PSNR over all pixels and channels of a picture, mean over pictures. `--expected`: what PyTorch
gives with the same weights and noise, {"gray": {weights: {"Set12/25": {picture: {"clip": dB}}}},
"colour": {"weights/sig20.0_ker2": {number: {"clip": dB}}}}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zoo
from validation.report import Case, UsageError, failed, gather, silent
from zoo.convert import convert
from zoo.data.images import list_images, natural_order, read_image
from zoo.evaluate import evaluate
from zoo.noise import parse

BAR = 0.01
"""dB that a picture's PSNR may differ from PyTorch's."""
FIRST = 24
"""Pictures of CBSD68 that the networks for correlated noise are judged on."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        weights: the file's name without suffix; model, arguments: the network.
        folder: the test set; every: each so manyeth picture of it; first: at most so many.
        noise: a law of `zoo evaluate`.
        published: mean PSNR in dB that the authors print for that set and noise, else None.
    """

    weights: str
    model: str
    folder: str
    noise: str
    every: int = 1
    first: int | None = None
    published: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in `dncnn_s25 Set12 gaussian:25`."""
        return f"{self.weights} {self.folder} {self.noise}"

    @property
    def key(self) -> tuple[str, ...]:
        """Where the row stands in the file of expected values."""
        level, *box = self.noise.split(":")[1:]
        if self.folder == "CBSD68":
            return "colour", f"{self.weights}/sig{float(level)}_ker{box[0].split('=')[1]}"
        return "gray", self.weights, f"{self.folder}/{level}"


_GRAY: dict[str, tuple[str, tuple[int, ...]]] = {
    "dncnn_s15": ("dncnn-s", (15,)),
    "dncnn_s25": ("dncnn-s", (25,)),
    "dncnn_s50": ("dncnn-s", (50,)),
    "dncnn_b": ("dncnn-b", (15, 25, 50)),
    "kair_dncnn_25": ("dncnn-kair", (25,)),
    "bf_dncnn_biasfree_0-100": ("bf-dncnn", (15, 25, 50)),
    "bf_dncnn_bias_0-100": ("bf-dncnn", (15, 25, 50)),
    "bf_unet_biasfree_0-100": ("bf-unet", (15, 25, 50)),
    "bf_unet_bias_0-100": ("bf-unet", (15, 25, 50)),
}
_WHOLE = {("dncnn_s25", 25), *(("bf_unet_biasfree_0-100", sigma) for sigma in (15, 25, 50))}
"""What is judged on all of BSD68; the others on every fourth picture."""
_PUBLISHED = {
    ("dncnn_s15", "Set12", 15): 32.859,
    ("dncnn_s25", "Set12", 25): 30.436,
    ("dncnn_s50", "Set12", 50): 27.178,
    ("dncnn_b", "Set12", 15): 32.680,
    ("dncnn_b", "Set12", 25): 30.362,
    ("dncnn_b", "Set12", 50): 27.206,
    ("kair_dncnn_25", "Set12", 25): 30.436,
    ("dncnn_s15", "BSD68", 15): 31.73,
    ("dncnn_s25", "BSD68", 25): 29.23,
    ("dncnn_s50", "BSD68", 50): 26.23,
    ("dncnn_b", "BSD68", 15): 31.61,
    ("dncnn_b", "BSD68", 25): 29.16,
    ("dncnn_b", "BSD68", 50): 26.23,
    ("kair_dncnn_25", "BSD68", 25): 29.23,
    ("bf_dncnn_biasfree_0-100", "BSD68", 50): 26.20,
    ("bf_dncnn_bias_0-100", "BSD68", 50): 26.12,
    ("bf_unet_biasfree_0-100", "BSD68", 50): 26.14,
    ("bf_unet_bias_0-100", "BSD68", 50): 26.07,
}
"""Means over the whole set: DnCNN by its authors, the bias-free networks by theirs."""


def _rows() -> Iterator[Row]:
    for weights, (model, sigmas) in _GRAY.items():
        for sigma in sigmas:
            for folder in ("Set12", "BSD68"):
                part = folder == "BSD68" and (weights, sigma) not in _WHOLE
                yield Row(
                    weights,
                    model,
                    folder,
                    f"gaussian:{sigma}",
                    every=4 if part else 1,
                    published=_PUBLISHED.get((weights, folder, sigma)),
                )
    for sigma, kernel in ((10, 2), (10, 3), (20, 2)):
        for weights in ("pcst_unet_orig", f"pcst_unet_sig{sigma}.0_ker{kernel}"):
            noise = f"correlated:{sigma}:kernel={kernel}"
            yield Row(weights, "bf-unet", "CBSD68", noise, first=FIRST)


ROWS = tuple(_rows())
Expected = dict[str, Any]


def run_authors(
    weights: Path,
    data: Path,
    *,
    expected: Path | None = None,
    only: str | None = None,
    most: int | None = None,
    say: Callable[[str], None] = silent,
) -> list[Case]:
    """Judge every row whose name matches `only`; a case fails where a picture's PSNR is more than
    `BAR` from the expected one.

    most: pictures of each row, for a short look.

    Raises:
        UsageError: no row of that name, or a file is missing.
    """
    chosen = [row for row in ROWS if fnmatch(row.name, only or "*")]
    if not chosen:
        raise UsageError(f"authors: --only {only}: no row of that name, such as {ROWS[0].name!r}")
    known = _expected(expected)
    for row in chosen:
        for path in (weights / f"{row.weights}.safetensors", data / row.folder):
            if not path.exists():
                raise UsageError(f"authors: {path}: does not exist")
    with TemporaryDirectory() as folder:
        cases = (_case(row, weights, data, known, most, Path(folder)) for row in chosen)
        return gather(cases, say)


def _expected(path: Path | None) -> Expected:
    if path is None:
        return {}
    try:
        found: Expected = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"authors: --expected: {path}: {error}") from error
    return found


def _case(
    row: Row, weights: Path, data: Path, known: Expected, most: int | None, scratch: Path
) -> Case:
    case = Case(row.name, True)
    try:
        converted = scratch / f"{row.weights}.safetensors"
        if not converted.exists():
            official = weights / converted.name
            convert(official, row.model, converted, arguments=row.arguments)
        model = zoo.load(converted)
        files = sorted(list_images(data / row.folder), key=natural_order)
        files = files[:: row.every][: row.first][:most]
        pictures = ((file.name, read_image(file).pixels) for file in files)
        found = evaluate(model, pictures, parse(row.noise))
        assert not found.failures, found.failures[0].error
        values = [picture.values["psnr"] for picture in found.rows]
        case.figures = {
            "images": len(values),
            "of": len(list_images(data / row.folder)),
            "noisy": found.means["psnr_images_noisy"],
            "psnr": found.means["psnr_images"],
            "pictures": {r.name: r.values["psnr"] for r in found.rows},
        }
        if row.published is not None:
            case.figures["published"] = row.published
        theirs = _theirs(known, row.key, [file.name for file in files])
        if theirs is not None:
            apart = [abs(a - b) for a, b in zip(values, theirs, strict=True)]
            case.figures["worst difference"] = max(apart)
            place = apart.index(max(apart))
            assert max(apart) <= BAR, (
                f"{files[place].name}: {values[place]:.4f} dB, PyTorch {theirs[place]:.4f}"
            )
    except Exception as error:
        failed(case, error, row.name)
    return case


def _theirs(known: Expected, key: tuple[str, ...], names: list[str]) -> list[float] | None:
    """PyTorch's PSNR of these pictures, by name or, in colour, by their numbers."""
    if not known:
        return None
    table: Any = known
    for part in key:
        table = table[part]
    named = [name if name in table else f"{i:04d}.png" for i, name in enumerate(names)]
    return [float(table[name]["clip"]) for name in named]


def as_page(cases: list[Case]) -> str:
    """The table in Markdown."""
    lines = [
        "<!-- made by `python -m validation authors --page FILE`; do not edit -->",
        "",
        "| weights | noise | pictures | noisy | PSNR | published, whole set | worst difference "
        "from PyTorch on a picture |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in cases:
        weights, folder, noise = case.name.split(" ")
        f = case.figures
        if not f:
            lines.append(f"| {weights} | {noise} | {folder} | failed: {case.detail} | | | |")
            continue
        printed = f"{f['published']:.2f}" if "published" in f else ""
        apart = f"{f['worst difference']:.1e} dB" if "worst difference" in f else ""
        lines.append(
            f"| {weights} | {noise} | {folder}, {f['images']} of {f['of']} | {f['noisy']:.2f} | "
            f"{f['psnr']:.2f} | {printed} | {apart} |"
        )
    return "\n".join(lines) + "\n"
