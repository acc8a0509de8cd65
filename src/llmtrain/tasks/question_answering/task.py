"""Question answering: where in a context a question's answer stands, or, with heads that write, the answer in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from llmtrain import registry
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.config.task_fit import architecture_of
from llmtrain.core.errors import ConfigError
from llmtrain.core.logging import say
from llmtrain.data.examples import Example, Splits
from llmtrain.data.features import Features, clean
from llmtrain.data.learnt import PAIRS, Learnt, knows_segments
from llmtrain.data.text.sentences import sentences
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.tasks.evidence import ANSWER, Evidence, Mark
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.question_answering.answer_scores import AnswerScorer
from llmtrain.tasks.question_answering.no_answer import MOST, best_threshold, described
from llmtrain.tasks.question_answering.options import AUTO, QuestionAnsweringEval
from llmtrain.tasks.question_answering.question_rows import MARKS, MarkedAnswers, asked, question_rows, windows_of
from llmtrain.tasks.task import Baseline, Gathered, Prediction, Scorer, Share, at_once
from llmtrain.tasks.text_task import TextTask

if TYPE_CHECKING:
    from llmtrain.models.backbone.base_facts import Base
    from llmtrain.models.task_model import TaskModel
    from llmtrain.tasks.question_answering.best_spans import SpanScores

NO_ANSWER = "no_answer"  # of the facts: whether the model may say that there is none
NONE_SHOWN = "(no answer)"
CONSIDERED = 20  # spans of a question among which the probability of each is shared out


class QuestionAnswering(TextTask):
    """Marks, or writes, a question's answer and scores it by exact match and F1."""

    name: ClassVar[str] = "question_answering"
    title: ClassVar[str] = "answers"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("f1", "F1"), Metric("exact_match", "exact match"))
    pipeline_tag: ClassVar[str | None] = "question-answering"
    intended_use: ClassVar[str] = "To answer questions about a context that comes with them, as it was trained to."
    limits: ClassVar[str] = ("It knows nothing but the context, and may answer a question that this does not answer.")
    example: ClassVar[Mapping[str, Any]] = {"context": "a text ...", "question": "what ...?"}
    baseline_labels: ClassVar[dict[str, str]] = {"first_sentence": "first sentence", "no_answer": "never an answer"}
    spelled_as_source: ClassVar[bool] = True
    every: ClassVar[str] = "answers"
    writes: ClassVar[bool] = False  # an answer is a stretch of its context, or as short
    encoder = staticmethod(question_rows)

    def problems_with(self, config: Any, base: Base) -> Iterable[str]:
        """Whether the head can mark answers in what the tokenizer reads, and windows have room."""
        if not _head_marks(config):
            return ()
        try:
            MarkedAnswers(base.tokenizer, config.data)
        except ConfigError as error:
            return error.problems
        return ()

    def learn(self, splits: Splits, tokenizer: Tokenizer, config: Any) -> Learnt:
        """Whether the head marks answers, and whether it may say that there is none."""
        silent = sum(not any(example.references) for example in splits.train if "answers" in example.fields)
        wanted = config.task.no_answer
        _tell(splits, silent)
        marks = _head_marks(config)
        if marks:
            _tell_cut_questions(splits, tokenizer, config.data.question_limit)
        facts: dict[str, Any] = {MARKS: marks,
                                 NO_ANSWER: marks and (bool(silent) if wanted == AUTO else bool(wanted))}
        return Learnt(facts | ({PAIRS: True} if marks and knows_segments(tokenizer) else {}))

    def scorer(self, config: EvalConfig, examples: Sequence[Example]) -> AnswerScorer:
        return AnswerScorer(_own(config).language.value, examples)

    def baselines(self, config: EvalConfig, scorer: Scorer, examples: Sequence[Example],
                  validation: Sequence[Example] | None) -> list[Baseline]:
        found = [Baseline("first_sentence", [next(iter(sentences(example.source)), "") for example in examples])]
        if not all(any(example.references) for example in examples):  # who never answers is right where there is none
            found.append(Baseline("no_answer", [""] * len(examples)))
        return found

    def predict(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                rows: Sequence[int], config: Any, precision: Any, *, progress: Callable[[int], None],
                share: Share = at_once, evidence: bool = True) -> list[Prediction]:
        if _marks(model):
            wanted = _own(config.eval).top_k
            spans = share(lambda: _spans(model, tokenizer, examples, features, rows, config, precision,
                                         max(CONSIDERED, wanted), progress))
            return [_prediction(one, examples[i], model, wanted) for i, one in zip(rows, spans, strict=True)]
        made = super().predict(model, tokenizer, [_read(one) for one in examples], features, rows, config, precision,
                               progress=progress, share=share, evidence=evidence)
        return [_placed(one, examples[i]) for i, one in zip(rows, made, strict=True)]

    def predict_in_full(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                        config: Any, precision: Any, documents: Sequence[str], reads: Tokenizer) -> list[Prediction]:
        if _marks(model):
            return self.predict(model, tokenizer, examples, features, range(len(examples)), config, precision,
                                progress=lambda rows: None)
        shown = [_read(example) for example in examples]
        made = super().predict_in_full(model, tokenizer, shown, features, config, precision,
                                       [example.source for example in shown], reads)
        # copied words are told by their places in what was read
        return [_placed(replace(one, made=replace(one.made, read=one.made.read or read.source)), example)
                for one, read, example in zip(made, shown, examples, strict=True)]

    def nothing(self, model: TaskModel, config: Any) -> Prediction:
        return Prediction("", {"start": None, "end": None}) if _marks(model) else super().nothing(model, config)

    def describe_decoding(self, model: TaskModel, tokenizer: Tokenizer, config: Any) -> str:
        if not _marks(model):
            return super().describe_decoding(model, tokenizer, config)
        data = config.data
        told = (f"best span of at most {data.max_answer_tokens} tokens, windows of {data.max_source_tokens} tokens "
                f"that share {data.shared_tokens}")
        return f"{told}, {described(_threshold(model))}" if _silent(model) else told

    def tune(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features, config: Any,
             precision: Any, gathered: Gathered) -> None:
        """From which score on there is no answer, by the metric that chooses the best checkpoint."""
        if not _marks(model) or not _silent(model):
            return

        def best(rows: Sequence[int]) -> list[Any]:
            found = _spans(model, tokenizer, examples, features, rows, config, precision, 1)
            return [(_text(examples[i], one), _more(one)) for i, one in zip(rows, found, strict=True)]

        names, wanted = [metric.name for metric in self.metrics], config.trainer.best_metric
        cast(Any, model.head).settle(best_threshold(examples, gathered(best), self.scorer(config.eval, examples),
                                                    wanted if wanted in names else names[0]))

    def columns_of(self, example: Example) -> dict[str, Any]:
        return {"context": example.source, "question": example.fields["question"],
                "references": list(example.references)}

    def shown(self, row: dict[str, Any]) -> dict[str, str]:
        return {"context": row["context"], "question": row["question"],
                "reference": row["references"][0] or NONE_SHOWN, "prediction": row["prediction"] or NONE_SHOWN}

    def evidence(self, row: Mapping[str, Any]) -> Evidence:
        """With the answer's place in the context, and how likely each span was."""
        found = super().evidence(row)
        marks = list(found.marks)
        if row.get("start") is not None:
            marks.append(Mark("context", row["start"], row["end"], ANSWER, None, row.get("probability")))
        told = row.get("answers") or ([{"text": row["prediction"], **row}] if "probability" in row else [])
        chances = {one["text"] or NONE_SHOWN: one["probability"] for one in told if "probability" in one}
        return replace(found, references=tuple(text or NONE_SHOWN for text in found.references),
                       prediction=found.prediction or NONE_SHOWN, marks=tuple(marks), chances=chances)

    def describe_extras(self, extras: Mapping[str, float]) -> str:
        told = [f"{extras['no_answer_rows']:.0f} rows without an answer, {extras['no_answer_predicted']:.0f} predicted"]
        told += [f"{words}: F1 {extras[f'{part}_f1']:.2f}, exact match {extras[f'{part}_exact_match']:.2f}"
                 for part, words in (("has_answer", "with an answer"), ("no_answer", "without"))
                 if f"{part}_f1" in extras]
        return "; ".join(told)


def _own(config: EvalConfig) -> QuestionAnsweringEval:
    assert isinstance(config, QuestionAnsweringEval)
    return config


def _tell(splits: Splits, silent: int) -> None:
    """Of the training rows, what a reader of the log may not expect."""
    found = [example.fields["looked_for"] for example in splits.train if "looked_for" in example.fields]
    if found:
        several = sum(counts[0] > 1 for counts in found)
        say(f"data: in {len(found)} rows of train answers are texts without a place; the first place in the context is "
            f"taken ({several} stand there more than once)")
    if apart := sum(len(e.references) > len(e.fields["answers"]) for e in [
            *splits.train, *splits.validation, *splits.test] if e.fields.get("answers")):
        say(f"data: {apart} rows have answers that stand nowhere in their context; these are references alone")
    if silent:
        say(f"data: {silent} of {len(splits.train)} rows of train have no answer")


def _tell_cut_questions(splits: Splits, tokenizer: Tokenizer, limit: int) -> None:
    questions = [clean(e.fields["question"]) for e in [*splits.train, *splits.validation, *splits.test]]
    long = [text for text in questions if len(text.encode()) >= limit]  # a token stands for a byte or more
    ids = tokenizer(long, add_special_tokens=False, verbose=False)["input_ids"] if long else []
    if cut := sum(len(row) > limit for row in ids):
        say(f"data: {cut} of {len(questions)} questions are longer than {limit} tokens and are cut there "
            "(data.max_question_tokens)")


def _head_marks(config: Any) -> bool:
    return architecture_of(registry.get("head", config.head.name)) == "span"


def _marks(model: TaskModel) -> bool:
    return bool(model.config.facts[MARKS])


def _silent(model: TaskModel) -> bool:
    return bool(model.config.facts[NO_ANSWER])


def _threshold(model: TaskModel) -> float:
    return float(cast(Any, model.head).threshold)


def _spans(model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
           rows: Sequence[int], config: Any, precision: Any, most: int,
           progress: Callable[[int], None] | None = None) -> list[SpanScores]:
    from llmtrain.models.span import LlmtrainForQuestionAnswering
    from llmtrain.tasks.question_answering.best_spans import score_spans

    assert isinstance(model, LlmtrainForQuestionAnswering)
    windows = windows_of(tokenizer, config.data)
    read = {i: windows(clean(examples[i].fields["question"]), clean(examples[i].source)) for i in rows}
    return score_spans(model, features, read, longest=config.data.max_answer_tokens, most=most,
                       tokens=config.generation.batch_tokens, precision=precision, progress=progress)


def _text(example: Example, found: SpanScores) -> str:
    """The best span's own characters; empty for a context that has none."""
    if not found.spans:
        return ""
    (start, end), _ = found.spans[0]
    return example.source[start:end]


def _more(found: SpanScores) -> float:
    """How much more the score of no answer is than the best span's."""
    return min(MOST, found.no_answer - found.spans[0][1]) if found.spans else MOST


def _prediction(found: SpanScores, example: Example, model: TaskModel, wanted: int) -> Prediction:
    silent = _silent(model)
    none = not found.spans or (silent and _more(found) > _threshold(model))
    scores = [score for _, score in found.spans] + ([found.no_answer] if silent or not found.spans else [])
    total = math.log(sum(math.exp(score - max(scores)) for score in scores)) + max(scores)

    def told(start: int | None, end: int | None, score: float) -> dict[str, Any]:
        return {"start": start, "end": end, "score": round(score, 4),
                "probability": round(math.exp(score - total), 4)}

    spans = [{"text": example.source[start:end], **told(start, end, score)} for (start, end), score in found.spans]
    first = told(None, None, found.no_answer) if none else {k: v for k, v in spans[0].items() if k != "text"}
    detail = first | {"null_score": round(found.no_answer, 4)}
    if wanted > 1:
        detail["answers"] = [*([{"text": "", **first}] if none else []), *spans][:wanted]
    return Prediction("" if none else _text(example, found), detail)


def _read(example: Example) -> Example:
    """The example as a head that writes reads it."""
    return replace(example, source=asked(example.fields["question"], example.source))


def _placed(prediction: Prediction, example: Example) -> Prediction:
    """A written answer with where it stands in the context, if it does."""
    text, start = prediction.text, example.source.find(prediction.text)
    place = {"start": start, "end": start + len(text)} if text and start >= 0 else {"start": None, "end": None}
    return replace(prediction, detail=place | prediction.detail)
