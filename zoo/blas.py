"""Which OpenBLAS kernels a new process should use, decided before NumPy is imported.

OpenBLAS knows processors by family. On an AMD processor of a family that it does not know, it
takes the Haswell or Zen kernels, which leave half of an AVX-512 unit idle; the SkylakeX kernels
are up to 1.7 times faster there. The choice is made once, when the library is loaded, so the
variable has to be set before. The command line does so; the library never touches the environment
of its host.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
KEEP = "MINIGRAD_KEEP_BLAS_CORE"
SET_BY = "MINIGRAD_BLAS_CORE_SET_BY"
RECOMMENDED = "SkylakeX"
SLOW_WITH_AVX512 = ("haswell", "zen", "excavator", "sandybridge")


def cpu_facts(cpuinfo: str | None = None) -> tuple[str, bool]:
    """(vendor, has AVX-512F) of the first processor in the text of `/proc/cpuinfo`.

    Unknown systems (no such file) answer `("", False)`: then nothing is ever changed.
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")[:20_000]
        except OSError:
            return "", False
    vendor, flags = "", ""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "vendor_id" and not vendor:
            vendor = value.strip()
        if key.strip() == "flags" and not flags:
            flags = value
    return vendor, "avx512f" in flags.split()


def numpy_bundles_openblas() -> bool:
    """Whether the installed NumPy brings its own OpenBLAS (found on the disk, without importing
    it).
    """
    spec = importlib.util.find_spec("numpy")
    if spec is None or spec.origin is None:
        return False
    site = Path(spec.origin).parent.parent
    return any((site / "numpy.libs").glob("*openblas*"))


def choose(environment: Mapping[str, str], cpuinfo: str | None = None) -> str | None:
    """The core type to set in this environment, or None to leave it alone.

    It is set when the processor has AVX-512F, is not an Intel one (OpenBLAS knows those), NumPy's
    BLAS is its own OpenBLAS, and the user set neither `OPENBLAS_CORETYPE` nor
    `MINIGRAD_KEEP_BLAS_CORE=1`.
    """
    if environment.get(VARIABLE) or environment.get(KEEP, "") not in ("", "0"):
        return None
    vendor, avx512 = cpu_facts(cpuinfo)
    if not avx512 or vendor == "GenuineIntel" or not numpy_bundles_openblas():
        return None
    return RECOMMENDED


def start() -> None:
    """Set the variable in this process, when it pays; called once, by the program and not by the
    library.

    Where NumPy is loaded already, its kernels are chosen: the kernels in use are looked up, and
    the program is started again with the variable only if they are slow ones.
    """
    core = choose(os.environ)
    if core is None:
        return
    if "numpy" not in sys.modules:
        os.environ.update({VARIABLE: core, SET_BY: "zoo"})
    elif os.name == "posix" and _architecture_in_use().lower() in SLOW_WITH_AVX512:
        # `choose` answers None once the variable is set, so this happens once.
        os.environ.update({VARIABLE: core, SET_BY: "zoo"})
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _architecture_in_use() -> str:
    import threadpoolctl

    pools = threadpoolctl.threadpool_info()
    return next((str(p.get("architecture")) for p in pools if p.get("user_api") == "blas"), "")


def was_set_here() -> bool:
    """Whether the variable was set by the command line (not by the user)."""
    return os.environ.get(SET_BY) == "zoo"


def note() -> str:
    """Words for the first line of a job: which BLAS core type, and who chose it; "" when nothing
    was set.
    """
    core = os.environ.get(VARIABLE)
    if not core:
        return ""
    who = f"set by zoo; {KEEP}=1 turns it off" if was_set_here() else "from the environment"
    return f"{VARIABLE}={core} ({who})"
