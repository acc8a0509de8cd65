"""A folder in the hub's layout, or a dataset there, is read as far as it reaches, whatever its own metadata name.

``datasets`` obeys the ``configs`` in README.md: absolute paths, of this machine also where the dataset is on the hub,
paths with ``..``, and addresses, which it fetches.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmtrain.core.errors import DataError, shorten, shown

METADATA = ("README.md", ".huggingface.yaml")
FIELDS = ("data_files", "data_dir")  # of a config: what names files
PARENT = re.compile(r"(^|[/\\\\{},])\.\.([/\\\\{},]|$)")


def check_folder(folder: Path) -> None:
    """Raises DataError for a link that leads out of the folder, what is no file, and metadata that name such."""
    roots = [folder.resolve()]
    if roots[0].parent.name == "snapshots":  # of the hub's cache, where files are links to their contents
        roots.append(roots[0].parent.parent / "blobs")
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _check_entry(Path(place, name), roots)
    for name in METADATA:
        if (folder / name).is_file() and (path := _leaving(folder / name)) is not None:
            raise DataError(f"{shown(path)} leads out of the folder at {folder / name}; data.hub.name=FOLDER reads "
                            "only files inside FOLDER, so name them by their place in it")


def check_card(dataset: str, revision: str | None) -> None:
    """The same for the metadata of a dataset of the hub; whether it can be had at all, ``load_dataset`` tells."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    for name in METADATA:
        try:
            file = Path(hf_hub_download(dataset, name, repo_type="dataset", revision=revision))
        except (HfHubHTTPError, OSError, ValueError):
            continue
        if (path := _leaving(file)) is not None:
            raise DataError(f"{shown(path)} leads out of the dataset {shown(dataset)} at {file}; use another dataset, "
                            "or a copy whose metadata name its own files")


def _leaving(metadata: Path) -> str | None:
    """A path that its metadata name and that leads elsewhere."""
    return next((path for path in _named(_metadata(metadata)) if PARENT.search(path) or urlsplit(path).scheme
                 or path.startswith(("/", "~", "\\")) or "::" in path), None)


def _check_entry(path: Path, roots: list[Path]) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = path.resolve()
        if not any(target.is_relative_to(root) for root in roots):
            raise DataError(f"a link leads out of the folder at {path}; data.hub.name=FOLDER reads only files inside "
                            "FOLDER, so put a copy there")
        mode = target.stat().st_mode if target.exists() else 0  # nothing is read through a broken one
        if stat.S_ISDIR(mode):  # it may lead round and round
            raise DataError(f"a link to a folder at {path}; put the folder itself there")
    if mode and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError(f"no regular file at {path}; remove it from the folder that data.hub.name names")


def _metadata(path: Path) -> Any:
    """What ``datasets`` reads there: a YAML file, or the YAML between two lines ``---``."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".md":
            block = REGEX_YAML_BLOCK.search(text)
            text = block.group(2) if block else ""
        return yaml.safe_load(text)
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        line = shorten(str(error), 120)
        raise DataError(f"cannot read the metadata at {path} ({line}); repair or remove them") from error


def _named(metadata: Any) -> Iterator[str]:
    """Every text under data_files and data_dir, wherever they stand."""
    waiting, seen = [(metadata, False)], set()
    while waiting:
        value, wanted = waiting.pop()
        if isinstance(value, str):
            if wanted:
                yield value
        elif isinstance(value, dict | list) and (id(value), wanted) not in seen:  # YAML can refer to itself
            seen.add((id(value), wanted))
            items = value.items() if isinstance(value, dict) else ((None, one) for one in value)
            waiting += [(one, (wanted and name != "split") or name in FIELDS) for name, one in items]
