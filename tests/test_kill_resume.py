"""Training that is killed by SIGKILL, again and again, ends as training that is not.

Each child process trains or resumes, and is killed at a chosen moment: inside the write of a
checkpoint, between its write and its rename, after the rename, inside a log line, between two
steps, or at a random time. At the end the weights, the optimiser's state, the schedule and the
log have the same digest as those of an undisturbed run. `MINIGRAD_PROOF=1` adds 30 kills to the
first 4.

The moments are reached without any hook in the package: the child replaces `os.write`,
`os.replace`, `Log.write` and the progress display by forms that announce themselves and wait to be
killed. All of that is `CHILD`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigrad import checkpoint
from tests import tiny_training as tiny

ROOT = Path(__file__).resolve().parents[1]
PROOF = [
    pytest.mark.proof,
    pytest.mark.skipif(os.environ.get("MINIGRAD_PROOF") != "1", reason="MINIGRAD_PROOF=1 runs it"),
]
MOMENTS = ("write", "replace", "log", "time", "renamed", "step")

CHILD = r"""
import os, sys, time

import zoo.training.run
from zoo.progress import Progress
from zoo.train import resume, train

data, folder, moment, count = sys.argv[1:5]
left = int(count)


def due(name):
    # Counts the events of the chosen kind.
    global left
    left -= name == moment
    return name == moment and left == 0


def wait():
    print("waiting", flush=True)
    time.sleep(60)


def write(descriptor, content, real=os.write):
    if due("write"):
        real(descriptor, content[: len(content) // 2])
        wait()
    return real(descriptor, content)


def replace(old, new, real=os.replace):
    if due("replace"):
        wait()
    real(old, new)
    if due("renamed"):
        wait()


def log(self, record, real=zoo.training.run.Log.write):
    if due("log"):
        self._file.write(b'{"kind": "tr')
        wait()
    real(self, record)


class Steps(Progress):
    def step(self, step, images):
        if due("step"):
            wait()


os.write, os.replace, zoo.training.run.Log.write = write, replace, log
print("ready", flush=True)
how = {"device": "cpu", "progress": Steps("none"), "report": False}
if os.path.exists(os.path.join(folder, "config.toml")):
    resume(folder, **how)
else:
    train(os.path.join(data, "tiny.toml"), data, folder, **how)
print("finished", flush=True)
"""


def _run(data: Path, folder: Path, moment: str = "none", count: int = 0) -> bool:
    """Train or resume in a child; kill it at the moment. Whether it finished instead."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(data), str(folder), moment, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    try:
        line = child.stdout.readline().strip()
        if line == "ready" and moment == "time":
            time.sleep(count / 1000)
        elif line == "ready":
            line = child.stdout.readline().strip()
    finally:
        child.send_signal(signal.SIGKILL)
    rest, errors = child.communicate(timeout=60)
    finished = "finished" in (line, rest.strip())
    assert finished or child.returncode == -signal.SIGKILL, errors
    return finished


def _digests(folder: Path) -> dict[str, str]:
    """Digests of what must be equal: log, weights, and the last checkpoint with its state."""
    newest = max((folder / "checkpoints").iterdir())
    found = {"log": hashlib.sha256((folder / "log.jsonl").read_bytes()).hexdigest()}
    for path in (folder / "model.safetensors", newest):
        arrays, text = checkpoint.load(path)
        if "state" in text:
            state = json.loads(text.pop("state"))
            del state["timing_bytes"]  # wall-clock times have as many digits as they have
            found["state"] = json.dumps(state, sort_keys=True)
        for name in sorted(arrays):
            found[f"{path.name} {name}"] = hashlib.sha256(arrays[name].tobytes()).hexdigest()
        found[f"{path.name} text"] = json.dumps(text, sort_keys=True)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("total", [4, pytest.param(30, marks=PROOF)])
def test_killed_training_ends_as_an_undisturbed_one(total, tmp_path) -> None:
    data = tiny.pictures(tmp_path / "pictures")
    recipe = tiny.recipe(60, sampler=tiny.Sampler("gaussian:30", size=16, swap=True, augment=True))
    (data / "tiny.toml").write_text(tiny.recipes.to_toml(recipe), encoding="utf-8")
    assert _run(data, tmp_path / "undisturbed")
    expected = _digests(tmp_path / "undisturbed")

    rng = random.Random(20)
    kills, folders = dict.fromkeys(MOMENTS, 0), 0
    order = [MOMENTS[i % len(MOMENTS)] for i in range(total)]
    rng.shuffle(order)
    folder = tmp_path / "killed-0"
    while order:
        largest = {"step": 15, "time": 250, "log": 4}.get(order[-1], 2)
        if _run(data, folder, order[-1], rng.randint(1, largest)):
            assert _digests(folder) == expected
            folders += 1
            folder = tmp_path / f"killed-{folders}"
        else:
            kills[order.pop()] += 1
    assert _run(data, folder)
    assert _digests(folder) == expected
    assert not list(folder.rglob("*.partial"))
    assert sum(kills.values()) == total, kills
