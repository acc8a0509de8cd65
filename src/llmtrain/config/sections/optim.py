"""Keys of the optimizer and its schedule."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from functools import cache

from llmtrain import registry
from llmtrain.config.choices import ScheduleName
from llmtrain.config.keys import key
from llmtrain.core.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class OptimConfig:
    """What all optimizers share. Options of each live under its own name."""

    name: str = key("adamw", "a registered optimizer")
    base_lr: float = key(3.3e-4, "peak learning rate of the base model (adafactor: relative to a parameter's size)",
                         min=0)
    head_lr: float = key(1e-3, "peak learning rate of the head and of objective parameters", min=0)
    layer_decay: float = key(1.0, "rate of each of the base's layers as a share of the next one's above, embeddings "
                             "the lowest (1: all alike)", above=0, max=1)
    weight_decay: float = key(0.01, "decoupled weight decay of matrices", min=0)
    beta1: float = key(0.9, "Adam's beta1", min=0, below=1)
    beta2: float = key(0.98, "Adam's beta2", min=0, below=1)
    eps: float = key(1e-8, "Adam's epsilon", min=1e-38)  # less is 0 in fp32
    clip_norm: float = key(1.0, "gradients are clipped to this norm (0: no clipping)", min=0)
    ema_decay: float = key(0.0, "decay of the weights' moving average that is evaluated and saved (0: off)",
                           min=0, below=1)
    average_last: int = key(0, "at the end, the mean of the weights of the last so many validated checkpoints is "
                            "published where it validates better than the best one (0: off)", "checkpoints", min=0)


def optim_schema() -> type:
    """OptimConfig plus one field for the options of each registered optimizer (``optim.muon.momentum``)."""
    return _optim_schema(tuple((p.name, p.options, p.about) for p in registry.parts("optimizer")))


@cache  # one class for one set of parts, so that equal configurations compare equal
def _optim_schema(parts: tuple[tuple[str, type, str], ...]) -> type:
    for name, _, _ in parts:
        if name in OptimConfig.__dataclass_fields__:
            raise ConfigError(f"optimizer {name!r} has the name of a key of optim; rename it")
    fields = [(name, options, key(options, f"options of optim.name={name}: {about}"))
              for name, options, about in parts]
    return make_dataclass("OptimSchema", fields, bases=(OptimConfig,), kw_only=True)


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """Keys of the learning rate's course."""

    name: ScheduleName = key(ScheduleName.linear, "course of the learning rate after the warm-up")
    warmup_steps: int = key(40, "linear warm-up", "steps", min=0)
    base_warmup_steps: int | None = key(None, "warm-up of the base's rate; default: warmup_steps", "steps", min=0)
    cooldown_steps: int | None = key(None, "constant_cooldown: length of the linear cooldown; default: a fifth, under "
                                     "max_minutes cooldown_fraction of the time", "steps", min=0)
    cooldown_fraction: float = key(0.3, "constant_cooldown under max_minutes: share of the time spent cooling down",
                                   min=0, max=1)
