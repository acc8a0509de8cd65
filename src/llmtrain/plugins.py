"""A user's own parts in one Python file: ``--plugin FILE``, read before the configuration is composed.

The file becomes a module with a fixed name, so that the classes it registers are found again by name, also in data
workers that are started afresh. Only a file that the user names is ever read: a checkpoint records which plugins it was
trained with, and nothing is loaded from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from llmtrain import registry
from llmtrain.core.errors import ConfigError, LlmtrainError, shorten

PREFIX = "llmtrain_plugin_"
VARIABLE = "LLMTRAIN_PLUGINS"  # tells child processes where the modules of this one's plugins are


@dataclass(frozen=True, slots=True)
class Plugin:
    """A loaded file: its name, its absolute path and the sha256 of the bytes that were run."""

    name: str
    path: Path
    sha256: str

    @property
    def module(self) -> str:
        return PREFIX + re.sub(r"\W", "_", self.path.stem)


_plugins: dict[str, Plugin] = {}  # by module


def loaded() -> list[Plugin]:
    """The plugin files of this process, in the order they were named."""
    return list(_plugins.values())


def arguments() -> list[str]:
    """The command line that loads the same plugins in another process."""
    return [word for plugin in loaded() for word in ("--plugin", str(plugin.path))]


def load(path: str | Path) -> Plugin:
    """Run a plugin file, which registers its parts. The same file again is fine.

    Raises:
        ConfigError: There is no such file, it cannot be run, it registers nothing, or a name is taken.
    """
    file = Path(path).expanduser().resolve()
    if file.suffix != ".py":
        raise ConfigError(f"the plugin at {path} is no Python file; name one that ends in .py")
    try:
        source = file.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"no plugin file at {path}; check --plugin") from error
    except OSError as error:
        raise ConfigError(f"cannot read the plugin at {path} ({error.strerror}); check --plugin") from error
    plugin = Plugin(file.name, file, hashlib.sha256(source).hexdigest())
    known = _plugins.get(plugin.module)
    if known == plugin:
        return known
    if known is not None:
        raise ConfigError(f"the plugin at {path} changed after it was read; start again" if known.path == file else
                          f"two plugins have one name, at {known.path} and {file}; rename one of the files")
    registry.parts("head")  # our own come first, so that a name taken twice is the plugin's fault
    try:
        with registry.registering(plugin.name):
            _run(plugin, source)
        if not _parts_of(plugin):
            raise ConfigError(f"the plugin at {path} registers nothing; call llmtrain.registry.register in it")
    except BaseException:
        _forget(plugin)
        raise
    _plugins[plugin.module] = plugin
    _tell_children()
    return plugin


def unload(plugin: Plugin) -> None:
    """Take a plugin's parts out of the registry again."""
    _plugins.pop(plugin.module, None)
    _forget(plugin)
    _tell_children()


@contextmanager
def using(paths: Iterable[str]) -> Iterator[None]:
    """Load plugins for one command; those that were not loaded before are unloaded after it."""
    before = set(_plugins)
    try:
        for path in paths:
            load(path)
        yield
    finally:
        for plugin in [plugin for module, plugin in _plugins.items() if module not in before]:
            unload(plugin)


def records() -> list[dict[str, Any]]:
    """What a checkpoint tells of the plugins it was trained with: name, what identifies the code, and their parts."""
    parts = [part for kind in registry.KINDS for part in registry.parts(kind) if part.origin]
    digests = {plugin.name: plugin.sha256 for plugin in loaded()}
    return [{"name": origin, "sha256": digests.get(origin),
             "parts": [f"{part.kind} {part.name}" for part in parts if part.origin == origin]}
            for origin in sorted({part.origin for part in parts})]


def check_record(record: object, needed: dict[str, str], at: str) -> list[str]:
    """Compare a checkpoint's :func:`records` with what is loaded; returns a warning for each file that differs.

    Args:
        needed: Names of the parts that the model cannot do without, by kind.

    Raises:
        ConfigError: One of them is a plugin's and not there.
    """
    warnings = []
    digests = {plugin.name: plugin.sha256 for plugin in loaded()}
    missing = {kind: name for kind, name in needed.items()
               if name not in {part.name for part in registry.parts(kind)}}
    for entry in record if isinstance(record, list) else []:
        name, sha256 = str(entry.get("name")), entry.get("sha256")
        for kind, part in missing.items():
            if f"{kind} {part}" not in entry.get("parts", ()):
                continue
            advice = (f"add --plugin {name} (in Python: plugins=[{name!r}])" if sha256 else
                      "install that package")
            raise ConfigError(f"the {kind} {part!r} of the model at {at} is unknown: it comes from the plugin {name}"
                              f"{f' (sha256 {sha256[:12]})' if sha256 else ''}; {advice}")
        if sha256 and digests.get(name, sha256) != sha256:
            warnings.append(f"the plugin {name} is not the file that the model at {at} was trained with (sha256 "
                            f"{digests[name][:12]}, then {sha256[:12]}); what it computes may differ")
    return warnings


def _parts_of(plugin: Plugin) -> list[registry.RegisteredPart]:
    return [part for kind in registry.KINDS for part in registry.parts(kind) if part.origin == plugin.name]


def _forget(plugin: Plugin) -> None:
    registry.drop(plugin.name)
    sys.modules.pop(plugin.module, None)


def _run(plugin: Plugin, source: bytes) -> None:
    spec = spec_from_file_location(plugin.module, plugin.path, loader=_Loader(plugin.path, source))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[plugin.module] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        at = f"{plugin.path}:{error.lineno or 1}" if error.filename == str(plugin.path) else str(plugin.path)
        raise ConfigError(f"the plugin at {at} has a syntax error ({error.msg}); mend it") from error
    except LlmtrainError as error:
        raise ConfigError(f"the plugin at {_place(plugin, error)}: {problem}" for problem in error.problems) from error
    except (Exception, SystemExit) as error:
        line = shorten(f"{type(error).__name__}: {error}", 200)
        raise ConfigError(f"the plugin at {_place(plugin, error)} raised {line}; mend it") from error


def _place(plugin: Plugin, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(plugin.path)]
    return f"{plugin.path}:{lines[-1]}" if lines else str(plugin.path)


class _Loader(SourceLoader):
    """Runs the very bytes that were hashed, and leaves no compiled copy behind."""

    def __init__(self, path: Path, source: bytes | None = None) -> None:
        self._path, self._source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        if self._source is None:
            self._source = self._path.read_bytes()
        return self._source


class _Finder(MetaPathFinder):
    """Finds plugin modules by name in a process that did not load them itself: a data worker that unpickles."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX) or VARIABLE not in os.environ:
            return None
        file = json.loads(os.environ[VARIABLE]).get(fullname)
        return None if file is None else spec_from_file_location(fullname, file, loader=_Loader(Path(file)))


def serve() -> None:
    """Let this process import the plugin modules that its parent loaded."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _tell_children() -> None:
    os.environ.pop(VARIABLE, None)
    if _plugins:
        os.environ[VARIABLE] = json.dumps({module: str(plugin.path) for module, plugin in _plugins.items()})
