"""The best spans of a context by a model's scores of their first and last tokens, over all its windows.

A span's score is the sum of the two (Devlin et al. 2019, section 4.3); that there is no answer has the least such sum
that a window gives the token that stands for it. Windows share contexts, so that one span may have several scores: the
best counts.

Shapes: B windows, S tokens; n tokens of a window's context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmtrain.data.features import Features
from llmtrain.inference.feature_batches import for_each_row
from llmtrain.models.span import LlmtrainForQuestionAnswering
from llmtrain.tasks.question_answering.question_windows import ContextRead, Span, Window

Numbers = NDArray[np.float32]


@dataclass(slots=True)
class SpanScores:
    """What a model says of one question.

    Attributes:
        spans: The best spans of the context, characters and score, the best first.
        no_answer: The score of there being none.
    """

    spans: list[tuple[Span, float]] = field(default_factory=list)
    no_answer: float = np.inf

    def add(self, window: Window, start_S: Numbers, end_S: Numbers, none: float, longest: int, most: int) -> None:
        """Take in a window's scores, keeping so many spans."""
        self.no_answer = min(self.no_answer, none)
        known = dict(self.spans)
        for place, score in _best(window, start_S, end_S, longest, most):
            known[place] = max(score, known.get(place, -np.inf))
        self.spans = sorted(known.items(), key=lambda one: (-one[1], one[0]))[:most]


def _best(window: Window, start_S: Numbers, end_S: Numbers, longest: int, most: int) -> list[tuple[Span, float]]:
    """The best spans of one window that have characters."""
    count = len(window.places)
    real_n = np.array([start < end for start, end in window.places], dtype=bool)
    if not real_n.any():
        return []
    behind = slice(window.first, window.first + count)
    first_n = np.where(real_n, start_S[behind], -np.inf)
    last_n = np.where(real_n, end_S[behind], -np.inf)
    length_nn = np.arange(count)[None, :] - np.arange(count)[:, None]
    score_nn = np.where((length_nn >= 0) & (length_nn < longest), first_n[:, None] + last_n[None, :], -np.inf)
    flat = score_nn.reshape(-1)
    chosen = np.argpartition(-flat, most - 1)[:most] if most < len(flat) else np.arange(len(flat))
    chosen = chosen[np.isfinite(flat[chosen])]
    return [((window.places[int(one) // count][0], window.places[int(one) % count][1]), float(flat[one]))
            for one in chosen]


def score_spans(model: LlmtrainForQuestionAnswering, features: Features, read: Mapping[int, ContextRead], *,
                longest: int, most: int, tokens: int, precision: Any, progress: Callable[[int], None] | None = None,
                ) -> list[SpanScores]:
    """The best spans of some questions, in their order.

    Args:
        features: Of the split.
        read: The questions, by their numbers in the split, in the windows that the features were made of.
        longest: Most tokens of a span.
        most: Spans kept of each.
        tokens: Of a batch, padding included.
        precision: Something with ``autocast()``, usually a Precision.
        progress: Called with the number of questions just finished.
    """
    assert features.owner is not None
    found = {number: SpanScores() for number in read}
    left = {number: list(one.windows) for number, one in read.items()}
    windows = {row: (number, left[number].pop(0)) for row, number in enumerate(features.owner.tolist())
               if number in read}
    open_windows = Counter(number for number, _ in windows.values())

    def work(batch: dict[str, Any]) -> list[None]:
        mask_BS = batch["attention_mask"]
        logits_BS2 = model.head.logits(model.encode(batch["input_ids"], mask_BS))
        place_B11 = model.no_answer_place(mask_BS)[:, None, None].expand(-1, 1, 2)
        none_B = logits_BS2.gather(1, place_B11).sum((1, 2)).tolist()
        rows = batch["example_id"].tolist()
        for row, score_S2, none in zip(rows, logits_BS2.cpu().numpy(), none_B, strict=True):
            number, window = windows[row]
            found[number].add(window, score_S2[:, 0], score_S2[:, 1], none, longest, most)
            open_windows[number] -= 1
            if progress is not None and not open_windows[number]:
                progress(1)
        return [None] * len(rows)

    for_each_row(work, model, features, list(windows), tokens, precision)
    return list(found.values())
