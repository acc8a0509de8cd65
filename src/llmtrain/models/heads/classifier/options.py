"""Options of the head that gives a text its label or labels (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.keys import key
from llmtrain.data.label_names import NoLabel, label_name
from llmtrain.registry import register

MEAN, FIRST, LAST, ATTENTION = "mean", "first", "last", "attention"
POOLINGS = (MEAN, FIRST, LAST, ATTENTION)
ACTIVATIONS = ("tanh", "relu", "gelu")
BALANCED = "balanced"


@dataclass(kw_only=True, slots=True)
class ClassifierHeadConfig:
    """Options of the head that gives a text its label or labels."""

    name: str = key("classifier", "registered name of the head")
    pooling: str = key(MEAN, "what stands for the text: the mean of its tokens, its first or last token, or attention, "
                             "a learnt weighted mean")
    hidden: int | None = key(0, "width of a layer between the pooled text and the labels (0: none; null: the base's)",
                             "features", min=0, max=1_000_000)
    activation: str = key("tanh", "of the hidden layer: tanh, relu or gelu")
    bias: bool = key(True, "give every label a bias of its own")
    dropout: float = key(0.1, "dropout before the labels", "probability", min=0, max=1)
    class_weights: Any = key(None, "what a row counts in the loss, by its label: balanced (as much for all the rows of "
                                   "a label as for those of any other), or {LABEL: WEIGHT}; with several labels a row, "
                                   "of the rows that have the label")
    label_smoothing: float = key(0.0, "share of a row's probability that all labels share", "probability", min=0,
                                 below=1)

    def __post_init__(self) -> None:
        if isinstance(self.class_weights, str) and self.class_weights.lstrip().startswith("{"):
            self.class_weights = _mapping_in(self.class_weights)
        if isinstance(self.class_weights, dict):  # a 0 typed on the command line is a number, and a label a name
            self.class_weights = {_named(label): weight for label, weight in self.class_weights.items()}

    def problems(self) -> Iterator[str]:
        """One line for each option that is wrong by itself or beside another."""
        for name, known in (("pooling", POOLINGS), ("activation", ACTIVATIONS)):
            if (value := getattr(self, name)) not in known:
                yield f"head.{name}={value} is none of {', '.join(known)}; choose one"
        yield from self._weight_problems()

    def _weight_problems(self) -> Iterator[str]:
        given = self.class_weights
        if given is None or given == BALANCED:
            return
        if not isinstance(given, dict) or not given:
            yield f"head.class_weights={given!r} is neither {BALANCED} nor {{LABEL: WEIGHT}}; give one of them"
            return
        for label, weight in given.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not 0 < weight < 1e30:
                yield f"head.class_weights gives {label} the weight {weight!r}, which is no number above 0; change it"


def _mapping_in(text: str) -> Any:
    """The weights that a quoted text gives: Hydra reads no key like 很好 or don't; the text itself, where it is no
    mapping."""
    import yaml

    try:
        read = yaml.load(text, yaml.BaseLoader)  # a label named yes is no truth
        return {label: yaml.safe_load(weight) for label, weight in read.items()}
    except (yaml.YAMLError, AttributeError, ValueError):
        return text


def _named(label: Any) -> str:
    try:
        return label_name(label)[0]
    except NoLabel:
        return str(label)


register("head", "classifier", ClassifierHeadConfig, "llmtrain.models.heads.classifier.head:ClassifierHead",
         "gives a text its label: pooled states, an optional hidden layer, a softmax or one sigmoid a label",
         architecture="sequence_classification")
