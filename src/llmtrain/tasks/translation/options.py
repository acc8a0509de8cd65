"""Translation's own keys and its registration (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from llmtrain import registry
from llmtrain.config.choices import LongMode
from llmtrain.config.keys import CONTENT, key
from llmtrain.config.sections.data import DataConfig, RowColumns
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.config.sections.objective import base_terms_of
from llmtrain.config.sentence_input import wanted_by
from llmtrain.config.task_fit import serves
from llmtrain.registry import register

EVERY = "translations"  # in predictions.jsonl: all that were asked for, where those are several
BASE, BPE = "base", "bpe"
AUTO = "auto"
TOKENIZERS = ("13a", "intl", "zh", "char", "none")  # of sacrebleu, those that need nothing else
LEAST_VOCABULARY = 300  # 256 bytes, the control tokens and a few merges


@dataclass(kw_only=True, slots=True)
class TranslationConfig:
    """Keys of the section ``task``."""

    name: str = key("translation", "registered name of the task")
    joint_vocabulary: bool = key(False, "data.target_tokenizer=bpe learns its vocabulary from sources and targets")

    def problems_in(self, config: Any) -> Iterator[str]:
        """One line for each choice that makes no sense of two languages, or needs another vocabulary."""
        own = config.data.target_tokenizer != BASE
        if self.joint_vocabulary and config.data.target_tokenizer != BPE:
            yield ("task.joint_vocabulary=true shapes the vocabulary that data.target_tokenizer=bpe learns and that is "
                   f"{config.data.target_tokenizer}; leave it out")
        if config.data.source == config.data.target:
            yield (f"data.source and data.target both name the column {config.data.source}; name that of the "
                   "translation by data.target")
        if own and config.head.name == "prefix_lm":
            yield ("head=prefix_lm writes with the base itself and so with its vocabulary; set "
                   "data.target_tokenizer=base, or use head=transformer, gru or lstm")
        if wanted_by(config.head) is not None and serves(registry.get("head", config.head.name), registry.get(
                "task", self.name)):
            yield (f"head={config.head.name} chooses among a document's sentences and a translation needs all of them; "
                   "use head=transformer, gru, lstm or prefix_lm")
        for name in base_terms_of(config.objective):
            if _reads_target(name):
                yield (f"the objective {name} looks for the target's words among the source's, and a translation has "
                       "others; use objective.base=none, mlm, denoise or clm")
        if config.data.long is LongMode.select_then_write:
            yield ("data.long=select_then_write leaves sentences out and a translation needs all of them; use "
                   "data.long=truncate, sliding or interpolate")


def _reads_target(objective: str) -> bool:
    known = {part.name: part.requires for part in registry.parts("objective")}
    return bool(known.get(objective, {}).get("reads_target"))


@dataclass(kw_only=True, slots=True)
class TranslationData(DataConfig):
    """Keys of ``data``: the columns of a source, its translation and its references, and how translations are
    spelled."""

    source: str = key("source", "column of the text to translate")
    target: str = key("target", "column of its translation")
    references: str | None = key(None, "column of several references; default: references, if every row lists texts")
    target_tokenizer: str = key(BPE, "what translations are written in: bpe (a vocabulary learnt from the training "
                                     "targets), base (the base's own), or a tokenizer's folder", affects=CONTENT,
                                fixed=True)
    target_vocabulary: int = key(8000, "target_tokenizer=bpe: tokens of the vocabulary that is learnt", "tokens",
                                 fixed=True, min=LEAST_VOCABULARY, max=1_000_000)
    max_target_tokens: int = key(64, "longer training translations are truncated", "tokens", min=1)

    target_limit: ClassVar[str] = "data.max_target_tokens"

    def columns(self) -> RowColumns:
        return RowColumns(self.source, self.target, self.references, targets="translations", parallel=True)

    def folders(self) -> dict[str, str]:
        return {} if self.target_tokenizer in (BASE, BPE) else {"data.target_tokenizer": self.target_tokenizer}


@dataclass(kw_only=True, slots=True)
class TranslationEval(EvalConfig):
    """Keys of ``eval``: how BLEU reads texts."""

    tokenize: str = key(AUTO, f"sacrebleu's tokenizer: {', '.join(TOKENIZERS)}; auto: zh for Chinese references, char "
                              "for Japanese and Korean, else 13a")
    lowercase: bool = key(False, "bleu and chrf compare lower-cased texts (bleu_tokenized always does)")

    def problems(self) -> Iterator[str]:
        """One line for an unknown tokenizer."""
        if self.tokenize not in (AUTO, *TOKENIZERS):
            yield (f"unknown eval.tokenize={self.tokenize}; choose from {', '.join((AUTO, *TOKENIZERS))}")


register("task", "translation", TranslationConfig, "llmtrain.tasks.translation.task:Translation",
         "a text in another language, written by the head; scored by BLEU (Papineni et al. 2002) and chrF",
         term="translation", head="transformer", objective="joint_mlm", generation="whole", data=TranslationData,
         eval=TranslationEval,
         architectures=("seq2seq", "prefix_lm"), metrics=("bleu", "chrf", "bleu_tokenized"))
