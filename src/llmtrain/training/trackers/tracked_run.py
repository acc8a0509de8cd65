"""The trackers of a run from its start to its end, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmtrain import __version__
from llmtrain.config.convert import to_dict
from llmtrain.training.build import Training
from llmtrain.training.trackers.flat import values_of_config
from llmtrain.training.trackers.services import Place, Steps
from llmtrain.training.trackers.trackers import Trackers


@contextmanager
def tracked(run: Training, seen: Steps) -> Iterator[None]:
    """Log a run to its trackers while it is inside; only the main process does.

    Args:
        seen: The last step of each split that metrics.jsonl held before this start.

    Raises:
        ConfigError: A tracker of a new run cannot be started.
    """
    wanted = run.config.trainer.trackers
    if not wanted or not run.accelerator.is_main_process:
        yield
        return
    folder = run.folder.path
    values = values_of_config(to_dict(run.config) | {"llmtrain": __version__, "data_hash": run.data.content_hash})
    place = Place(folder=folder, root=Path(run.config.run.root).expanduser(), step=run.state.progress.step,
                  values={name: value for name, value in values.items() if not name.startswith("fingerprints.")})
    resumed = any((folder / "checkpoints").glob("step-*"))
    run.trackers = Trackers.start(wanted, place, seen, resumed)
    ended = False
    try:
        yield
        ended = True
    finally:
        run.trackers.close(ended)
