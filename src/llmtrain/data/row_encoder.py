"""Rows of texts as token ids: the source as the base reads it, the target as labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.data.control_tokens import finder, first_spelled, unwritable
from llmtrain.data.learnt import Learnt
from llmtrain.data.sentence_features import END, LABELS, START, encode_sentences, label_sentences
from llmtrain.data.special_tokens import special_ids
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import bounded, cut_of

L1_IDS = "l1_input_ids"
OWNER = "owner"  # number of the example that a row was made of
FLAGS = ("cut_source", "cut_target", "empty", "unwritable")  # a bool each row


class RowEncoder(Protocol):
    """Turns texts into token ids. It must be picklable: processes share the rows out.

    Attributes:
        columns: Lists of whole numbers that it makes beside input_ids and labels, under their key in a batch.
        splits: It may make several rows of one example, in order, and says whose each is: :data:`OWNER`.
    """

    columns: tuple[str, ...]
    splits: bool

    def describe(self) -> str:
        """All that shapes what it makes, for cache keys, beside the texts, the tokenizer and the limits."""
        ...

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Some examples as input_ids, labels, :attr:`columns`, :data:`FLAGS` and ``spelled`` (the first control token
        that a row spells, or nothing).

        Args:
            rows: Their ``source`` and ``target``, their ``fields`` (JSON, empty where there are none) and the number
                of each in its split, ``row``.
        """
        ...


class TextPairs:
    """Token ids for a task whose target is a text that is written token by token.

    A task whose targets are something else derives from it and says in :meth:`labels` what they become.

    Args:
        tokenizer: The base's.
        config: Limits and preprocessing.
        sentences: Also tell where sentences are and, with labels, which of them make up the target.
        language: Of the targets, for sentence labels.
        learnt: What the task took from the training rows.
    """

    splits = False

    def __init__(self, tokenizer: Tokenizer, config: DataConfig, sentences: SentenceInput | None = None,
                 language: str = "", learnt: Learnt | None = None) -> None:
        self.learnt = learnt or Learnt()
        self.tokenizer, self.pipeline = tokenizer, Pipeline(config.preprocess)
        self.writes = self.learnt.writes(tokenizer)
        self.limit, self.end = config.max_target_tokens, special_ids(self.writes).eos
        self._cut, self._sentences, self._language = cut_of(tokenizer, config), sentences, language
        asked = () if sentences is None else (START, END, LABELS)[:3 if sentences.labels else 2]
        self.columns: tuple[str, ...] = (*asked, *((L1_IDS,) if self.pipeline.has_l1 else ()))

    def describe(self) -> str:
        shaped = "" if self._sentences is None else f"{self._sentences} {self._language}"
        return f"{self.limit} {self._cut} {self.pipeline.describe()} {shaped}"

    def labels(self, targets: Sequence[str | None]) -> dict[str, list[Any]]:
        """``labels``, ``cut_target`` and ``unwritable`` of some targets, preprocessed; no labels where there is none.

        The end token stands last and, whatever spells its text, only there.
        """
        ids = self.writes([text or "" for text in targets], add_special_tokens=False, verbose=False)["input_ids"]
        kept = [[one for one in row if one != self.end] for row in ids]
        return {"labels": [[] if text is None else [*row[:self.limit - 1], self.end]
                           for row, text in zip(kept, targets, strict=True)],
                "cut_target": [len(row) + 1 > self.limit for row in kept],
                "unwritable": [unwritable(row, self.writes) for row in ids]}

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        cut, tokenizer, pipeline = self._cut, self.tokenizer, self.pipeline
        written = [pipeline.target(text) if text else None for text in rows["target"]]
        made = self.labels(written)
        if pipeline.has_l1:
            alone = [bounded(pipeline.l1_source(text), tokenizer, cut) for text in rows["source"]]
            made[L1_IDS] = [cut(ids) for ids in tokenizer(alone, verbose=False)["input_ids"]]
        read = rows["source"] if self._sentences is not None else [
            bounded(pipeline.source(text), tokenizer, cut) for text in rows["source"]]
        controls = finder(tokenizer)
        made["spelled"] = [first_spelled(controls, text, target or "")
                           for text, target in zip(read, written, strict=True)]
        if self._sentences is not None:
            return made | self._by_sentence(rows, self._sentences)
        whole = tokenizer(read, verbose=False)["input_ids"]
        return made | {"input_ids": [cut(ids) for ids in whole],
                       "empty": [len(ids) <= cut.before + cut.after for ids in whole],
                       "cut_source": [len(ids) > cut.limit for ids in whole]}

    def _by_sentence(self, rows: dict[str, list[Any]], sentences: SentenceInput) -> dict[str, list[Any]]:
        """The sources as they stand (no preprocessing goes with sentences); those without a target have no labels."""
        found = encode_sentences(rows["source"], self.tokenizer, self._cut.limit, sentences.marked)
        made: dict[str, list[Any]] = {"input_ids": found["input_ids"], "cut_source": found["cut"], START: found[START],
                                      END: found[END], "empty": [not starts for starts in found[START]]}
        if sentences.labels:
            labels = label_sentences(rows["source"], rows["target"], list(map(len, found[START])), self._language,
                                     sentences.labels)
            known = [bool(target) for target in rows["target"]]
            for name, column in ((START, found[START]), (END, found[END]), (LABELS, labels)):
                made[name] = [row if has else [] for row, has in zip(column, known, strict=True)]
        return made
