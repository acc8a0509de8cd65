"""Options of the weightings (no torch here).

Facts that a weighting registers, checked before any weight is read:

    terms       least number of terms it needs
    joint       the task term must be one of them, with another beside it
    positive    every lam must be more than 0: it is where a weight starts
    trunk       it reads gradients of the base, of which a part must be trained
    last_layer  and of that the last layer alone
    moves       its weights change in a run, so a weighted loss cannot choose the best checkpoint
    course      it moves lambda from objective.lam_start over objective.lam_steps
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.keys import key
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class NoOptions:
    """Options of a weighting that has none."""


@dataclass(kw_only=True, slots=True)
class StepConfig:
    """Options of weighting=step."""

    share: float = key(0.5, "share of the run's steps that the base terms learn alone", "share of steps", min=0, max=1)
    steps: int | None = key(None, "the same in steps, instead of share", "steps", min=1)
    rest: float = key(0.0, "what is left of the base terms' weights after that (0: they are not computed any more)",
                      "ratio", min=0)

    def problems_in(self, config: Any) -> Iterator[str]:
        """What is missing beside it in a TrainConfig."""
        if self.steps is None and config.trainer.max_minutes is not None:
            yield ("objective.step.share needs a known number of steps, which trainer.max_minutes does not give; set "
                   "objective.step.steps")


@dataclass(kw_only=True, slots=True)
class UncertaintyConfig:
    """Options of weighting=uncertainty."""

    lr: float = key(0.01, "learning rate of the log-variances (Adam, no decay, no schedule)", above=0)


@dataclass(kw_only=True, slots=True)
class DwaConfig:
    """Options of weighting=dwa."""

    window: int = key(50, "steps over which a loss is averaged before it is compared with the average before", "steps",
                      min=1)
    temperature: float = key(2.0, "softness of the weights: high brings them together", above=0)


@dataclass(kw_only=True, slots=True)
class GradnormConfig:
    """Options of weighting=gradnorm."""

    alpha: float = key(1.5, "how much more gradient a term gets that learns more slowly (0: all norms alike)", min=0)
    lr: float = key(0.025, "learning rate of the weights (Adam)", above=0)


@dataclass(kw_only=True, slots=True)
class FamoConfig:
    """Options of weighting=famo."""

    lr: float = key(0.025, "learning rate of the weights' logits (Adam)", above=0)
    decay: float = key(0.001, "weight decay of the logits", min=0)


def _register(name: str, options: type, target: str, about: str, **requires: object) -> None:
    register("weighting", name, options, f"llmtrain.objectives.weighting.{target}", about, **requires)


_register("fixed", NoOptions, "fixed:Fixed", "every term's own lam throughout")
_register("linear", NoOptions, "linear_lambda:LinearLambda", "lambda from lam_start to lam along a line",
          joint=True, moves=True, course=True)
_register("cosine", NoOptions, "cosine_lambda:CosineLambda", "lambda from lam_start to lam along half a cosine",
          joint=True, moves=True, course=True)
_register("step", StepConfig, "two_stage:TwoStage", "two stages: the base terms alone, then the task term",
          joint=True, moves=True)
_register("uncertainty", UncertaintyConfig, "uncertainty:Uncertainty",
          "learned log-variances (Kendall, Gal and Cipolla 2018)", terms=2, positive=True, moves=True)
_register("dwa", DwaConfig, "dwa:DynamicAverage",
          "more for the loss that falls more slowly (Liu, Johns and Davison 2019)", terms=2, moves=True)
_register("gradnorm", GradnormConfig, "gradnorm:GradNorm", "gradient norms kept in balance (Chen et al. 2018)",
          terms=2, positive=True, trunk=True, last_layer=True, moves=True)
_register("pcgrad", NoOptions, "pcgrad:PcGrad", "conflicting gradients projected off each other (Yu et al. 2020)",
          terms=2, trunk=True)
_register("famo", FamoConfig, "famo:Famo", "every loss falls at one relative rate (Liu, Feng et al. 2023)",
          terms=2, positive=True, moves=True)
