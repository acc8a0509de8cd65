"""Keys of how the base is trained: all of its weights, or low-rank adapters beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmtrain.config.choices import TuningName
from llmtrain.config.keys import key
from llmtrain.config.sections.model import ModelConfig


@dataclass(kw_only=True, slots=True)
class TuningConfig:
    """Keys of what is trained of the base: all weights, or low-rank adapters."""

    name: TuningName = key(TuningName.full, "full: the base's own weights are trained; lora: low-rank adapters beside "
                                            "its linear layers (Hu et al. 2021), merged when a model is published")
    rank: int = key(16, "lora: rank of each adapter", "features", min=1, max=1_000_000)
    alpha: float = key(32.0, "lora: adapters are scaled by alpha / rank", above=0)
    dropout: float = key(0.0, "lora: dropout on what adapters read", "probability", min=0, below=1)
    targets: list[str] | None = key(None, "lora: last names of the linear layers that get one (query, value ...); "
                                          "default: all inside the base's layers")


def problems_of_tuning(tuning: TuningConfig, model: ModelConfig) -> Iterator[str]:
    """One line for each thing that is wrong with adapters, or beside keys of ``model``."""
    if tuning.name is not TuningName.lora:
        return
    if tuning.targets is not None and not tuning.targets:
        yield "tuning.targets is empty; name linear layers, or leave it out for all of them"
    for name, off in (("freeze", "none"), ("freeze_until_step", 0), ("unfreeze_every", 0)):
        if (value := getattr(model, name)) != off:
            yield f"tuning=lora holds the base's own weights still by itself; leave out model.{name}={value}"
