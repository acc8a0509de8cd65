"""A published model decoded over the examples of a split, in one precision, and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmtrain.config.choices import PrecisionName
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.core.memory import peak_memory_bytes
from llmtrain.data.examples import Example
from llmtrain.data.features import tokenize
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.evaluation.evaluate import SplitScores, predict_and_score
from llmtrain.inference.published import Published, load_published
from llmtrain.inference.selector import as_read
from llmtrain.nn.precision import Precision
from llmtrain.tasks.task import Task

WARM_ROWS = 8  # decoded before a timed decoding, which else would pay for what the first products set up

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoding gave.

    Attributes:
        facts: What results.json says of the computation, beside the scores.
        writes: The tokenizer that its outputs are texts by.
    """

    scores: SplitScores
    precision: dict[str, str | None]
    facts: dict[str, Any]
    peak_memory_bytes: int
    writes: Tokenizer


def load_for(config: Any, folder: Path, task_in_run: str) -> Published:
    """The model of a verified folder as a configuration asks for it."""
    return load_published(folder, config.precision, config.trainer.device, task_in_run)


def refuse_unsupported(names: Sequence[PrecisionName], config: PrecisionConfig, loaded: Published) -> None:
    """Raise ConfigError, before hours of decoding, if one of several precisions cannot be had here."""
    for name in names:
        Precision(replace(config, name=name), loaded.precision.device, speeds=loaded.precision.speeds)


def score_published(loaded: Published, task: Task, config: Any, examples: list[Example],
                    validation: list[Example] | None, *, warn: Tell, note: Tell, baselines: bool = True,
                    warm: bool = False) -> Decoded:
    """Decode every example and score what came out.

    Args:
        config: Holds ``data``, ``generation``, ``eval`` and ``run``; ``data.max_source_tokens`` is lowered to what the
            model can read.
        validation: See :func:`llmtrain.evaluation.evaluate.score_split`.
        warn: Called with what a user may not have expected.
        note: Called with lines about the rows.
        baselines: Also score the task's baselines.
        warm: Decode a few rows first.
    """
    limit = loaded.source_limit(config.generation)
    if (longest := config.data.max_source_tokens) > limit:
        warn(f"data.max_source_tokens={longest} is more than the {limit} positions of the base; longer documents are "
             "cut there")
        config.data.max_source_tokens = limit
    if beyond := loaded.model.beyond_positions({"generation.max_new_tokens": config.generation.max_new_tokens}):
        warn(beyond)
    documents, told = as_read(examples, loaded.selector, loaded.tokenizer, config.data)
    if told is not None:
        warn(told)
    features = tokenize(documents, loaded.tokenizer, config.data, loaded.model.sentence_input, task.encoder,
                        loaded.learnt)
    for line in (*task.notes_of(loaded.learnt, config.eval.split.value, examples),
                 *features.stats.notes(config.eval.split.value)):
        note(f"data: {line}")
    loaded.precision.watch(loaded.first_linear())
    loaded.precision.observe(loaded.model.parameters())
    if warm:
        task.predict(loaded.model, loaded.writes, examples, features, range(min(WARM_ROWS, len(examples))), config,
                     loaded.precision, progress=lambda rows: None)
    scores = predict_and_score(task, loaded.model, loaded.writes, examples, features, config, loaded.precision,
                               baselines=baselines, validation=validation)
    return Decoded(scores, loaded.precision.report(), {"kept_in": loaded.precision.kept_in()},
                   peak_memory_bytes(loaded.model.device), loaded.writes)
