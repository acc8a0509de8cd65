"""Which parameter is trained at which rate, with which weight decay, and by which rule.

A GradScaler knows an optimizer by identity and skips per optimizer: two optimizers would fall out of step, so base
and head are groups of one.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from llmtrain.models.backbone.families import layers

TRUNK = "model.trunk."  # prefix of the base's parameters in a JointModule


def depths(trunk: Any) -> dict[nn.Parameter, int]:
    """How deep each parameter of a trunk of n layers lies: 0 for embeddings, k for layer k, n for what stands behind
    the last layer (a final norm)."""
    stack = layers(trunk)
    found = {p: index for index, layer in enumerate(stack, start=1) for p in layer.parameters()}
    tables = {p for module in trunk.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    for name, parameter in trunk.named_parameters():
        if parameter not in found:
            found[parameter] = 0 if parameter in tables or "embed" in name else len(stack)
    return found


def hidden_matrices(module: nn.Module, *vocabularies: int) -> set[nn.Parameter]:
    """Matrices between hidden states: no embedding table, none onto a vocabulary, no single row or column."""
    tables = {p for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    return {p for p in module.parameters()
            if p.ndim == 2 and min(p.shape) > 1 and not {*vocabularies} & {*p.shape} and p not in tables}


def parameter_groups(module: nn.Module, trunk: Any, config: Any, matrices: bool) -> list[dict[str, Any]]:
    """Groups of the parameters that are trained, for a torch optimizer.

    Each has ``name`` (base or head: what its schedule and ``lr.NAME`` go by), ``peak`` (its highest rate),
    ``param_names``, ``weight_decay`` (0 for vectors) and, where ``matrices`` asks for it, ``matrix``: whether its
    members are :func:`hidden_matrices`.

    Args:
        module: Everything that is trained.
        trunk: The base inside it; its layer k of n gets ``base_lr * layer_decay ** (n - k)`` (Howard and Ruder 2018,
            discriminative fine-tuning; Clark et al. 2020, ELECTRA, section 3.3), embeddings as layer 0.
        config: The ``optim`` section.
    """
    depth = depths(trunk)
    top = max(depth.values(), default=0)
    targets = {part.get_parameter("output_bias").numel() for part in module.modules()
               if getattr(part, "own_vocabulary", False)}
    hidden = hidden_matrices(module, trunk.get_input_embeddings().weight.shape[0], *targets) if matrices else set()
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        group, peak = "head", config.head_lr
        if name.startswith(TRUNK):
            group, peak = "base", config.base_lr * config.layer_decay ** (top - depth[parameter])
        decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        key = (group, peak, decay, parameter.ndim >= 2, parameter in hidden)
        if key not in groups:
            groups[key] = {"params": [], "param_names": [], "name": group, "peak": peak, "lr": peak,
                           "weight_decay": decay} | ({"matrix": parameter in hidden} if matrices else {})
        groups[key]["params"].append(parameter)
        groups[key]["param_names"].append(name)
    return list(groups.values())
