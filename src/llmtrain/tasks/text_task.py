"""A task whose prediction is a text that the head writes, or makes of sentences that it chooses.

Torch is loaded when a model predicts: scoring somebody's predictions needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from llmtrain.data.examples import Example
from llmtrain.data.features import Features
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.inference.generated import Generated
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

    def explain(self, model: TaskModel, tokenizer: Tokenizer, made: list[Generated]) -> list[Generated]:
        """The texts with what a head that cites can tell of where they come from; by default as they are."""
        return made

    def predict(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                rows: Sequence[int], config: Any, precision: Any, *, progress: Callable[[int], None],
                share: Share = at_once, evidence: bool = True) -> list[Prediction]:
        from llmtrain.inference.predict import documents_of, predict_batches, spell_as_written

        explains = evidence and bool(model.head.cites)
        texts = [examples[i].source for i in rows]
        documents = documents_of(features, texts, rows)
        found = share(lambda: predict_batches(model, tokenizer, documents, config.generation, precision,
                                              progress=progress, evidence=explains))
        if self.spelled_as_source:
            found = spell_as_written(tokenizer, texts, found, Pipeline(config.data.preprocess).target)
        if explains:
            found = self.explain(model, tokenizer, found)
        return [Prediction(one.text, one.detail(self.every)) for one in found]

    def describe_decoding(self, model: TaskModel, tokenizer: Tokenizer, config: Any) -> str:
        from llmtrain.inference.predict import loses_spelling

        told = super().describe_decoding(model, tokenizer, config)
        if model.can_generate():
            told += f", seed {config.run.seed}" if config.generation.do_sample else ""
            lost = self.spelled_as_source and loses_spelling(tokenizer, Pipeline(config.data.preprocess).target)
            told += ", the document's spelling" if lost else ""
        return told
