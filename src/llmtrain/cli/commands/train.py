"""``llmtrain train``: claim the folder, build the run, go on where it stopped, train, score."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from llmtrain.cli.commands.print_configuration import print_configuration
from llmtrain.cli.options import CFG, MULTIRUN, PAUSE, STARTER, Given
from llmtrain.core.errors import Terminated
from llmtrain.core.logging import is_main, keep_going, say
from llmtrain.core.processes import stop_with
from llmtrain.core.signals import await_save_requests, handle, stops, tell_unhandled
from llmtrain.core.started_as import command

if TYPE_CHECKING:
    from llmtrain.config.schema import TrainConfig
    from llmtrain.training.run_folder.claim import RunFolder


def run(overrides: list[str], given: Given) -> int:
    """Train as configured, or show the configuration; ``--multirun`` does so for each of many."""
    await_save_requests()  # before anything that takes time
    if STARTER in given:
        stop_with(int(given[STARTER][-1]))
    if MULTIRUN in given:
        from llmtrain.cli.commands import sweep

        keep_going()
        return sweep.show(overrides) if CFG in given else sweep.run(overrides)
    from llmtrain import plugins
    from llmtrain.config.load import load, load_config
    from llmtrain.config.overrides import config_files

    if CFG in given:
        return print_configuration(load("train", overrides, multirun=True).values)
    config = load_config("train", overrides, multirun=True)
    config.command = ["train", *plugins.arguments(), *config_files.arguments(), *overrides]
    keep_going()
    return start_or_go_on(config, int(given[PAUSE][-1]) if PAUSE in given else None)


def start_or_go_on(config: TrainConfig, pause: int | None = None) -> int:
    """Train in the run's folder; an unfinished run is gone on with, a finished one printed again.

    Args:
        pause: Stop as by SIGTERM once so many steps are done, should the run be longer.
    """
    from llmtrain.training.run_folder.claim import RunFolder

    for number in stops():
        if number != signal.SIGINT:  # Python's own handler raises for it
            handle(number, _stop_outside_the_loop)
    tell_unhandled()
    folder = RunFolder.claim(config)  # before the base is looked at: a finished run's may be gone
    try:
        if folder.finished_results is not None:
            say(f"this run is finished; its results ({folder.path}):")
            if is_main():
                from llmtrain.evaluation.report import stored_rows

                _print(folder.finished_results, stored_rows(folder.path / "predictions.jsonl"))
                _show(config, folder)
            return 0
        return _train(config, folder, pause)
    except BaseException:
        folder.abandon()
        raise
    finally:
        folder.release()


def _train(config: TrainConfig, folder: RunFolder, pause: int | None) -> int:
    from llmtrain.training.distributed import others_told
    from llmtrain.training.final_evaluation import finish
    from llmtrain.training.library_state import libraries_as_found
    from llmtrain.training.run_folder.claim import METRICS
    from llmtrain.training.start import start_processes, start_training
    from llmtrain.training.trackers.flat import last_steps
    from llmtrain.training.trackers.tracked_run import tracked
    from llmtrain.training.trainer import ended, paused_after, train

    with libraries_as_found():
        accelerator = start_processes(config, folder)
        with others_told(accelerator):
            seen = last_steps(folder.path / METRICS) if config.trainer.trackers else {}
            training = start_training(config, folder, accelerator)
            with tracked(training, seen):
                if not ended(training):
                    train(training, None if pause is None else paused_after(pause))
                finish(training, _print)
            accelerator.end_training()
    if is_main():
        _show(config, folder)
    return 0


def _show(config: TrainConfig, folder: RunFolder) -> None:
    """Write the report where it was asked for, and name the command that does so."""
    told = command("report", folder.path)
    if config.trainer.report:
        from llmtrain.report.write_report import write_report

        say(f"report: {write_report([folder.path])} (again: {told})")
    else:
        say(f"to see its curves and predictions: {told}")


def _print(results: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from llmtrain.evaluation.report import PLAIN_WIDTH, print_report

    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    print_report(console, results, rows)


def _stop_outside_the_loop(number: int, _frame: FrameType | None) -> None:
    """While starting or scoring there is nothing to save that is not saved already."""
    stop = Terminated("stopped outside training; nothing is lost, the same command goes on")
    stop.exit_code = 128 + number
    raise stop
