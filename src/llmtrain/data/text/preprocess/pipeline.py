"""The configured steps, in their order, as one function of a text."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from llmtrain import registry
from llmtrain.config.sections.preprocess import KIND, given, typed_steps
from llmtrain.data.examples import Example
from llmtrain.data.text.preprocess.base import PreprocessStep
from llmtrain.data.text.preprocess.options import DOCUMENT, L1, TARGET

FORMAT = 1  # raise when a built-in step changes what it does: cached features are made anew


class Pipeline:
    """Applies ``data.preprocess`` to the sources and the targets of examples. Picklable.

    Args:
        steps: ``data.preprocess``, settled.

    Raises:
        ConfigError: A step is wrong, or what it needs is not installed.
    """

    def __init__(self, steps: Any) -> None:
        typed = typed_steps(steps)
        self._steps: list[PreprocessStep] = [registry.resolve(KIND, name)(options) for name, options in typed]
        self._named = [[name, given(options)] for name, options in typed]
        self.has_l1 = any(step.fields == {L1} for step in self._steps)
        self.filters = any(type(step).refuse is not PreprocessStep.refuse for step in self._steps)

    def __bool__(self) -> bool:
        return bool(self._steps)

    @property
    def changes(self) -> frozenset[str]:
        """Which texts the steps change: DOCUMENT, TARGET, L1."""
        return frozenset[str]().union(*(step.fields for step in self._steps))

    def describe(self) -> str:
        """All that shapes what the steps do, for cache keys and hashes; empty without steps."""
        return json.dumps([FORMAT, self._named], ensure_ascii=True) if self._steps else ""

    def source(self, text: str) -> str:
        """The source as the model reads it."""
        return self._changed(text, DOCUMENT)

    def l1_source(self, text: str) -> str:
        """The source as the base's own term reads it; the model's where no step is for l1 alone."""
        return self._changed(text, L1)

    def target(self, text: str) -> str:
        """The target as the model learns to write it."""
        return self._changed(text, TARGET)

    def _changed(self, text: str, field: str) -> str:
        for step in self._steps:
            if field in step.fields:
                text = step.change(text)
        return text

    def kept(self, examples: list[Example], split: str) -> tuple[list[Example], Counter[str]]:
        """The examples that no step leaves out, unchanged, and how many each reason left out."""
        if not self.filters:
            return examples, Counter()
        reasons = [self._reason(example, split) for example in examples]
        return ([e for e, reason in zip(examples, reasons, strict=True) if reason is None],
                Counter(reason for reason in reasons if reason is not None))

    def _reason(self, example: Example, split: str) -> str | None:
        source, target = example.source, example.target
        for step in self._steps:
            source = step.change(source) if DOCUMENT in step.fields else source
            target = step.change(target) if TARGET in step.fields else target
            if reason := step.refuse(source, target, split):
                return reason
        return None
