"""What Python callers give as arguments, held to the same types, ranges and cross-checks as the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from llmtrain.config.bounds import out_of_range
from llmtrain.config.choices import Device, PrecisionName
from llmtrain.config.convert import build, convert, did_you_mean
from llmtrain.config.decode_checks import decoding_problems
from llmtrain.config.plain import plain
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.core.errors import ConfigError

OTHERS = ("precision", "device", "plugins", "task")  # arguments beside the decode settings


@dataclass(frozen=True, slots=True)
class Arguments:
    """Checked arguments of a published model as Python opens it; ``task``: the one that is meant of several."""

    folder: Path
    precision: PrecisionName
    device: Device
    plugins: tuple[Path, ...]
    generation: dict[str, Any]
    task: str | None = None

    def over(self, stored: GenerationConfig) -> GenerationConfig:
        """The stored decode settings with the given ones. Raises ConfigError where they do not go together."""
        return _settled(stored, self.generation)


def decode_settings(stored: GenerationConfig, given: Mapping[str, Any]) -> GenerationConfig:
    """The stored decode settings with the given ones, by their names.

    Raises:
        ConfigError: With one line for each that is unknown, of a wrong type or out of its range, or for those that do
            not go together.
    """
    problems: list[str] = []
    known = _known_settings(given, problems, ())
    if problems:
        raise ConfigError(problems)
    return _settled(stored, known)


def _settled(stored: GenerationConfig, known: Mapping[str, Any]) -> GenerationConfig:
    generation = build(GenerationConfig, plain(stored) | dict(known))
    if problems := [*out_of_range(generation),
                    *(line.replace("generation.", "") for line in decoding_problems(generation))]:
        raise ConfigError(problems)
    return generation


def _known_settings(given: Mapping[str, Any], problems: list[str], others: tuple[str, ...]) -> dict[str, Any]:
    """Those that are decode settings, and a line for each that is none or has a wrong value.

    Args:
        others: What else the caller takes, for the line.
    """
    settings = {name: _number(value) for name, value in given.items()}
    names = [field.name for field in fields(GenerationConfig)]
    problems += [f"unknown argument {name}; " + did_you_mean(name, [*names, *others], "choose from "
                                                             + ", ".join([*others, *names]))
                 for name in settings if name not in names]
    known = {name: value for name, value in settings.items() if name in names}
    try:
        problems += out_of_range(build(GenerationConfig, known))
    except ConfigError as error:
        problems += error.problems
    return known


def arguments(folder: Any, precision: Any, device: Any, plugins: Any, generation: Mapping[str, Any],
              task: Any = None) -> Arguments:
    """Raises ConfigError with one line for each argument that is unknown, of a wrong type or no such name."""
    problems: list[str] = []
    if not isinstance(folder, str | Path) or not str(folder):
        problems.append(f"folder={folder!r} is not a path; give a run folder, a pointer, a step or a model folder")
    if task is not None and not isinstance(task, str):
        problems.append(f"task={task!r} is not a text; give the name of one of the model's tasks")
    known = _known_settings(generation, problems, OTHERS)
    chosen = convert(PrecisionName, precision, "precision", problems)
    where = convert(Device, _device(device), "device", problems)
    files = _paths(plugins, problems)
    if problems:
        raise ConfigError(problems)
    return Arguments(Path(folder).expanduser(), chosen, where, files, known, task)


def _paths(plugins: Any, problems: list[str]) -> tuple[Path, ...]:
    """One file or several: a text is a path, not a list of letters."""
    one = isinstance(plugins, str | Path)
    listed = [plugins] if one or not isinstance(plugins, Iterable) else list(plugins)
    if not all(isinstance(file, str | Path) for file in listed):
        problems.append(f"plugins={plugins!r} is not a path or a list of paths; give Python files")
        return ()
    return tuple(Path(file).expanduser() for file in listed)


def _number(value: Any) -> Any:
    """numpy's numbers as Python's own."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def _device(device: Any) -> Any:
    """A torch.device by its name."""
    return str(device) if type(device).__module__ == "torch" else device
