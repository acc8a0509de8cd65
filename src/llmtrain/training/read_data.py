"""The rows of a run: read by one process first, tokenised, told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PretrainedConfig

from llmtrain.checkpoint.save import MODEL
from llmtrain.config.choices import LongMode
from llmtrain.config.schema import TrainConfig
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.core.logging import say
from llmtrain.data.examples import Splits, digest
from llmtrain.data.features import Features, tokenize
from llmtrain.data.learnt import Learnt
from llmtrain.data.row_labels import LABEL, labels_beside, with_labels
from llmtrain.data.sources.splits import load_splits
from llmtrain.inference.selector import Selector, as_read, selector_of
from llmtrain.models.backbone.long_context import describe as describe_long
from llmtrain.models.publish import is_base
from llmtrain.models.target_vocabulary import learnt_from
from llmtrain.nn.precision import DTYPES, Precision
from llmtrain.training.spec import RunSpec, TaskSpec

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a task.

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


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the rows, for who looks at a run without training it; what a task learns of the rows it does of all.

    Attributes:
        choose: Given a task's name in the run and its rows, those to go on with.
        cache_dir: Where their token ids are kept.
    """

    choose: Callable[[str, Splits], Splits]
    cache_dir: Path


def read_data(spec: RunSpec, accelerator: Accelerator, precision: Precision, start: Path | None = None,
              sample: Sample | None = None) -> dict[str, Rows]:
    """The rows that the configuration names, by the task's name in the run.

    Args:
        start: The step folder that the run goes on from: its vocabulary of targets holds.
        sample: Go on with some of them; default: all.

    Raises:
        ConfigError: The processes read different data.
        DataError: There are no rows to validate on.
    """
    found: dict[str, Rows] = {}
    for one in spec.tasks:
        try:
            found[one.name] = _rows_of(one, spec, accelerator, precision, start, sample)
        except DataError as error:
            raise DataError(one.member.told(line) for line in error.problems) from error
    return found


def _rows_of(one: TaskSpec, spec: RunSpec, accelerator: Accelerator, precision: Precision, start: Path | None,
             sample: Sample | None) -> Rows:
    config, tokenizer = one.config, spec.base.tokenizer
    kept = config.data if sample is None else replace(config.data, cache_dir=str(sample.cache_dir))
    selector = selector_of(config.data, accelerator.device, precision)
    with accelerator.main_process_first():
        splits = load_splits(config.data, labelled=spec.terms.needs_targets)
        if not splits.validation:
            raise DataError(f"no validation rows in {splits.source}; name data.validation, or give more rows")
        learnt = _learnt_before(one, spec, start) or one.task.learn(splits, tokenizer, config)
        for name in ("validation", "test"):
            splits.notes += one.task.notes_of(learnt, name, getattr(splits, name))
        if spec.terms.reads_labels:
            learnt = _with_row_labels(learnt, splits, config)
        if sample is not None:
            splits = sample.choose(one.name, splits)
        encode = partial(tokenize, tokenizer=tokenizer, config=kept, sentences=one.sentence_input,
                         encoder=one.task.encoder, learnt=learnt)
        documents, told = as_read(splits.training, selector, tokenizer, config.data)
        train = with_labels(encode(documents), documents, learnt.row_labels)
        documents, _ = as_read(splits.validation[:config.trainer.eval_rows], selector, tokenizer, config.data)
        validation = with_labels(encode(documents), documents, learnt.row_labels)
    if selector is not None:
        selector.forget()
        splits.content_hash = digest(splits.content_hash + selector.digest)
    _check_alike(splits, accelerator)
    _tell(splits, train, validation, f"data of {one.name}" if one.name else "data")
    if told is not None:
        say(f"data.long=select_then_write: {told}")
    elif config.data.long is not LongMode.truncate:
        rows = -(-config.trainer.batch_size // (config.trainer.accumulate * accelerator.num_processes))
        say(describe_long(config.data, spec.base.config, int(train.input_ids.lengths.max()), rows,
                          DTYPES[config.precision.name.value], accelerator.device.type))
    if spec.terms.trains_task:
        one.task.try_scoring(config.eval, splits.validation)
    return Rows(splits=splits, train=train, validation=validation, learnt=learnt, selector=selector)


def _learnt_before(one: TaskSpec, spec: RunSpec, start: Path | None) -> Learnt | None:
    """What the task took from the training rows when the run began, where a vocabulary of targets is among it: made
    anew, it could be another library's. None where it is made of the rows alone."""
    if start is None or not spec.terms.trains_task or is_base(start / MODEL):
        return None
    facts = PretrainedConfig.get_config_dict(start / MODEL)[0].get("facts") or {}
    learnt = learnt_from(start / MODEL, facts.get(one.name, {}) if one.name else facts, one.name)
    return None if learnt.tokenizer is None else learnt


def _with_row_labels(learnt: Learnt, splits: Splits, config: TrainConfig) -> Learnt:
    """What is learnt of the labels beside the training rows' targets too, told among the notes."""
    names, note = labels_beside(splits.train, getattr(config.objective, LABEL).min_rows, config.data.label)
    splits.notes.append(note)
    return replace(learnt, row_labels=names)


def content_hash_of(rows: Mapping[str, Rows]) -> str:
    """The hash of all tasks' text; of the only one, its own."""
    hashes = [one.splits.content_hash for one in rows.values()]
    return hashes[0] if len(hashes) == 1 else digest("\0".join(part for pair in zip(rows, hashes, strict=True)
                                                               for part in pair))


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


def _tell(splits: Splits, train: Features, validation: Features, what: str) -> None:
    counts = (len(splits.train), len(splits.validation), len(splits.test))
    say(f"{what}: {splits.source}, {' / '.join(map(str, counts))} train / validation / test pairs, content "
        f"{splits.content_hash[:12]}; {train.stats.describe()}")
    for note in (*splits.notes, *train.stats.notes("train"), *validation.stats.notes("validation")):
        say(f"{what}: {note}")
