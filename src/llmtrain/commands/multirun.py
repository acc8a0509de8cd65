"""``llmtrain train --multirun``: each combination in a process and a run folder of its own.

Accelerate's singletons, signal handlers and memory peaks must not carry over from one job to the next.
"""

from __future__ import annotations

import subprocess
import sys

from llmtrain.config.load import compose, parse, text_keys, to_typed
from llmtrain.config.paths import quote_overrides
from llmtrain.config.schema import TrainConfig
from llmtrain.config.validate import validate
from llmtrain.errors import ConfigError


def jobs_of(overrides: list[str]) -> list[list[str]]:
    """Hydra's sweep grammar (commas, range(), choice()) expanded into one list of overrides a job."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    batches = BasicSweeper.split_arguments(parse(overrides), max_batch_size=None)
    return [job for batch in batches for job in batch]


def run(overrides: list[str]) -> int:
    """Check every job first, then run them one after another; 0 when all ended well, else the first failure's code."""
    jobs = jobs_of(quote_overrides(overrides, text_keys("train"), multirun=True))
    names = [o.partition("=")[2] for o in overrides if o.startswith("run.name=")]
    if names:
        jobs = [[o for o in job if not o.startswith("run.name=")] + [f"run.name={names[-1]}-{number}"]
                for number, job in enumerate(jobs)]
    problems = []
    for number, job in enumerate(jobs):
        try:
            config = to_typed("train", compose("train", job))
            assert isinstance(config, TrainConfig)
            validate(config)
        except ConfigError as error:
            problems += [f"job {number}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    codes = []
    for number, job in enumerate(jobs):
        print(f"job {number} of {len(jobs)}: {' '.join(job)}", flush=True)
        codes.append(subprocess.run([sys.executable, "-m", "llmtrain", "train", *job], check=False).returncode)
        if codes[-1] in (130, 143, -2, -15):
            break
    for number, code in enumerate(codes):
        print(f"job {number}: exit {code}  {' '.join(jobs[number])}")
    return next((code if code > 0 else 128 - code for code in codes if code), 0)
