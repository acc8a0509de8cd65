"""The extractive head's choice: by count, by threshold, without repeated trigrams, settled on validation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmtrain.config.choices import Language, References
from llmtrain.data.examples import Example
from llmtrain.models.heads.extractive.choose import Selection, choose, joined
from llmtrain.tasks.summarization.rouge import Rouge
from llmtrain.tasks.summarization.sentence_threshold import tune_selection

SENTENCES = ["The red table reads a file.", "Blue layers write.", "A red table reads a word.", "Nothing else."]
LIKELY = [0.9, 0.3, 0.8, 0.5]


@pytest.mark.parametrize(("selection", "chosen"), [
    (Selection(1), [0]), (Selection(2), [0, 2]), (Selection(9), [0, 1, 2, 3]),
    (Selection(None, 0.5), [0, 2, 3]), (Selection(None, 0.81), [0]), (Selection(None, 0.99), [0]),  # one at least
    (Selection(2, 0.4), [0, 2]), (Selection(3, 0.6), [0, 2])])
def test_the_likeliest_are_taken_by_count_and_threshold(selection: Selection, chosen: list[int]) -> None:
    assert choose(LIKELY, SENTENCES, selection, trigram_blocking=False) == chosen


def test_a_sentence_that_repeats_three_words_is_passed_by() -> None:
    """``red table reads`` stands in the first and in the third."""
    assert choose(LIKELY, SENTENCES, Selection(2), trigram_blocking=True) == [0, 3]
    assert choose(LIKELY, SENTENCES, Selection(None, 0.5), trigram_blocking=True) == [0, 3]
    assert choose([0.1, 0.3, 0.8, 0.5], SENTENCES, Selection(2), trigram_blocking=True) == [2, 3]
    chinese = ["我们提出新方法。", "结果很好。", "他提出新方法。"]  # characters there
    assert choose([0.9, 0.1, 0.8], chinese, Selection(2), trigram_blocking=True) == [0, 1]
    assert choose([0.9, 0.1, 0.8], chinese, Selection(2), trigram_blocking=False) == [0, 2]


def test_two_words_in_a_row_are_no_repetition() -> None:
    """Neither in the middle nor at the end, nor in sentences that are shorter."""
    for sentences in (["one two three four", "five two three six"], ["one two three", "four two three"],
                      ["one two", "one two"], ["three", "one two three"]):
        assert choose([0.9, 0.8], sentences, Selection(2), trigram_blocking=True) == [0, 1]
    assert choose([0.9, 0.8], ["one two three", "four one two three"], Selection(2), trigram_blocking=True) == [0]


@pytest.mark.parametrize(("sentences", "line"), [
    ([], ""), (["A b."], "A b."), (["A  b.", "C\nd."], "A b. C d."), (["我们。", "他们。"], "我们。他们。"),
    (["A b.", "我们。"], "A b. 我们。"), (["我们。", "Next."], "我们。 Next."),
    (["我们 ok.", "他们。"], "我们 ok. 他们。"), (["他说。)", "我们。"], "他说。) 我们。"),
    (["Größe", "weiß"], "Größe weiß"), (["我们。", "a 我。"], "我们。 a 我。")])
def test_chosen_sentences_are_joined_as_their_script_is_written(sentences: list[str], line: str) -> None:
    assert joined(sentences) == line


def test_what_cannot_be_chosen_is_not() -> None:
    assert choose([None, 0.1, None, 0.2], SENTENCES, Selection(3), trigram_blocking=False) == [1, 3]
    assert choose([None] * 4, SENTENCES, Selection(3), trigram_blocking=False) == []


class Head:
    """The part of a head that is settled."""

    def __init__(self, blocking: bool = False) -> None:
        self.options: Any = SimpleNamespace(trigram_blocking=blocking)
        self.settled: Selection | None = None

    def candidates(self) -> list[Selection]:
        return [Selection(1), Selection(2), Selection(None, 0.5), Selection(None, 0.7)]

    def settle(self, selection: Selection) -> None:
        self.settled = selection


@pytest.mark.parametrize(("summaries", "settled"), [
    (["The red table reads a file.", "Blue layers write."], Selection(1)),
    (["The red table reads a file. Nothing else.", "Blue layers write. The end."], Selection(2)),
    (["The red table reads a file. Nothing else.", "Blue layers write."], Selection(None, 0.5))])
def test_validation_settles_the_rule_that_scores_best(summaries: list[str], settled: Selection) -> None:
    documents = ["The red table reads a file. Grey birds sing. Nothing else.", "Blue layers write. The end."]
    probabilities: list[list[float | None]] = [[0.9, 0.1, 0.6], [0.8, 0.4]]
    head = Head()
    examples = [Example(str(i), document, summary, (summary,))
                for i, (document, summary) in enumerate(zip(documents, summaries, strict=True))]
    tune_selection(head, examples, probabilities, Rouge(Language.auto, References.first, examples), "rouge1")
    assert head.settled == settled
