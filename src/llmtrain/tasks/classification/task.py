"""Classification: the label of a text or of a pair of texts, or several labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.data.examples import Example, Splits
from llmtrain.data.features import Features
from llmtrain.data.label_names import NoLabel, as_text, label_name, label_names, listed_in
from llmtrain.data.learnt import PAIRS, Learnt, knows_segments
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.tasks.classification.label_encoder import LabelledTexts
from llmtrain.tasks.classification.label_metrics import METRICS, calibration
from llmtrain.tasks.classification.label_rows import LABELS, labels_of, pair_of
from llmtrain.tasks.classification.label_scorer import PROBABILITIES, LabelScorer
from llmtrain.tasks.classification.label_set import described, learn_labels, unseen
from llmtrain.tasks.classification.label_threshold import best_threshold
from llmtrain.tasks.evidence import Evidence, Picture, texts_of
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Baseline, Gathered, Prediction, Scorer, Share, Task, at_once

if TYPE_CHECKING:
    from llmtrain.models.backbone.base_facts import Base
    from llmtrain.models.task_model import TaskModel

DIGITS = 6  # of a probability that is told


class Classification(Task):
    """Gives texts their labels and scores them by label."""

    name: ClassVar[str] = "classification"
    title: ClassVar[str] = "labels"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    pipeline_tag: ClassVar[str | None] = "text-classification"
    intended_use: ClassVar[str] = "To label texts like those it was trained on, with the labels that it knows."
    limits: ClassVar[str] = ("It gives one of its labels to any text, also to one that none fits; its probabilities "
                             "are only as good as the calibration error says.")
    example: ClassVar[Mapping[str, Any]] = {"text": "a text ...", "text_pair": "another text ..."}
    baseline_labels: ClassVar[dict[str, str]] = {"most_frequent": "most frequent label"}
    prediction_word: ClassVar[str] = "a label or a list of labels"
    encoder = LabelledTexts

    def scorer(self, config: EvalConfig, examples: Sequence[Example]) -> LabelScorer:
        return LabelScorer(examples)

    def problems_with(self, config: Any, base: Base) -> Iterator[str]:
        from llmtrain.models.heads.classifier.options import FIRST
        from llmtrain.models.native_classifiers import native_problems

        head = config.head
        if base.family.causal and getattr(head, "pooling", None) == FIRST:
            yield (f"head.pooling=first and the base at {base.path} is a decoder, whose first token sees no other; use "
                   "head.pooling=last, mean or attention")
        elif config.task.native:
            yield from native_problems(base, head)

    def learn(self, splits: Splits, tokenizer: Tokenizer, config: Any) -> Learnt:
        facts = learn_labels(splits, config)
        if facts["labels"]:
            splits.notes.append(described(facts))
        paired = config.data.text_pair is not None and knows_segments(tokenizer)
        return Learnt(facts | ({PAIRS: True} if paired else {}))

    def notes_of(self, learnt: Learnt, split: str, examples: Sequence[Example]) -> list[str]:
        return unseen(learnt.facts["labels"], split, examples)

    def baselines(self, config: EvalConfig, scorer: Scorer, examples: Sequence[Example],
                  validation: Sequence[Example] | None) -> list[Baseline]:
        counts = Counter(_text_of(example) for example in validation or examples)
        chosen = min(counts, key=lambda text: (-counts[text], text))
        where = "validation" if validation else "the scored rows"
        return [Baseline("most_frequent", [chosen] * len(examples), f"{chosen!r} is most frequent in {where}")]

    def predict(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features,
                rows: Sequence[int], config: Any, precision: Any, *, progress: Callable[[int], None],
                share: Share = at_once, evidence: bool = True) -> list[Prediction]:
        found = share(lambda: _probabilities(model, features, rows, config, precision, progress))
        head: Any = model.head
        made = []
        for row in found:
            chances = dict(zip(head.labels, row, strict=True))
            if head.multi_label:
                text = as_text(label for label, chance in chances.items() if chance >= head.threshold)
            else:
                text = max(chances, key=lambda label: chances[label])
            told = {label: round(chance, DIGITS) for label, chance in chances.items()}
            made.append(Prediction(text, {PROBABILITIES: told}))
        return made

    def tune(self, model: TaskModel, tokenizer: Tokenizer, examples: Sequence[Example], features: Features, config: Any,
             precision: Any, gathered: Gathered) -> None:
        head: Any = model.head
        if not head.multi_label:
            return
        if config.task.threshold is not None:
            head.settle(config.task.threshold)
            return
        chances = gathered(lambda rows: _probabilities(model, features, rows, config, precision))
        head.settle(best_threshold(chances, head.labels, examples, config.trainer.best_metric))

    def columns_of(self, example: Example) -> dict[str, Any]:
        pair = pair_of(example)
        labels = example.fields.get(LABELS, example.target)
        return {"text": example.source, **({} if pair is None else {"text_pair": pair}), "label": labels}

    def shown(self, row: dict[str, Any]) -> dict[str, str]:
        chances = row.get(PROBABILITIES) or {}
        given = row["prediction"]
        sure = f" ({chances[given]:.3f})" if given in chances else ""
        label = row["label"] if isinstance(row["label"], str) else as_text(row["label"])
        return {"text": row["text"], **({"text_pair": row["text_pair"]} if "text_pair" in row else {}),
                "label": label, "prediction": f"{given}{sure}"}

    def evidence(self, row: Mapping[str, Any]) -> Evidence:
        """With the probability of each label."""
        label = row["label"] if isinstance(row["label"], str) else as_text(row["label"])
        return Evidence(texts_of(row, ("label",)), (label,), row["prediction"], (), row.get(PROBABILITIES) or {})

    def pictures(self, rows: Sequence[Mapping[str, Any]]) -> list[Picture]:
        """How often labels given with some confidence are right."""
        points = calibration(rows)
        return [Picture("Calibration", "confidence", "share that is right", points, True,
                        "labels given with 80 % should be right in 80 of 100 rows; below the line the model is too "
                        "sure")] if points else []

    def prediction_of(self, value: Any, data: DataConfig | None) -> str | None:
        """A label, or a list or mapping of labels, whatever names it, parted as those of the data are."""
        separator = None if data is None else data.label_separator
        if isinstance(value, str) and listed_in(value) is not None:
            separator = None  # as a model's own predictions are written
        try:
            listed = listed_in(value, separator)
            return label_name(value)[0] if listed is None else as_text(label_names(listed)[0])
        except NoLabel:
            return None

    def detail_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Probabilities of labels, where the file has them in a column of that name, as a mapping or its JSON."""
        listed = probabilities_in(row.get(PROBABILITIES))
        return {} if listed is None else {PROBABILITIES: listed}


def probabilities_in(value: Any) -> dict[str, float] | None:
    """The probability of each label that a cell tells; None for a cell that tells none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping):
        return None
    if not all(isinstance(chance, int | float) and not isinstance(chance, bool) and 0 <= chance <= 1
               for chance in value.values()):
        return None
    try:
        return {label_name(label)[0]: float(chance) for label, chance in value.items()}
    except NoLabel:
        return None


def _text_of(example: Example) -> str:
    return as_text(labels_of(example)) if LABELS in example.fields else example.target


def _probabilities(model: Any, features: Features, rows: Sequence[int], config: Any, precision: Any,
                   progress: Callable[[int], None] | None = None) -> list[list[float]]:
    """Of each label, for some rows of a split."""
    from llmtrain.inference.feature_batches import for_each_row

    def work(batch: dict[str, Any]) -> list[list[float]]:
        made: list[list[float]] = model.probabilities(batch).tolist()
        return made

    return for_each_row(work, model, features, rows, config.generation.batch_tokens, precision, progress)
