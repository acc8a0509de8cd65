"""Bootstrap intervals over rows (Efron and Tibshirani 1993; paired: Koehn 2004)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Combine = Callable[[NDArray[np.float64]], NDArray[np.float64]]
CHUNK = 100  # resamples drawn at once, to bound memory


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the 2.5 % and 97.5 % points of its bootstrap distribution."""

    value: float
    low: float
    high: float


def resampled(rows: NDArray[np.float64], samples: int, seed: int, combine: Combine | None = None,
              ) -> NDArray[np.float64]:
    """(samples,) values of as many rows drawn with replacement: their mean, or ``combine`` of their sums.

    Args:
        rows: (N,) scores, or (N, K) statistics for ``combine``.
    """
    return np.concatenate([rows[drawn].mean(axis=1) if combine is None else combine(_times(drawn) @ rows)
                           for drawn in _draws(len(rows), samples, seed)])


def resampled_together(columns: Sequence[NDArray[np.float64]], samples: int, seed: int,
                       combine: Combine | None = None) -> NDArray[np.float64]:
    """(samples, columns) values of several models on the same rows: each resample draws the same rows for all of them.

    Args:
        columns: One for each model, each as ``rows`` of :func:`resampled`.
    """
    size = len(columns[0])
    found = []
    for drawn in _draws(size, samples, seed):
        times = _times(drawn)
        found.append(np.stack([times @ rows / size if combine is None else combine(times @ rows)
                               for rows in columns], axis=1))
    return np.concatenate(found)


def value_of(rows: NDArray[np.float64], combine: Combine | None = None) -> float:
    """The value of all rows, each taken once: their mean, or ``combine`` of their sums."""
    return float(rows.mean() if combine is None else combine(rows.sum(axis=0, keepdims=True))[0])


def _draws(size: int, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of the rows that each resample takes, some resamples at once."""
    generator = np.random.default_rng(seed)
    for start in range(0, samples, CHUNK):
        yield generator.integers(0, size, (min(CHUNK, samples - start), size))


def _times(drawn_RN: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R, N): how often each row was drawn. Statistics of drawn rows themselves would be N times as much memory."""
    count, size = drawn_RN.shape
    places_RN = drawn_RN + size * np.arange(count)[:, None]
    return np.bincount(places_RN.ravel(), minlength=count * size).reshape(count, size).astype(np.float64)


def interval(rows: ArrayLike, samples: int = 1000, seed: int = 0, combine: Combine | None = None) -> Interval:
    """The value of some rows with its 95 % interval.

    Args:
        rows: (N,) scores whose mean it is, or (N, K) statistics.
        combine: (R, K) sums of statistics -> (R,) values, as of :class:`llmtrain.tasks.metric.Metric`.

    Raises:
        ValueError: There are no rows.
    """
    array = np.asarray(rows, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values to resample")
    value = value_of(array, combine)
    if samples <= 0:
        return Interval(value, value, value)
    low, high = np.percentile(resampled(array, samples, seed, combine), (2.5, 97.5))
    return Interval(value, float(low), float(high))


def paired(first: ArrayLike, second: ArrayLike, samples: int = 1000, seed: int = 0) -> Interval:
    """Mean difference first - second over the same documents, with its 95 % interval."""
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape:
        raise ValueError(f"paired scores need the same documents, got {one.shape} and {two.shape}")
    return interval(one - two, samples, seed)
