"""Bootstrap intervals over documents (Efron and Tibshirani 1993; paired: Koehn 2004)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK = 100  # resamples drawn at once, to bound memory


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the 2.5 % and 97.5 % points of its bootstrap distribution."""

    value: float
    low: float
    high: float


def resampled_means(values: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """(samples,) means of as many documents drawn with replacement."""
    generator = np.random.default_rng(seed)
    means = []
    for start in range(0, samples, CHUNK):
        drawn = generator.integers(0, len(values), (min(CHUNK, samples - start), len(values)))
        means.append(values[drawn].mean(axis=1))
    return np.concatenate(means)


def interval(values: ArrayLike, samples: int = 1000, seed: int = 0) -> Interval:
    """Mean with its 95 % interval. Raises ValueError without values."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values to resample")
    if samples <= 0:
        return Interval(float(array.mean()), float(array.mean()), float(array.mean()))
    low, high = np.percentile(resampled_means(array, samples, seed), (2.5, 97.5))
    return Interval(float(array.mean()), float(low), float(high))


def paired(first: ArrayLike, second: ArrayLike, samples: int = 1000, seed: int = 0) -> Interval:
    """Mean difference first - second over the same documents, with its 95 % interval."""
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape:
        raise ValueError(f"paired scores need the same documents, got {one.shape} and {two.shape}")
    return interval(one - two, samples, seed)
