"""One setting of the benchmark, in a process of its own: `python -m validation.bench_worker`.

The BLAS core type and the thread counts are read from the environment when NumPy and PyTorch are
loaded, so `validation.bench` starts this file once for each setting. It prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info
from torch import nn

from minigrad import SGD, MSELoss
from minigrad.backend import module_for
from validation.transfer import make_twin
from zoo import create

Step = Callable[[], object]

LEARNING_RATE = 1e-3
TURN_SECONDS = 0.5
"""A turn of a fast step is repeated for about this long: training is a long row of steps, and the
first ones after a pause are slower."""
LONG_SECONDS = 0.3
"""A step of this length needs no other to warm up for it."""
PAUSE_SECONDS = 0.06
"""Between turns: a library's threads spin for some 25 ms after their work, on the other's cores."""


@dataclass(frozen=True)
class Shape:
    """One network at one batch."""

    model: str
    batch: int
    side: int

    @property
    def name(self) -> str:
        """As in `n2n-simple 16x3x32x32`."""
        return f"{self.model} {self.batch}x3x{self.side}x{self.side}"


SHAPES = (
    Shape("n2n-simple", 16, 32),
    Shape("n2n-simple", 64, 32),
    Shape("n2n-simple", 512, 32),
    Shape("n2n-prelu-unet", 16, 32),
    Shape("n2n-prelu-unet", 64, 32),
    Shape("n2n-unet", 4, 128),
)
SIDES = ("minigrad", "torch", "torch channels_last")
WORK = ("training", "inference")


# ------------------------------------------------------------------ what is timed


def make_step(shape: Shape, work: str, side: str, device: str) -> Step:
    """A function that does one step of the work and waits until the device has done it."""
    rng = np.random.default_rng(0)
    model = create(shape.model, rng=rng)
    size = (shape.batch, 3, shape.side, shape.side)
    x, target = (rng.random(size, dtype=np.float32) for _ in range(2))
    if side == "minigrad":
        return _engine_step(model.to(device), x, target, work, device)
    return _torch_step(make_twin(model).to(device), x, target, work, device, "channels" in side)


def _engine_step(model: Any, x: Any, target: Any, work: str, device: str) -> Step:
    xp = module_for(device)
    x, target, loss = xp.asarray(x), xp.asarray(target), MSELoss()
    one, optimiser = xp.ones((), xp.float32), SGD(model.parameters(), lr=LEARNING_RATE)
    wait = _no_wait if device == "cpu" else xp.cuda.Device().synchronize

    def train() -> None:
        model.zero_grad()
        y, vjp = model.forward_and_vjp(x)
        _, loss_vjp = loss.forward_and_vjp(y, target)
        del y
        vjp(loss_vjp(one)[0])
        optimiser.step()
        wait()

    def infer() -> None:
        model.forward(x)
        wait()

    return train if work == "training" else infer


def _torch_step(
    model: nn.Module, x: Any, target: Any, work: str, device: str, channels_last: bool
) -> Step:
    x, target = (torch.from_numpy(a).to(device) for a in (x, target))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x, target = (a.contiguous(memory_format=torch.channels_last) for a in (x, target))
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    wait = _no_wait if device == "cpu" else torch.cuda.synchronize

    def train() -> None:
        optimiser.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        optimiser.step()
        wait()

    def infer() -> None:
        with torch.no_grad():
            model(x)
        wait()

    return train if work == "training" else infer


def _no_wait() -> None:
    """The CPU has done its work when the call returns."""


# ------------------------------------------------------------------ time


def measure(shape: Shape, work: str, rounds: int, device: str) -> dict[str, Any]:
    """Median milliseconds a step of each side, 10 and 90 percentiles, and ratios of the medians.

    The sides take turns, in an order that rotates, with a pause between them; a turn begins with a
    step that does not count, because the pause has put this library's threads to sleep.
    """
    steps = {side: make_step(shape, work, side, device) for side in SIDES}
    repeats, warm = {}, {}
    for side, step in steps.items():
        step()
        seconds = _seconds(step, 1)
        repeats[side] = max(1, min(20, int(TURN_SECONDS / seconds)))
        warm[side] = seconds >= LONG_SECONDS
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(rounds):
        for i in range(len(SIDES)):
            side = SIDES[(turn + i) % len(SIDES)]
            time.sleep(PAUSE_SECONDS)
            if not warm[side]:
                steps[side]()
            times[side].append(1e3 * _seconds(steps[side], repeats[side]))
    result: dict[str, Any] = {"case": f"{shape.name} {work}", "work": work, "model": shape.model}
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


def peak_memory(shape: Shape, side: str, device: str) -> float | None:
    """MiB that training steps take beyond the process before them; None where it is not known.

    Before them: libraries loaded, network and batch made, one step on a batch of one done.
    """
    make_step(Shape(shape.model, 1, shape.side), "training", side, device)()
    step = make_step(shape, "training", side, device)
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
    shapes = [s for s in SHAPES if any(_matches(s, work, options.only) for work in WORK)]
    answer: dict[str, Any] = {}
    if options.memory:
        answer["mebibytes"] = peak_memory(shapes[0], options.memory, options.device)
    else:
        answer["cases"] = [
            measure(shape, work, options.rounds, options.device)
            for work in WORK
            for shape in shapes
            if _matches(shape, work, options.only)
        ]
    blas = [p for p in threadpool_info() if p.get("user_api") == "blas"]
    answer["blas"] = [{k: p[k] for k in _BLAS_FIELDS if k in p} for p in blas]
    print(json.dumps(answer))


_BLAS_FIELDS = ("internal_api", "version", "architecture", "num_threads")


def _matches(shape: Shape, work: str, pattern: str) -> bool:
    return fnmatch(f"{shape.name} {work}", pattern)


if __name__ == "__main__":
    main()
