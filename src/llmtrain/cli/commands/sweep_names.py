"""Names of a sweep's runs: each says what its job changes, so that a sweep that grew goes on with finished jobs."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from llmtrain.config.job_name import job_name, short_keys
from llmtrain.config.overrides.paths import quote
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.run_id import other_run, result_dict
from llmtrain.config.schema import TrainConfig
from llmtrain.config.stored import read_config
from llmtrain.core.errors import ConfigError, LlmtrainError

NAME = "run.name"
CONFIG = "config.yaml"


def named_jobs(parsed: list[Any]) -> list[list[str]]:
    """One list of overrides a job, each with a run.name of its own where the sweep has one.

    One name: NAME-KEY=VALUE-... of what the job changes. Several: they are the jobs' names, in order.

    Raises:
        ConfigError: There are neither one name nor as many as jobs.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    names = [override for override in parsed if override.key_or_group == NAME]
    others = [override for override in parsed if override.key_or_group != NAME]
    jobs = [list(job) for batch in BasicSweeper.split_arguments(others, max_batch_size=None) for job in batch]
    if not names:
        return jobs
    if names[-1].is_sweep_override():
        listed = list(names[-1].sweep_string_iterator())
        if len(set(listed)) < len(listed):
            raise ConfigError(f"{names[-1].input_line} lists a name twice; give each job another")
        if len(jobs) == 1:
            jobs = jobs * len(listed)
        if len(jobs) != len(listed):
            raise ConfigError(f"{names[-1].input_line} lists {len(listed)} names and there are {len(jobs)} jobs; give "
                              "one name, which what each job changes is put behind, or one for each job")
        return [[*job, f"{NAME}={name}"] for job, name in zip(jobs, listed, strict=True)]
    if (name := names[-1].value()) is None:
        return [[*job, f"{NAME}=null"] for job in jobs]
    swept = [index for index, override in enumerate(others) if override.is_sweep_override()]
    keys = short_keys([others[index].key_or_group for index in swept])
    changes = [[(key, job[index].partition("=")[2].strip("'")) for key, index in zip(keys, swept, strict=True)]
               for job in jobs]
    found = [f"{name}-{job_name(changed)}" if changed else name for changed in changes]
    return [[*job, f"{NAME}={quote(one)}"] for job, one in zip(jobs, found, strict=True)]


def going_on(jobs: list[list[str]], configs: list[TrainConfig], overrides: list[str]) -> list[list[str]]:
    """The jobs, each under the name of the run that is its configuration's already, where there is one.

    A sweep of an earlier version numbered its runs, and one with an axis less named them by the others alone.
    """
    from llmtrain.config.compose import parse

    names = [override for override in parse(quote_overrides(overrides, "train", multirun=True))
             if override.key_or_group == NAME]
    if not names or names[-1].is_sweep_override() or (name := names[-1].value()) is None:
        return jobs
    wanted = [result_dict(config) for config in configs]
    taken = {config.run.name for config in configs}
    result = list(jobs)
    there: list[tuple[str, TrainConfig]] | None = None
    for index, config in enumerate(configs):
        root = Path(config.run.root)
        if wanted.count(wanted[index]) > 1 or (root / str(config.run.name) / CONFIG).exists():
            continue
        if there is None:
            there = _runs(root, str(name))
        for folder, begun in there:
            if folder not in taken and _same(begun, config):
                result[index] = [*jobs[index][:-1], f"{NAME}={quote(folder)}"]
                taken.add(folder)
                break
    return result


def _same(begun: TrainConfig, config: TrainConfig) -> bool:
    """Whether a run was begun with a job's configuration."""
    from llmtrain.training.run_folder.fingerprints import fingerprints_of

    if config.fingerprints is None:
        config.fingerprints, _ = fingerprints_of(config)
    return not other_run(begun, config, finished=True)


def _runs(root: Path, name: str) -> list[tuple[str, TrainConfig]]:
    """The runs whose names begin with the sweep's, and what each was configured by."""
    found = []
    for path in sorted(root.glob(f"{glob.escape(name)}*/{CONFIG}")):
        if path.parent.name == name or path.parent.name.startswith(f"{name}-"):
            try:
                found.append((path.parent.name, read_config(path)))
            except LlmtrainError:
                continue
    return found
