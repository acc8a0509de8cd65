"""The rows of a run: read by one process first, tokenised, told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PretrainedConfig

from llmtrain.checkpoint.save import MODEL
from llmtrain.config.choices import LongMode
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.core.logging import say
from llmtrain.data.examples import Splits, digest
from llmtrain.data.features import Features, tokenize
from llmtrain.data.learnt import Learnt
from llmtrain.data.sources.splits import load_splits
from llmtrain.inference.selector import Selector, as_read, selector_of
from llmtrain.models.backbone.long_context import describe as describe_long
from llmtrain.models.publish import is_base
from llmtrain.models.target_vocabulary import learnt_from
from llmtrain.nn.precision import DTYPES, Precision
from llmtrain.training.spec import RunSpec

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a run.

    Attributes:
        splits: As text.
        train: Token ids of the training rows.
        validation: Of the rows that are scored while it trains.
        learnt: What the task took from the training rows.
        selector: Shortened the documents that are too long; what it is counts as part of the data.
    """

    splits: Splits
    train: Features
    validation: Features
    learnt: Learnt
    selector: Selector | None


def read_data(spec: RunSpec, accelerator: Accelerator, precision: Precision, start: Path | None = None) -> Rows:
    """The rows that the configuration names.

    Args:
        start: The step folder that the run goes on from: its vocabulary of targets holds.

    Raises:
        ConfigError: The processes read different data.
        DataError: There are no rows to validate on.
    """
    config, tokenizer = spec.config, spec.base.tokenizer
    selector = selector_of(config.data, accelerator.device, precision)
    with accelerator.main_process_first():
        splits = load_splits(config.data, labelled=spec.terms.needs_targets)
        if not splits.validation:
            raise DataError(f"no validation rows in {splits.source}; name data.validation, or give more rows")
        learnt = _learnt_before(spec, start) or spec.task.learn(splits, tokenizer, config)
        encode = partial(tokenize, tokenizer=tokenizer, config=config.data, sentences=spec.sentence_input,
                         encoder=spec.task.encoder, learnt=learnt)
        documents, told = as_read(splits.training, selector, tokenizer, config.data)
        train = encode(documents)
        documents, _ = as_read(splits.validation[:config.trainer.eval_rows], selector, tokenizer, config.data)
        validation = encode(documents)
    if selector is not None:
        selector.forget()
        splits.content_hash = digest(splits.content_hash + selector.digest)
    _check_alike(splits, accelerator)
    _tell(splits, train, validation)
    if told is not None:
        say(f"data.long=select_then_write: {told}")
    elif config.data.long is not LongMode.truncate:
        rows = -(-config.trainer.batch_size // (config.trainer.accumulate * accelerator.num_processes))
        say(describe_long(config.data, spec.base.config, int(train.input_ids.lengths.max()), rows,
                          DTYPES[config.precision.name.value], accelerator.device.type))
    if spec.terms.trains_task:
        spec.task.try_scoring(config.eval, splits.validation)
    return Rows(splits=splits, train=train, validation=validation, learnt=learnt, selector=selector)


def _learnt_before(spec: RunSpec, start: Path | None) -> Learnt | None:
    """What the task took from the training rows when the run began, where a vocabulary of targets is among it: made
    anew, it could be another library's. None where it is made of the rows alone."""
    if start is None or not spec.terms.trains_task or is_base(start / MODEL):
        return None
    stored, _ = PretrainedConfig.get_config_dict(start / MODEL)
    learnt = learnt_from(start / MODEL, stored.get("facts") or {})
    return None if learnt.tokenizer is None else learnt


def _check_alike(splits: Splits, accelerator: Accelerator) -> None:
    """Raise ConfigError where the processes of a run read different data. Collective."""
    if accelerator.num_processes == 1:
        return
    from accelerate.utils import gather_object

    hashes = gather_object([splits.content_hash])
    if len(set(hashes)) > 1:
        told = ", ".join(f"{rank}: {found[:12]}" for rank, found in enumerate(hashes))
        raise ConfigError(f"the processes read different data (content hash by process: {told}) at {splits.source}; "
                          "give every machine the same files")


def _tell(splits: Splits, train: Features, validation: Features) -> None:
    counts = (len(splits.train), len(splits.validation), len(splits.test))
    say(f"data: {splits.source}, {' / '.join(map(str, counts))} train / validation / test pairs, content "
        f"{splits.content_hash[:12]}; {train.stats.describe()}")
    for note in (*splits.notes, *train.stats.notes("train"), *validation.stats.notes("validation")):
        say(f"data: {note}")
