"""A task whose prediction is a text that the head writes, or makes of sentences that it chooses.

Torch is loaded when a model predicts: scoring somebody's predictions needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from llmtrain.data.examples import Example
from llmtrain.data.features import Features
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import cut_of
from llmtrain.inference.generated import Generated
from llmtrain.tasks.evidence import Evidence, marks_of_texts
from llmtrain.tasks.task import Prediction, Share, Task, at_once

if TYPE_CHECKING:
    from llmtrain.models.task_model import TaskModel


class TextTask(Task):
    """Predicts by the head; a task of this kind says only how its texts are scored.

    Attributes:
        spelled_as_source: Words of a prediction that its source has too are written as they stand there: in their case,
            with their accents and spaces, where the base's tokenizer loses them.
        every: In predictions.jsonl, the key of all predictions of a row, where several were asked for.
    """

    spelled_as_source: ClassVar[bool] = False
    every: ClassVar[str] = "predictions"
    writes: ClassVar[bool] = True

    def explain(self, model: TaskModel, tokenizer: Tokenizer, made: list[Generated]) -> list[Generated]:
        """The texts with what a head that cites can tell of where they come from; by default as they are."""
        return made

    def predict(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                rows: Sequence[int], config: Any, precision: Any, *, progress: Callable[[int], None],
                share: Share = at_once, evidence: bool = True) -> list[Prediction]:
        made = self._made(model, tokenizer, examples, features, rows, config, precision, progress, share,
                          evidence and bool(model.head.cites))
        return [self._prediction(one) for one in made]

    def predict_in_full(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                        config: Any, precision: Any, documents: Sequence[str], reads: Tokenizer) -> list[Prediction]:
        """Each with its score and, where the head has a copy gate, the words that were copied."""
        from llmtrain.inference.copied_words import with_copied_words

        made = self._made(model, tokenizer, examples, features, range(len(examples)), config, precision,
                          lambda rows: None, at_once, True)
        pipeline = Pipeline(config.data.preprocess)
        read = [pipeline.source(document) for document in documents]
        made = with_copied_words(reads, read, made, cut_of(reads, config.data))
        return [self._prediction(one if text == example.source else replace(one, read=text))
                for one, text, example in zip(made, read, examples, strict=True)]

    def _made(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
              rows: Sequence[int], config: Any, precision: Any, progress: Callable[[int], None], share: Share,
              evidence: bool) -> list[Generated]:
        """What the head makes of some rows; ``evidence``: with its score and where it comes from."""
        from llmtrain.inference.predict import documents_of, predict_batches, spell_as_written

        texts = [examples[i].source for i in rows]
        documents = documents_of(features, texts, rows)
        found: list[Generated] = share(lambda: predict_batches(model, tokenizer, documents, config.generation,
                                                               precision, progress=progress, evidence=evidence))
        if self.spelled_as_source:
            found = spell_as_written(tokenizer, texts, found, Pipeline(config.data.preprocess).target)
        return self.explain(model, tokenizer, found) if evidence and model.head.cites else found

    def _prediction(self, one: Generated) -> Prediction:
        return Prediction(one.text, one.detail(self.every), one)

    def nothing(self, model: TaskModel, config: Any) -> Prediction:
        empty = Generated("", [], 0.0)
        several = config.generation.num_return_sequences if model.can_generate() else 1
        return self._prediction(replace(empty, others=(empty,) * (several - 1)))

    def answer(self, prediction: Prediction, example: Example) -> dict[str, Any]:
        """With the score, the words that were copied, and every prediction where several were asked for."""
        made = prediction.made
        evidence = made.evidence() if isinstance(made, Generated) else {}
        return {"prediction": prediction.text, **evidence, **prediction.detail}

    def lines(self, prediction: Prediction) -> list[str]:
        made = prediction.made
        return [one.text for one in made.every] if isinstance(made, Generated) else super().lines(prediction)

    def evidence(self, row: Mapping[str, Any]) -> Evidence:
        """With the sentences and words of the first input that the output was made of."""
        found = super().evidence(row)
        source = next(iter(found.inputs), None)
        return found if source is None else replace(found, marks=tuple(marks_of_texts(row, source)))

    def describe_decoding(self, model: TaskModel, tokenizer: Tokenizer, config: Any) -> str:
        from llmtrain.inference.predict import loses_spelling

        told = super().describe_decoding(model, tokenizer, config)
        if model.can_generate():
            told += f", seed {config.run.seed}" if config.generation.do_sample else ""
            lost = self.spelled_as_source and loses_spelling(tokenizer, Pipeline(config.data.preprocess).target)
            told += ", the document's spelling" if lost else ""
        return told
