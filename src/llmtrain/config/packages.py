"""Packages that a configuration needs and that are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from llmtrain import registry
from llmtrain.config.choices import Tracker, TuningName
from llmtrain.config.schema import TrainConfig


def missing_packages(config: TrainConfig) -> Iterator[str]:
    """A line for each, with the command that installs it."""
    if config.trainer.tracker is Tracker.tensorboard and find_spec("tensorboard") is None:
        yield "trainer.tracker=tensorboard needs a package that is not installed; run: pip install tensorboard"
    package, extra = registry.get("optimizer", config.optim.name).requires.get("package", (None, None))
    if package is not None and find_spec(package) is None:
        yield (f"optim.name={config.optim.name} needs the package {package}, which is not installed; run: pip install "
               f"'llmtrain[{extra}]'")
    if config.tuning.name is TuningName.lora and find_spec("peft") is None:
        yield "tuning=lora needs the package peft, which is not installed; run: pip install 'llmtrain[lora]'"
