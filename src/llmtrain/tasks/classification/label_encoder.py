"""Texts, or pairs of them, as token ids, and their labels as numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from llmtrain.config.sentence_input import SentenceInput
from llmtrain.data.control_tokens import finder, first_spelled
from llmtrain.data.learnt import Learnt
from llmtrain.data.row_encoder import L1_IDS, TextPairs
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import bounded
from llmtrain.tasks.classification.label_rows import LABELS, PAIR
from llmtrain.tasks.classification.options import ClassificationData


class LabelledTexts(TextPairs):
    """Token ids for a task whose target is a label.

    Its ``labels`` are the number of a row's label or, where a row may have several, a 0 or 1 for each; none of a row
    without a label, or whose label no training row has.

    Args:
        learnt: Tells the labels.
    """

    def __init__(self, tokenizer: Tokenizer, config: ClassificationData, sentences: SentenceInput | None = None,
                 language: str = "", learnt: Learnt | None = None) -> None:
        super().__init__(tokenizer, config, sentences, language, learnt)
        facts = self.learnt.facts
        self._numbers = {label: number for number, label in enumerate(facts.get("labels", ()))}
        self._several = bool(facts.get("multi_label"))
        self._paired = config.text_pair is not None
        self._apart = self._paired and tells_pairs_apart(tokenizer)

    def describe(self) -> str:
        return f"{super().describe()} {list(self._numbers)} {self._several} {self._paired}"

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        fields = [json.loads(text) if text else {} for text in rows["fields"]]
        if self._paired:
            made = self._pairs(rows["source"], [one.get(PAIR, "") for one in fields])
        else:
            made = super().__call__({"source": rows["source"], "target": [""] * len(rows["source"])})
        made["labels"] = [self._numbered(target, one.get(LABELS))
                          for target, one in zip(rows["target"], fields, strict=True)]
        return made

    def _numbered(self, target: str, listed: list[str] | None) -> list[int]:
        names = listed if listed is not None else [target] if target else None
        if names is None:
            return []
        if self._several:
            return [int(label in names) for label in self._numbers]
        return [self._numbers[name] for name in names[:1] if name in self._numbers]

    def _pairs(self, texts: Sequence[str], seconds: Sequence[str]) -> dict[str, list[Any]]:
        """Both texts of each row in one piece, the longer of them cut."""
        cut, tokenizer, pipeline = self._cut, self.tokenizer, self.pipeline
        read = [[bounded(pipeline.source(text), tokenizer, cut) for text in side] for side in (texts, seconds)]
        made: dict[str, list[Any]] = self._together(*read)
        if pipeline.has_l1:
            alone = [[bounded(pipeline.l1_source(text), tokenizer, cut) for text in side] for side in (texts, seconds)]
            made[L1_IDS] = self._together(*alone)["input_ids"]
        controls, none = finder(tokenizer), [False] * len(texts)
        made["spelled"] = [first_spelled(controls, *both) for both in zip(*read, strict=True)]
        return made | {"cut_target": none, "unwritable": none}

    def _together(self, texts: list[str], seconds: list[str]) -> dict[str, list[Any]]:
        """input_ids, and the flags of the sources."""
        cut, tokenizer = self._cut, cast(Any, self.tokenizer)
        if not self._apart:  # nothing of the tokenizer's own would stand between them
            whole = tokenizer([f"{one}\n{other}" for one, other in zip(texts, seconds, strict=True)], verbose=False)
            ids = [cut(row) for row in whole["input_ids"]]
        else:
            whole = tokenizer(texts, seconds, verbose=False)
            short = tokenizer(texts, seconds, truncation="longest_first", max_length=cut.limit, verbose=False)
            ids = short["input_ids"]
        return {"input_ids": ids, "cut_source": [len(row) > cut.limit for row in whole["input_ids"]],
                "empty": [len(row) <= cut.before + cut.after + self._apart for row in whole["input_ids"]]}


def tells_pairs_apart(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer puts something of its own between the two texts of a pair."""
    read: Any = tokenizer
    alone, bare, pair = (len(ids["input_ids"]) for ids in (
        read("a", verbose=False), read("a", add_special_tokens=False, verbose=False), read("a", "a", verbose=False)))
    return bool(pair > alone + bare)
