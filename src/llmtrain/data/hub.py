"""data=hub: any dataset of the Hugging Face hub by name, or a local folder in the hub's layout."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from llmtrain.config.schema import DataConfig
from llmtrain.data.examples import Example, Splits
from llmtrain.data.files import examples_of
from llmtrain.errors import ConfigError, DataError

REACH_SECONDS = 5.0


def read_hub(config: DataConfig, only: str | None) -> Splits:
    """Load the named splits with ``datasets`` (no loading scripts: datasets 4 and later run none).

    Raises:
        ConfigError: No name given.
        DataError: The hub or the dataset cannot be reached or lacks a split.
    """
    hub = config.hub
    if not hub.name:
        raise ConfigError("data=hub needs data.hub.name; give a dataset name or a local folder in the hub's layout")
    local = Path(hub.name).is_dir()
    if not local:
        _check_reachable(hub.name)
    notes: list[str] = []
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    names = {"train": hub.train_split, "validation": hub.validation_split, "test": hub.test_split}
    for split, name in names.items():
        if only in (None, split):
            rows = _load(config, name, required=split == "train" or only == split)
            if rows is not None:
                places = ((f"{hub.name}[{name}]:{i}", dict(row)) for i, row in enumerate(rows, start=1))
                splits[split] = examples_of(places, config, split, notes)
    return Splits(splits["train"], splits["validation"], splits["test"], f"hub {hub.name}", notes)


def _load(config: DataConfig, split: str, required: bool) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError

    hub = config.hub
    try:
        return load_dataset(hub.name, hub.config, split=split, revision=hub.revision)
    except ValueError as error:
        if not required and "split" in str(error).lower():
            return None
        raise DataError(f"cannot use split {split!r} of {hub.name} ({' '.join(str(error).split())[:150]}); check "
                        "data.hub.*") from error
    except (DatasetNotFoundError, HfHubHTTPError, OSError, RuntimeError) as error:
        raise DataError(f"cannot load the dataset {hub.name} ({' '.join(str(error).split())[:150]}); check "
                        "data.hub.name, data.hub.config and data.hub.revision") from error


def _check_reachable(name: str) -> None:
    """Fail in seconds, not after minutes of retries, when the hub cannot be reached and nothing is cached."""
    from datasets import config as settings
    from huggingface_hub import constants

    cached = Path(settings.HF_DATASETS_CACHE) / name.replace("/", "___")
    if cached.is_dir():
        return
    hint = "use data=files with local files, or data.hub.name=FOLDER"
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        raise DataError(f"the dataset {name} is not cached and HF_HUB_OFFLINE is set; {hint}")
    host = constants.ENDPOINT.split("://", 1)[-1].split("/", 1)[0].split(":", 1)[0]
    try:
        socket.create_connection((host, 443), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise DataError(f"the hub cannot be reached for the dataset {name} ({error}); {hint}") from error
