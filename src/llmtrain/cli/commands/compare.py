"""``llmtrain compare A B [C ...]``: how models differ from the first of them, and whether that could be luck."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from llmtrain.cli.commands.compare_sides import Side, split_words
from llmtrain.cli.commands.print_configuration import print_configuration
from llmtrain.cli.options import CFG, JSON, Given
from llmtrain.config.convert import did_you_mean, from_dict, to_dict
from llmtrain.config.from_checkpoint import Stored, of_task
from llmtrain.config.load import load_config
from llmtrain.config.overrides.paths import path_value, split_override
from llmtrain.config.run_id import differing_keys, result_dict
from llmtrain.config.schema import CompareCommandConfig
from llmtrain.core.errors import ConfigError, DataError, one_line
from llmtrain.core.files import dump_json
from llmtrain.core.logging import keep_going, warn
from llmtrain.data.examples import Example
from llmtrain.evaluation.outcome import Outcome, joined, run_configuration, stored_outcome

if TYPE_CHECKING:
    from llmtrain.tasks.metric import Metric


def run(words: list[str], given: Given) -> int:
    """Compare what the words name with the first of it; the other words are overrides."""
    sides, overrides = split_words(words)
    if CFG in given:
        return print_configuration(to_dict(_configuration(sides, overrides)[0]))
    if len(sides) < 2:
        raise ConfigError("compare needs two or more runs, folders that llmtrain eval wrote, or files of predictions; "
                          "name them: llmtrain compare runs/a runs/b, several seeds as A='runs/a-*'")
    keep_going()
    config, task = _configuration(sides, overrides)
    for side in sides:
        _warn_of_other_runs(side)
    outcomes = _outcomes(sides, config, task, overrides)

    from llmtrain.evaluation.comparison_report import comparison, print_comparison
    from llmtrain.evaluation.report import PLAIN_WIDTH

    own = config.compare
    found = comparison(outcomes, _metrics(outcomes[0].task, own.metrics), samples=own.samples, margin=own.margin,
                       rows=own.rows)
    if JSON in given:
        print(dump_json(found), end="")
        return 0
    from rich.console import Console

    print_comparison(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH), found)
    return 0


def _configuration(sides: list[Side], overrides: list[str]) -> tuple[CompareCommandConfig, str | None]:
    """The configuration, over that of the first run where files of predictions are scored on its rows; and which of
    several tasks is meant."""
    stored = next((side.paths[0] for side in sides if side.stored), None)
    files = [side for side in sides if not side.stored]
    named = path_value(overrides, "task")
    others = [one for one in overrides if (parts := split_override(one)) is None or parts[1] != "task"]
    content = run_configuration(stored) if files and stored is not None else None
    if files and content is None and not any(_names_rows(one) for one in overrides):
        raise ConfigError(f"nothing says which rows the predictions at {files[0].paths[0]} are of; name them, as "
                          "data=files data.test=FILE, or compare with a run that was scored on them")
    if content is None:  # nothing is scored, or data.* says on which rows
        keep = overrides if files else others
        return cast(CompareCommandConfig, load_config("compare", keep)), named
    start, task = of_task(Stored(content, str(stored)), named, stored)
    return cast(CompareCommandConfig, load_config("compare", others if task else overrides, start)), named


def _names_rows(override: str) -> bool:
    """Whether an override says what is read."""
    parts = split_override(override)
    return parts is not None and parts[1].partition(".")[0] == "data"


def _outcomes(sides: list[Side], config: CompareCommandConfig, task: str | None, overrides: list[str],
              ) -> list[Outcome]:
    """What each side's predictions gave."""
    found = {side.label: joined(side.label, [stored_outcome(side.label, path, task) for path in side.paths])
             for side in sides if side.stored}
    files = [side for side in sides if not side.stored]
    if files:
        from llmtrain.evaluation.scored_file import scored_file

        if found and path_value(overrides, "eval.split") is None:
            _take_split(config, next(iter(found.values())))
        examples = _examples(config)
        found |= {side.label: scored_file(side.label, side.paths, examples, config) for side in files}
    return [found[side.label] for side in sides]


def _warn_of_other_runs(side: Side) -> None:
    """Tell of runs under one label that differ by more than their seed: a pattern may match too much."""
    if not side.stored or len(side.paths) < 2:
        return
    read = [from_dict(content, str(path), DataError, scoring=True) for path in side.paths
            if (content := run_configuration(path)) is not None]
    differ = dict.fromkeys(key for one in read[1:] for key in differing_keys(result_dict(read[0]), result_dict(one))
                           if key != "run.seed")
    if differ:
        warn(f"the runs of {side.label} differ in more than their seed ({', '.join(differ)}); see that they are of one "
             "configuration")


def _take_split(config: CompareCommandConfig, stored: Outcome) -> None:
    """Score files on the rows that the runs were scored on."""
    if stored.split:
        config.eval.split = type(config.eval.split)(stored.split)


def _examples(config: CompareCommandConfig) -> list[Example]:
    from llmtrain.data.sources.splits import load_splits

    splits = load_splits(config.data, config.eval.split.value)
    examples: list[Example] = getattr(splits, config.eval.split.value)
    if not examples:
        raise DataError(f"no {config.eval.split.value} rows in {splits.source}; choose eval.split or name "
                        f"data.{config.eval.split.value}")
    for note in splits.notes:
        print(one_line(f"data: {note}"), file=sys.stderr)
    return examples


def _metrics(task: str, wanted: list[str] | None) -> list[Metric]:
    """The task's metrics, or those that are asked for, in that order."""
    from llmtrain.tasks.task import task_named

    known = {metric.name: metric for metric in task_named(task).metrics}
    problems = [f"compare.metrics names {name!r}, which {task} does not have; "
                + did_you_mean(name, known, f"choose from {', '.join(known)}")
                for name in wanted or () if name not in known]
    if problems:
        raise ConfigError(problems)
    return [known[name] for name in wanted or known]
