"""Question answering's own keys and its registration (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmtrain.config.choices import Language
from llmtrain.config.keys import key
from llmtrain.config.sections.data import DataConfig, RowColumns
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.registry import register

if TYPE_CHECKING:
    from llmtrain.tasks.question_answering.rows import Inner

AUTO = "auto"
SCORED = (Language.auto, Language.en, Language.cjk, Language.other)


@dataclass(kw_only=True, slots=True)
class QuestionAnsweringConfig:
    """Keys of the section ``task``."""

    name: str = key("question_answering", "registered name of the task")
    no_answer: bool | str = key(AUTO, "head=span may say that a context has no answer: auto (where a training row has "
                                      "none), true or false; from which score on is chosen on validation rows")

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong."""
        if self.no_answer not in (AUTO, True, False):
            yield f"task.no_answer={self.no_answer} is none of auto, true and false; choose one"


@dataclass(kw_only=True, slots=True)
class QuestionAnsweringData(DataConfig):
    """Keys of ``data``: the columns of a question, its context and its answers, and how long each may be."""

    context: str = key("context", "column of the text that is asked about")
    question: str = key("question", "column of the question")
    answers: str = key("answers", "column of the answers: a list of {text, start}, SQuAD's {text: [...], answer_start: "
                                  "[...]}, or texts that are looked for in the context; an empty list: there is none")
    max_question_tokens: int | None = key(None, "longer questions are cut; default: 64, a third of "
                                                "data.max_source_tokens at most", "tokens", min=1)
    max_answer_tokens: int = key(30, "head=span: no longer answer is given; heads that write: longer training answers "
                                     "are cut", "tokens", min=1)
    stride: int | None = key(None, "head=span: tokens of a context that neighbouring windows share, where it is longer "
                                   "than data.max_source_tokens; default: 128, a third of that at most", "tokens",
                             min=0)

    target_limit: ClassVar[str] = "data.max_answer_tokens"

    def columns(self) -> RowColumns:
        from llmtrain.tasks.question_answering.rows import QuestionReader  # loads numpy, which help needs not

        reader = QuestionReader(self.context, self.question, self.answers)
        return RowColumns(self.context, self.answers, source_key="data.context", target_key="data.answers",
                          targets="answers", others={"data.question": self.question}, read=reader, expand=self._inside,
                          embedded="llmtrain.tasks.question_answering.docstring_parameters:read_parameters")

    def _inside(self, row: Mapping[str, Any]) -> Inner | None:
        from llmtrain.tasks.question_answering.rows import questions_in

        return questions_in(row, self.context, self.question, self.answers)

    @property
    def max_target_tokens(self) -> int:
        return self.max_answer_tokens

    @property
    def question_limit(self) -> int:
        """Tokens that are read of a question."""
        return max(1, min(64, self.max_source_tokens // 3)) if self.max_question_tokens is None else (
            self.max_question_tokens)

    @property
    def shared_tokens(self) -> int:
        """Tokens that neighbouring windows share."""
        return min(128, self.max_source_tokens // 3) if self.stride is None else self.stride


@dataclass(kw_only=True, slots=True)
class QuestionAnsweringEval(EvalConfig):
    """Keys of ``eval``: whose rules decide a score, and how many answers are told."""

    language: Language = key(Language.auto, "rules of exact match and F1: en (SQuAD's), cjk (CMRC 2018's, by "
                                            "characters), other (SQuAD's without articles); auto: by the answers")
    top_k: int = key(1, "answers told of each question, the best first (head=span)", "answers", min=1, max=1000)

    def problems(self) -> Iterator[str]:
        """One line for a language that has no rules here."""
        if self.language not in SCORED:
            yield (f"eval.language={self.language.value} has no rules for answers; use one of "
                   f"{', '.join(one.value for one in SCORED)}")


register("task", "question_answering", QuestionAnsweringConfig,
         "llmtrain.tasks.question_answering.task:QuestionAnswering",
         "the place of a question's answer in a context; scored by exact match and F1 (Rajpurkar et al. 2016)",
         term="answer", head="span", data=QuestionAnsweringData, eval=QuestionAnsweringEval,
         metrics=("f1", "exact_match"), architectures=("span", "seq2seq", "prefix_lm"), text_targets=False)
