"""The user's own experiments and group files: folders given by ``--config-dir``, files named as a group's option.

They stand beside llmtrain's own configs and never in the place of one: a name means the same thing for everybody. Each
is read when it is chosen, and checked as the command line is (config_yaml.py).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from llmtrain.config.overrides import config_yaml
from llmtrain.config.overrides.config_yaml import OwnFile
from llmtrain.config.overrides.defaults_list import EXPERIMENT, normalise_defaults
from llmtrain.config.overrides.names import Names
from llmtrain.config.overrides.paths import expand
from llmtrain.config.schema import SCHEMAS
from llmtrain.core.errors import ConfigError

SCHEME, SUFFIXES = "own", (".yaml", ".yml")
LONGEST_RECORD = 1 << 16  # characters of a file's text in a checkpoint
GLOBAL = "_global_"


@dataclass(slots=True)
class _State:
    folders: list[Path] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)  # by config path, experiment/mine
    read: dict[str, OwnFile] = field(default_factory=dict)  # by config path: what was composed
    names: Names | None = None  # of the command that is composed
    chosen: frozenset[str] = frozenset()
    given: set[str] = field(default_factory=set)  # keys of the command line, which no file has set
    ours: Path = Path()


_state = _State()


@contextmanager
def using(folders: Iterable[str]) -> Iterator[None]:
    """Take ``folders`` in for one command. What fails over a key that an own file has set says where.

    Raises:
        ConfigError: One is no folder.
    """
    global _state
    before, _state = _state, _State([_folder(name) for name in folders])
    try:
        yield
    except ConfigError as error:
        if _state.read:
            raise ConfigError([_placed(problem) for problem in error.problems]) from error
        raise
    finally:
        _state = before


def _folder(name: str) -> Path:
    path = Path(expand(name))
    if not path.is_dir():
        what = "a file" if path.exists() else "no folder"
        advice = f"use +experiment={name}" if path.suffix in SUFFIXES else "name a folder of YAML files"
        raise ConfigError(f"--config-dir: {what} at {name}; {advice}")
    return path


def arguments() -> list[str]:
    """The command line that gives the same folders to another process."""
    return [word for folder in _state.folders for word in ("--config-dir", str(folder.absolute()))]


def records() -> dict[str, dict[str, Any]]:
    """What a run says of the own files it was composed of, by group and name; nothing of it is ever composed again."""
    return {name: {**file.record, "text": file.record["text"][:LONGEST_RECORD]}
            for name, file in sorted(_state.read.items())}


def file_of(config_path: str) -> OwnFile | None:
    """The own file that was composed under this name."""
    return _state.read.get(config_path)


def options(group: str) -> dict[str, Path]:
    """Own files of a group, by option."""
    return {path.stem: path for folder in _state.folders for path in sorted((folder / group).glob("*.yaml"))
            if path.is_file()}


def groups() -> list[str]:
    """Folders of YAML files in the own folders."""
    return sorted({path.name for folder in _state.folders for path in folder.iterdir()
                   if path.is_dir() and any(path.glob("*.yaml"))})


def is_file_name(value: object) -> bool:
    """Whether a group's option is a file's name."""
    return isinstance(value, str) and value.endswith(SUFFIXES)


def begin(names: Names, ours: Path, overrides: Iterable[Any]) -> None:
    """A composition begins: forget what an earlier one read."""
    _state.names, _state.chosen, _state.ours = names, frozenset(names.chosen), ours
    _state.given = {override.key_or_group for override in overrides}
    _state.files, _state.read = {}, {}


def taken_in(override: Any, names: Names) -> tuple[str, str] | None:
    """(group, option) of an override that names a file, which can now be composed; None for any other override.

    Raises:
        ConfigError: There is no such file.
    """
    group, value = override.key_or_group.replace(".", "/"), override.value()
    if not is_file_name(value) or group not in names.groups or override.is_delete():
        return None
    path = Path(expand(value))
    if not path.exists():
        if Path(value).name == value and Path(value).stem in names.options(group):
            advice = f"did you mean {group}={Path(value).stem}?"
        else:
            near = sorted(str(other) for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
            advice = names.near(value, near, "name an existing YAML file")
        raise ConfigError(f"no file at {value} for {group}; {advice}")
    option = re.sub(r"[^\w.-]", "_", path.stem)
    _state.files[f"{group}/{option}"] = path
    return group, option


def stem(config_path: str) -> str | None:
    """The name of the file behind an option that :func:`taken_in` made."""
    path = _state.files.get(config_path)
    return None if path is None else path.stem


def elsewhere(group: str, option: str) -> str | None:
    """A file of that name that is not where it would be looked for: what to write instead."""
    names = [f"{option}{suffix}" for suffix in SUFFIXES]
    places = [Path(group), Path(), *(place for folder in _state.folders for place in (folder, *_inside(folder)))]
    for place in places:
        for name in names:
            if (place / name).is_file():
                sign = "" if group in _state.chosen else "+"
                return f"did you mean {sign}{group}={place / name}?"
    return None


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _find(config_path: str) -> Path | None:
    """The own file behind a config path; None where there is none, or only a copy of llmtrain's own."""
    config_path = config_path.removesuffix(".yaml")
    if config_path.partition("/")[0] in ("hydra", "schema") or ".." in config_path.split("/"):
        return None
    if (path := _state.files.get(config_path)) is not None:
        return path
    ours = _state.ours / f"{config_path}.yaml"
    for folder in _state.folders:
        path = folder / f"{config_path}.yaml"
        if path.is_file() and not (ours.is_file() and _same(path, ours)):
            return path
    group, _, name = config_path.rpartition("/")
    if not ours.is_file():  # a defaults list may name what lies beside its file
        for chosen, path in _state.files.items():
            if chosen.rpartition("/")[0] == group and (beside := path.with_name(f"{name}.yaml")).is_file():
                return beside
    return None


def _same(path: Path, ours: Path) -> bool:
    try:
        return path.stat().st_size == ours.stat().st_size and path.read_bytes() == ours.read_bytes()
    except OSError:
        return False


def _load(config_path: str) -> OwnFile:
    config_path = config_path.removesuffix(".yaml")
    path = _find(config_path)
    assert path is not None and _state.names is not None
    if config_path not in _state.files and (_state.ours / f"{config_path}.yaml").is_file():
        if config_path in SCHEMAS:
            raise ConfigError(f"{config_path}.yaml at {path} has the name of what llmtrain itself starts from; put "
                              f"what you change into {path.parent / EXPERIMENT}/NAME.yaml and choose +experiment=NAME")
        raise ConfigError(f"another {config_path} than llmtrain's own at {path}; give the file another name")
    file = config_yaml.read(path)
    config_yaml.check(file, _prefix(config_path, file), _state.names)
    normalise_defaults(file, config_path.rpartition("/")[0], _state.names)
    _state.read[config_path] = file
    return file


def _package(config_path: str, file: OwnFile) -> str:
    """An experiment says what the whole configuration changes, with its ``# @package _global_`` or without it."""
    group = config_path.rpartition("/")[0]
    if file.package is not None:
        return group.replace("/", ".") if file.package == "_group_" else file.package
    return GLOBAL if group.partition("/")[0] == EXPERIMENT else group.replace("/", ".")


def _prefix(config_path: str, file: OwnFile) -> str:
    package = _package(config_path, file)
    return "" if package in (GLOBAL, "") else f"{package}."


def _placed(problem: str) -> str:
    """The problem, and where an own file set the key that it is about."""
    if any(str(file.path) in problem for file in _state.read.values()):
        return problem
    places = {path: f"{file.path}:{line}" for file in _state.read.values() for path, line in file.lines.items()
              if path not in _state.given}
    for path in sorted(places, key=len, reverse=True):
        if re.search(rf"(?<![\w.]){re.escape(path)}(?![\w.])", problem):
            what, mark, advice = problem.partition("; ")
            return f"{what} at {places[path]}{mark}{advice}"
    return problem


@cache
def _source() -> Any:
    from hydra.core.object_type import ObjectType
    from hydra.plugins.config_source import ConfigResult, ConfigSource
    from omegaconf import OmegaConf

    class OwnSource(ConfigSource):
        """Own files as one of the places that Hydra composes from."""

        @staticmethod
        def scheme() -> str:
            return SCHEME

        def load_config(self, config_path: str) -> ConfigResult:
            file = _load(config_path)
            return ConfigResult(provider=self.provider, path=self.path, config=OmegaConf.create(file.content),
                                header={"package": _package(config_path.removesuffix(".yaml"), file)})

        def available(self) -> bool:
            return True

        def is_config(self, config_path: str) -> bool:
            return _find(config_path) is not None

        def is_group(self, config_path: str) -> bool:
            return config_path == "" or any((folder / config_path).is_dir() for folder in _state.folders) or any(
                path.rpartition("/")[0] == config_path for path in _state.files)

        def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
            found = set()
            if results_filter != ObjectType.CONFIG:
                found |= {path.name for folder in _state.folders if (folder / config_path).is_dir()
                          for path in (folder / config_path).iterdir() if path.is_dir()}
            if results_filter != ObjectType.GROUP and config_path:
                found |= {*options(config_path), *(path.rpartition("/")[2] for path in _state.files
                                                   if path.rpartition("/")[0] == config_path)}
            return sorted(name for name in found if not name.startswith((".", "_")))

    return OwnSource


@cache
def _repository() -> Any:
    from hydra._internal.config_repository import ConfigRepository

    class SharedRepository(ConfigRepository):
        """Hydra copies its repository for every question, since the copy may be told to look in other places.

        So the copy needs a list of its own, and no copies of all that the places hold: half the time of a composition.
        """

        def __deepcopy__(self, _: dict[int, Any]) -> SharedRepository:
            copied = copy.copy(self)
            copied.sources = list(self.sources)
            return copied

    return SharedRepository


def add_to(loader: Any) -> None:
    """Let Hydra's config loader look among the own files first."""
    from hydra._internal.sources_registry import SourcesRegistry

    SourcesRegistry.instance().register(_source())
    path = loader.get_search_path()
    path.prepend(provider="own files", path=f"{SCHEME}://")
    loader.repository = _repository()(path)
