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
from statistics import geometric_mean
from typing import Any

import numpy as np
import torch

import minigrad
from validation.bench.page import benchmarks_page
from validation.bench.subjects import QUICK, SIDES, SUBJECTS
from validation.report import Case
from zoo import blas

MEAN = 0.9
"""What the convolutions may take in geometric mean, in units of PyTorch's time."""
BUSY = 0.5
"""Programs running in the mean of the last minute, above which a warning is given."""
ROOT = Path(__file__).resolve().parents[2]


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
        quick: some cases, a fifth of the repetitions, all threads, no memory.
        out: folder for the result file; None writes none.
        say: told what is being measured.
    """
    pattern = only or ("|".join(QUICK) if quick else "*")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY:
        say(f"warning: other programs keep {load:.1f} cores busy; the times mean little")
    result: dict[str, Any] = {**describe_machine(device), "load before": load, "settings": []}
    chosen = settings(device, quick)
    if not quick and len({core for _, core in chosen}) > 1 and _default_is_advised(device):
        chosen = [(threads, core) for threads, core in chosen if core != "default"]
        result["note"] = f"The BLAS takes the {blas.RECOMMENDED} kernels here by itself."
    for threads, core in chosen:
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
    return [case for setting in result["settings"] for case in verdicts(setting)]


def settings(device: str, quick: bool) -> list[tuple[int, str]]:
    """Thread counts and BLAS core types; the core that bars are set for comes first."""
    if device == "cuda":
        return [(1, "default")]
    advised = blas.RECOMMENDED if blas.cpu_facts()[1] else "default"
    counts = [n for n in (1, 2) if n <= (os.cpu_count() or 1)]
    if quick:
        return [(counts[-1], advised)]
    cores = [advised] if advised == "default" else [advised, "default"]
    return [(threads, core) for core in cores for threads in counts]


def _default_is_advised(device: str) -> bool:
    """Whether the BLAS takes the recommended kernels without being told."""
    found = _worker(1, "default", ["--only", "", "--device", device])["blas"]
    return bool(found) and found[0].get("architecture") == blas.RECOMMENDED


def _worker(threads: int, core: str, options: Sequence[str]) -> dict[str, Any]:
    """What one process of `worker` measured."""
    environment = {k: v for k, v in os.environ.items() if k != blas.VARIABLE}
    environment |= {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    environment |= {"MKL_NUM_THREADS": str(threads), blas.KEEP: "1"}
    if core != "default":
        environment[blas.VARIABLE] = core
    command = [sys.executable, "-m", "validation.bench.worker", "--threads", str(threads), *options]
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


def verdicts(setting: dict[str, Any]) -> list[Case]:
    """One case for each line, and one for the mean of the convolutions."""
    found = [make_case(setting, case) for case in setting["cases"]]
    layers = [c["ratio to torch"]["median"] for c in setting["cases"] if c["work"] == "layer"]
    if len(layers) < sum(subject.work == "layer" for subject in SUBJECTS):
        return found
    mean = geometric_mean(layers)
    name = f"convolutions, geometric mean threads={setting['threads']} core={setting['core']}"
    return [*found, _judged(setting, name, {"ratio": mean}, {"ratio": MEAN})]


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
    bar = next((subject.bar for subject in SUBJECTS if subject.name == case["case"]), None)
    bars = {} if bar is None else {"ratio": bar}
    for side in SIDES[:2]:
        if case[side].get("peak MiB") is not None:
            figures[f"{side} MiB"] = case[side]["peak MiB"]
            if side == "torch":
                bars["minigrad MiB"] = figures["torch MiB"]
    return _judged(setting, name, figures, bars)


def _judged(
    setting: dict[str, Any], name: str, figures: dict[str, float], bars: dict[str, float]
) -> Case:
    """Bars hold for the recommended BLAS kernels."""
    if not bars or setting["core"] != settings("cpu", quick=True)[0][1]:
        return Case(name, None, "reported, no bar", figures)
    beyond = [
        f"{figure} {figures[figure]:.2f}: expected at most {bar:.2f}"
        for figure, bar in bars.items()
        if figures[figure] > bar
    ]
    return Case(name, not beyond, "; ".join(beyond), figures)


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
