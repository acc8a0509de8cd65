"""From which score on a context has no answer: settled on validation rows, as SQuAD 2.0's script finds it."""

from __future__ import annotations

from collections.abc import Sequence

from llmtrain.data.examples import Example
from llmtrain.tasks.question_answering.answer_scores import AnswerScorer

MOST = 1e4  # beyond every difference of scores


def best_threshold(examples: Sequence[Example], answers: Sequence[tuple[str, float]], scorer: AnswerScorer,
                   metric: str) -> float:
    """The threshold that scores best: a row has no answer where its difference is above it.

    Thresholds lie halfway between neighbouring differences; of equally good ones the nearest to 0 is taken.

    Args:
        answers: Of each example, the text of its best span and how much more the score of no answer is.
        metric: The metric that decides.
    """
    rows = sorted((more, scorer.score(text, example)[metric], scorer.score("", example)[metric])
                  for (text, more), example in zip(answers, examples, strict=True))
    total = sum(silent for _, _, silent in rows)
    found = [(total, -MOST)]  # there is never an answer
    for place, (more, answered, silent) in enumerate(rows):
        total += answered - silent  # this row is answered from here on
        if place + 1 == len(rows):
            found.append((total, MOST))  # there is always one
        elif (above := rows[place + 1][0]) > more:
            found.append((total, (more + above) / 2))
    best = max(total for total, _ in found)
    return min((threshold for total, threshold in found if total >= best - 1e-9), key=abs)


def described(threshold: float) -> str:
    """When there is no answer, in words."""
    if threshold <= -MOST:
        return "never an answer, which scored best on validation"
    if threshold >= MOST:
        return "always an answer, which scored best on validation"
    return f"no answer where its score is more than {threshold:.4g} above the best span's"
