"""A published model with its task: examples in, predictions out, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmtrain.data.examples import Example
from llmtrain.data.features import clean, tokenize_now
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.inference.published import Published
from llmtrain.tasks.task import Prediction, Task, task_named


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictions for some examples, in their order, and the numbers of those that were cut, by a selector too."""

    predictions: list[Prediction]
    cut: list[int]


class Predictor:
    """Predicts what nobody scores, as validation predicts: preprocessed, cut and tokenised alike, cached nowhere.

    Args:
        published: The model.
        config: Holds the model's ``task``, and ``data``, ``generation``, ``eval`` and ``run`` to predict under; it is
            asked anew at each call.
    """

    def __init__(self, published: Published, config: Any) -> None:
        self.published, self.config = published, config
        self.task: Task = task_named(config.task.name)

    @property
    def limit(self) -> int:
        """The longest source that is read whole, in tokens."""
        return min(self.config.data.max_source_tokens, self.published.source_limit(self.config.generation))

    def __call__(self, examples: Sequence[Example], in_full: bool = False) -> Predicted:
        """Predictions in the order of the examples. An empty source gives an empty one; a long one is cut.

        Calls of several threads wait for each other: tokenizers and sampling have a state.

        Args:
            in_full: With all that the task's answers tell of each.
        """
        with self.published.lock:
            return self._predict(examples, in_full)

    def _predict(self, given: Sequence[Example], in_full: bool) -> Predicted:
        loaded, task, limit = self.published, self.task, self.limit
        config = replace(self.config, data=replace(self.config.data, max_source_tokens=limit))
        examples = [replace(example, source=clean(example.source)) for example in given]
        selected = None if loaded.selector is None else loaded.selector.shorten(
            [example.source for example in examples], loaded.tokenizer, limit)
        documents = [example.source for example in examples] if selected is None else selected.texts
        read = Pipeline(config.data.preprocess).source
        wanted = [number for number, document in enumerate(documents) if read(document).strip()]
        predictions = [task.nothing(loaded.model, config) for _ in examples]
        cut = set() if selected is None else set(selected.longer)
        if wanted:
            asked, texts = [examples[i] for i in wanted], [documents[i] for i in wanted]
            shown = [replace(example, source=text) for example, text in zip(asked, texts, strict=True)]
            features, lost = tokenize_now(shown, loaded.tokenizer, config.data, loaded.model.sentence_input,
                                          task.encoder, loaded.learnt)
            made = task.predict_in_full(
                loaded.model, loaded.writes, asked, features, config, loaded.precision, texts,
                loaded.tokenizer) if in_full else (
                task.predict(loaded.model, loaded.writes, asked, features, range(len(asked)), config,
                             loaded.precision, progress=lambda rows: None))
            for number, one in zip(wanted, made, strict=True):
                predictions[number] = one
            cut |= {wanted[i] for i in lost}
        return Predicted(predictions, sorted(cut))
