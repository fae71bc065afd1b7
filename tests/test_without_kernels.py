"""Without the kernels room the engine is slower, complete and correct."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

CODE = """
import sys
sys.path[:0] = {folders!r}  # -S leaves out every other place that may hold a minigrad
import numpy as np
import minigrad as mg
assert not any(name.startswith("minigrad.kernels") for name in sys.modules)
layer = mg.Conv2d(2, 3, 3, padding=1, dtype=np.float64, rng=np.random.default_rng(1))
rng = np.random.default_rng(2)
x, dy = rng.standard_normal((1, 2, 6, 5)), rng.standard_normal((1, 3, 6, 5))
y, vjp = mg.Sequential(layer, mg.ReLU(), mg.Scale(2.0)).forward_and_vjp(x)
np.savez(sys.argv[1], y=y, dx=vjp(dy), dw=layer.d_weight, home=mg.__file__)
"""


def copy_of_the_engine(folder: Path, *left_out: str) -> None:
    source = Path(mg.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", *left_out)
    shutil.copytree(source, folder / "minigrad", ignore=ignored)


def run_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The code above in an interpreter that sees the copy in `folder`, and NumPy."""
    code = CODE.format(folders=[str(folder), str(Path(np.__file__).parents[1])])
    command = [sys.executable, "-S", "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_engine_computes_without_the_kernels(tmp_path: Path) -> None:
    copy_of_the_engine(tmp_path, "kernels")
    done = run_alone(tmp_path, "found.npz")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    assert Path(str(found["home"])).is_relative_to(tmp_path)

    layer = mg.Conv2d(2, 3, 3, padding=1, dtype=np.float64, rng=np.random.default_rng(1))
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((1, 2, 6, 5)), rng.standard_normal((1, 3, 6, 5))
    y, vjp = mg.Sequential(layer, mg.ReLU(), mg.Scale(2.0)).forward_and_vjp(x)
    for name, expected in {"y": y, "dx": vjp(dy), "dw": layer.d_weight}.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("missing", ["minigrad.kernels.absent", "absent_elsewhere"])
def test_a_broken_kernels_room_is_not_taken_for_an_absent_one(tmp_path: Path, missing: str) -> None:
    copy_of_the_engine(tmp_path, "kernels")
    (tmp_path / "minigrad" / "kernels").mkdir()
    (tmp_path / "minigrad" / "kernels" / "__init__.py").write_text(f"import {missing}\n")
    done = run_alone(tmp_path, "found.npz")
    assert done.returncode != 0 and missing in done.stderr
