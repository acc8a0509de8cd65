"""Score a split: predictions against references, the task's baselines beside."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmtrain import __version__
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.data.examples import Example
from llmtrain.data.features import Features
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.evaluation.confidence import Interval, interval
from llmtrain.tasks.metric import Metric, RowScores
from llmtrain.tasks.task import NO_DETAIL, Gathered, Scorer, Share, Task, at_once

if TYPE_CHECKING:
    from llmtrain.models.task_model import TaskModel

Intervals = dict[str, Interval]


@dataclass(slots=True)
class SplitScores:
    """Scores of one split.

    Attributes:
        signature: All that decides a score, as people quote it.
        rows: The lines of predictions.jsonl.
        seconds: Of decoding, where a model ran.
        scorer: The signature's part that says how predictions were scored.
        decoding: That which says where they come from.
        truncation: What the limits cut, where a model read the rows.
    """

    metrics: Intervals
    baselines: dict[str, Intervals]
    extras: dict[str, float]
    signature: str
    rows: list[dict[str, Any]]
    seconds: float | None = None
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    truncation: dict[str, float] | None = None
    scorer: str = ""
    decoding: str = ""


def score_split(task: Task, examples: list[Example], predictions: list[str], config: EvalConfig, *, decoding: str,
                validation: list[Example] | None = None, baselines: bool = True,
                details: list[dict[str, Any]] | None = None) -> SplitScores:
    """Score predictions, one for each example.

    Args:
        decoding: Decode settings for the signature, or where the predictions come from.
        validation: Examples on which baselines choose their settings; default: the scored ones, said so.
        details: What else each line of predictions.jsonl says.
    """
    scorer = task.scorer(config, examples)
    scored, lines = _scored(task, scorer, examples, predictions, details)
    signature = f"{scorer.signature}; {decoding}; llmtrain {__version__}"
    found: dict[str, Intervals] = {}
    for baseline in task.baselines(config, scorer, examples, validation) if baselines else ():
        rows = [scorer.score(p, e, NO_DETAIL) for p, e in zip(baseline.predictions, examples, strict=True)]
        found[baseline.name] = intervals(task.metrics, rows, config)
        signature += f"; {baseline.note}" if baseline.note else ""
    return SplitScores(intervals(task.metrics, scored, config), found, scorer.extras(examples, predictions), signature,
                       lines, tables=scorer.tables(scored, examples, predictions), scorer=scorer.signature,
                       decoding=decoding)


def _scored(task: Task, scorer: Scorer, examples: list[Example], predictions: list[str],
            details: list[dict[str, Any]] | None) -> tuple[list[RowScores], list[dict[str, Any]]]:
    """What each prediction gives, and the lines of predictions.jsonl."""
    beside: list[dict[str, Any]] = details or [{}] * len(examples)
    scored = [scorer.score(p, e, detail) for p, e, detail in zip(predictions, examples, beside, strict=True)]
    return scored, [{"id": e.id, **task.columns_of(e), "prediction": p, **scores, **detail} for e, p, scores, detail
                    in zip(examples, predictions, scored, beside, strict=True)]


def scored_lines(task: Task, scorer: Scorer, examples: list[Example], predictions: list[str],
                 details: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The lines of predictions.jsonl for predictions, one for each example."""
    return _scored(task, scorer, examples, predictions, details)[1]


def intervals(metrics: Sequence[Metric], rows: list[RowScores], config: EvalConfig) -> Intervals:
    return {metric.name: interval(metric.columns(rows), config.bootstrap_samples, combine=metric.combine)
            for metric in metrics if metric.is_there(rows)}


def predict_and_score(task: Task, model: TaskModel, tokenizer: Tokenizer, examples: list[Example], features: Features,
                      config: Any, precision: Any, *, accelerator: Any = None, baselines: bool = True,
                      evidence: bool = True, validation: list[Example] | None = None, share: Share = at_once,
                      ) -> SplitScores:
    """Predict every example (shared out over the processes) and score the lot on each process alike.

    Args:
        tokenizer: That of targets.
        features: Features of the examples, in order.
        config: Holds ``data``, ``generation``, ``eval`` and ``run.seed``.
        evidence: Let a head that can say where each prediction comes from.
        validation: See :func:`score_split`.
        share: See :data:`llmtrain.tasks.task.Share`.
    """
    from llmtrain.core.logging import Counting

    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator is not None else (0, 1)
    mine = range(rank, len(examples), world)
    started = time.perf_counter()
    with Counting("predicting", len(mine)) as bar, _seeded(config):
        found = task.predict(model, tokenizer, examples, features, mine, config, precision, progress=bar.add,
                             share=share, evidence=evidence)
    seconds = time.perf_counter() - started
    made = in_order(list(zip(mine, found, strict=True)), world)
    scores = score_split(task, examples, [one.text for one in made], config.eval, validation=validation,
                         decoding=task.describe_decoding(model, tokenizer, config), baselines=baselines,
                         details=[one.detail for one in made])
    scores.seconds = seconds
    scores.truncation = features.stats.shares()
    return scores


def in_order(numbered: list[tuple[int, Any]], processes: int) -> list[Any]:
    """What all processes have made of their rows, by the rows' numbers. Collective."""
    if processes > 1:
        from accelerate.utils import gather_object

        numbered = gather_object(numbered)
    return [made for _, made in sorted(numbered, key=lambda row: row[0])]


def shared_out(rows: int, accelerator: Any, share: Share) -> Gathered:
    """What asks a function for this process's share of some rows and gives the answers for all of them. Collective."""
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = range(rank, rows, world)
    return lambda work: in_order(list(zip(mine, share(lambda: work(mine)), strict=True)), world)


@contextmanager
def _seeded(config: Any) -> Iterator[None]:
    """Sampling draws from run.seed, the same each time, and leaves the run's own random state alone."""
    if not config.generation.do_sample:
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(config.run.seed)
        yield
