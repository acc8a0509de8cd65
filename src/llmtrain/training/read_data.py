"""The rows of a run: read by one process first, checked against the base, tokenised, told."""

from __future__ import annotations

from typing import Any

from llmtrain.config.choices import LongMode
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import base_terms_of, needs_summaries
from llmtrain.config.sentence_input import sentence_input
from llmtrain.core.errors import CheckpointError, ConfigError, DataError
from llmtrain.core.logging import say
from llmtrain.data.examples import Splits, digest
from llmtrain.data.features import Features, tokenize
from llmtrain.data.sources.splits import load_splits
from llmtrain.data.special_tokens import misfits
from llmtrain.data.truncation import frame
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone.families import positions
from llmtrain.models.backbone.long_context import check_length
from llmtrain.models.backbone.long_context import describe as describe_long
from llmtrain.models.backbone.lora import check_targets
from llmtrain.models.backbone.pretrained import base_config
from llmtrain.nn.precision import DTYPES
from llmtrain.objectives.base_fit import check_fit
from llmtrain.tasks.summarization.selector import Selector, as_read


def behind_document(config: TrainConfig) -> int:
    """How many of the base's positions the head takes behind the document."""
    written = max(config.data.max_summary_tokens, config.generation.max_new_tokens)
    many = 1 << 30
    return many - class_of(config.head.name).source_limit(many, written)


def read_data(config: TrainConfig, accelerator: Any, tokenizer: Any, selector: Selector | None,
              ) -> tuple[Splits, Features, Features]:
    """The splits, and the token ids of training and validation rows.

    Args:
        selector: Shortens the documents that are too long; what it is counts as part of the data.

    Raises:
        ConfigError: The base does not suit the objectives or the documents' length, or the processes read different
            data.
        CheckpointError: The tokenizer has ids that the base has no embedding for.
        DataError: There are no rows to validate on.
    """
    base = base_config(config.model)
    check_fit(base_terms_of(config.objective), base, tokenizer, config.model.path)
    if problems := misfits(tokenizer, base.vocab_size, config.model.path):
        raise CheckpointError(problems)
    check_targets(base, config.tuning)
    if (least := sum(frame(tokenizer)) + 1) > config.data.max_source_tokens:
        raise ConfigError(f"data.max_source_tokens={config.data.max_source_tokens} leaves no room for a document "
                          f"beside its special tokens; set {least} or more")
    check_length(config.data, base, positions(base) - behind_document(config), config.model.path, config.head.name)
    with accelerator.main_process_first():
        splits = load_splits(config.data, labelled=needs_summaries(config.objective))
        if not splits.validation:
            raise DataError(f"no validation rows in {splits.source}; name data.validation, or give more rows")
        asked = sentence_input(config)
        documents, told = as_read(splits.training, selector, tokenizer, config.data)
        train = tokenize(documents, tokenizer, config.data, asked)
        documents, _ = as_read(splits.validation[:config.trainer.eval_rows], selector, tokenizer, config.data)
        validation = tokenize(documents, tokenizer, config.data, asked)
    if selector is not None:
        selector.forget()
        splits.content_hash = digest(splits.content_hash + selector.digest)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        hashes = gather_object([splits.content_hash])
        if len(set(hashes)) > 1:
            told = ", ".join(f"{rank}: {found[:12]}" for rank, found in enumerate(hashes))
            raise ConfigError(f"the processes read different data (content hash by process: {told}) at "
                              f"{splits.source}; give every machine the same files")
    counts = (len(splits.train), len(splits.validation), len(splits.test))
    say(f"data: {splits.source}, {' / '.join(map(str, counts))} train / validation / test pairs, content "
        f"{splits.content_hash[:12]}; {train.stats.describe()}")
    for note in (*splits.notes, *train.stats.notes("train"), *validation.stats.notes("validation")):
        say(f"data: {note}")
    if told is not None:
        say(f"data.long=select_then_write: {told}")
    elif config.data.long is not LongMode.truncate:
        rows = -(-config.trainer.batch_size // (config.trainer.accumulate * accelerator.num_processes))
        say(describe_long(config.data, base, int(train.input_ids.lengths.max()), rows,
                          DTYPES[config.precision.name.value], accelerator.device.type))
    return splits, train, validation
