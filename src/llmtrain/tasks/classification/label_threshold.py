"""From which probability on a label is given, where a row may have several: whatever scores best on validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmtrain.data.examples import Example
from llmtrain.tasks.classification.label_metrics import macro_f1, micro_f1
from llmtrain.tasks.classification.label_rows import labels_of

TRIED = tuple(round(0.05 * step, 2) for step in range(1, 20))


def best_threshold(chances: Sequence[Sequence[float]], labels: Sequence[str], examples: Sequence[Example],
                   metric: str) -> float:
    """The threshold of :data:`TRIED` with the best score, of equal ones the nearest to one half.

    Args:
        chances: Of each label, for each row.
        metric: Of macro_f1 that decides, of any other name micro F1: the share of rows whose labels are all right is
            often the highest where next to none is given.
    """
    chance_NC = np.array(chances, dtype=np.float64).reshape(len(examples), len(labels))
    gold_NC = np.array([[label in labels_of(example) for label in labels] for example in examples], dtype=bool)
    scores = {tried: _score(chance_NC >= tried, gold_NC, metric) for tried in TRIED}
    return max(TRIED, key=lambda tried: (scores[tried], -abs(tried - 0.5), -tried))


def _score(given_NC: NDArray[np.bool_], gold_NC: NDArray[np.bool_], metric: str) -> float:
    parts = [(given_NC & gold_NC).sum(0), (~given_NC & gold_NC).sum(0), (given_NC & ~gold_NC).sum(0)]
    sums_1K = np.stack(parts, 1).reshape(1, -1).astype(np.float64)
    return float((macro_f1 if metric == "macro_f1" else micro_f1)(sums_1K)[0])
