"""Shell completion: commands, keys, groups and their options. Imports neither torch nor Hydra."""

from __future__ import annotations

from pathlib import Path

from llmtrain.cli.command_table import COMMANDS, SHARED, Command
from llmtrain.cli.commands.list import kinds
from llmtrain.cli.options import CONFIG_DIR, split_options
from llmtrain.config.compose import config_dir
from llmtrain.config.overrides import config_files
from llmtrain.config.overrides.paths import expand
from llmtrain.config.reference import keys
from llmtrain.config.schema import SCHEMAS
from llmtrain.core.errors import ConfigError
from llmtrain.fetch.packaged_bases import PACKAGED_BASES

BASH = r"""_llmtrain() {
    local line="${COMP_LINE:0:COMP_POINT}" word
    word="${line##* }"
    COMPREPLY=($(llmtrain --complete "$line" 2>/dev/null))
    # bash breaks words at '=': give back only what follows the last one
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        local prefix="${word%"${word##*=}"}"
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" != *= ]] || compopt -o nospace 2>/dev/null
}
complete -o default -F _llmtrain llmtrain"""  # paths where nothing else is offered


def candidates(arguments: list[str]) -> list[str]:
    """Completions of the last word of a command line."""
    words = (arguments[0] if arguments else "").split(" ")
    current, before = words[-1], [w for w in words[1:-1] if w]
    if not before:
        return sorted(name for name in COMMANDS if name.startswith(current))
    command = COMMANDS.get(before[0], Command(""))
    if before[0] == "list":
        return [name for name in kinds() if name.startswith(current)]
    if before[0] == "fetch":
        return [name for name in PACKAGED_BASES if name.startswith(current)]
    if before[-1] in {option.name for option in SHARED}:
        return []  # a path
    if current.startswith("-"):
        offered = (*command.options, *(SHARED if command.composes else ()))
        return [option.completed for option in offered if option.completed.startswith(current) and not option.hidden]
    if before[0] in ("verify", "clean"):
        return []  # a path
    with config_files.using(_folders(before)):
        return _overrides(before, current)


def _folders(words: list[str]) -> list[str]:
    """The folders of own files that the line names so far."""
    try:
        given, _ = split_options(words, (CONFIG_DIR,))
    except ConfigError:  # the line is half written
        return []
    return [name for name in given.get(CONFIG_DIR, []) if Path(expand(name)).is_dir()]


def _overrides(before: list[str], current: str) -> list[str]:
    command = before[0] if before[0] in SCHEMAS else "train"
    prefix = current[:1] if current[:1] == "+" else ""
    name, equals, value = current.removeprefix(prefix).partition("=")
    if equals:
        return [f"{prefix}{name}={option}" for option in _values(command, name) if option.startswith(value)]
    found = [*keys(command), *config_files.groups(),
             *(folder.name for folder in config_dir().iterdir() if folder.is_dir())]
    return [f"{prefix}{key}=" for key in sorted(set(found)) if key.startswith(name)]


def _values(command: str, name: str) -> list[str]:
    folder = config_dir() / name
    if "." not in name and (mine := config_files.options(name)):
        return sorted({*mine, *(path.stem for path in folder.glob("*.yaml"))})
    if "." not in name and folder.is_dir():
        return sorted(path.stem for path in folder.glob("*.yaml"))
    key = keys(command).get(name)
    return key.choices if key is not None else []
