"""One setting of the benchmark, in a process of its own: `python -m validation.bench.worker`.

The BLAS core type and the thread counts are read from the environment when NumPy and PyTorch are
loaded, so `validation.bench` starts this file once for each setting. It prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info

from minigrad.backend import module_for
from validation.bench.subjects import SIDES, SUBJECTS, Step, Subject

LONG_SECONDS = 0.3
"""A step of this length needs no other to warm up for it."""
PAUSE_SECONDS = 0.06
"""Between turns: a library's threads spin for some 25 ms after their work, on the other's cores."""


# ------------------------------------------------------------------ time


def measure(subject: Subject, rounds: int, device: str) -> dict[str, Any]:
    """Median milliseconds a step of each side, 10 and 90 percentiles, and ratios of the medians.

    The sides take turns, in an order that rotates, with a pause between them; a turn begins with a
    step that does not count, because the pause has put this library's threads to sleep.
    """
    steps = {side: subject.make_step(side, device) for side in SIDES}
    repeats, warm = {}, {}
    for side, step in steps.items():
        step()
        seconds = _seconds(step, 1)
        repeats[side] = max(1, min(20, int(subject.turn_seconds / seconds)))
        warm[side] = seconds >= LONG_SECONDS
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(rounds):
        for i in range(len(SIDES)):
            side = SIDES[(turn + i) % len(SIDES)]
            time.sleep(PAUSE_SECONDS)
            if not warm[side]:
                steps[side]()
            times[side].append(1e3 * _seconds(steps[side], repeats[side]))
    result: dict[str, Any] = {"case": subject.name, "work": subject.work, "model": subject.model}
    for side in SIDES:
        result[side] = {**_spread(times[side]), "turns": rounds, "steps a turn": repeats[side]}
        if side != "minigrad":
            turns = np.divide(times["minigrad"], times[side])
            ratio = result["minigrad"]["median"] / result[side]["median"]
            result[f"ratio to {side}"] = {**_spread(turns), "median": ratio}
    return result


def _seconds(step: Step, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count


def _spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    low, middle, high = np.percentile(values, (10, 50, 90))
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


# ------------------------------------------------------------------ memory


def peak_memory(subject: Subject, side: str, device: str) -> float | None:
    """MiB that training steps take beyond the process before them; None where it is not known.

    Before them: libraries loaded, network and batch made, one step on a small picture done.
    """
    subject.small().make_step(side, device)()
    step = subject.make_step(side, device)
    if device == "cuda":
        return _peak_on_gpu(step, side)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        before = _status("VmRSS")
    except OSError:
        return None
    for _ in range(3):
        step()
    return (_status("VmHWM") - before) / 1024


def _peak_on_gpu(step: Step, side: str) -> float:
    if side == "minigrad":
        pool = module_for("cuda").get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
        for _ in range(3):
            step()
        return (pool.total_bytes() - before) / 2**20
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        step()
    return (torch.cuda.max_memory_reserved() - before) / 2**20


def _status(field: str) -> int:
    """A field of /proc/self/status, in KiB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status: no field {field}")
    return int(found[1])


# ------------------------------------------------------------------ the process


def main() -> None:
    """Measure what the arguments say, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="*")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", metavar="SIDE", choices=SIDES, help="memory of one side alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    chosen = [s for s in SUBJECTS if any(fnmatch(s.name, p) for p in options.only.split("|"))]
    answer: dict[str, Any] = {}
    if options.memory:
        answer["mebibytes"] = peak_memory(chosen[0], options.memory, options.device)
    else:
        answer["cases"] = [measure(subject, options.rounds, options.device) for subject in chosen]
    blas = [p for p in threadpool_info() if p.get("user_api") == "blas"]
    answer["blas"] = [{k: p[k] for k in _BLAS_FIELDS if k in p} for p in blas]
    print(json.dumps(answer))


_BLAS_FIELDS = ("internal_api", "version", "architecture", "num_threads")


if __name__ == "__main__":
    main()
