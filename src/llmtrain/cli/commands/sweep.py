"""``llmtrain train --multirun``: each combination in a process and a run folder of its own.

Accelerate's singletons, signal handlers and memory peaks must not carry over from one job to the next.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from llmtrain import plugins
from llmtrain.cli.commands.sweep_names import going_on, named_jobs
from llmtrain.config.compose import parse
from llmtrain.config.load import load, load_config
from llmtrain.config.overrides import config_files
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.schema import TrainConfig
from llmtrain.core.children import Forwarding
from llmtrain.core.errors import ConfigError, redact
from llmtrain.core.signals import tell_unhandled
from llmtrain.core.stdio import write_data


def jobs_of(overrides: list[str]) -> list[list[str]]:
    """Hydra's sweep grammar (commas, range(), choice()) expanded into one list of overrides a job."""
    from hydra.core.override_parser.types import ValueType

    parsed = parse(quote_overrides(overrides, "train", multirun=True))
    vague = [o for o in parsed if o.is_sweep_override()
             and (not o.is_discrete_sweep() or _nested(o) or o.value_type is ValueType.GLOB_CHOICE_SWEEP)]
    if vague:
        raise ConfigError(f"{o.input_line} lists no values to train with; use KEY=A,B or KEY=range(1,4)" for o in vague)
    return named_jobs(parsed)


def _nested(override: Any) -> bool:
    """Whether a list of values holds a sweep of its own, ``1,choice(2,3)``."""
    from hydra.core.override_parser.types import Sweep

    return any(isinstance(value, Sweep) for value in getattr(override._value, "list", None) or ())


def show(overrides: list[str]) -> int:
    """Print each job's configuration, a YAML document each."""
    import yaml

    for number, job in enumerate(jobs_of(overrides)):
        content = redact(yaml.safe_dump(load("train", job).values, sort_keys=False,
                                        allow_unicode=write_data()))
        print(f"--- # job {number}: {' '.join(job)}\n{content}", end="")
    return 0


def checked(jobs: list[list[str]]) -> list[TrainConfig]:
    """The jobs' configurations. Raises ConfigError with what is wrong in any of them."""
    problems, configs = [], []
    for number, job in enumerate(jobs):
        try:
            configs.append(load_config("train", job))
        except ConfigError as error:
            problems += [f"job {number}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return configs


def run(overrides: list[str]) -> int:
    """Check every job first, then run them one after another; 0 when all ended well, else the first failure's code."""
    jobs = jobs_of(overrides)
    jobs = going_on(jobs, checked(jobs), overrides)
    codes: list[int] = []
    start = [sys.executable, "-m", "llmtrain", "train", *plugins.arguments(), *config_files.arguments()]
    tell_unhandled()
    with Forwarding(also=(signal.SIGUSR1,)) as forwarding:
        for number, job in enumerate(jobs):
            print(f"job {number} of {len(jobs)}: {' '.join(job)}", flush=True)
            code = forwarding.run([*start, *job])
            codes.append(code if code >= 0 else 128 - code)
            if forwarding.signals or codes[-1] in (129, 130, 143):
                break
    for number, code in enumerate(codes):
        print(f"job {number}: exit {code}  {' '.join(jobs[number])}")
    if forwarding.signals:
        return 128 + forwarding.signals[0]
    return next((code for code in codes if code), 0)
