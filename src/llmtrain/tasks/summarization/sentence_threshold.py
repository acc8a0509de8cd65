"""How many sentences to take, or from which probability on: settled by the validation rows' ROUGE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmtrain.data.examples import Example
from llmtrain.data.features import clean
from llmtrain.data.text.sentences import sentences
from llmtrain.models.heads.extractive.choose import choose, joined
from llmtrain.tasks.summarization.rouge import METRICS, Rouge

FALLBACK = "rouge1"  # where a loss picks the best checkpoint


def tune_selection(head: Any, examples: Sequence[Example], probabilities: list[list[float | None]], rouge: Rouge,
                   metric: str) -> None:
    """Let an extractive head select as scores best on these examples; equal scores go to the first rule.

    Args:
        probabilities: Of every sentence of each example.
        metric: The ROUGE that decides; another name: ROUGE-1.
    """
    metric = metric if metric in METRICS else FALLBACK
    texts = [sentences(clean(example.source)) for example in examples]
    known: dict[tuple[int, tuple[int, ...]], float] = {}  # several rules often choose alike
    totals = []
    for selection in head.candidates():
        total = 0.0
        for row, example in enumerate(examples):
            chosen = tuple(choose(probabilities[row], texts[row], selection, head.options.trigram_blocking))
            if (row, chosen) not in known:
                known[row, chosen] = rouge.score(joined([texts[row][i] for i in chosen]), example)[metric]
            total += known[row, chosen]
        totals.append(total)
    if totals:
        head.settle(head.candidates()[totals.index(max(totals))])
