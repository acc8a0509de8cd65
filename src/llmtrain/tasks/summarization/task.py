"""Summarization: a document's summary, written token by token or chosen from its sentences, scored by ROUGE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from llmtrain.config.sections.eval import EvalConfig
from llmtrain.data.examples import Example
from llmtrain.data.features import Features
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.inference.generated import Generated
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.summarization.baselines import best_lead_length, lead, lead_unit, oracle
from llmtrain.tasks.summarization.citations import cite, numbered
from llmtrain.tasks.summarization.options import EVERY, SummarizationEval
from llmtrain.tasks.summarization.rouge import METRICS, Rouge, load_rouge, several_asked_in_vain
from llmtrain.tasks.task import Baseline, Gathered, Scorer
from llmtrain.tasks.text_task import TextTask

if TYPE_CHECKING:
    from llmtrain.models.task_model import TaskModel


class Summarization(TextTask):
    """Writes or chooses a document's summary and scores it by ROUGE."""

    name: ClassVar[str] = "summarization"
    title: ClassVar[str] = "ROUGE F1"
    metrics: ClassVar[tuple[Metric, ...]] = tuple(
        Metric(name, heading, "F1, 0 to 100")
        for name, heading in zip(METRICS, ("ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"), strict=True))
    pipeline_tag: ClassVar[str | None] = "summarization"
    intended_use: ClassVar[str] = "To summarize documents like those it was trained on."
    limits: ClassVar[str] = ("A summary can leave out what matters, and one that is written can say what the document "
                             "does not: ROUGE counts words in common with a reference, it does not check facts.")
    baseline_labels: ClassVar[dict[str, str]] = {"lead": "lead baseline", "oracle": "extractive oracle"}
    spelled_as_source: ClassVar[bool] = True
    every: ClassVar[str] = EVERY

    def scorer(self, config: EvalConfig, examples: Sequence[Example]) -> Rouge:
        own = _own(config)
        return Rouge(own.language, own.references, examples)

    def try_scoring(self, config: EvalConfig, examples: Sequence[Example]) -> None:
        load_rouge(lambda: self.scorer(config, examples[:1]))

    def told_before_scoring(self, config: EvalConfig, examples: Sequence[Example]) -> str | None:
        return several_asked_in_vain(_own(config).references, examples)

    def baselines(self, config: EvalConfig, scorer: Scorer, examples: Sequence[Example],
                  validation: Sequence[Example] | None) -> list[Baseline]:
        own, rouge = _own(config), cast(Rouge, scorer)
        length = own.lead or best_lead_length(validation or examples, rouge)
        source = "as asked" if own.lead else f"chosen on {'validation' if validation else 'the scored rows'}"
        return [Baseline("lead", [lead(e.source, length, rouge.language) for e in examples],
                         f"lead {length} {lead_unit(rouge.language)} {source}"),
                Baseline("oracle", [oracle(e, rouge.language) for e in examples])]

    def predictions_without_model(self, config: EvalConfig, examples: Sequence[Example]) -> list[str] | None:
        """The first ``eval.lead`` words or characters of each document."""
        length = _own(config).lead
        if length is None:
            return None
        language = self.scorer(config, examples).language
        return [lead(example.source, length, language) for example in examples]

    def explain(self, model: TaskModel, tokenizer: Tokenizer, made: list[Generated]) -> list[Generated]:
        """Each summary with the document's sentences that its own come from."""
        return cite(tokenizer, made, model.head.options.cite)

    def describe_scores(self, scores: Mapping[str, float]) -> str:
        return f"ROUGE-1/2/L {scores['rouge1']:.2f} / {scores['rouge2']:.2f} / {scores['rougeL']:.2f}"

    def tune(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features, config: Any,
             precision: Any, gathered: Gathered) -> None:
        if not getattr(model.head, "candidates", list)():
            return
        from llmtrain.inference.predict import documents_of, predict_batches
        from llmtrain.tasks.summarization.sentence_threshold import tune_selection

        def probabilities(rows: Sequence[int]) -> list[Any]:
            documents = documents_of(features, [examples[i].source for i in rows], rows)
            made = predict_batches(model, tokenizer, documents, config.generation, precision)
            return [one.probabilities or [] for one in made]

        tune_selection(model.head, examples, gathered(probabilities), self.scorer(config.eval, examples),
                       config.trainer.best_metric)

    def columns_of(self, example: Example) -> dict[str, Any]:
        return {"document": example.source, "references": list(example.references)}

    def shown(self, row: dict[str, Any]) -> dict[str, str]:
        prediction = row["prediction"]
        if row.get("citations"):
            prediction = numbered((cited["text"], [source["index"] for source in cited["sources"]])
                                  for cited in row["citations"])
        return {"document": row["document"], "reference": row["references"][0], "prediction": prediction}

    def describe_extras(self, extras: dict[str, float]) -> str:
        return (f"length ratio {extras['length_ratio']:.2f}, repeated trigrams {extras['repeated_trigrams']:.1%}, "
                f"novel words {extras['novel_unigrams']:.1%}, novel bigrams {extras['novel_bigrams']:.1%}, empty "
                f"{extras['empty_outputs']:.0f}")


def _own(config: EvalConfig) -> SummarizationEval:
    assert isinstance(config, SummarizationEval)
    return config
