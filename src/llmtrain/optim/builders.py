"""The optimizers that a library has whole, from our keys. A registered builder is

    build(groups, config, options) -> torch.optim.Optimizer

with the groups of :mod:`llmtrain.optim.groups`, the ``optim`` section and its own options. It may get gradients that
are None (withheld). Its ``state`` may hold tensors and numbers, which are saved as they are, and tensor subclasses,
which are saved in their parts and must be named in an attribute ``state_types``: {class name: class}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from llmtrain import registry
from llmtrain.optim.groups import parameter_groups
from llmtrain.optim.options import AdafactorConfig, Adam8bitConfig, AdamwConfig

Groups = list[dict[str, Any]]


def build_optimizer(module: nn.Module, trunk: Any, config: Any) -> torch.optim.Optimizer:
    """The optimizer that ``config.name`` names, over the trained parameters of ``module``."""
    part = registry.get("optimizer", config.name)
    build: Callable[..., torch.optim.Optimizer] = registry.resolve("optimizer", config.name)
    groups = parameter_groups(module, trunk, config, bool(part.requires.get("matrices")))
    return build(groups, config, getattr(config, config.name))


def adamw(groups: Groups, config: Any, options: AdamwConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)


def adafactor(groups: Groups, config: Any, options: AdafactorConfig) -> torch.optim.Optimizer:
    """A step is rate * root mean square of the parameter: rates are relative and larger than Adam's."""
    return torch.optim.Adafactor(groups, beta2_decay=options.beta2_decay, eps=(None, options.min_scale),
                                 d=options.clip)


def adam8bit(groups: Groups, config: Any, options: Adam8bitConfig) -> torch.optim.Optimizer:
    from torchao.optim import AdamW8bit
    from torchao.optim.subclass_8bit import OptimState8bit

    optimizer = AdamW8bit(groups, betas=(config.beta1, config.beta2), eps=config.eps, block_size=options.block_size)
    optimizer.state_types = {OptimState8bit.__name__: OptimState8bit}
    compiled = options.compile
    if compiled is None:
        compiled = all(p.is_cuda for group in groups for p in group["params"])
    if not compiled:
        _run_eagerly(optimizer)
    return optimizer


def _run_eagerly(optimizer: torch.optim.Optimizer) -> None:
    """Let ``step``, which compiles its update for each shape, run as written."""
    step = optimizer.step

    def eager_step(*arguments: Any, **named: Any) -> Any:
        with torch.compiler.set_stance("force_eager"):
            return step(*arguments, **named)

    optimizer.step = eager_step  # type: ignore[method-assign]
