"""Faster forms of the functions that `layers/` marks as replaceable.

Importing this package registers them.

The definitions need none of this: without the folder the engine is complete, correct and slower.
"""

from __future__ import annotations

from minigrad.kernels import numpy_register as numpy_register
