"""Presets: keys that follow from others, filled in or unset where they were not given themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmtrain import registry
from llmtrain.config.choices import ScheduleName
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import moves_lambda, trains_task

if TYPE_CHECKING:
    from omegaconf import DictConfig

LENGTHS = ("max_steps", "max_epochs", "max_minutes")


def apply_presets(config: DictConfig, parsed: list[Any], experiment: str | None) -> dict[str, str]:
    """Change a composed train configuration in place; returns what set each key that this changed.

    The run length named on the command line unsets a yaml's; max_minutes turns a schedule that needs a known number of
    steps into constant_cooldown; a list of terms unsets a yaml's objective.base and lam; a weighting that moves lambda
    begins at 0 and takes the run's steps where neither is given; a run is named after its experiment.

    Args:
        config: Composed from yaml files and overrides.
        parsed: Hydra's parsed overrides: a key that was typed is left as it is.
        experiment: The chosen experiment, where there is one.
    """
    from omegaconf import OmegaConf

    changed: dict[str, str] = {}

    def change(path: str, value: Any, origin: str) -> None:
        if OmegaConf.select(config, path) != value:
            changed[path] = origin
        OmegaConf.update(config, path, value)

    named = {o.key_or_group for o in parsed}
    lengths = [name for name in LENGTHS if f"trainer.{name}" in named and config.trainer.get(name) is not None]
    if lengths:
        for name in LENGTHS:
            if name not in lengths and f"trainer.{name}" not in named:
                change(f"trainer.{name}", None, f"trainer.{lengths[0]}")
    minutes = OmegaConf.select(config, "trainer.max_minutes")
    needs_steps = OmegaConf.select(config, "schedule.name") in (ScheduleName.linear, ScheduleName.cosine)
    if minutes is not None and needs_steps and not {"schedule", "schedule.name"} & named:
        change("schedule.name", ScheduleName.constant_cooldown, "trainer.max_minutes")
    if OmegaConf.select(config, "objective.terms") is not None:  # the list wins over a yaml's short form
        for name in ("objective.base", "objective.lam"):
            if name not in named:
                change(name, None, "objective.terms")
    if moves_lambda(OmegaConf.select(config, "objective.weighting")):
        if OmegaConf.select(config, "objective.lam_start") is None and "objective.lam_start" not in named:
            change("objective.lam_start", 0.0, "objective.weighting")
        steps = OmegaConf.select(config, "trainer.max_steps")
        if OmegaConf.select(config, "objective.lam_steps") == 0 and steps and "objective.lam_steps" not in named:
            change("objective.lam_steps", steps, "trainer.max_steps")
    if experiment and "experiment_name" not in named:
        change("experiment_name", experiment.replace("/", "-"), f"+experiment={experiment}")
    return changed


def settle_best_metric(config: TrainConfig) -> None:
    """Fill in what ``trainer.best_metric=auto`` stands for: the task's first metric, or loss.total where
    the base alone is trained."""
    if config.trainer.best_metric == "auto":
        metric: str = registry.get("task", config.task.name).requires["metrics"][0]
        config.trainer.best_metric = metric if trains_task(config.objective) else "loss.total"
