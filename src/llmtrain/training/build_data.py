"""The batches of a run: its rows in the order of its seed, collated as its terms and its head want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from llmtrain.core.logging import say
from llmtrain.core.signals import ignore_in_worker
from llmtrain.data.loader import Collate, CollateParts, StepLoader, one_task
from llmtrain.data.mixed_order import MixedOrder, shares_of
from llmtrain.data.order import Order
from llmtrain.data.workers import startable
from llmtrain.objectives.base import Transform
from llmtrain.training.read_data import Rows, content_hash_of
from llmtrain.training.spec import RunSpec

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(slots=True, kw_only=True)
class RunData:
    """What a run reads.

    Attributes:
        rows: Of each task, by its name in the run.
        loader: The training rows, a step at a time.
        transforms: What is done to each task's rows where they are collated.
        content_hash: Of all rows as text.
    """

    rows: dict[str, Rows]
    loader: StepLoader
    transforms: dict[str, list[Transform]]
    content_hash: str


def build_data(spec: RunSpec, rows: dict[str, Rows], transforms: dict[str, list[Transform]], accelerator: Accelerator,
               ) -> RunData:
    """The rows that were read, in batches."""
    config = spec.config
    order, collate = _one(spec, rows[""], transforms[""]) if "" in rows else _several(spec, rows, transforms)
    loader = StepLoader(order, collate, accumulate=config.trainer.accumulate, rank=accelerator.process_index,
                        world_size=accelerator.num_processes, workers=startable(config.data.workers),
                        timeout=config.trainer.timeout_seconds, worker_start=ignore_in_worker)
    if loader.alone_a_step:
        say(f"data: {loader.alone_a_step} of a step's {config.trainer.batch_size} rows are documents of "
            "data.unlabelled; an epoch is a pass over the pairs")
    return RunData(rows=rows, loader=loader, transforms=transforms, content_hash=content_hash_of(rows))


def _one(spec: RunSpec, rows: Rows, transforms: list[Transform]) -> tuple[Order, Collate]:
    config = spec.config
    return one_task(rows.train, batch_size=config.trainer.batch_size, bucket=config.trainer.bucket,
                    seed=config.run.seed, pad_id=spec.base.special.pad, transforms=transforms,
                    alone=rows.train.rows_of(len(rows.splits.unlabelled)) if spec.terms.needs_targets else 0,
                    share=config.data.unlabelled_share)


def _several(spec: RunSpec, rows: dict[str, Rows], transforms: dict[str, list[Transform]],
             ) -> tuple[MixedOrder, CollateParts]:
    config, task = spec.config, cast(Any, spec.config.task)
    lengths = tuple(one.train.input_ids.lengths for one in rows.values())
    shares = shares_of([len(one) for one in lengths], task.mix, task.temperature)
    order = MixedOrder(lengths, tuple(shares), config.trainer.batch_size, config.trainer.bucket, config.run.seed)
    told = ", ".join(f"{count} of {name} ({share:.1%})" for name, count, share in
                     zip(rows, order.counts, shares, strict=True))
    say(f"data: task.mix={task.mix.value}, rows of an epoch: {told}")
    return order, CollateParts({name: Collate(one.train, spec.base.special.pad, config.run.seed, transforms[name])
                                for name, one in rows.items()})
