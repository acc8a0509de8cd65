"""The trackers that there are: how each is opened on a run's record, and what that record holds already.

What is sent goes through Accelerate's classes. Records lie below ``run.root``, unless the tracker's own environment
variables name a server or another folder.
"""

from __future__ import annotations

import logging
import os
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmtrain.config.choices import Tracker
from llmtrain.training.trackers.wandb_log import history

PROJECT = "llmtrain"  # what runs of this program are gathered under in every tracker
CHARACTERS = 8  # hexadecimal, behind a run's name, where a record's name must be nobody else's

Steps = dict[str, int]  # the last step that is recorded, of each split


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's records are.

    Attributes:
        folder: The run's.
        root: That of all runs.
        step: Where the run stands.
        values: The configuration, flat.
    """

    folder: Path
    root: Path
    step: int
    values: dict[str, float | str]


class Service(ABC):
    """One tracker.

    Attributes:
        tracker: Accelerate's, once :meth:`open` is done.
    """

    tracker: Any

    def __init__(self, place: Place) -> None:
        self.place = place

    def variables(self) -> dict[str, str]:
        """Environment variables that are set where they are missing, from before it is opened until it is closed."""
        return {}

    @abstractmethod
    def open(self, record: str | None) -> str:
        """Begin a record, or go on with one; returns its id."""

    @abstractmethod
    def where(self) -> str:
        """Where the record can be seen."""

    def steps(self, logged: Steps) -> Steps:
        """What the record holds, where it can be asked; else what was logged to it."""
        return logged

    def store(self) -> None:
        """Record the configuration, once."""
        self.tracker.store_init_configuration(self.place.values)

    def close(self, ended: bool) -> None:
        """Write what is held back and close the record; ``ended``: the run came to its end."""
        self.tracker.finish()


class TensorBoard(Service):
    """Event files in the run's own folder."""

    def open(self, record: str | None) -> str:
        from accelerate.tracking import TensorBoardTracker

        # what a kill left behind the step that is gone on from is hidden
        self.tracker = TensorBoardTracker(PROJECT, str(self.place.folder), purge_step=self.place.step + 1)
        self.tracker.start()
        return PROJECT

    def where(self) -> str:
        return f"tensorboard --logdir {self.place.root}"

    def steps(self, logged: Steps) -> Steps:
        return {split: min(step, self.place.step) for split, step in logged.items()}

    def store(self) -> None:
        self.tracker.writer.add_hparams(self.place.values, {}, run_name=".")  # else in a folder named by the clock


class WeightsAndBiases(Service):
    """On the server of whoever is logged in; else, or with WANDB_MODE=offline, in the run's folder."""

    def open(self, record: str | None) -> str:
        from accelerate.tracking import WandBTracker

        record = record or unique(self.place)
        offline = {} if "WANDB_MODE" in os.environ or logged_in() else {"mode": "offline"}
        folder = {} if "WANDB_DIR" in os.environ else {"dir": str(self.place.folder)}
        import wandb

        self.tracker = WandBTracker(
            os.environ.get("WANDB_PROJECT", PROJECT), id=record, name=self.place.folder.name, resume="allow",
            settings=wandb.Settings(silent=True, console="off", finish_timeout=60.0), **folder, **offline)
        self.tracker.start()
        return record

    def where(self) -> str:
        run = self.tracker.run
        return f"wandb sync {Path(run.dir).parent}" if run.offline else str(run.url)

    def steps(self, logged: Steps) -> Steps:
        run = self.tracker.run
        if not run.offline:  # the server tells the step that comes, and takes none before it
            return dict.fromkeys(logged, run.step - 1)
        found: Steps = {}
        for log in Path(run.dir).parent.parent.glob(f"offline-run-*/run-{run.id}.wandb"):
            for step, values in history(log):
                for name in values:
                    note(found, name, step)
        return found

    def close(self, ended: bool) -> None:
        self.tracker.run.finish(exit_code=0 if ended else 1)


class MLflow(Service):
    """Where MLFLOW_TRACKING_URI says; else a database below ``run.root``."""

    def variables(self) -> dict[str, str]:
        """A server that is gone would else hold every log line up for minutes."""
        return {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
                "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}

    def open(self, record: str | None) -> str:
        import mlflow
        from accelerate.tracking import MLflowTracker

        local: Path | None = None
        if not mlflow.is_tracking_uri_set() and "MLFLOW_TRACKING_URI" not in os.environ:
            local = self.place.root.resolve() / ".mlflow"
            local.mkdir(parents=True, exist_ok=True)
            mlflow.set_tracking_uri(f"sqlite:///{local / 'mlflow.db'}")
        self._own = local is not None
        artifacts = None if local is None else (local / "artifacts").as_uri()
        self.tracker = MLflowTracker(PROJECT, artifacts, run_id=record, run_name=self.place.folder.name)
        self.tracker.start()
        return str(self.tracker.active_run.info.run_id)

    def where(self) -> str:
        import mlflow

        at = f"sqlite:///{self.place.root / '.mlflow/mlflow.db'}" if self._own else mlflow.get_tracking_uri()
        return f"mlflow ui --backend-store-uri {at}"

    def steps(self, logged: Steps) -> Steps:
        from mlflow import MlflowClient

        client, record = MlflowClient(), self.tracker.active_run.info.run_id
        found: Steps = {}
        for name in client.get_run(record).data.metrics:
            for entry in client.get_metric_history(record, name):
                note(found, name, entry.step)
        return found

    def close(self, ended: bool) -> None:
        import mlflow

        mlflow.end_run("FINISHED" if ended else "FAILED")
        if self._own:
            mlflow.set_tracking_uri(None)  # a later run of this process may have another root


class Trackio(Service):
    """Where TRACKIO_SERVER_URL or TRACKIO_SPACE_ID says; else in TRACKIO_DIR, or a folder below ``run.root``."""

    def variables(self) -> dict[str, str]:
        """Read once, when it is imported: of several runs of a process all are in the first one's folder."""
        return {"TRACKIO_DIR": str(self.place.root.resolve() / ".trackio")}

    def open(self, record: str | None) -> str:
        from accelerate.tracking import TrackioTracker

        name = record or unique(self.place)
        self.tracker = TrackioTracker(PROJECT, name=name, resume="allow", embed=False, auto_log_cpu=False,
                                      auto_log_gpu=False, config=dict(self.place.values))
        self.tracker.start()
        return name

    def where(self) -> str:
        from trackio.utils import TRACKIO_DIR

        return f"TRACKIO_DIR={TRACKIO_DIR} trackio show --project {PROJECT}"

    def steps(self, logged: Steps) -> Steps:
        from trackio.sqlite_storage import SQLiteStorage

        if self.tracker.run.url is not None:  # a server
            return logged
        found: Steps = {}
        for row in SQLiteStorage.get_logs(PROJECT, self.tracker.run.name):
            for name in row:
                note(found, name, row["step"])
        return found

    def store(self) -> None:
        """Done already: a later change of its configuration is not kept."""

    def close(self, ended: bool) -> None:
        """By Trackio's own function: its run alone would be closed once more at the end of the process."""
        import trackio

        trackio.finish()


class Aim(Service):
    """A repository below ``run.root``."""

    def open(self, record: str | None) -> str:
        from accelerate.tracking import AimTracker

        logging.getLogger("aim").setLevel(logging.ERROR)  # it warns of the locks that a killed run left
        self.place.root.mkdir(parents=True, exist_ok=True)
        self.tracker = AimTracker(
            self.place.folder.name, str(self.place.root), run_hash=record, experiment=PROJECT,
            force_resume=record is not None, capture_terminal_logs=False, system_tracking_interval=None)
        self.tracker.start()
        return str(self.tracker.writer.hash)

    def where(self) -> str:
        return f"aim up --repo {self.place.root}"

    def steps(self, logged: Steps) -> Steps:
        found: Steps = {}
        for metric in self.tracker.writer.metrics():
            note(found, metric.name, metric.last_step())
        return found


SERVICES: dict[Tracker, type[Service]] = {
    Tracker.tensorboard: TensorBoard, Tracker.wandb: WeightsAndBiases, Tracker.mlflow: MLflow,
    Tracker.trackio: Trackio, Tracker.aim: Aim}


def unique(place: Place) -> str:
    """The run's name and what makes it nobody else's, in characters that every tracker takes."""
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-"
                   for letter in place.folder.name)[:60]
    return f"{name}-{secrets.token_hex(CHARACTERS // 2)}"


def note(found: Steps, name: str, step: int) -> None:
    """Book that a value of this name stands at a step."""
    split, slash, _ = name.partition("/")
    if slash:
        found[split] = max(step, found.get(split, 0))


def logged_in() -> bool:
    """Whether W&B knows who is logging: it would ask at the terminal, or fail."""
    from netrc import NetrcParseError, netrc

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
