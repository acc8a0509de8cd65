"""What the words of ``llmtrain compare`` name: sides, each with a label and its paths, and overrides."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from llmtrain.config.compose import config_dir
from llmtrain.config.overrides.paths import expand, split_list, split_override
from llmtrain.config.schema import CompareCommandConfig
from llmtrain.core.errors import ConfigError, DataError, shown
from llmtrain.core.logging import warn
from llmtrain.evaluation.outcome import PREDICTIONS, RESULTS, is_stored


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared under one label.

    Attributes:
        paths: One for each seed.
        stored: Whether scored predictions lie at them; else they are files of predictions alone.
    """

    label: str
    paths: list[Path]
    stored: bool


def split_words(words: list[str]) -> tuple[list[Side], list[str]]:
    """The sides that the words name, in their order, and all other words: overrides.

    Raises:
        ConfigError: Two sides have one label, or a label names nothing.
        DataError: What is named is not there, or holds no predictions.
    """
    overrides = [word for word in words if _is_override(word)]
    named = [_split(word) for word in words if not _is_override(word)]
    found = [_paths(text) for _, text in named]
    given = [paths[0] for (label, _), paths in zip(named, found, strict=True) if label is None]
    short = dict(zip(given, _short_names(given), strict=True))
    sides = []
    for (label, text), paths in zip(named, found, strict=True):
        label = short[paths[0]] if label is None else label
        sides.append(_side(label, text, paths))
    twice = [label for label, times in Counter(side.label for side in sides).items() if times > 1]
    if twice:
        raise ConfigError(f"two sides are called {shown(twice[0])}; give each a label of its own, LABEL=PATH")
    return sides, overrides


def _is_override(word: str) -> bool:
    """Whether a word sets a key, or chooses an option of a group; any other LABEL=PATH names a side."""
    parts = split_override(word)
    if parts is None or Path(expand(word)).exists():
        return word[:1] in "~+" and not word.startswith("~/") and not Path(expand(word)).exists()
    prefix, name, value = parts
    sections = {field.name for field in fields(CompareCommandConfig)}
    groups = {folder.name for folder in config_dir().iterdir() if folder.is_dir()}
    section = name.replace("/", ".").partition(".")[0]
    return bool(prefix) or section in sections | groups or ("." in name and not _matches(value))


def _split(word: str) -> tuple[str | None, str]:
    """A word as the label that it gives, if it gives one, and what it names."""
    parts = split_override(word)
    if parts is None or Path(expand(word)).exists():
        return None, word
    if not parts[2]:
        raise ConfigError(f"{word} names nothing; write LABEL=PATH")
    return parts[1], parts[2]


def _paths(text: str) -> list[Path]:
    """The paths that a text names: one path, several with commas between them, or a pattern."""
    found = _matches(text)
    if not found:
        raise DataError(f"no run, folder or file at {text}; name a run folder, a folder that llmtrain eval wrote, or a "
                        "file of predictions")
    return found


def _matches(text: str) -> list[Path]:
    if Path(expand(text)).exists():
        return [Path(expand(text))]
    pieces = split_list(text)
    if len(pieces) > 1 and all(Path(expand(piece)).exists() for piece in pieces):
        return [Path(expand(piece)) for piece in pieces]
    return sorted(map(Path, glob.glob(expand(text))), key=_by_number)


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Orders a-2 before a-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _side(label: str, text: str, paths: list[Path]) -> Side:
    """A side of what a text named; what of a pattern holds nothing yet is told and left out."""
    stored = [path for path in paths if is_stored(path)]
    if stored:
        for path in paths:
            if path not in stored:
                warn(f"{path} holds no scored predictions and is left out of {label}")
        return Side(label, stored, True)
    if folder := next((path for path in paths if path.is_dir() or path.parent.name == "checkpoints"), None):
        raise DataError(f"no scored predictions at {folder}; {_remedy(folder)}")
    return Side(label, paths, False)


def _remedy(folder: Path) -> str:
    """What to do about a folder without predictions: a run that has not ended, a checkpoint, or another one."""
    root = next((parent for parent in (folder, *folder.parents) if (parent / "checkpoints").is_dir()), None)
    if root is None:
        return "name a run that has ended, a folder that llmtrain eval wrote, or a file of predictions"
    scored = [path.parent for path in sorted(root.glob(f"eval/*/{RESULTS}"))]
    if scored:
        return f"name what llmtrain eval wrote, such as {scored[0]}"
    return f"let the run end, or score a checkpoint and name the folder that it is told to: llmtrain eval " \
           f"checkpoint={folder}"


def _short_names(paths: Iterable[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart."""
    folders = [path.parent if path.name == PREDICTIONS else path for path in paths]
    parts = [Path(path.absolute()).parts for path in folders]
    for size in range(1, max(map(len, parts), default=0)):
        names = ["/".join(one[-size:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(one) for one in parts]
