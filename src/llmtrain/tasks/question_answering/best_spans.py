"""The best spans of a context by a model's scores of their first and last tokens, over all its windows.

A span's score is the sum of the two (Devlin et al. 2019, section 4.3); that there is no answer has the least such sum
that a window gives the token that stands for it. Windows share contexts, so that one span may have several scores: the
best counts.

Shapes: B windows, S tokens; n tokens of a window's context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from llmtrain.data.batch import pad
from llmtrain.inference.predict import batches_of
from llmtrain.models.span import LlmtrainForQuestionAnswering
from llmtrain.tasks.question_answering.windows import ContextRead, Span, Window

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


@torch.no_grad()
def score_spans(model: LlmtrainForQuestionAnswering, read: Sequence[ContextRead], *, longest: int, most: int,
                tokens: int, precision: Any, progress: Callable[[int], None] | None = None) -> list[SpanScores]:
    """The best spans of some questions, in their order. Training mode and random state are left as found.

    Args:
        read: Each question with its context, in windows.
        longest: Most tokens of a span.
        most: Spans kept of each.
        tokens: Of a batch, padding included.
        precision: Something with ``autocast()``, usually a Precision.
        progress: Called with the number of questions just finished.
    """
    was_training, device = model.training, next(model.parameters()).device
    found = [SpanScores() for _ in read]
    windows = [(number, window) for number, one in enumerate(read) for window in one.windows]
    left = [len(one.windows) for one in read]
    model.eval()
    try:
        with precision.autocast():
            for rows in batches_of([len(window.input_ids) for _, window in windows], tokens):
                ids_BS = pad([windows[i][1].input_ids for i in rows], model.config.pad_token_id, 8)
                lengths = torch.tensor([len(windows[i][1].input_ids) for i in rows]).unsqueeze(1)
                mask_BS = (torch.arange(ids_BS.shape[1]) < lengths).long().to(device)
                states = model.encode(ids_BS.to(device), mask_BS)
                logits_BS2 = cast(Any, model.head).logits(states)
                place_B11 = model.no_answer_place(mask_BS)[:, None, None].expand(-1, 1, 2)
                none_B = logits_BS2.gather(1, place_B11).sum((1, 2)).tolist()
                scores_BS2 = logits_BS2.cpu().numpy()
                for i, score_S2, none in zip(rows, scores_BS2, none_B, strict=True):
                    number, window = windows[i]
                    found[number].add(window, score_S2[:, 0], score_S2[:, 1], none, longest, most)
                    left[number] -= 1
                    if progress is not None and not left[number]:
                        progress(1)
    finally:
        model.train(was_training)
    return found
