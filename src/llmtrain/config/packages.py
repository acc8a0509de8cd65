"""Packages that a configuration needs and that are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from llmtrain import registry
from llmtrain.config.choices import TuningName
from llmtrain.config.schema import TrainConfig


def missing_packages(config: TrainConfig) -> Iterator[str]:
    """A line for each, with the command that installs it."""
    for tracker in config.trainer.trackers:
        if find_spec(tracker.value) is None:
            yield (f"trainer.tracker={tracker.value} needs the package {tracker.value}, which is not installed; run: "
                   f"pip install 'llmtrain[{tracker.value}]'")
    package, extra = registry.get("optimizer", config.optim.name).requires.get("package", (None, None))
    if package is not None and find_spec(package) is None:
        yield (f"optim.name={config.optim.name} needs the package {package}, which is not installed; run: pip install "
               f"'llmtrain[{extra}]'")
    if config.tuning.name is TuningName.lora and find_spec("peft") is None:
        yield "tuning=lora needs the package peft, which is not installed; run: pip install 'llmtrain[lora]'"
