"""The typed schema of each command, from its sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmtrain.config.keys import WHERE, key
from llmtrain.config.sections.compare import CompareConfig
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.demo import DemoConfig
from llmtrain.config.sections.eval import EvalConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.sections.objective import ObjectiveConfig
from llmtrain.config.sections.optim import OptimConfig, ScheduleConfig
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.config.sections.predict import PredictConfig
from llmtrain.config.sections.probe import ProbeConfig
from llmtrain.config.sections.run import RunConfig
from llmtrain.config.sections.summarize import SummarizeConfig
from llmtrain.config.sections.task import default_section, default_task
from llmtrain.config.sections.trainer import TrainerConfig
from llmtrain.config.sections.tuning import TuningConfig


class HeadConfig(Protocol):
    """The options of a registered head."""

    name: str


class TaskConfig(Protocol):
    """The options of a registered task."""

    name: str


@dataclass(kw_only=True, slots=True)
class _Shared:
    task: TaskConfig = key(default_task, "what is learnt: summarization, or another registered task", late=True)
    run: RunConfig = key(RunConfig, "run folder, seed, resume")
    model: ModelConfig = key(ModelConfig, "base model")
    data: DataConfig = key(lambda: default_section("data"), "rows to train on and to score")
    precision: PrecisionConfig = key(PrecisionConfig, "number format")
    generation: GenerationConfig = key(GenerationConfig, "decoding")
    eval: EvalConfig = key(lambda: default_section("eval"), "scoring")
    trainer: TrainerConfig = key(TrainerConfig, "lengths, batches, saving")


@dataclass(kw_only=True, slots=True)
class TrainConfig(_Shared):
    """The whole configuration of ``llmtrain train``.

    ``task``, ``head``, ``objective`` and ``optim`` are typed from the registry; so are the keys of ``data`` and
    ``eval`` that the task adds to :class:`DataConfig` and :class:`EvalConfig`.
    """

    head: HeadConfig = key(None, "what stands on the base; options depend on head.name")
    objective: ObjectiveConfig = key(None, "joint loss")
    optim: OptimConfig = key(None, "optimizer")
    schedule: ScheduleConfig = key(ScheduleConfig, "learning-rate schedule")
    tuning: TuningConfig = key(TuningConfig, "what of the base is trained")
    probe: ProbeConfig = key(ProbeConfig, "gradients of the terms")
    experiment_name: str = key("train", "name of the chosen experiment", affects=WHERE)
    fingerprints: dict[str, str] | None = key(None, "sha256 of what lies at each path of this configuration; train "
                                                    "fills it in", affects=WHERE)
    command: list[str] | None = key(None, "what was typed behind llmtrain to start the run; train fills it in",
                                    affects=WHERE)


@dataclass(kw_only=True, slots=True)
class EvaluateConfig(_Shared):
    """The configuration of ``llmtrain eval``: the checkpoint's own, with what the command line changes."""

    checkpoint: str | None = key(None, "pointer, step folder, model folder or run folder to score", affects=WHERE)
    predictions: str | None = key(None, "score this file's predictions instead, one a line or JSONL", affects=WHERE)


@dataclass(kw_only=True, slots=True)
class SummarizeCommandConfig(_Shared):
    """The configuration of ``llmtrain summarize``."""

    checkpoint: str | None = key(None, "pointer, step folder, model folder or run folder to use", affects=WHERE)
    input: str | None = key(None, "file to summarize: a plain text is one document, each row of .jsonl, .csv, "
                                  ".parquet ... is one; default: stdin, one document a line", affects=WHERE)
    summarize: SummarizeConfig = key(SummarizeConfig, "reading and writing")


@dataclass(kw_only=True, slots=True)
class PredictCommandConfig(_Shared):
    """The configuration of ``llmtrain predict``."""

    checkpoint: str | None = key(None, "pointer, step folder, model folder or run folder to use", affects=WHERE)
    input: str | None = key(None, "file to predict: a row each of .jsonl, .csv, .parquet ..., else a line each; "
                                  "default: stdin, one row a line", affects=WHERE)
    predict: PredictConfig = key(PredictConfig, "reading and writing")


@dataclass(kw_only=True, slots=True)
class CompareCommandConfig(_Shared):
    """The configuration of ``llmtrain compare``: of the rows that files of predictions are scored on, too."""

    compare: CompareConfig = key(CompareConfig, "how models are compared")


@dataclass(kw_only=True, slots=True)
class DemoCommandConfig(_Shared):
    """The configuration of ``llmtrain demo``."""

    checkpoint: str | None = key(None, "pointer, step folder, model folder or run folder to serve; give it once for "
                                       "each model", affects=WHERE)
    demo: DemoConfig = key(DemoConfig, "where the page is served, and how much at once")


Config = (TrainConfig | EvaluateConfig | SummarizeCommandConfig | PredictCommandConfig | CompareCommandConfig
          | DemoCommandConfig)
SCHEMAS: dict[str, type] = {"train": TrainConfig, "eval": EvaluateConfig, "predict": PredictCommandConfig,
                            "summarize": SummarizeCommandConfig, "compare": CompareCommandConfig,
                            "demo": DemoCommandConfig}
FROM_CHECKPOINT = tuple(name for name in SCHEMAS if name != "train")  # that start from a checkpoint's own configuration
