"""What this machine and this installation offer, and what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigrad.backend import DeviceError, resolve_device
from zoo import blas

OPTIONAL = (
    ("matplotlib", "matplotlib", "plots", "zoo report"),
    ("tifffile", "tifffile", "tiff", "TIFF pictures"),
    ("h5py", "h5py", "convert", "zoo convert of HDF5 files"),
    ("imagecodecs", "imagecodecs", "tiff", "TIFF pictures compressed by LZW and the like"),
    ("numba", "numba", "numba", "faster convolutions on a CPU"),
    ("torch", "torch", "validation", "python -m validation"),
    ("skimage", "scikit-image", "validation", "python -m validation"),
)
"""(module, distribution, extra, what needs it)."""


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis.

    status: "ok", "note" (something could be better, or an option is absent) or "bad" (something
    is broken).
    remedy: the line to type, or "".
    """

    name: str
    status: str
    finding: str
    remedy: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def diagnose() -> list[Check]:
    """All checks, in the order in which they are shown."""
    checks = [_python(), _packages(), _blas(), _core_type(), _processors(), _memory(), _cuda()]
    checks += [_extra(*row) for row in OPTIONAL]
    checks += [_weights(), _samples(), _folder()]
    return checks


def _python() -> Check:
    version = platform.python_version()
    where = f"{sys.executable} on {platform.platform()}"
    if sys.version_info < (3, 11):
        return Check("Python", "bad", f"{version}, {where}", "install Python 3.11 or later")
    return Check("Python", "ok", f"{version}, {where}", data={"version": version})


def _packages() -> Check:
    names = ("minigrad-zoo", "numpy", "safetensors", "pillow", "pypng", "rich", "tomli-w")
    versions: dict[str, str | None] = {}
    for name in (*names, "threadpoolctl"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    lacking = [name for name, version in versions.items() if version is None and name != names[0]]
    text = ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())
    if lacking:
        return Check("packages", "bad", text, f"pip install {' '.join(lacking)}", data=versions)
    return Check("packages", "ok", text, data=versions)


# --------------------------------------------------------------------------- BLAS


def blas_in_use() -> dict[str, Any]:
    """NumPy's BLAS: name, version, architecture (kernel set), threads; empty when it cannot be
    found out.
    """
    import numpy as np
    import threadpoolctl

    np.dot(np.ones(2), np.ones(2))
    for library in threadpoolctl.threadpool_info():
        if library.get("user_api") == "blas":
            return {
                "name": library.get("internal_api"),
                "version": library.get("version"),
                "architecture": library.get("architecture"),
                "threads": library.get("num_threads"),
            }
    return {}


def _blas() -> Check:
    found = blas_in_use()
    if not found:
        return Check("BLAS", "note", "the BLAS of this NumPy could not be identified")
    text = (
        f"{found['name']} {found['version']}, kernels for {found['architecture']}, "
        f"{found['threads']} thread(s)"
    )
    return Check("BLAS", "ok", text, data=found)


def _core_type() -> Check:
    """Whether OpenBLAS uses the AVX-512 unit that the processor has."""
    name = "BLAS core type"
    found, (vendor, avx512) = blas_in_use(), blas.cpu_facts()
    value = os.environ.get(blas.VARIABLE)
    now = f"{blas.VARIABLE}={value}" if value else f"{blas.VARIABLE} is not set"
    who = f" (set by the zoo command; {blas.KEEP}=1 turns that off)" if blas.was_set_here() else ""
    data = {"set": value, "set_by_zoo": blas.was_set_here(), "avx512f": avx512, "vendor": vendor}
    architecture = str(found.get("architecture") or "")
    if found.get("name") != "openblas":
        return Check(name, "ok", f"{now}; it has a meaning for OpenBLAS only", data=data)
    if avx512 and architecture.lower() in blas.SLOW_WITH_AVX512:
        return Check(
            name,
            "note",
            f"{now}{who}; the processor has AVX-512, but OpenBLAS uses its {architecture} "
            "kernels, which do not: matrix products can be up to 1.7 times faster",
            f"export {blas.VARIABLE}={blas.RECOMMENDED}",
            data | {"recommended": blas.RECOMMENDED},
        )
    reason = "uses AVX-512" if avx512 else "the processor has no AVX-512"
    return Check(name, "ok", f"{now}{who}; {architecture}: {reason}, nothing to do", data=data)


# --------------------------------------------------------------------------- the machine


def _processors() -> Check:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    data = {"cores": total, "usable": usable}
    return Check("processors", "ok", f"{usable} of {total} usable by this process", data=data)


def _memory() -> Check:
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        free = page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Check("memory", "note", "could not be found out on this system")
    total = page * pages
    data = {"total_bytes": total, "free_bytes": free}
    text = f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of it unused"
    if total < 2 << 30:
        return Check("memory", "note", text + "; large pictures may not fit", "", data)
    return Check("memory", "ok", text, data=data)


def _cuda() -> Check:
    try:
        resolve_device("cuda")
    except DeviceError as error:
        cause, _, remedy = str(error).partition(" Install it with: ")
        return Check("CUDA", "note", cause, remedy, {"usable": False})
    from minigrad.backend import module_for

    xp = module_for("cuda")
    runtime = xp.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    free, total = runtime.memGetInfo()
    data = {
        "usable": True,
        "cupy": xp.__version__,
        "device": properties["name"].decode(),
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "free_bytes": int(free),
        "total_bytes": int(total),
    }
    text = (
        f"{data['device']}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, "
        f"CuPy {data['cupy']}, driver {data['driver']}, runtime {data['runtime']}"
    )
    return Check("CUDA", "ok", text, data=data)


def _extra(module: str, distribution: str, extra: str, used_by: str) -> Check:
    if importlib.util.find_spec(module) is not None:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = "installed"
        return Check(distribution, "ok", f"{version} (for {used_by})", data={"version": version})
    return Check(
        distribution,
        "note",
        f"not installed; needed by {used_by}",
        f"pip install '.[{extra}]'",
        {"version": None},
    )


# --------------------------------------------------------------------------- what comes along


def _weights() -> Check:
    """Every bundled weights file loads, checksum included."""
    import zoo
    from zoo.inference.weights import DEFAULTS, bundled_weights

    found = bundled_weights()
    return _every(
        "bundled weights",
        list(found.values()),
        zoo.load,
        missing=next((name for name in DEFAULTS.values() if name not in found), None),
        remedy="reinstall the package, or give --weights FILE",
    )


def _samples() -> Check:
    """Every bundled photograph is decoded."""
    from zoo.data.bundled import sample_files
    from zoo.data.images import read_image

    files = sample_files("train") + sample_files("test")
    return _every(
        "bundled photographs",
        files,
        read_image,
        missing=None if files else "all of them",
        remedy="reinstall the package, or give --data DIR",
    )


def _every(
    name: str, files: list[Path], read: Callable[[Path], object], missing: str | None, remedy: str
) -> Check:
    broken: list[str] = []
    for file in files:
        try:
            read(file)
        except Exception as error:  # a diagnosis reports whatever is wrong, and goes on
            broken.append(f"{file.name}: {error}")
    data = {"files": [file.name for file in files], "broken": broken, "missing": missing}
    if broken:
        return Check(name, "bad", "; ".join(broken), remedy, data)
    if missing:
        return Check(name, "bad", f"{len(files)} intact; missing: {missing}", remedy, data)
    return Check(name, "ok", f"{len(files)} file(s), all intact", data=data)


def _folder() -> Check:
    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        return Check(
            "working folder", "bad", f"{here}: cannot be written: {error.strerror}", "cd elsewhere"
        )
    return Check("working folder", "ok", f"{here} can be written")
