"""Translation: a text in another language, written token by token, scored by BLEU and chrF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from llmtrain.config.sections.eval import EvalConfig
from llmtrain.config.sections.objective import trains_task
from llmtrain.core.logging import say, warn
from llmtrain.data.examples import Example, Splits
from llmtrain.data.learnt import Learnt
from llmtrain.data.text.language import detect
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.models.target_vocabulary import TargetVocabulary
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.task import Baseline, Scorer
from llmtrain.tasks.text_task import TextTask
from llmtrain.tasks.translation.bleu import METRICS, Bleu
from llmtrain.tasks.translation.options import EVERY, TranslationEval
from llmtrain.tasks.translation.target_tokenizer import target_tokenizer

FEWEST = 20  # rows whose language is told


class Translation(TextTask):
    """Writes a text's translation and scores it by BLEU and chrF.

    Nothing of the source's spelling is put into it: what both languages write alike, the model copies or learns.
    """

    name: ClassVar[str] = "translation"
    title: ClassVar[str] = "BLEU and chrF"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    pipeline_tag: ClassVar[str | None] = "translation"
    intended_use: ClassVar[str] = "To translate texts like those it was trained on, in that direction alone."
    limits: ClassVar[str] = ("A translation can be fluent and wrong; BLEU and chrF count what it has in common with a "
                             "reference.")
    baseline_labels: ClassVar[dict[str, str]] = {"copy": "the source, copied"}
    every: ClassVar[str] = EVERY

    def learn(self, splits: Splits, tokenizer: Tokenizer, config: Any) -> Learnt:
        """The target vocabulary, where it is not the base's own."""
        for name, examples in (("validation", splits.validation), ("test", splits.test)):
            if turned_round(splits.train, examples):
                warn(f"the rows of {name} go from the language of train's targets to that of its sources; see that "
                     f"data.source and data.target, or the two files of data.{name}, are not the other way round")
        if not trains_task(config.objective):
            return Learnt()
        made = target_tokenizer(config, splits.train, tokenizer)
        if made is None:
            return Learnt()
        if config.head.copy_gate:
            say("head.copy_gate: a source token copies the target token of the same text, if the target vocabulary "
                "has one")
        return Learnt(TargetVocabulary.of(made).facts(), made)

    def scorer(self, config: EvalConfig, examples: Sequence[Example]) -> Bleu:
        assert isinstance(config, TranslationEval)
        return Bleu(config.tokenize, config.lowercase, examples)

    def baselines(self, config: EvalConfig, scorer: Scorer, examples: Sequence[Example],
                  validation: Sequence[Example] | None) -> list[Baseline]:
        return [Baseline("copy", [example.source for example in examples])]

    def describe_extras(self, extras: dict[str, float]) -> str:
        return (f"length ratio {extras['length_ratio']:.2f}, empty {extras['empty_outputs']:.0f}, copied from the "
                f"source as a whole {extras['copied_sources']:.0f}")

    def shown(self, row: dict[str, Any]) -> dict[str, str]:
        return {"source": row["source"], "reference": row["references"][0], "translation": row["prediction"]}

    def describe_scores(self, scores: Mapping[str, float]) -> str:
        return f"BLEU {scores['bleu']:.2f}, chrF {scores['chrf']:.2f}, tokenised BLEU {scores['bleu_tokenized']:.2f}"


def turned_round(train: Sequence[Example], others: Sequence[Example]) -> bool:
    """Whether the sources of some rows are in the language of the training targets, and the other way round."""
    if min(len(train), len(others)) < FEWEST:
        return False
    one, other = ((detect(e.source for e in rows), detect(e.target for e in rows)) for rows in (train, others))
    return one[0] != one[1] and one == other[::-1]
