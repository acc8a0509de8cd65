"""A run's folder: claimed by one process at a time, for one configuration.

A folder is a run once it holds a committed checkpoint or final results. Before that any configuration may claim it.
"""

from __future__ import annotations

import contextlib
import glob
import os
from pathlib import Path
from typing import Any, Self

import yaml

from llmtrain.checkpoint import has_checkpoint
from llmtrain.config.choices import Resume
from llmtrain.config.convert import to_dict
from llmtrain.config.run_id import HASH_LENGTH, other_run, result_dict, run_name
from llmtrain.config.schema import TrainConfig
from llmtrain.config.stored import read_config
from llmtrain.core.errors import CheckpointError, ConfigError, LlmtrainError, shorten
from llmtrain.core.files import clear_staged, read_json, remove, write_json, write_text
from llmtrain.core.lock import LOCK_NAME, FolderLock
from llmtrain.core.logging import is_main, warn
from llmtrain.training.out_of_memory import watch
from llmtrain.training.run_folder.environment import describe, differences
from llmtrain.training.run_folder.fingerprints import fingerprints_of

CONFIG, ENVIRONMENT, METRICS, RESULTS = "config.yaml", "environment.json", "metrics.jsonl", "results.json"
LONGEST_NAME = 255  # bytes, of file systems in use
RECORDS = "trackers.json"
TRACKED = {  # folders of trackers that write into the run's, and what each writes there
    "llmtrain": ("events.out.tfevents.*",), "wandb": ("run-*", "offline-run-*", "latest-run", "debug*.log")}
WRITTEN = {CONFIG, ENVIRONMENT, METRICS, RECORDS, *TRACKED}  # before there is a checkpoint


class RunFolder:
    """A claimed run folder.

    Attributes:
        path: The folder.
        lock: Held until :meth:`release`; None in processes other than the first, which only read.
        finished_results: results.json of a run that has already ended, else None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock: FolderLock | None = None
        self.finished_results: dict[str, Any] | None = None
        self._ours: set[str] = set()  # what of WRITTEN a run made or may make

    @classmethod
    def claim(cls, config: TrainConfig) -> Self:
        """Lock the folder that ``config`` names and write config.yaml and environment.json into a new one.

        Fills in ``config.fingerprints``.

        Raises:
            ConfigError: It is in use, belongs to another configuration, or ``run.resume`` forbids it.
            CheckpointError: What an earlier run left cannot be read.
            ResourceError: Nothing can be written there.
        """
        config.fingerprints, failed = fingerprints_of(config)
        folder = cls(_path_of(config, failed))
        if is_main():
            folder.lock = FolderLock(folder.path)
        try:
            folder._look_around()
            is_run = folder._examine(config)
            if folder.lock is not None:
                folder._clear()
                if folder.finished_results is None:
                    folder._prepare(config, is_run)
                    watch(folder.lock)
        except BaseException:
            folder.abandon()
            folder.release()
            raise
        return folder

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def _look_around(self) -> None:
        """See what is somebody else's. Only under the lock: until then another start may come or go."""
        if self.lock is not None:
            self._ours = WRITTEN if self.lock.stood else WRITTEN - {entry.name for entry in self.path.iterdir()}

    def _examine(self, config: TrainConfig) -> bool:
        """Whether the folder is a run already, one that this configuration may go on with."""
        if self._checkpoints.is_symlink():  # whoever made it could have what lies elsewhere replaced and removed
            raise CheckpointError(f"a symbolic link at {self._checkpoints}; put the folder itself there, or have the "
                                  "whole run on another disk by run.root")
        results = self.path / RESULTS
        if results.exists():
            found = read_json(results)
            if not isinstance(found, dict):
                raise CheckpointError(f"no results at {results}; remove the file to score the run again")
            self.finished_results = found if found.get("complete", True) else None
        is_run = self.finished_results is not None or has_checkpoint(self._checkpoints)
        if is_run:
            if config.run.resume is Resume.never:
                raise ConfigError(f"run.resume=never but there is a run at {self.path}; choose another run.name")
            self._check_same(config)
        elif config.run.resume is Resume.must and config.run.extend_from is None:
            raise ConfigError(f"run.resume=must but there is no checkpoint at {self.path}; start with run.resume=auto")
        return is_run

    def _check_same(self, config: TrainConfig) -> None:
        stored = read_config(self.path / CONFIG)
        if keys := other_run(stored, config, self.finished_results is not None):
            there, here = result_dict(stored, by_path=True), result_dict(config, by_path=True)
            told = ", ".join(f"{key} is {_shown(there.get(key))} there and {_shown(here.get(key))} here"
                             if there.get(key) != here.get(key) else
                             f"{key} is {_shown(here.get(key))}, which held something else when that run began"
                             for key in keys)
            raise ConfigError(f"another configuration's run is at {self.path}: {told}; choose another run.name, or "
                              "take those values back")

    def _clear(self) -> None:
        """Remove what earlier starts left unfinished."""
        if self.lock is not None and self.lock.stood:  # else the folder is new or somebody's
            clear_staged(self.path)
            clear_staged(self._checkpoints)

    def _prepare(self, config: TrainConfig, is_run: bool) -> None:
        if not is_run and (taken := {CONFIG, ENVIRONMENT, METRICS} - self._ours):
            raise ConfigError(f"the folder at {self.path} is no run and holds a {min(taken)}; choose another run.name")
        now = describe(config.trainer.threads)
        if not is_run:
            write_text(self.path / CONFIG, yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))
            write_json(self.path / ENVIRONMENT, now)
            return
        before = read_json(self.path / ENVIRONMENT) if (self.path / ENVIRONMENT).exists() else None
        if isinstance(before, dict) and (changed := differences(before, now)):
            warn(f"the run started in another environment ({', '.join(changed)}); it may not repeat bitwise")

    def abandon(self) -> None:
        """After a failure: leave no trace of a claim that came to no checkpoint. A run keeps everything.

        It raises nothing, which would stand in the place of that failure.
        """
        if self.lock is None:
            return
        try:
            if (self.path / RESULTS).exists() or has_checkpoint(self._checkpoints):
                return
        except (OSError, LlmtrainError):  # a closed folder: what it holds may be a run
            return
        tracked = {self.path / name: patterns for name, patterns in TRACKED.items() if name in self._ours}
        with contextlib.suppress(OSError, LlmtrainError):
            for name in self._ours - TRACKED.keys():
                remove(self.path / name)
            for folder, patterns in tracked.items():
                for pattern in patterns if not folder.is_symlink() else ():
                    for written in folder.glob(pattern):
                        remove(written)
            (self.path / LOCK_NAME).unlink(missing_ok=True)
        for folder in (self._checkpoints, *tracked, *self.lock.made):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only when empty

    def release(self) -> None:
        """Unlock; fine when that happened before."""
        if self.lock is not None:
            self.lock.release()


def _shown(value: Any) -> str:
    return shorten(str(value), 100)


def _path_of(config: TrainConfig, failed: list[LlmtrainError]) -> Path:
    """The folder of a run.

    Args:
        failed: Why some paths have no fingerprint: without them no name can be made, but a run may be there already.
    """
    root = Path(config.run.root).expanduser()
    path = _inside(root, run_name(config), config)
    if config.run.name is not None:
        return path
    before = root / run_name(config, by_path=True)  # a version that hashed paths made it
    if not failed:
        return before if not path.exists() and _begun_as(config, before) else path
    known = [before, *sorted(root.glob(f"{glob.escape(config.experiment_name)}-{'[0-9a-f]' * HASH_LENGTH}"))]
    if (found := next((folder for folder in known if _begun_as(config, folder)), None)) is None:
        raise failed[0]
    return found


def _begun_as(config: TrainConfig, folder: Path) -> bool:
    """Whether a run was begun there with this very configuration."""
    try:
        stored = read_config(folder / CONFIG) if (folder / CONFIG).is_file() else None
        return stored is not None and not other_run(stored, config, finished=True)
    except LlmtrainError:
        return False


def _inside(root: Path, given: str, config: TrainConfig) -> Path:
    name = Path(given)
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise ConfigError(f"run.name={shorten(str(name), 80)} leaves run.root={config.run.root}; give a name, not "
                          "a path")
    if (longest := max(len(os.fsencode(part)) for part in name.parts)) > LONGEST_NAME:
        raise ConfigError(f"run.name={shorten(str(name), 60)} has {longest} bytes and a folder's name {LONGEST_NAME} "
                          "at most; shorten it")
    return root / name
