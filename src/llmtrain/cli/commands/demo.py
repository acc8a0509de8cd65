"""``llmtrain demo``: a page of this machine to try trained models on, and a server that answers programs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from llmtrain.cli.commands.checkpoint_config import idle_told, open_stored, show_configuration, tasks_in
from llmtrain.cli.options import CFG, PORT, Given
from llmtrain.config.compose import compose
from llmtrain.config.overrides.paths import path_value, split_override
from llmtrain.config.schema import DemoCommandConfig
from llmtrain.core.errors import ConfigError
from llmtrain.core.logging import keep_going, quiet_libraries, say, warn

if TYPE_CHECKING:
    from llmtrain.demo.to_serve import ToServe

PACKAGES = ("fastapi", "uvicorn")


def run(overrides: list[str], given: Given) -> int:
    """Serve each ``checkpoint=PATH`` until a signal comes."""
    if PORT in given:
        overrides = [*overrides, f"demo.port={given[PORT][-1]}"]
    if CFG in given:
        return show_configuration(overrides, "demo")
    checkpoints = [path for one in overrides if (path := path_value([one], "checkpoint")) is not None]
    others = [one for one in overrides if (parts := split_override(one)) is None or parts[1] != "checkpoint"]
    compose("demo", [one for one in others if not one.startswith("task=")])  # a wrong key imports nothing heavy
    if not checkpoints:
        raise ConfigError("demo needs checkpoint=PATH; name a run folder, a pointer, a step or a model folder, one or "
                          "several times")
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"llmtrain demo needs {' and '.join(missing)}, which "
                          f"{'is' if len(missing) == 1 else 'are'} not installed; run: pip install 'llmtrain[demo]'")
    opened = [_opened(path, others) for path in checkpoints]

    from llmtrain.demo.serve import listen

    config = next(iter(opened[0].tasks.values()))
    with listen(config.demo.port) as at:  # a port that is taken is told before any weight is read
        from llmtrain.demo.app import Server
        from llmtrain.demo.forms import Models
        from llmtrain.demo.serve import serve

        quiet_libraries()
        keep_going()  # who reads the lines may leave
        models = Models(opened)
        for model in models.all:
            for line in idle_told(model.config, others, model.writes):
                warn(f"{model.name}: {line}" if len(models.all) > 1 else line)
            say(f"demo: {model.name}: {model.task_name}, step {model.step}, {model.published.precision.running}, "
                f"from {model.folder}")
        serve(Server(models), at)
    return 0


def _opened(path: str, others: list[str]) -> ToServe:
    """A checkpoint, with each of its tasks; with one alone where ``task=NAME`` names it."""
    from llmtrain.demo.to_serve import ToServe

    named = [*others, f"checkpoint={path}"]
    asked = [named] if path_value(others, "task") is not None else [
        [*named, *([f"task={task}"] if task else [])] for task in tasks_in(path)]
    found = [open_stored(one, "demo") for one in asked]
    return ToServe(found[0].folder, found[0].step, {one.task: cast(DemoCommandConfig, one.config) for one in found})
