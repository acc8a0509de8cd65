"""``llmtrain eval``: score a checkpoint, or somebody's predictions without any model."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, cast

from llmtrain.commands.stored import open_stored
from llmtrain.config.choices import SplitName
from llmtrain.config.load import path_value, to_dict
from llmtrain.config.over import compose_over
from llmtrain.config.schema import EvaluateConfig
from llmtrain.data.examples import Example, Splits
from llmtrain.data.sources import load_splits
from llmtrain.errors import CheckpointError, ConfigError, DataError, one_line
from llmtrain.log import quiet_libraries, warn

NEEDED = "eval needs one of checkpoint=PATH and predictions=FILE, or eval.lead=N alone; name one of them"

OWN = ("config.yaml", "checkpoints", "manifest.json")  # what tells that a folder is a run's or a checkpoint's


def run(overrides: list[str]) -> int:
    """Score what the overrides name: ``checkpoint=PATH``, ``predictions=FILE``, or the lead by ``eval.lead=N``."""
    predictions, checkpoint = path_value(overrides, "predictions"), path_value(overrides, "checkpoint")
    if predictions is not None and checkpoint is not None:
        raise ConfigError(NEEDED)
    if checkpoint is None:
        config = cast(EvaluateConfig, compose_over(None, overrides, "eval"))
        if predictions is None and config.eval.lead is None:
            raise ConfigError(NEEDED)
        _refuse_own(config)
        return _score_texts(None if predictions is None else Path(predictions), config)
    return _score_checkpoint(overrides)


def _score_texts(path: Path | None, config: EvaluateConfig) -> int:
    """Score the file's predictions; without a file, the first eval.lead words or characters of each document."""
    from llmtrain.evaluation.evaluate import leads, score_split
    from llmtrain.evaluation.predictions import read_predictions
    from llmtrain.evaluation.report import build_results

    split = config.eval.split
    splits, examples = _examples(config)
    texts = leads(examples, config.eval) if path is None else read_predictions(path, examples)
    made = "predictions are the lead" if path is None else f"predictions from {path.name}"
    scores = score_split(examples, texts, config.eval, lead_from=_validation(config), decoding=made,
                         baselines=config.eval.baselines)
    results = build_results(validation=scores if split is SplitName.validation else None,
                            test=scores if split is SplitName.test else None, whole=splits.whole)
    if not config.eval.output:
        warn("the scores are printed only; eval.output=DIR stores them")
    _show(results, Path(config.eval.output) if config.eval.output else None, scores.rows)
    return 0


def _score_checkpoint(overrides: list[str]) -> int:
    folder, step, stored = open_stored(overrides, "eval")
    config = cast(EvaluateConfig, stored)
    _refuse_own(config)
    if not config.eval.output:
        _refuse_link(_root(folder)[0] / "eval")  # before the work
    split = config.eval.split
    splits, examples = _examples(config)
    validation = _validation(config)

    from llmtrain.data.features import tokenize
    from llmtrain.evaluation.evaluate import generate_and_score
    from llmtrain.evaluation.report import build_results
    from llmtrain.selecting import as_read
    from llmtrain.summarizer import load_published
    from llmtrain.training.finish import peak_memory_bytes

    quiet_libraries()
    loaded = load_published(folder, config.precision, config.trainer.device)
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
    features = tokenize(documents, loaded.tokenizer, config.data, loaded.model.sentence_input)
    loaded.precision.watch(loaded.first_linear())
    loaded.precision.observe(loaded.model.parameters())
    scores = generate_and_score(loaded.model, loaded.tokenizer, examples, features, config, loaded.precision,
                                baselines=config.eval.baselines, lead_from=validation)
    results = build_results(validation=scores if split is SplitName.validation else None,
                            test=scores if split is SplitName.test else None, whole=splits.whole,
                            precision=loaded.precision.report(), seconds=scores.seconds,
                            peak_memory_bytes=peak_memory_bytes(loaded.model.device))
    results |= {"kept_in": loaded.precision.kept_in(), "checkpoint_step": step}
    output = Path(config.eval.output) if config.eval.output else _default_output(folder, step, config)
    _show(results, output, scores.rows)
    return 0


def _examples(config: EvaluateConfig) -> tuple[Splits, list[Example]]:
    """The rows to score, and the splits they come from."""
    from llmtrain.evaluation.rouge import several_asked_in_vain

    split = config.eval.split.value
    if getattr(config.data, f"max_{split}_rows") == 0:
        raise DataError(f"data.max_{split}_rows=0 hides the {split} rows; set data.max_{split}_rows=null to score them")
    splits = load_splits(config.data, split)
    examples: list[Example] = getattr(splits, split)
    if not examples:
        raise DataError(f"no {split} rows in {splits.source}; choose eval.split or name data.{split}")
    vain = several_asked_in_vain(config.eval.references, examples)
    for note in splits.notes:
        print(one_line(f"data: {note}"), file=sys.stderr)
    if vain:
        warn(vain)
    return splits, examples


def _validation(config: EvaluateConfig) -> list[Example] | None:
    """Rows that choose the lead baseline's length, where the data have them: those the run itself validated on."""
    data = config.data
    if config.eval.split is SplitName.validation or not config.eval.baselines or config.eval.lead or (
            data.name == "files" and not (data.validation or data.train)):
        return None
    try:
        return load_splits(data, "validation").validation or None
    except DataError as error:
        warn(f"no validation rows choose the lead's length: {error.problems[0]}")
        return None


def _default_output(folder: Path, step: int, config: EvaluateConfig) -> Path:
    """RUN/eval/STEP-SPLIT-HASH (average-STEP for an average), or beside a lone model folder."""
    chosen = {name: to_dict(config)[name] for name in ("data", "generation", "eval", "precision")}
    short = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]
    root, label = _root(folder)
    output = root / "eval" / f"{step if label is None else label}-{config.eval.split.value}-{short}"
    _refuse_link(output)
    return output


def _root(folder: Path) -> tuple[Path, str | None]:
    """The run that a model folder belongs to, and its checkpoint's label; or what a lone model folder lies in."""
    parents = folder.resolve().parents
    inside = len(parents) > 2 and parents[1].name == "checkpoints"
    return (parents[2], parents[0].name.removeprefix("step-")) if inside else (parents[0], None)


def _refuse_own(config: EvaluateConfig) -> None:
    """A run's results.json tells of its training too, and what is added to a checkpoint makes it a damaged one."""
    output = Path(config.eval.output) if config.eval.output else None
    held = [name for name in OWN if output is not None and (output / name).exists()]
    if held:
        raise ConfigError(f"eval.output={output} is a run's or a checkpoint's folder (it holds {held[0]}); name "
                          "another folder")


def _refuse_link(folder: Path) -> None:
    """A run may be somebody else's: where its own links lead, nothing is written unasked."""
    if folder.is_symlink():
        raise CheckpointError(f"the folder for results is a link at {folder}; name where they go with eval.output=DIR")


def _show(results: dict[str, Any], output: Path | None, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from llmtrain.evaluation.report import PLAIN_WIDTH, print_report, write_outputs

    if output is not None:
        write_outputs(output, results, rows)
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    print_report(console, results, None if output is None else output / "predictions.jsonl")
    if output is not None:
        print(f"written: {output}")
