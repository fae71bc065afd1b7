"""The Markdown page of the benchmark's result files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from validation.bench.subjects import SIDES, SUBJECTS

_HEAD = """\
# Benchmarks

<!-- made by `python -m validation bench`; do not edit -->

Milliseconds are medians of a step, float32. A ratio is minigrad's median over PyTorch's
(in brackets the 10 and 90 percentiles over the turns): below 1 is faster than PyTorch.
Both run interleaved in one process with the same threads. A training step is forward,
loss, backward and SGD; a layer is forward and the cotangents of input, weight and bias.
Memory is the peak of a training step beyond what the process held before, minigrad /
PyTorch, each in a process of its own."""


def benchmarks_page(folder: Path) -> str:
    """The page of the newest result file of each device in `folder`."""
    newest: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.json"), key=lambda f: (f.name[:10], f.stat().st_mtime)):
        result = json.loads(file.read_text(encoding="utf-8"))
        newest[result["device"]] = {**result, "file": file.name}
    lines = _HEAD.splitlines()
    for result in newest.values():
        lines += _section(result)
    return "\n".join(lines) + "\n"


def _section(result: dict[str, Any]) -> list[str]:
    machine, versions = result["machine"], result["versions"]
    lines = [
        "",
        f"## {machine['gpu'] or machine['cpu']}",
        "",
        f"{result['date']}, commit {result['commit']}, {machine['cores']} cores, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; [all figures](benchmarks/{result['file']}).",
    ]
    lines += ["", result["note"]] if result.get("note") else []
    order = {subject.name: i for i, subject in enumerate(SUBJECTS)}
    for setting in result["settings"]:
        core = setting["blas"][0].get("architecture", "") if setting["blas"] else ""
        lines += ["", f"### {setting['threads']} thread(s), BLAS core {core} ({setting['core']})"]
        cases = sorted(setting["cases"], key=lambda c: order.get(c["case"], len(order)))
        lines += _table([c for c in cases if c["work"] != "layer"], memory=True)
        layers = [c for c in cases if c["work"] == "layer"]
        lines += _table(layers, memory=False)
        if layers:
            mean = geometric_mean([c["ratio to torch"]["median"] for c in layers])
            lines += ["", f"Geometric mean of the layers' ratios: {mean:.2f}."]
    return lines


def _table(cases: Sequence[dict[str, Any]], memory: bool) -> list[str]:
    if not cases:
        return []
    more = (" peak MiB |", " --- |") if memory else ("", "")
    return [
        "",
        "| case | minigrad ms | PyTorch ms | ratio | ratio to channels_last |" + more[0],
        "| --- | --- | --- | --- | --- |" + more[1],
        *(_line(case, memory) for case in cases),
    ]


def _line(case: dict[str, Any], memory: bool) -> str:
    ratio, last = case["ratio to torch"], case["ratio to torch channels_last"]
    peaks = [case[side].get("peak MiB") for side in SIDES[:2]]
    words = "" if None in peaks else f"{peaks[0]:.0f} / {peaks[1]:.0f}"
    return (
        f"| {case['case'].removesuffix(' layer')} | {case['minigrad']['median']:.2f} "
        f"| {case['torch']['median']:.2f} "
        f"| {ratio['median']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f}) "
        f"| {last['median']:.2f} |" + (f" {words} |" if memory else "")
    )
