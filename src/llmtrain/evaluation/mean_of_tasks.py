"""One score for several tasks that are learnt together: the mean of each one's first metric, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmtrain.evaluation.confidence import Interval, resampled
from llmtrain.evaluation.evaluate import SplitScores
from llmtrain.tasks.metric import Metric


def mean_of_tasks(scored: Sequence[tuple[Metric, SplitScores]], samples: int) -> Interval:
    """The mean of a metric of each task; one of which less is better counts below 0.

    Each task has rows of its own, so that those of one are drawn without regard to those of another.

    Args:
        scored: Of each task, the metric and the scores of its rows.
        samples: How often rows are drawn for the interval.
    """
    signs = [1.0 if metric.more_is_better else -1.0 for metric, _ in scored]
    value = sum(sign * scores.metrics[metric.name].value
                for sign, (metric, scores) in zip(signs, scored, strict=True)) / len(scored)
    if samples <= 0:
        return Interval(value, value, value)
    drawn = sum(sign * resampled(metric.columns(scores.rows), samples, seed, metric.combine)
                for seed, (sign, (metric, scores)) in enumerate(zip(signs, scored, strict=True))) / len(scored)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(value, float(low), float(high))
