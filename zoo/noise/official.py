"""The validation noise of the blind-spot study: the same numbers for every picture of a size.

Its programs call `numpy.random.seed(0)` before each draw. Figures that are compared with published
ones need these very numbers; training needs others.
"""

from __future__ import annotations

import numpy as np


def official(seed: int = 0) -> np.random.RandomState:
    """NumPy's legacy generator, as after `numpy.random.seed(seed)`."""
    return np.random.RandomState(seed)


def official_normal(latent: np.ndarray, deviation: float = 1.0) -> np.ndarray:
    """N(0, deviation^2) for one picture (C, H, W) of a batch, (1, C, H, W) in its dtype."""
    return official().normal(0.0, deviation, latent.shape[1:])[None].astype(latent.dtype)
