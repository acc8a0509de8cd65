"""Questions and contexts as token ids: for a head that marks the answer, and for heads that write it."""

from __future__ import annotations

import json
from typing import Any

from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.core.errors import ConfigError
from llmtrain.data.control_tokens import finder, first_spelled
from llmtrain.data.features import clean
from llmtrain.data.learnt import Learnt
from llmtrain.data.row_encoder import L1_IDS, OWNER, RowEncoder, TextPairs
from llmtrain.data.text.preprocess.options import DOCUMENT, TARGET
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import bounded, cut_of
from llmtrain.models.heads.span.options import NO_ANSWER
from llmtrain.tasks.question_answering.question_windows import ContextRead, QuestionWindows

MARKS = "marks"  # of the facts: whether the head marks answers in their context
NONE = [NO_ANSWER, NO_ANSWER]


def question_rows(tokenizer: Tokenizer, config: DataConfig, sentences: SentenceInput | None, language: str,
                  learnt: Learnt) -> RowEncoder:
    """What makes ids for the head that a run has, as the task's facts tell."""
    if learnt.facts.get(MARKS):
        return MarkedAnswers(tokenizer, config)
    return WrittenAnswers(tokenizer, config, sentences, language, learnt)


def windows_of(tokenizer: Tokenizer, config: Any) -> QuestionWindows:
    """As the keys of ``data`` ask for them."""
    return QuestionWindows(tokenizer, config.max_source_tokens, config.question_limit, config.shared_tokens)


class MarkedAnswers:
    """Windows of contexts behind their questions, with the places of the answer's first and last token as labels.

    A window that does not hold the whole answer, as one whose context has none, has NO_ANSWER twice, and a row that
    need not have an answer no label at all. The first of several answers is learnt.

    Raises:
        ConfigError: Preprocessing would change the context, in which answers are places.
    """

    splits = True

    def __init__(self, tokenizer: Tokenizer, config: Any) -> None:
        self._pipeline, self._longest = Pipeline(config.preprocess), config.max_answer_tokens
        if self._pipeline.changes & {DOCUMENT, TARGET}:
            raise ConfigError("data.preprocess changes contexts or answers and head=span finds answers by their "
                              "characters in the context as it stands; keep steps that leave rows out or have apply=l1")
        self._tokenizer, self._windows, self._cut = tokenizer, windows_of(tokenizer, config), cut_of(tokenizer, config)
        self.columns: tuple[str, ...] = (L1_IDS,) if self._pipeline.has_l1 else ()

    def describe(self) -> str:
        return f"{self._windows.describe()} {self._longest} {self._pipeline.describe()} edges"

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        controls = finder(self._tokenizer)
        made: dict[str, list[Any]] = {name: [] for name in (
            "input_ids", "labels", OWNER, "spelled", "cut_source", "cut_target", "empty", "unwritable", *self.columns)}
        for number, context, fields in zip(rows["row"], rows["source"], rows["fields"], strict=True):
            beside = json.loads(fields)
            question = clean(beside["question"])
            read = self._windows(question, context)
            spelled = first_spelled(controls, question, context)
            for window, labels in zip(read.windows, self._labels(read, beside.get("answers")), strict=True):
                made["input_ids"].append(window.input_ids)
                made["labels"].append(labels)
                made[OWNER].append(number)
                made["spelled"].append(spelled)
                made["cut_source"].append(False)  # all of it is read, in windows
                made["cut_target"].append(len(labels) == 2 and labels[1] - labels[0] >= self._longest)
                made["empty"].append(not window.places)
                made["unwritable"].append(labels not in ([], NONE) and not read.marks(beside["answers"][0]))
                if self.columns:
                    piece = context[window.places[0][0]:window.places[-1][1]] if window.places else ""
                    made[L1_IDS].append(self._l1(f"{question} {piece}"))
        return made

    @staticmethod
    def _labels(read: ContextRead, answers: list[list[int]] | None) -> list[list[int]]:
        """Of each window."""
        if answers is None:
            return [[] for _ in read.windows]
        tokens = read.tokens_of((answers[0][0], answers[0][1])) if answers else None
        found = [None if tokens is None else window.holds(tokens) for window in read.windows]
        return [NONE if places is None else list(places) for places in found]

    def _l1(self, text: str) -> list[int]:
        """The text as the base's own term reads it."""
        alone = bounded(self._pipeline.l1_source(text), self._tokenizer, self._cut)
        return self._cut(self._tokenizer(alone, verbose=False)["input_ids"])


class WrittenAnswers(TextPairs):
    """A question and its context as one text, cut where it is too long, and the first answer as the target to write.

    The target of a context without an answer is empty: only its end is written.
    """

    def describe(self) -> str:
        return f"written {super().describe()}"

    def labels(self, targets: Any) -> dict[str, list[Any]]:
        """As of any text; a row that need not have an answer has none, where the empty one is an answer too."""
        return super().labels([None if not known else text or "" for text, known in zip(targets, self._known,
                                                                                        strict=True)])

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        beside = [json.loads(fields) for fields in rows["fields"]]
        self._known = ["answers" in one for one in beside]
        return super().__call__(rows | {"source": [asked(one["question"], context) for one, context
                                                   in zip(beside, rows["source"], strict=True)]})


def asked(question: str, context: str) -> str:
    """What a head that writes reads: the question on the first line, then the context."""
    return f"{clean(question)}\n{context}"
