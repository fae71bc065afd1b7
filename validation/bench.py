"""Time and memory of training and inference against PyTorch: `python -m validation bench`.

Both libraries run interleaved in one process with the same number of threads, one process for each
thread count and BLAS core type. Figures are ratios of median step times; below 1 is faster than
PyTorch. Memory is measured in processes that run one library alone.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import minigrad
from validation.bench_worker import SHAPES, SIDES
from validation.report import Case
from zoo import blas

BARS = {"n2n-simple": 1.0, "n2n-prelu-unet": 1.3}
"""What a training step may take, in units of PyTorch's time; the other networks are reported."""
BUSY = 0.5
"""Programs running in the mean of the last minute, above which a warning is given."""
ROOT = Path(__file__).resolve().parent.parent


def run_bench(
    only: str | None = None,
    device: str = "cpu",
    quick: bool = False,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Case]:
    """Measure every setting; returns one case a line of the table.

    Args:
        only: pattern of case names such as `n2n-simple 16x3x32x32 training`.
        device: "cpu" or "cuda".
        quick: a fifth of the repetitions, the recommended BLAS core only, no memory.
        out: folder for the result file; None writes none.
        say: told what is being measured.
    """
    pattern = only or "*"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY:
        say(f"warning: other programs keep {load:.1f} cores busy; the times mean little")
    result: dict[str, Any] = {**describe_machine(device), "load before": load, "settings": []}
    for threads, core in settings(device, quick):
        say(f"{device}, {threads} thread(s), BLAS core {core}")
        options = ["--rounds", "3" if quick else "15", "--only", pattern, "--device", device]
        found = _worker(threads, core, options)
        if not quick and core != "default":
            _add_memory(found["cases"], threads, core, device)
        result["settings"].append({"threads": threads, "core": core, **found})
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        file = out / f"{result['date']}-{device}-{result['commit']}.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (out.parent / "benchmarks.md").write_text(benchmarks_page(out), encoding="utf-8")
        say(f"wrote {file}")
    return [make_case(setting, case) for setting in result["settings"] for case in setting["cases"]]


def settings(device: str, quick: bool) -> list[tuple[int, str]]:
    """Thread counts and BLAS core types; the core that bars are set for comes first."""
    if device == "cuda":
        return [(1, "default")]
    advised = blas.RECOMMENDED if blas.cpu_facts()[1] else "default"
    cores = [advised] if quick or advised == "default" else [advised, "default"]
    counts = [n for n in (1, 2) if n <= (os.cpu_count() or 1)]
    return [(threads, core) for core in cores for threads in counts]


def _worker(threads: int, core: str, options: Sequence[str]) -> dict[str, Any]:
    """What one process of `bench_worker` measured."""
    environment = {k: v for k, v in os.environ.items() if k != blas.VARIABLE}
    environment |= {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    environment |= {"MKL_NUM_THREADS": str(threads), blas.KEEP: "1"}
    if core != "default":
        environment[blas.VARIABLE] = core
    command = [sys.executable, "-m", "validation.bench_worker", "--threads", str(threads), *options]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"bench: {' '.join(command[1:])}: {done.stderr.strip()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _add_memory(cases: Sequence[dict[str, Any]], threads: int, core: str, device: str) -> None:
    """Peak memory of both libraries, each in its own process."""
    for case in cases:
        if case["work"] == "training":
            for side in SIDES[:2]:
                options = ["--only", case["case"], "--device", device, "--memory", side]
                case[side]["peak MiB"] = _worker(threads, core, options)["mebibytes"]


# ------------------------------------------------------------------ verdicts


def make_case(setting: dict[str, Any], case: dict[str, Any]) -> Case:
    """One line: passed or failed where there is a bar, else reported only."""
    name = f"{case['case']} threads={setting['threads']} core={setting['core']}"
    ratio = case["ratio to torch"]
    figures = {
        "ratio": ratio["median"],
        "p10": ratio["p10"],
        "p90": ratio["p90"],
        "ratio channels_last": case["ratio to torch channels_last"]["median"],
        "ms": case["minigrad"]["median"],
        "torch ms": case["torch"]["median"],
    }
    for side in SIDES[:2]:
        if case[side].get("peak MiB") is not None:
            figures[f"{side} MiB"] = case[side]["peak MiB"]
    advised = settings("cpu", quick=True)[0][1]
    bar = BARS.get(case["model"])
    if case["work"] != "training" or bar is None or setting["core"] != advised:
        return Case(name, None, "reported, no bar", figures)
    passed = ratio["median"] <= bar
    words = "" if passed else f"ratio {ratio['median']:.2f}: expected at most {bar}"
    return Case(name, passed, words, figures)


# ------------------------------------------------------------------ where and what


def describe_machine(device: str) -> dict[str, Any]:
    """Date, machine, versions and commit of a result file."""
    gpu = torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else None
    return {
        "date": datetime.date.today().isoformat(),
        "device": device,
        "commit": _commit(),
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "gpu": gpu},
        "versions": {
            "minigrad": minigrad.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    }


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor()


def _commit() -> str:
    """Short hash of the commit; "-changed" after it when the code has been changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", "minigrad", "zoo", "validation")
    return (git("rev-parse", "--short", "HEAD") or "none") + ("-changed" if changed else "")


# ------------------------------------------------------------------ the page


def benchmarks_page(folder: Path) -> str:
    """The Markdown page of the newest result file of each device in `folder`."""
    newest: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.json"), key=lambda f: (f.name[:10], f.stat().st_mtime)):
        result = json.loads(file.read_text(encoding="utf-8"))
        newest[result["device"]] = {**result, "file": file.name}
    lines = [
        "# Benchmarks",
        "",
        "<!-- made by `python -m validation bench`; do not edit -->",
        "",
        "Milliseconds are medians of a step, float32. A ratio is minigrad's median over PyTorch's",
        "(in brackets the 10 and 90 percentiles over the turns): below 1 is faster than PyTorch.",
        "Both run interleaved in one process with the same threads. A training step is forward,",
        "loss, backward and SGD. Memory is the peak of a training step beyond what the process",
        "held before, minigrad / PyTorch, each in a process of its own.",
    ]
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
    order = {shape.name: i for i, shape in enumerate(SHAPES)}
    for setting in result["settings"]:
        core = setting["blas"][0].get("architecture", "") if setting["blas"] else ""
        lines += [
            "",
            f"### {setting['threads']} thread(s), BLAS core {core} ({setting['core']})",
            "",
            "| case | minigrad ms | PyTorch ms | ratio | ratio to channels_last | peak MiB |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for case in sorted(setting["cases"], key=lambda c: order[c["case"].rsplit(" ", 1)[0]]):
            lines.append(_line(case))
    return lines


def _line(case: dict[str, Any]) -> str:
    ratio, last = case["ratio to torch"], case["ratio to torch channels_last"]
    peaks = [case[side].get("peak MiB") for side in SIDES[:2]]
    memory = "" if None in peaks else f"{peaks[0]:.0f} / {peaks[1]:.0f}"
    return (
        f"| {case['case']} | {case['minigrad']['median']:.2f} | {case['torch']['median']:.2f} "
        f"| {ratio['median']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f}) "
        f"| {last['median']:.2f} | {memory} |"
    )
