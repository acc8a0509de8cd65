"""Low-rank adapters beside the base's linear layers (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language
Models", arXiv:2106.09685), by the peft library.

Only while a model trains: what is published has them merged into ordinary weights and loads without peft. Merging
rounds, so a stopped run does not go on from merged weights: its checkpoint keeps adapters and the weights beneath them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from llmtrain.config.sections.tuning import TuningConfig
from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.families import layers
from llmtrain.nn.linear import cheapen_linear

BENEATH = ".base_layer."  # what peft puts between a layer's name and its own weights
ADAPTER = ".lora_"


def add_adapters(trunk: Any, config: TuningConfig) -> str:
    """Put adapters beside the trunk's linear layers, hold everything else in it still; returns a line that says so.

    Draws from torch's generator. A new adapter adds nothing: its second matrix is zero.

    Raises:
        ConfigError: ``tuning.targets`` names no linear layer of this base.
    """
    from peft import LoraConfig, inject_adapter_in_model

    chosen = chosen_layers(trunk, config)
    for parameter in trunk.parameters():
        parameter.requires_grad_(False)
    turned = any(isinstance(part, Conv1D) for part in trunk.modules())
    inject_adapter_in_model(LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
                                       target_modules=chosen, fan_in_fan_out=turned), trunk)
    cheapen_linear(trunk)
    trained = sum(p.numel() for p in trunk.parameters() if p.requires_grad)
    whole = sum(p.numel() for name, p in trunk.named_parameters() if ADAPTER not in name)
    return (f"tuning: adapters of rank {config.rank} beside {len(chosen)} linear layers, {trained:,} parameters "
            f"({100 * trained / whole:.1f} % of the base's own {whole:,}, which stay as they are)")


def chosen_layers(trunk: Any, config: TuningConfig) -> list[str]:
    """Names of the linear layers that get an adapter.

    Raises:
        ConfigError: ``tuning.targets`` names no linear layer of this base.
    """
    linear = {id(part): name.rpartition(".")[2] for layer in layers(trunk) for name, part in layer.named_modules()
              if isinstance(part, nn.Linear | Conv1D)}
    known = sorted(set(linear.values()))
    if unknown := sorted(set(config.targets or ()) - set(known)):
        raise ConfigError(f"tuning.targets names {unknown[0]}, which is no linear layer of a {trunk.config.model_type} "
                          f"base; choose from {', '.join(known)}")
    return [name for name, part in trunk.named_modules() if id(part) in linear
            and (config.targets is None or linear[id(part)] in config.targets)]


def adapted_layers(module: nn.Module) -> dict[str, Any]:
    """The layers that have an adapter, by name."""
    return {name: part for name, part in module.named_modules() if hasattr(part, "lora_A")}


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Adapters and the weights beneath them, by name: what goes on from a checkpoint bit by bit."""
    return {name: parameter for name, parameter in module.named_parameters() if ADAPTER in name or BENEATH in name}


@torch.no_grad()
def merged_state(module: nn.Module) -> dict[str, Tensor] | None:
    """The state of a module as if it never had adapters, each added to the weight beneath it; None without any."""
    adapted = adapted_layers(module)
    if not adapted:
        return None
    state = {plain_name(name): value for name, value in module.state_dict().items() if ADAPTER not in name}
    for name, layer in adapted.items():
        # in autocast's absence: an fp32 sum of fp32 products
        state[f"{name}.weight"] = layer.base_layer.weight + layer.get_delta_weight("default")
    return state


def plain_name(name: str) -> str:
    """What a parameter is called without adapters."""
    return name.replace(BENEATH, ".")


@torch.no_grad()
def load_plain(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state without adapters into a module that may have some: they then add nothing.

    Raises:
        RuntimeError: Names or shapes differ.
    """
    names = {name: plain_name(name) for name in module.state_dict() if ADAPTER not in name}
    if missing := sorted(set(names.values()) - set(state)):
        raise RuntimeError(f"{missing[0]} is missing")
    if strange := sorted(set(state) - set(names.values())):
        raise RuntimeError(f"{strange[0]} is unknown")
    module.load_state_dict({name: state[plain] for name, plain in names.items()}, strict=False)
    for layer in adapted_layers(module).values():
        layer.lora_B["default"].weight.zero_()
