"""`zoo doctor`, and the choice of the BLAS core type that the command line makes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo import blas, doctor
from zoo.__main__ import main
from zoo.inference import weights as weights_room

ROOT = Path(zoo.__file__).parent.parent


def test_doctor(capsys, monkeypatch, tmp_path):
    weights = tmp_path / "mine.safetensors"
    monkeypatch.setattr(weights_room, "DEFAULTS", {1: "mine", 3: "mine"})
    zoo.save(weights, zoo.create("n2n-simple", features=4))
    monkeypatch.setattr(weights_room, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in found["checks"]}
    assert found["ok"]
    for name in ("Python", "packages", "processors", "working folder"):
        assert checks[name]["status"] == "ok", checks[name]
    assert {"BLAS", "BLAS core type", "CUDA", "memory"} <= set(checks)
    assert checks["Python"]["data"]["version"] == platform.python_version()
    assert checks["packages"]["data"]["numpy"] == np.__version__
    assert checks["bundled photographs"]["status"] == "ok"
    assert checks["bundled photographs"]["data"]["files"]
    assert checks["bundled weights"]["status"] == "ok"
    assert checks["bundled weights"]["data"]["files"] == [weights.name]
    main(["doctor"])
    assert "BLAS core type" in capsys.readouterr().out

    weights.write_bytes(weights.read_bytes()[:-1])
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    bad = [check for check in found["checks"] if check["status"] == "bad"]
    assert not found["ok"] and [check["name"] for check in bad] == ["bundled weights"]
    assert weights.name in bad[0]["finding"] and bad[0]["remedy"]


def test_optional_packages_name_the_line_to_type():
    absent = doctor._extra("no_such_module", "none", "tiff", "TIFF pictures")
    assert (absent.status, absent.remedy) == ("note", "pip install '.[tiff]'")
    assert absent.data == {"version": None}
    present = doctor._extra("numpy", "numpy", "plots", "everything")
    assert (present.status, present.data) == ("ok", {"version": np.__version__})


def test_doctor_recommends_the_core_type(monkeypatch):
    slow = {"name": "openblas", "version": "0", "architecture": "Haswell", "threads": 1}
    monkeypatch.setattr(doctor, "blas_in_use", lambda: slow)
    monkeypatch.setattr(blas, "cpu_facts", lambda: ("AuthenticAMD", True))
    check = doctor._core_type()
    assert check.status == "note" and check.remedy == "export OPENBLAS_CORETYPE=SkylakeX"
    monkeypatch.setattr(blas, "cpu_facts", lambda: ("AuthenticAMD", False))
    assert doctor._core_type().status == "ok"


def test_doctor_names_what_is_damaged(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"

    def read(path):
        if path == bad:
            raise ValueError("checksum differs")

    assert doctor._every("files", [good], read, None, "reinstall").status == "ok"
    check = doctor._every("files", [good, bad], read, None, "reinstall")
    assert (check.status, check.finding) == ("bad", "bad: checksum differs")


AMD = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512f avx512bw\n"


@pytest.mark.parametrize(
    ("cpu", "environment", "bundled", "expected"),
    [
        (AMD, {}, True, "SkylakeX"),
        (AMD, {"MINIGRAD_KEEP_BLAS_CORE": "0"}, True, "SkylakeX"),
        (AMD, {"MINIGRAD_KEEP_BLAS_CORE": "1"}, True, None),
        (AMD, {"OPENBLAS_CORETYPE": "Zen"}, True, None),
        (AMD, {}, False, None),
        (AMD.replace("avx512f ", ""), {}, True, None),
        (AMD.replace("AuthenticAMD", "GenuineIntel"), {}, True, None),
        ("", {}, True, None),
    ],
)
def test_choice_of_the_blas_core_type(cpu, environment, bundled, expected, monkeypatch):
    monkeypatch.setattr(blas, "numpy_bundles_openblas", lambda: bundled)
    assert blas.choose(environment, cpu) == expected


def test_the_library_never_sets_the_core_type():
    code = "import os, zoo; zoo.list_models(); print(os.environ.get('OPENBLAS_CORETYPE'))"
    environment = {k: v for k, v in os.environ.items() if k != blas.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.stdout == "None\n"


def test_slow_kernels_are_replaced_once(tmp_path):
    """Where NumPy is loaded with kernels that are called slow, the program starts again, once."""
    code = (
        "import sys, numpy, zoo.blas as b\n"
        "b.choose = lambda e: None if e.get(b.VARIABLE) else 'SkylakeX'\n"
        "b._architecture_in_use = lambda: 'Haswell'\n"
        "b.start()\n"
        "print('once', b.note(), sys.argv[1:])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in (blas.VARIABLE, blas.SET_BY)}
    done = subprocess.run(
        [sys.executable, "-c", code, "an argument"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    )
    words = "OPENBLAS_CORETYPE=SkylakeX (set by zoo; MINIGRAD_KEEP_BLAS_CORE=1 turns it off)"
    assert done.stdout == f"once {words} ['an argument']\n"
