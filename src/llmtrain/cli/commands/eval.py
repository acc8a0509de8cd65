"""``llmtrain eval``: score a checkpoint, or somebody's predictions without any model."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmtrain.cli.commands.checkpoint_config import Opened, idle_told, open_stored, show_configuration
from llmtrain.cli.options import CFG, Given
from llmtrain.config.choices import SplitName
from llmtrain.config.load import load_config
from llmtrain.config.overrides.paths import path_value
from llmtrain.config.run_id import by_content
from llmtrain.config.schema import EvaluateConfig
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.config.sections.task import asks_without_model, key_without_model
from llmtrain.core.errors import CheckpointError, ConfigError, DataError, ResourceError, one_line
from llmtrain.core.files import IN_THE_WAY, write_problem
from llmtrain.core.logging import keep_going, quiet_libraries, warn
from llmtrain.data.examples import Example, Splits
from llmtrain.data.sources.cells import Reading
from llmtrain.data.sources.splits import load_splits

if TYPE_CHECKING:
    from llmtrain.evaluation.checkpoint_scoring import Decoded
    from llmtrain.tasks.task import Task

NEEDED = "eval needs one of checkpoint=PATH and predictions=FILE"

OWN = ("config.yaml", "checkpoints", "manifest.json")  # what tells that a folder is a run's or a checkpoint's


def run(overrides: list[str], given: Given) -> int:
    """Score what the overrides name: ``checkpoint=PATH``, ``predictions=FILE``, or what the
    task gives without a model (such as a lead by ``eval.lead=N``)."""
    if CFG in given:
        return show_configuration(overrides, "eval")
    keep_going()
    predictions, checkpoint = path_value(overrides, "predictions"), path_value(overrides, "checkpoint")
    if predictions is not None and checkpoint is not None:
        raise ConfigError(f"{NEEDED}; name one of them")
    if checkpoint is None:
        config = load_config("eval", overrides)
        alone = asks_without_model(config)
        if predictions is None and not alone:
            key = key_without_model(config.task.name)
            raise ConfigError(NEEDED + (f", or eval.{key}=N alone" if key else "") + "; name one of them")
        if config.eval.precisions:
            raise ConfigError("eval.precisions decodes a checkpoint in each of them, and nothing is decoded without "
                              "checkpoint=PATH; leave it out")
        _check_output(config, None)
        for line in _without_model(config, predictions):
            warn(line)
        return _score_texts(None if predictions is None else Path(predictions), config)
    return _score_checkpoint(overrides)


def _task(config: EvaluateConfig) -> Task:
    from llmtrain.tasks.task import task_named

    return task_named(config.task.name)


def _score_texts(path: Path | None, config: EvaluateConfig) -> int:
    """Score the file's predictions; without a file, what the task gives without a model."""
    from llmtrain.evaluation.evaluate import score_split
    from llmtrain.evaluation.predictions import read_predictions, told_of_predictions
    from llmtrain.evaluation.report import build_results

    split = config.eval.split
    task = _task(config)
    splits, examples = _examples(config, task)
    details = None
    if path is None:
        texts = task.predictions_without_model(config.eval, examples)
        assert texts is not None
    else:
        how = Reading(empty_cells=frozenset(config.data.empty_cells))
        made = read_predictions(path, examples, config.eval.prediction, config.data.columns().source, how, task,
                                config.data)
        texts, details = [one.text for one in made], [one.detail for one in made]
        for line in (*how.notes, *told_of_predictions(config, texts, examples)):
            warn(line)
    source = f"predictions {f'are the {key_without_model(config.task.name)}' if path is None else f'from {path.name}'}"
    scores = score_split(task, examples, texts, config.eval, validation=_validation(config), decoding=source,
                         baselines=config.eval.baselines, details=details)
    results = build_results(task, validation=scores if split is SplitName.validation else None,
                            test=scores if split is SplitName.test else None, whole=splits.whole)
    if not config.eval.output:
        warn("the scores are printed only; eval.output=DIR stores them")
    _show(results, Path(config.eval.output) if config.eval.output else None, scores.rows)
    return 0


def _score_checkpoint(overrides: list[str]) -> int:
    opened = open_stored(overrides, "eval")
    folder, step, config = opened.folder, opened.step, cast(EvaluateConfig, opened.config)
    _check_output(config, _root(folder)[0] / "eval")
    if config.eval.prediction != EvalConfig().prediction:
        warn(f"eval.prediction={config.eval.prediction} does nothing without predictions=FILE")
    split = config.eval.split
    task = _task(config)
    splits, examples = _examples(config, task)
    validation = _validation(config)

    from llmtrain.evaluation.report import build_results

    quiet_libraries()
    task.try_scoring(config.eval, examples)
    decoded = _decoded(opened, config, task, examples, validation, overrides)
    first = next(iter(decoded.values()))
    output = Path(config.eval.output) if config.eval.output else _default_output(opened, config)

    def results_of(one: Decoded) -> dict[str, Any]:
        made = build_results(task, validation=one.scores if split is SplitName.validation else None,
                             test=one.scores if split is SplitName.test else None, whole=splits.whole,
                             precision=one.precision, seconds=one.scores.seconds,
                             peak_memory_bytes=one.peak_memory_bytes)
        return made | one.facts | {"checkpoint_step": step, "seed": config.run.seed}

    if len(decoded) == 1:
        _show(results_of(first), output, first.scores.rows)
        return 0
    from llmtrain.evaluation.precision_audit import audit
    from llmtrain.evaluation.report import write_outputs

    for name, one in [*decoded.items()][1:]:  # first, so that a folder with results.json of its own is complete
        write_outputs(output / name, results_of(one), one.scores.rows)
    _show(results_of(first) | {"precisions": audit(task, split.value, decoded, config.eval.bootstrap_samples)}, output,
          first.scores.rows)
    return 0


def _decoded(opened: Opened, config: EvaluateConfig, task: Task, examples: list[Example],
             validation: list[Example] | None, overrides: list[str]) -> dict[str, Decoded]:
    """What the checkpoint gives in the precision that is asked for, or in each of several, by its name."""
    from llmtrain.evaluation.checkpoint_scoring import load_for, refuse_unsupported, score_published

    names = config.eval.precisions or [config.precision.name]
    found: dict[str, Decoded] = {}
    for name in names:
        config.precision.name = name
        loaded = load_for(config, opened.folder, opened.task)
        if not found:
            refuse_unsupported(names, config.precision, loaded)
            for line in idle_told(config, overrides, writes=not loaded.chooses):
                warn(line)
        first, several = not found, len(names) > 1
        found[name.value] = score_published(
            loaded, task, config, examples, validation, baselines=config.eval.baselines and first, warm=several,
            warn=warn if first else _nothing, note=_note if first else _nothing)
    return found


def _note(line: str) -> None:
    print(one_line(line), file=sys.stderr)


def _nothing(_line: str) -> None:
    pass


def _examples(config: EvaluateConfig, task: Task) -> tuple[Splits, list[Example]]:
    """The rows to score, and the splits they come from."""
    split = config.eval.split.value
    if getattr(config.data, f"max_{split}_rows") == 0:
        raise DataError(f"data.max_{split}_rows=0 hides the {split} rows; set data.max_{split}_rows=null to score them")
    splits = load_splits(config.data, split)
    examples: list[Example] = getattr(splits, split)
    if not examples:
        raise DataError(f"no {split} rows in {splits.source}; choose eval.split or name data.{split}")
    vain = task.told_before_scoring(config.eval, examples)
    for note in splits.notes:
        print(one_line(f"data: {note}"), file=sys.stderr)
    if vain:
        warn(vain)
    return splits, examples


def _validation(config: EvaluateConfig) -> list[Example] | None:
    """Rows that choose the baselines' settings, where the data have them: those the run itself validated on."""
    data = config.data
    if config.eval.split is SplitName.validation or not config.eval.baselines or asks_without_model(config) or (
            data.name == "files" and not (data.validation or data.train)):
        return None
    try:
        return load_splits(data, "validation").validation or None
    except DataError as error:
        warn(f"no validation rows choose the baselines' settings: {error.problems[0]}")
        return None


def _default_output(opened: Opened, config: EvaluateConfig) -> Path:
    """RUN/eval/STEP-SPLIT-HASH (average-STEP for an average, STEP-TASK of one of several tasks), or beside a lone model
    folder.

    The hash covers the settings and what lies at the data's paths: rows that were moved are scored into one folder.
    """
    from llmtrain.training.run_folder.fingerprints import fingerprints_of_scored

    read = fingerprints_of_scored(config)
    chosen = {name: by_content(getattr(config, name), read, f"{name}.") for name in ("data", "generation", "eval",
                                                                                     "precision")}
    short = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]
    root, label = _root(opened.folder)
    named = f"-{opened.task}" if opened.task else ""
    output = root / "eval" / f"{opened.step if label is None else label}{named}-{config.eval.split.value}-{short}"
    _refuse_link(output)
    return output


def _root(folder: Path) -> tuple[Path, str | None]:
    """The run that a model folder belongs to, and its checkpoint's label; or what a lone model folder lies in."""
    parents = folder.resolve().parents
    inside = len(parents) > 2 and parents[1].name == "checkpoints"
    return (parents[2], parents[0].name.removeprefix("step-")) if inside else (parents[0], None)


def _check_output(config: EvaluateConfig, default: Path | None) -> None:
    """Before the work: refuse a place for the results that cannot, or must not, be written."""
    _refuse_own(config)
    folder = Path(config.eval.output) if config.eval.output else default
    if folder is None:
        return
    if folder is default:
        _refuse_link(folder)
    if (problem := write_problem(folder)) is not None:
        kind = ConfigError if problem.errno in IN_THE_WAY else ResourceError
        raise kind(f"the results cannot be written at {folder} ({problem.strerror}); name a folder for them with "
                   "eval.output=DIR")


def _without_model(config: EvaluateConfig, predictions: str | None) -> Iterator[str]:
    """What was set and does nothing where no model decodes."""
    changed = [field.name for field in fields(config.generation)
               if getattr(config.generation, field.name) != field.default]
    if changed:
        yield f"generation.{', generation.'.join(changed)} does nothing without checkpoint=PATH: nothing is decoded"
    if predictions is None and config.eval.prediction != EvalConfig().prediction:
        yield f"eval.prediction={config.eval.prediction} does nothing without predictions=FILE"


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

    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:  # shown first, so that a disk that is full by now does not lose the scores; kept also where nobody reads them
        print_report(console, results, rows)
        sys.stdout.flush()
    finally:
        if output is not None:
            write_outputs(output, results, rows)
    if output is not None:
        print(f"written: {output}")
