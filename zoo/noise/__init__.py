"""Noise laws: what turns a picture into a noisy one, as a pure function of (seed, step).

>>> law = parse("gaussian:0-50")
>>> noisy = law(clean, Noise(seed).at(step))  # doctest: +SKIP
"""

from __future__ import annotations

from zoo.noise.bernoulli import Bernoulli
from zoo.noise.gaussian import Brown, Correlated, Gaussian, box_correlated
from zoo.noise.heteroscedastic import Heteroscedastic
from zoo.noise.impulse import Impulse
from zoo.noise.law import Latent, Law, LawError, LevelLaw, Observation
from zoo.noise.multivariate import Multivariate
from zoo.noise.parse import LAWS, parse
from zoo.noise.poisson import Poisson
from zoo.noise.stripes import Stripes
from zoo.noise.subpixel import SubPixel
from zoo.noise.subspace import SubspaceGlobal, SubspaceHeterogeneous, SubspaceLaw
from zoo.noise.text import Text

__all__ = [
    "parse",
    "LAWS",
    "Law",
    "LevelLaw",
    "LawError",
    "Observation",
    "Latent",
    "Gaussian",
    "Brown",
    "Correlated",
    "box_correlated",
    "Heteroscedastic",
    "Multivariate",
    "Poisson",
    "Bernoulli",
    "Text",
    "Impulse",
    "Stripes",
    "SubPixel",
    "SubspaceGlobal",
    "SubspaceHeterogeneous",
    "SubspaceLaw",
]
