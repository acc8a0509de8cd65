"""Summarization's own keys and its registration (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from llmtrain.config.choices import Language, References
from llmtrain.config.keys import key
from llmtrain.config.sections.data import DOCSTRINGS, DataConfig, RowColumns
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.registry import register

EVERY = "summaries"  # in predictions.jsonl: all that were asked for, where those are several


@dataclass(kw_only=True, slots=True)
class SummarizationConfig:
    """Keys of the section ``task``."""

    name: str = key("summarization", "registered name of the task")


@dataclass(kw_only=True, slots=True)
class SummarizationData(DataConfig):
    """Keys of ``data``: the columns of a document, its summary and its references."""

    document: str = key("document", "column that holds the document")
    summary: str = key("summary", "column that holds the summary")
    references: str | None = key(None, "column of several references; default: references, if every row lists texts")
    max_summary_tokens: int = key(32, "longer training summaries are truncated", "tokens", min=1)

    target_limit: ClassVar[str] = "data.max_summary_tokens"

    def columns(self) -> RowColumns:
        return RowColumns(self.document, self.summary, self.references, "data.document", "data.summary",
                          targets="summaries", embedded=DOCSTRINGS)

    @property
    def max_target_tokens(self) -> int:
        return self.max_summary_tokens


@dataclass(kw_only=True, slots=True)
class SummarizationEval(EvalConfig):
    """Keys of ``eval``: how ROUGE is computed, and the lead baseline."""

    references: References = key(References.first, "first (the summary), mean, max (of each metric), best_rouge1")
    language: Language = key(Language.auto, "ROUGE tokenizer: en (stemmed), cjk (characters, Latin words "
                             "whole, no marks), characters (every one, as it stands), zh_words (Chinese words by "
                             "jieba), other (Unicode words); auto is one of en, cjk, other")
    lead: int | None = key(None, "length of the lead baseline; default: the best on validation rows; without "
                           "checkpoint and predictions the lead itself is scored", "words, or characters for CJK",
                           min=1)

    def problems(self) -> Iterator[str]:
        """One line where what the language's words need is not installed."""
        if self.language is Language.zh_words and find_spec("jieba") is None:
            yield ("eval.language=zh_words needs the package jieba, which is not installed; run: pip install "
                   "'llmtrain[chinese]', or use eval.language=cjk for characters")


register("task", "summarization", SummarizationConfig, "llmtrain.tasks.summarization.task:Summarization",
         "a document's summary, written or chosen; scored by ROUGE (Lin 2004)", term="summary", head="transformer",
         data=SummarizationData, eval=SummarizationEval, without_model="lead", command="summarize",
         metrics=("rouge1", "rouge2", "rougeL", "rougeLsum"))
