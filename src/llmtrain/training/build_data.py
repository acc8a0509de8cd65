"""The batches of a run: its rows in the order of its seed, collated as its terms and its head want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmtrain.core.logging import say
from llmtrain.core.signals import ignore_in_worker
from llmtrain.data.examples import Splits
from llmtrain.data.features import Features
from llmtrain.data.learnt import Learnt
from llmtrain.data.loader import StepLoader
from llmtrain.data.workers import startable
from llmtrain.inference.selector import Selector
from llmtrain.objectives.base import Transform
from llmtrain.training.read_data import Rows
from llmtrain.training.spec import RunSpec

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True, kw_only=True)
class RunData:
    """What a run reads.

    Attributes:
        splits: All rows as text.
        validation: Token ids of the rows that are scored while it trains.
        learnt: What the task took from the training rows.
        loader: The training rows, a step at a time.
        transforms: What is done to a batch where it is collated.
        selector: What shortens documents that are too long.
    """

    splits: Splits
    validation: Features
    learnt: Learnt
    loader: StepLoader
    transforms: list[Transform]
    selector: Selector | None


def build_data(spec: RunSpec, rows: Rows, transforms: list[Transform], accelerator: Accelerator) -> RunData:
    """The rows that were read, in batches."""
    config = spec.config
    loader = StepLoader(rows.train, batch_size=config.trainer.batch_size, accumulate=config.trainer.accumulate,
                        rank=accelerator.process_index, world_size=accelerator.num_processes,
                        bucket=config.trainer.bucket, seed=config.run.seed, pad_id=spec.base.special.pad,
                        transforms=transforms,
                        alone=rows.train.rows_of(len(rows.splits.unlabelled)) if spec.terms.needs_targets else 0,
                        share=config.data.unlabelled_share, workers=startable(config.data.workers),
                        timeout=config.trainer.timeout_seconds, worker_start=ignore_in_worker)
    if loader.alone_a_step:
        say(f"data: {loader.alone_a_step} of a step's {config.trainer.batch_size} rows are documents of "
            "data.unlabelled; an epoch is a pass over the pairs")
    return RunData(splits=rows.splits, validation=rows.validation, learnt=rows.learnt, loader=loader,
                   transforms=transforms, selector=rows.selector)
