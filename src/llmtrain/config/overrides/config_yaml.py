"""One YAML file of the user's own, read strictly: each problem is a line that names the file and the place in it.

Such a file is trusted as the command line is, and held to the same: known keys, values of their type, no resolvers, no
secrets. What is read is also what a checkpoint records of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from llmtrain.config.convert import hints
from llmtrain.config.overrides.interpolation import resolver_in
from llmtrain.config.reference import annotated
from llmtrain.core.errors import ConfigError, redact, shorten
from llmtrain.core.files import read_regular

if TYPE_CHECKING:
    import yaml

    from llmtrain.config.overrides.names import Names

LIMIT = 1 << 18  # bytes of one file
MOST_NODES = 20_000  # aliases written out: a few lines of them could stand for more than any memory holds
SECRET_KEYS = ("token", "hf_token", "password", "api_key", "secret")
_HEADER = re.compile(r"#\s*@package\s+(\S+)\s*$")
_TEXT_TAG = "tag:yaml.org,2002:str"
_NULL_TAG = "tag:yaml.org,2002:null"


@dataclass(slots=True)
class OwnFile:
    """What one file says.

    Attributes:
        path: As the user named it.
        content: Its keys, the defaults list among them.
        lines: The line of each dotted path in it.
        package: Of its ``# @package`` line; None without one.
    """

    path: Path
    text: str
    content: dict[str, Any]
    root: Any
    package: str | None
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """What a checkpoint says of it: what is in it, not where it lies."""
        return {"sha256": hashlib.sha256(self.text.encode()).hexdigest(), "text": redact(self.text)}


@cache
def _loader() -> Any:
    from omegaconf._utils import get_yaml_loader

    return get_yaml_loader()


def read(path: Path) -> OwnFile:
    """The file, parsed. Raises ConfigError naming the file, and the line where there is one."""
    import yaml

    try:
        text = read_regular(path, LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 at {path}; save the file as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise ConfigError(f"cannot read the configuration at {path} ({reason}); name a YAML file") from error
    loader = None
    try:
        loader = _loader()(text)
        root = loader.get_single_node()
        if root is None:
            return OwnFile(path, text, {}, None, _package(text))
        _refuse_many(root, path)
        content = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark is not None else path
        raise ConfigError(f"{shorten(_said(error), 120)} at {place}; correct the YAML there") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"no YAML at {path} ({shorten(str(error), 120)}); correct the file") from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(content, dict):
        raise ConfigError(f"no keys at {path}:{root.start_mark.line + 1}; write KEY: VALUE, one a line")
    return OwnFile(path, text, content, root, _package(text))


def _said(error: yaml.MarkedYAMLError) -> str:
    if "cannot start any token" in str(error.problem) and "\\t" in str(error.problem):
        return "a tab where YAML wants spaces"
    return str(error.problem or error.context)


def _package(text: str) -> str | None:
    """The ``# @package`` line, above everything else."""
    for line in text.splitlines():
        if found := _HEADER.match(line.strip()):
            return found[1]
        if line.strip() and not line.strip().startswith("#"):
            return None
    return None


def _refuse_many(root: Any, path: Path) -> None:
    """Raise ConfigError when aliases, written out, are more than a configuration holds, or lead back to themselves."""
    sizes: dict[int, int] = {}

    def size(node: Any, above: frozenset[int]) -> int:
        if id(node) in above:
            raise ConfigError(f"an alias of itself at {path}:{node.start_mark.line + 1}; write the values out")
        if id(node) not in sizes:
            inside = node.value if isinstance(node.value, list) else []
            below = [part for one in inside for part in (one if isinstance(one, tuple) else (one,))]
            sizes[id(node)] = 1 + sum(size(part, above | {id(node)}) for part in below)
        return sizes[id(node)]

    if size(root, frozenset()) > MOST_NODES:
        raise ConfigError(f"more than {MOST_NODES} values at {path}; write fewer, without aliases")


def check(file: OwnFile, prefix: str, names: Names) -> None:
    """Raise ConfigError with one line for each key or value that cannot be. ``prefix``: the group, with a dot."""
    problems: list[str] = []
    if file.root is not None:
        for path, node, value in _leaves(file.root, file.content, prefix, names):
            line = node.start_mark.line + 1
            file.lines[path] = line
            problems += [_at(problem, f"{file.path}:{line}") for problem in _problems(path, node, value, names)]
    told = " ".join(problems)
    for number, line in enumerate(file.text.splitlines(), 1):
        if redact(line) != line and f":{number}; leave it out, and put a hub token" not in told:
            problems.append(f"what looks like a secret at {file.path}:{number}; leave it out, and put a hub token in "
                            "the environment variable HF_TOKEN")
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def _at(problem: str, place: str) -> str:
    """The problem with its place before what to do."""
    what, mark, advice = problem.partition("; ")
    return f"{what} at {place}{mark}{advice}"


def _leaves(node: Any, content: Any, prefix: str, names: Names, top: bool = True,
            ) -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, node, value) of every key that has a value of its own, or that there is not."""
    for name, below in node.value:
        key = content_key(name, content)
        value = content.get(key) if isinstance(content, dict) else None
        if (top and key == "defaults") or name.tag.endswith(":merge"):
            continue
        path = f"{prefix}{key}"
        known = names.keys.get(path)
        inside = known is None and path in names.sections
        if isinstance(value, dict) and hasattr(below, "value") and isinstance(below.value, list) and inside:
            yield from _leaves(below, value, f"{path}.", names, False)
        else:
            yield path, below, value


def content_key(name: Any, content: Any) -> Any:
    """The key that a node of YAML was read as."""
    if not isinstance(content, dict) or name.value in content:
        return name.value
    return next((key for key in content if str(key) == name.value), name.value)


def _problems(path: str, node: Any, value: Any, names: Names) -> Iterator[str]:
    from llmtrain.config.overrides.names import value_problem

    for text in _texts(value):
        if (resolver := resolver_in(text)) is not None:
            yield (f"{path} has {shorten(resolver, 80)}...}}, which would read something else than the configuration; "
                   "write the value itself")
            return
    last = path.rpartition(".")[2]
    if last.lower() in SECRET_KEYS:
        yield (f"{path} holds what looks like a secret; leave it out, and put a hub token in the environment variable "
               "HF_TOKEN")
        return
    key = names.keys.get(path)
    if path == "hydra" or path.startswith("hydra."):
        yield f"{path} is a setting of Hydra's own, which is not read here; leave it out"
    elif key is None and path in names.sections and not isinstance(value, dict):
        option = f"write it in the defaults list, `- override /{path}: {value}`" if path in names.groups else (
            "write its keys below it")
        yield f"{path} is a group of keys and not {shorten(str(value), 40)}; {option}"
    elif key is None and names.below_open(path):
        return
    elif key is None:
        yield f"unknown key {path}; {names.meant(path)}"
    elif key.type is not str and (problem := value_problem(key, value, str(_written(node, value)))):
        yield problem
    else:
        yield from _numbers_for_texts(key.type, key.optional, node, path)


def _numbers_for_texts(wanted: Any, optional: bool, node: Any, path: str) -> Iterator[str]:
    """A number, or true, where a text is wanted: YAML has read it already, and 1e3 is 1000.0 by then."""
    if wanted is str:
        if not isinstance(node.value, str):
            yield f"{path} is not a text; write one"
        elif node.tag not in (_TEXT_TAG, _NULL_TAG) or (node.tag == _NULL_TAG and not optional):
            kind = node.tag.rpartition(":")[2]
            read = {"int": "a number", "float": "a number", "bool": "true or false", "null": "no value"}.get(kind, kind)
            yield f"{path}: {node.value} is read as {read} where a text is wanted; quote it: '{node.value}'"
        return
    arguments = get_args(wanted)
    if get_origin(wanted) in (list, tuple) and arguments and _is_list(node):
        entry, none = annotated(arguments[0])
        for index, below in enumerate(node.value):
            yield from _numbers_for_texts(entry, none, below, f"{path}[{index}]")
    elif is_dataclass(wanted) and isinstance(wanted, type) and _is_group(node):
        known = hints(wanted)
        for name, below in node.value:
            if name.value in known:
                yield from _numbers_for_texts(*annotated(known[name.value]), below, f"{path}.{name.value}")
    elif wanted is Any and path in ("data.train", "data.validation", "data.test", "data.unlabelled"):
        for index, below in enumerate(node.value if _is_list(node) else [node]):
            yield from _numbers_for_texts(str, True, below, f"{path}[{index}]" if _is_list(node) else path)


def _is_list(node: Any) -> bool:
    return isinstance(node.value, list) and not (node.value and isinstance(node.value[0], tuple))


def _is_group(node: Any) -> bool:
    return isinstance(node.value, list) and bool(node.value) and isinstance(node.value[0], tuple)


def _texts(value: Any) -> list[str]:
    from llmtrain.config.overrides.interpolation import texts

    return texts(value)


def _written(node: Any, value: Any) -> Any:
    return node.value if isinstance(node.value, str) else value
