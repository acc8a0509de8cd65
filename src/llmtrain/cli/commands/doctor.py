"""``llmtrain doctor OVERRIDES``: is this run worth starting? Train's overrides, and ``doctor.*`` of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

from llmtrain.cli.options import JSON, Given
from llmtrain.config.command_keys import own_keys
from llmtrain.config.load import load_config
from llmtrain.config.sections.doctor import DoctorConfig
from llmtrain.core.errors import ConfigError, Terminated
from llmtrain.core.signals import handle, stops


def run(overrides: list[str], given: Given) -> int:
    """Check, a line for each thing; 0 when nothing fails, else ConfigError (exit 2) with the names of what does."""
    for number in stops():
        if number != signal.SIGINT:  # Python's own handler raises for it
            handle(number, _stop)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("doctor looks at a run in one process; start it without torchrun")
    own, others = own_keys(DoctorConfig, "doctor", overrides)
    config = load_config("train", others)

    from rich.console import Console

    from llmtrain.core.logging import quiet_libraries
    from llmtrain.doctor.check_result import Level
    from llmtrain.doctor.check_table import last_line, print_verdict
    from llmtrain.doctor.examination import examine
    from llmtrain.evaluation.report import PLAIN_WIDTH

    quiet_libraries()
    started = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, file=sys.stdout)
    found = []
    with contextlib.redirect_stdout(io.StringIO()):  # what building a run says
        for verdict in examine(config, own.seconds, own.rows):
            found.append(verdict)
            if JSON not in given:
                print_verdict(console, verdict)
    failed = [one for one in found if one.level is Level.fail]
    seconds = time.perf_counter() - started
    if JSON in given:
        worst = max((one.level for one in found), key=list(Level).index, default=Level.ok)
        print(json.dumps({"kind": "doctor", "verdict": worst.value, "seconds": round(seconds, 1),
                          "checks": [one.as_json() for one in found]}, indent=1, ensure_ascii=False))
    else:
        console.print(last_line(found, seconds), markup=False)
    if failed:
        names = ", ".join(dict.fromkeys(one.check for one in failed))
        raise ConfigError(f"{len(failed)} of {len(found)} checks fail ({names}); do what is told of each and ask again")
    return 0


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End as Ctrl-C does, which leaves nothing behind."""
    stop = Terminated("stopped; nothing of it is kept")
    stop.exit_code = 128 + number
    raise stop
