"""Whether compiled loops are used: `pip install minigrad-zoo[numba]` brings them.

NumPy runs a chain of sums as one pass over memory each. Compiled by numba, what a chain passes on
stays in the first cache. Nothing needs it: every compiled form stands beside one in NumPy, and
`MINIGRAD_NUMBA=0` in the environment chooses that.

The files `numba_*.py` import numba and are themselves imported at the first call that can use them,
never with the library. What numba compiles is kept on the disk: some seconds once, then a fraction
of a second in each process.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

VARIABLE = "MINIGRAD_NUMBA"


@cache
def available() -> bool:
    """Whether numba is installed, fits this NumPy, and is not refused."""
    if os.environ.get(VARIABLE) == "0" or find_spec("numba") is None:
        return False
    try:
        import numba  # noqa: F401
    except ImportError:  # made for another NumPy
        return False
    return True
