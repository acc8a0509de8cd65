"""Where examples come from: one function, three sources, one shape."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import import_module

from llmtrain.config.sections.data import DataConfig
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.data.examples import Example, Splits, digest
from llmtrain.data.sources.cells import Reading
from llmtrain.data.sources.hub import read_hub
from llmtrain.data.sources.own_files import examples_of, paths_of, read_files, rows_of
from llmtrain.data.text.preprocess.pipeline import Pipeline


def load_splits(config: DataConfig, only: str | None = None, labelled: bool = True) -> Splits:
    """Read the configured source, cut it to the ``max_*_rows``, hash it, and note duplicates across splits.

    Args:
        only: Read just this split ("validation" or "test") where the source allows it.
        labelled: Every row must have a target; else one without is a document alone.

    Raises:
        DataError: Rows or files that cannot be used.
        ConfigError: An unknown source.
    """
    splits = _read(config, only, labelled)
    if only is None and not splits.train:
        raise DataError(f"no training rows in {splits.source}; check data.train and the filters")
    pipeline = Pipeline(config.preprocess)
    _leave_out(splits, pipeline)
    splits.notes += _overlaps(splits)
    splits.whole = {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}
    splits.train = subset(splits.train, config.max_train_rows)
    splits.validation = subset(splits.validation, config.max_validation_rows)
    splits.test = subset(splits.test, config.max_test_rows)
    if config.unlabelled is not None and only is None:
        splits.unlabelled = _unlabelled(config, splits.notes, pipeline)
    splits.content_hash = content_hash(splits, pipeline.describe())
    return splits


def _leave_out(splits: Splits, pipeline: Pipeline) -> None:
    """Rows that data.preprocess leaves out, counted and told. Raises DataError when no training row is left."""
    for name in ("train", "validation", "test"):
        before = getattr(splits, name)
        kept, reasons = pipeline.kept(before, name)
        setattr(splits, name, kept)
        if reasons:
            told = ", ".join(f"{count} for a {reason}" for reason, count in sorted(reasons.items()))
            splits.notes.append(f"data.preprocess left out {reasons.total()} of {len(before)} rows of {name}: {told}")
            if not kept:
                raise DataError(f"data.preprocess left out every row of {name} ({told}) in {splits.source}; loosen it")


def _unlabelled(config: DataConfig, notes: list[str], pipeline: Pipeline) -> list[Example]:
    """The documents of data.unlabelled, any targets beside them left out."""
    rows = rows_of(paths_of(config.unlabelled, "data.unlabelled", config.folder), Reading.of(config, notes))
    found = examples_of(rows, config, "unlabelled", notes, False)
    found = [replace(example, target="", references=()) for example in found]  # fields stay: a question, say
    kept, _ = pipeline.kept(found, "train")
    notes.append(f"{len(kept)} documents of data.unlabelled are read by the base's own term alone")
    return kept


def _read(config: DataConfig, only: str | None, labelled: bool) -> Splits:
    if config.name == "docstrings":
        return _embedded(config)
    if config.name == "files":
        return read_files(config, only, labelled)
    if config.name == "hub":
        return read_hub(config, only, labelled)
    raise ConfigError(f"unknown data source data.name={config.name}; choose docstrings, files or hub")


def _embedded(config: DataConfig) -> Splits:
    """The rows of data=docstrings, as the task makes them."""
    reader = config.columns().embedded
    if reader is None:
        raise ConfigError("data=docstrings has no rows for this task; name files of your own: data=files "
                          "data.train=FILE")
    module, _, function = reader.partition(":")
    found: Splits = getattr(import_module(module), function)(config)
    return found


def subset(examples: list[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` examples, chosen by a hash of the document and kept in their order."""
    if limit is None or len(examples) <= limit:
        return examples
    order = sorted(range(len(examples)), key=lambda i: (digest(examples[i].source), i))
    return [examples[i] for i in sorted(order[:limit])]


def content_hash(splits: Splits, preprocessing: str = "") -> str:
    """sha256 over every split's ids, sources, targets and references, in order, and what is done to them."""
    total = hashlib.sha256(preprocessing.encode())
    for name, examples in (("train", splits.training), ("validation", splits.validation), ("test", splits.test)):
        total.update(name.encode())
        for example in examples:
            apart = () if example.target in example.references[:1] else (example.target,)
            beside = (example.fields_as_text,) if example.fields else ()
            for text in (example.id, example.source, *apart, *example.references, *beside):
                total.update(text.encode("utf-8", "surrogatepass"))
                total.update(b"\0")
    return total.hexdigest()


def _overlaps(splits: Splits) -> list[str]:
    """One note for each pair of splits that share exact documents."""
    notes = []
    seen = {name: {digest(e.source) for e in getattr(splits, name)} for name in ("train", "validation", "test")}
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if shared := len(seen[first] & seen[second]):
            notes.append(f"warning: {shared} documents stand in both {first} and {second}")
    return notes
