"""The best span over windows, and from which score on there is none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from llmtrain.data.examples import Example
from llmtrain.tasks.question_answering.answer_scores import AnswerScorer
from llmtrain.tasks.question_answering.best_spans import SpanScores
from llmtrain.tasks.question_answering.no_answer import MOST, best_threshold, described
from llmtrain.tasks.question_answering.question_windows import Window

PLACES = [(0, 3), (4, 4), (4, 8), (9, 10), (11, 15)]
WINDOW = Window([1, 9, 2, 11, 12, 13, 14, 15, 2], 3, PLACES, 0)


@pytest.mark.parametrize(("longest", "most"), [(1, 1), (2, 3), (5, 4), (5, 50)])
def test_spans_are_the_best_of_all_pairs(longest: int, most: int) -> None:
    draw = np.random.default_rng(longest * most)
    start, end = (draw.normal(size=9).astype(np.float32) for _ in range(2))
    start[:3] = end[8] = 99  # the question and the last separator are no answer
    found = SpanScores()
    found.add(WINDOW, start, end, 0.5, longest, most)
    pairs = {(PLACES[i][0], PLACES[j][1]): float(start[3 + i] + end[3 + j])
             for i, j in itertools.product(range(5), repeat=2) if i <= j < i + longest and 1 not in (i, j)}
    best = sorted(pairs.items(), key=lambda one: (-one[1], one[0]))[:most]
    assert [place for place, _ in found.spans] == [place for place, _ in best]
    assert [score for _, score in found.spans] == pytest.approx([score for _, score in best])
    assert found.no_answer == 0.5


def test_windows_are_taken_together() -> None:
    found, flat = SpanScores(), np.zeros(9, dtype=np.float32)
    sure = flat.copy()
    sure[5] = 2.0
    found.add(WINDOW, flat, flat, 3.0, 5, 2)
    found.add(WINDOW, sure, sure, 1.0, 5, 2)
    found.add(WINDOW, flat, flat, 2.0, 5, 2)
    assert found.spans[0] == ((4, 8), 4.0) and len(found.spans) == 2 and found.no_answer == 1.0


def test_a_context_without_characters_has_no_span() -> None:
    found = SpanScores()
    found.add(Window([1, 9, 2, 2], 3, [], 0), np.zeros(4, np.float32), np.zeros(4, np.float32), 0.0, 5, 2)
    found.add(Window([1, 9, 2, 7, 2], 3, [(2, 2)], 0), np.zeros(5, np.float32), np.zeros(5, np.float32), -1.0, 5, 2)
    assert found.spans == [] and found.no_answer == -1.0


def row(text: str) -> Example:
    return Example("1", "a red list", text, (text,))


def test_the_threshold_is_the_one_that_scores_best() -> None:
    examples = [row("red"), row("list"), row(""), row("")]
    answers = [("red", -3.0), ("list", 1.0), ("red", 2.0), ("list", 5.0)]
    scorer = AnswerScorer("en", [])
    assert best_threshold(examples, answers, scorer, "exact_match") == 1.5
    swapped = [("red", -3.0), ("list", 3.0), ("red", 2.0), ("list", 5.0)]
    assert best_threshold(examples, swapped, scorer, "f1") == -0.5  # as good as 4, and nearer to 0
    alike = [("red", -6.0), ("red", -3.0), ("red", 1.0), ("red", 4.0)]
    assert best_threshold([row("red"), row(""), row("red"), row("")], alike, scorer, "f1") == 2.5  # so is -4.5


def test_a_threshold_is_told_in_words() -> None:
    assert described(1.25) == "no answer where its score is more than 1.25 above the best span's"
    scorer = AnswerScorer("en", [])
    never = best_threshold([row(""), row("")], [("red", -1.0), ("red", 2.0)], scorer, "f1")
    always = best_threshold([row("red"), row("red")], [("red", -1.0), ("red", 2.0)], scorer, "f1")
    assert described(never) == "never an answer, which scored best on validation"
    assert described(always) == "always an answer, which scored best on validation"


def test_every_threshold_is_tried() -> None:
    draw, scorer = np.random.default_rng(3), AnswerScorer("en", [])
    for _ in range(20):
        examples = [row(str(draw.choice(["red", "list", ""]))) for _ in range(8)]
        answers = [(str(draw.choice(["red", "list"])), float(draw.integers(-3, 3))) for _ in examples]

        def total(threshold: float, examples: list[Example] = examples,
                  answers: list[tuple[str, float]] = answers) -> float:
            return sum(scorer.score("" if more > threshold else text, one)["f1"]
                       for (text, more), one in zip(answers, examples, strict=True))

        found = best_threshold(examples, answers, scorer, "f1")
        assert total(found) == max(total(threshold) for threshold in np.arange(-4, 4, 0.5))


def test_rows_that_all_have_an_answer_or_none_have_the_last_threshold() -> None:
    scorer = AnswerScorer("en", [])
    assert best_threshold([row("red")], [("red", 2.0)], scorer, "f1") == MOST
    assert best_threshold([row("")], [("red", 2.0)], scorer, "f1") == -MOST
