"""From files and overrides to one composed configuration: find configs/, compose with Hydra, apply presets.

Hydra is used through its compose API alone: no output folder, no logging set-up, no change of directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from llmtrain.config.convert import did_you_mean
from llmtrain.config.hydra_store import register_schemas
from llmtrain.config.overrides import config_files
from llmtrain.config.overrides.interpolation import resolver_in, texts
from llmtrain.config.overrides.names import Names
from llmtrain.config.overrides.paths import quote
from llmtrain.config.overrides.texts import quote_overrides
from llmtrain.config.presets import apply_presets
from llmtrain.config.reference import keys
from llmtrain.core.errors import ConfigError, shorten

if TYPE_CHECKING:
    from omegaconf import DictConfig


def config_dir() -> Path:
    """The folder of yaml files: beside the installed module, else the repository's configs/.

    Raises ConfigError when neither exists.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parents[1] / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"no configs folder beside {package}; install llmtrain again")


@contextmanager
def session(command: str, parsed: Iterable[Any] = ()) -> Iterator[Any]:
    """Hydra's config loader over our configs folder and the user's own, for a command and its parsed overrides; the
    Hydra state that the caller had comes back."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_schemas(config_dir(), command)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config_files.begin(Names(command, loader, default_groups(command)), config_dir(), parsed)
        config_files.add_to(loader)
        yield loader


@cache
def default_groups(command: str) -> frozenset[str]:
    """Groups in the defaults list of a command's primary configuration."""
    import yaml

    listed = yaml.safe_load((config_dir() / f"{command}.yaml").read_text(encoding="utf-8"))["defaults"]
    return frozenset(name for entry in listed if isinstance(entry, dict) for name in entry)


def parse(overrides: list[str]) -> list[Any]:
    """Hydra's parsed overrides. Raises ConfigError with one line for each that its grammar cannot read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed, problems = OverridesParser.create(), [], []
    for override in overrides:
        try:
            parsed.append(parser.parse_override(override))
            # as typed, for the parts of a sweep; and as read, since the grammar takes backslashes away
            asked = (resolver_in(text) for text in (override, *texts(parsed[-1].value())))
            if (resolver := next(filter(None, asked), None)) is not None:
                problems.append(f"{override.partition('=')[0]} has {shorten(resolver, 80)}...}}, which would read "
                                "something else than the configuration; write the value itself")
        except (ValueError, RecursionError) as error:  # Python itself reads no number of 5,000 digits
            problems.append(f"cannot read {shorten(override, 80)} ({shorten(str(error), 80) or type(error).__name__}); "
                            "give a shorter value")
        except HydraException as error:
            if "=" not in override and not override.startswith("~"):
                problems.append(f"{override!r} is not KEY=VALUE; `llmtrain --help` shows the form")
            else:
                problems.append(f"cannot read {override!r} ({str(error).splitlines()[0]}); put the value in quotes: "
                                "\"KEY='VALUE'\"")
    if problems:
        raise ConfigError(problems)
    return parsed


def check_names(command: str, parsed: list[Any], loader: Any, multirun: bool = False) -> None:
    """Raise ConfigError with one line for each key, group or option that does not exist, wrong value, and sweep.

    ``multirun``: whoever asks could take a sweep under --multirun.
    """
    several = "add --multirun, or quote the value" if multirun else "give one value, or quote it"
    problems = [f"{o.input_line} is a sweep; {several}: \"{o.key_or_group}='{o.input_line.partition('=')[2]}'\""
                for o in parsed if o.is_sweep_override()]
    names = Names(command, loader, default_groups(command), config_files.elsewhere)
    problems += [problem for o in parsed if not o.is_sweep_override() and (problem := names.problem(o))]
    if problems:
        raise ConfigError(problems)


def _sweeps(parsed: list[Any], advice: str) -> list[str]:
    return [f"{o.input_line} is a sweep; {advice}" for o in parsed if o.is_sweep_override()]


def refuse_sweeps(parsed: list[Any], advice: str) -> None:
    """Raise ConfigError with one line for each override that lists several values."""
    if problems := _sweeps(parsed, advice):
        raise ConfigError(problems)


def compose(command: str, overrides: list[str], multirun: bool = False) -> tuple[DictConfig, dict[str, str]]:
    """The composed configuration of a command, and what set each key that a preset changed.

    Args:
        command: One of ``SCHEMAS``.
        overrides: As typed in a shell; path values need no quoting.
        multirun: Several values of a key are for --multirun, which the caller has; else they are for nothing.

    Raises:
        ConfigError: With one line for each wrong key, group, option or value.
    """
    from omegaconf import open_dict

    overrides = quote_overrides(overrides, command)
    parsed = parse(overrides)
    with session(command, parsed) as loader:
        overrides, parsed = take_in_files(command, overrides, parsed, loader)
        check_names(command, parsed, loader, multirun)
        config = _compose(command, overrides)
        experiment = config.hydra.runtime.choices.get("experiment")
        with open_dict(config):
            del config["hydra"]
        if isinstance(experiment, str):
            experiment = config_files.stem(f"experiment/{experiment}") or experiment
    changed = apply_presets(config, parsed, experiment) if command == "train" else {}
    return config, changed


def take_in_files(command: str, overrides: list[str], parsed: list[Any], loader: Any) -> tuple[list[str], list[Any]]:
    """The overrides and their parsed form, with the option that a file is composed as in the place of its name.

    Raises:
        ConfigError: With one line for each file that is not there.
    """
    names, taken, problems = Names(command, loader, default_groups(command)), list(overrides), []
    for index, override in enumerate(parsed):
        if override.is_sweep_override() or not config_files.is_file_name(override.value()):
            continue
        try:
            if (found := config_files.taken_in(override, names)) is not None:
                sign = "+" if override.is_add() or found[0] not in names.chosen else ""
                taken[index] = f"{sign}{override.key_or_group}={quote(found[1])}"
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return taken, parsed if taken == overrides else parse(taken)


def _compose(command: str, overrides: list[str]) -> DictConfig:
    """Hydra's own composition, its errors in our one line."""
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return hydra_compose(command, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(command, error)) from error
    except OverflowError as error:  # a whole number of 400 digits for a float
        named = re.search(r"full_key: (\S+)", str(error))
        raise ConfigError(f"{named[1] if named else 'a value'} is a number out of range; give a smaller one") from error


def _one_line(command: str, error: Exception) -> str:
    from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException

    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigAttributeError) and is_dataclass(cause.object_type):
        return _no_such_key(str(cause.full_key), cause.object_type)
    key = keys(command).get(str(getattr(cause, "full_key", None) or ""))
    if key is None and (entry := _entry_problem(command, str(error).splitlines()[0], str(cause).splitlines()[0])):
        return entry
    value = getattr(cause, "value", None)
    text = " ".join(line.strip() for line in str(cause).splitlines() if not line.strip().startswith("object_type="))
    if key is None:
        head = str(error).splitlines()[0]
        return f"{head}: {text}" if cause is not error else text
    line = str(error).splitlines()[0].removeprefix("Error merging override ")
    if cause is error or "=" not in line:  # a yaml, not the command line
        return f"{text}; give {key.expects} for {key.path}"
    value = line.partition("=")[2]
    hint = did_you_mean(value, key.choices, f"give {key.expects}") if key.choices else f"give {key.expects}"
    return f"{key.path}={value} is not {key.expects}; {hint}" if key.choices else (
        f"{key.path}={value} is not {key.expects}{' or null' if key.optional else ''}; give one")


def _no_such_key(path: str, schema: Any) -> str:
    """One line for a key that another choice of its group has, and the chosen one has not."""
    group = path.rpartition(".")[0]
    known = {field.name: field.default for field in fields(schema)}
    names = [f"{group}.{name}" for name in known if name != "name"]
    return f"{group}={known['name']} has no key {path}; " + did_you_mean(path, names, f"it has {', '.join(names)}")


def _entry_problem(command: str, line: str, cause: str) -> str | None:
    """One line for an entry of a list that does not fit; Hydra names the list in its own first line alone."""
    named = re.search(r"override '?([\w.]+)", line)
    key = keys(command).get(named[1]) if named else None
    if key is None or get_origin(key.type) is not list:
        return None
    return f"{key.path} has an entry that does not fit ({cause}); give {key.expects}"


def to_container(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values, interpolations resolved. Raises ConfigError when one cannot be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        container = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()}
