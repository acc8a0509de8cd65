"""data=hub: any dataset of the Hugging Face hub by name, or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from llmtrain.config.sections.data import DataConfig
from llmtrain.core.errors import ConfigError, DataError, shorten
from llmtrain.core.paths import given_path
from llmtrain.data.examples import Example, Splits, take_from_train
from llmtrain.data.sources.hub_folder import check_card, check_folder
from llmtrain.data.sources.own_files import examples_of
from llmtrain.data.sources.readers import rows_of_batch
from llmtrain.fetch.reach import closed_cache_told, dataset_place, offline, unreachable

ROWS_AT_ONCE = 1000


@closed_cache_told()
def read_hub(config: DataConfig, only: str | None, labelled: bool = True) -> Splits:
    """Load the named splits with ``datasets`` (no loading scripts: datasets 4 and later run none).

    A validation or test split that the dataset lacks is taken from train by a hash of the document.

    Raises:
        ConfigError: No name given.
        DataError: The hub or the dataset cannot be reached or lacks a split that the configuration names.
        ResourceError: The cache of the hub's libraries cannot be written.
    """
    hub = config.hub
    if not hub.name:
        raise ConfigError("data=hub needs data.hub.name; give a dataset name or a local folder in the hub's layout")
    if given_path(hub.name, "data.hub.name").is_dir():
        check_folder(Path(hub.name))
    else:
        _check_reachable(hub.name)
        check_card(hub.name, hub.revision)
    notes: list[str] = []
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    licenses: list[str] = []
    read = partial(_read_split, config, splits=splits, notes=notes, labelled=labelled, licenses=licenses)
    held_out = config.validation_from_train is not None  # then the dataset's own validation split is left alone
    if only is None or (only == "validation" and held_out) or not read(only):
        missing = [name for name in ("test", "validation") if (name == "validation" and held_out) or not read(name)]
        read("train")
        notes += take_from_train(splits, missing, "{} split", config.validation_from_train, config.split_seed)
    return Splits(splits["train"], splits["validation"], splits["test"], f"hub {hub.name}", notes,
                  license=licenses[0] if licenses else None)


def _read_split(config: DataConfig, split: str, splits: dict[str, list[Example]], notes: list[str],
                labelled: bool, licenses: list[str]) -> bool:
    """Read one split into ``splits``; False where the dataset has none of the usual name."""
    name = getattr(config.hub, f"{split}_split")
    rows = _load(config, name, required=name != split or split == "train")
    if rows is not None:
        if (told := getattr(rows.info, "license", None)) and isinstance(told, str):
            licenses.append(told)
        tables = rows.with_format("arrow").iter(batch_size=ROWS_AT_ONCE)  # plain values: no picture is opened
        plain = (row for table in tables for batch in table.to_batches() for row in rows_of_batch(batch))
        named = with_class_names(plain, rows.features)
        places = ((f"{config.hub.name}[{name}]:{i}", row) for i, row in enumerate(named, start=1))
        splits[split] = examples_of(places, config, split, notes, labelled)
    return rows is not None


def with_class_names(rows: Iterable[dict[str, Any]], features: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows whose classes are called by their names, which a dataset keeps apart from their numbers.

    -1 is how the hub writes that a row has none: None.
    """
    names = {column: found for column, feature in features.items()
             if (found := getattr(getattr(feature, "feature", feature), "names", None))}

    if not names:
        yield from rows
        return

    def name(column: str, value: Any) -> Any:
        if isinstance(value, list):
            return [name(column, one) for one in value]
        if not isinstance(value, int) or not -1 <= value < len(names[column]):
            return value
        return None if value == -1 else names[column][value]

    for row in rows:
        yield row | {column: name(column, row[column]) for column in names if column in row}


def _load(config: DataConfig, split: str, required: bool) -> Any:
    import yaml
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    hub = config.hub
    try:
        return load_dataset(hub.name, hub.config, split=split, revision=hub.revision)
    except (DatasetsError, HfHubHTTPError, OSError, RuntimeError, ValueError, AttributeError, KeyError, TypeError,
            yaml.YAMLError) as error:  # the latter for what a dataset's README.md or dataset_infos.json holds
        if str(error).startswith("Unknown split"):
            if not required:
                return None
            raise DataError(f"no split {split!r} in {hub.name} ({shorten(str(error), 150)}); check "
                            "data.hub.*_split") from error
        raise DataError(f"cannot load the dataset {hub.name} ({shorten(str(error), 150)}); check "
                        "data.hub.name, data.hub.config and data.hub.revision") from error


def _check_reachable(name: str) -> None:
    """Fail in seconds, not after minutes of retries, when the hub cannot be reached and nothing is cached."""
    from datasets import config as settings

    cached = Path(settings.HF_DATASETS_CACHE) / name.replace("/", "___")
    if cached.is_dir():
        return
    hint = "use data=files with local files, or data.hub.name=FOLDER"
    if offline():
        raise DataError(f"the dataset {name} is not cached and HF_HUB_OFFLINE is set; {hint}")
    if problem := unreachable(dataset_place(name)):
        raise DataError(f"the hub cannot be reached for the dataset {name} ({problem}); {hint}")
