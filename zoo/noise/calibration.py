"""Measuring the noise of a camera: many frames of a scene that does not change.

    seen = Calibration.of(frames)                       the mean of the frames is the signal
    model = fit_mixture(seen)                           or fit_histogram(seen)

Where no such frames are at hand the signal may be what a denoiser made of each frame ("bootstrap").
Gray values are raw: those of the camera.

Source: Krull et al., Probabilistic noise2void (2020), the histogram; Prakash et al., Fully
unsupervised probabilistic noise2void (2020), the mixture and the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minigrad import Adam, DensityNLLLoss, GaussianMixtureNoiseModel, HistogramNoiseModel
from minigrad.noise import Noise
from minigrad.schedule import CosineLR

Tell = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss)."""
EMPTY = 1e-30
"""What a table adds to each count: no probability is 0."""


@dataclass(frozen=True)
class Calibration:
    """Observations, and the signal of each.

    observations: (n, P), n frames of P pixels. signals: (m, P), n a multiple of m: frame i has the
    signal i // (n / m). low, high: pairs whose signal lies between these, and not on them, count.
    """

    observations: np.ndarray
    signals: np.ndarray
    low: float
    high: float

    @staticmethod
    def of(
        frames: np.ndarray | Sequence[np.ndarray],
        signals: np.ndarray | Sequence[np.ndarray] | None = None,
        percentiles: tuple[float, float] = (0.0, 100.0),
    ) -> Calibration:
        """From frames (n, H, W) and signals (m, H, W), None for the mean of all frames.

        percentiles: of the signal, in between which pairs count. (0, 100), the authors' choice for
        calibration frames, leaves out the darkest and the brightest pixel; for the bootstrap they
        take (0.5, 99.5).

        Raises:
            ValueError: shapes that do not fit, or no signal between the percentiles.
        """
        seen = np.stack([np.asarray(frame) for frame in frames])
        if seen.ndim != 3 or (len(seen) < 2 and signals is None):
            raise ValueError(f"Calibration: frames: expected (n, H, W), n from 2, got {seen.shape}")
        if signals is None:
            mean = np.zeros(seen.shape[1:])
            for frame in seen:
                mean += frame
            true = (mean / len(seen))[None]
        else:
            true = np.stack([np.asarray(signal) for signal in signals])
        if true.shape[1:] != seen.shape[1:] or len(seen) % len(true):
            raise ValueError(
                f"Calibration: signals: expected (m, {seen.shape[1]}, {seen.shape[2]}), m a "
                f"divisor of {len(seen)}, got {true.shape}"
            )
        low, high = np.percentile(true, percentiles)
        if not low < high:
            raise ValueError(
                f"Calibration: all signals are {low:g} between percentiles {percentiles}: "
                "expected a scene with dark and bright places"
            )
        true = true.astype(np.float32)
        return Calibration(
            seen.reshape(len(seen), -1), true.reshape(len(true), -1), float(low), float(high)
        )

    def draw(self, noise: Noise, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(signals, observations) of `count` random pairs, less those out of range; float64."""
        frames, pixels = self.observations.shape
        frame, pixel = noise.integers(frames, count), noise.integers(pixels, count)
        signal = self.signals[frame // (frames // len(self.signals)), pixel]
        inside = (signal > self.low) & (signal < self.high)
        observed = self.observations[frame, pixel][inside]
        return signal[inside].astype(np.float64), observed.astype(np.float64)

    def moments(self, bins: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(signal, mean and variance of the observation) in each of `bins` ranges of the signal
        that hold as many pixels each.
        """
        per = len(self.observations) // len(self.signals)
        order = np.argsort(self.signals, axis=None, kind="stable")
        found = []
        for part in np.array_split(order, bins):
            row, pixel = np.unravel_index(part, self.signals.shape)
            signal = self.signals[row, pixel].astype(np.float64)
            seen = np.stack([self.observations[row * per + k, pixel] for k in range(per)])
            apart = seen - signal
            found.append((signal.mean(), signal.mean() + apart.mean(), apart.var()))
        signal, mean, variance = np.array(found).T
        return signal, mean, variance


def fit_mixture(
    seen: Calibration,
    *,
    n_gaussian: int = 3,
    n_coeff: int = 2,
    min_sigma: float = 50.0,
    steps: int = 2000,
    batch: int = 25_000,
    lr: float = 0.1,
    decay: bool = True,
    seed: int = 0,
    tell: Tell | None = None,
) -> GaussianMixtureNoiseModel:
    """The mixture that makes the observations most likely: Adam on -mean log p, random pairs.

    min_sigma: the least variance, in squared gray values. decay: whether the rate falls to 0 by a
    cosine, which leaves less of the last batches in the result; the authors keep it.

    Raises:
        ValueError: a number that cannot be.
    """
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise ValueError(f"fit_mixture: {name}: expected at least 1, got {value}")
    rng = np.random.default_rng(seed)
    model = GaussianMixtureNoiseModel(
        seen.low, seen.high, n_gaussian, n_coeff, min_sigma, dtype=np.float64, rng=rng
    )
    optimiser, loss = Adam(model.parameters(), lr), DensityNLLLoss()
    schedule, noise, one = CosineLR(lr, steps), Noise(seed), np.ones(())
    for step in range(steps):
        if decay:
            optimiser.lr = schedule.lr(step)
        signal, observed = seen.draw(noise.at(step), batch)
        model.zero_grad()
        p, vjp = model.forward_and_vjp(signal, observed)
        value, loss_vjp = loss.forward_and_vjp(p)
        vjp(loss_vjp(one))
        optimiser.step()
        if tell is not None:
            tell(step + 1, steps, float(value))
    return model


def fit_histogram(
    seen: Calibration, *, bins: int = 256, low: float | None = None, high: float | None = None
) -> HistogramNoiseModel:
    """The table of how often each observation follows each signal, in `bins` steps from `low` to
    `high` (by default the range of all that was observed).

    Pairs outside that range are left out. A row without pairs stays nearly 0 everywhere.

    Raises:
        ValueError: a range that is none.
    """
    low = float(min(seen.observations.min(), seen.signals.min())) if low is None else low
    high = float(max(seen.observations.max(), seen.signals.max())) if high is None else high
    model = HistogramNoiseModel(bins, low, high, dtype=np.float64)
    table, per = np.zeros((bins, bins)), len(seen.observations) // len(seen.signals)
    for i, observed in enumerate(seen.observations):
        counts, *_ = np.histogram2d(
            seen.signals[i // per].astype(np.float64),
            observed.astype(np.float64),
            bins=bins,
            range=((low, high), (low, high)),
        )
        table += counts + EMPTY
    total = table.sum(1, keepdims=True)
    model.histogram[...] = np.where(total > 1e-20, table / np.maximum(total, EMPTY), table)
    return model
