"""Options of the optimizers (no torch here). Rates, weight decay and Adam's betas are shared keys of ``optim``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from llmtrain.config.keys import key
from llmtrain.registry import register


class MuonAdjust(Enum):
    """How the shape of a matrix scales Muon's rate."""

    match_rms_adamw = "match_rms_adamw"
    original = "original"


@dataclass(kw_only=True, slots=True)
class AdamwConfig:
    """Options of AdamW: none but the shared ones."""


@dataclass(kw_only=True, slots=True)
class AdafactorConfig:
    """Options of Adafactor."""

    beta2_decay: float = key(-0.8, "exponent by which the second moment's decay nears 1 with the step", max=0)
    min_scale: float = key(1e-3, "least root mean square a parameter is taken to have (the paper's epsilon 2)", above=0,
                           max=1e38)
    clip: float = key(1.0, "an update of more than this root mean square is scaled down to it (the paper's d)", min=1)


@dataclass(kw_only=True, slots=True)
class Adam8bitConfig:
    """Options of AdamW with 8-bit moments."""

    block_size: int = key(256, "elements that share one scale", "elements", min=1)
    compile: bool | None = key(None, "torch.compile the update; default: on CUDA only (on a CPU it needs a C++ "
                                     "compiler and compiles for each shape, but steps faster)")


@dataclass(kw_only=True, slots=True)
class MuonConfig:
    """Options of Muon."""

    momentum: float = key(0.95, "momentum of the matrices", min=0, below=1)
    nesterov: bool = key(True, "Nesterov momentum")
    ns_steps: int = key(5, "Newton-Schulz iterations (5 is usual)", "iterations", min=1, max=99)
    adjust: MuonAdjust = key(MuonAdjust.match_rms_adamw, "how a matrix's shape scales its rate: to AdamW's usual "
                             "update size, so that rates carry over (Liu et al. 2025), or original")


register("optimizer", "adamw", AdamwConfig, "llmtrain.optim.builders:adamw",
         "AdamW, fused (Loshchilov and Hutter 2019)", betas=True)
register("optimizer", "adafactor", AdafactorConfig, "llmtrain.optim.builders:adafactor",
         "factored second moments, rates relative to each parameter's size (Shazeer and Stern 2018)")
register("optimizer", "adam8bit", Adam8bitConfig, "llmtrain.optim.builders:adam8bit",
         "AdamW with 8-bit moments, torchao's (Dettmers et al. 2022)", betas=True, package=("torchao", "adam8bit"))
register("optimizer", "muon", MuonConfig, "llmtrain.optim.muon:build",
         "orthogonalised momentum for hidden matrices, AdamW for the rest (Jordan 2024)", betas=True, matrices=True)
