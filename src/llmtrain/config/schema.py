"""The typed schema of each command, from its sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmtrain.config.choices import (
    DataSplit,
    OnUnsupported,
    OutputFormat,
    PrecisionName,
    Resume,
    SplitName,
)
from llmtrain.config.keys import CONTENT, SPEED, WHERE, key
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.sections.objective import ObjectiveConfig
from llmtrain.config.sections.optim import OptimConfig, ScheduleConfig
from llmtrain.config.sections.task import default_section, default_task
from llmtrain.config.sections.trainer import TrainerConfig
from llmtrain.config.sections.tuning import TuningConfig


@dataclass(kw_only=True, slots=True)
class RunConfig:
    """Keys of the run folder, the seed and what a restart does."""

    root: str = key("runs", "folder that holds the run folders", affects=WHERE)
    name: str | None = key(None, "run folder name; default: the experiment and a hash of the result-changing keys",
                           affects=WHERE)
    seed: int = key(0, "seed of weights, order, masks and dropout", min=0,
                    max=9_000_000_000_000)  # what every generator that is seeded from it takes
    resume: Resume = key(Resume.auto, "auto: go on when a checkpoint exists; never: refuse; must: refuse without one",
                         affects=WHERE)
    extend_from: str | None = key(None, "run or checkpoint whose whole state this run goes on from", affects=CONTENT)
    allow_world_size_change: bool = key(False, "resume with another number of processes (not bitwise any more)",
                                        affects=WHERE)


@dataclass(kw_only=True, slots=True)
class PrecisionConfig:
    """Keys of the number format."""

    name: PrecisionName = key(PrecisionName.fp32, "number format of the forward and backward pass")
    on_unsupported: OnUnsupported = key(OnUnsupported.run,
                                        "slow here: run it and say so, stop with an error, or use bf16 / fp32 instead")
    allow_tf32: bool = key(False, "CUDA: fp32 matrix products may use TF32")
    init_scale: float = key(65536.0, "fp16: first loss scale", min=1e-30, max=1e38)  # beyond: no fp32 number
    growth_interval: int = key(2000, "fp16: good steps before the scale doubles", "steps", min=1)


@dataclass(kw_only=True, slots=True)
class ProbeConfig:
    """Keys of the gradient probe."""

    every: int | None = key(None, "steps between probes of each term's gradient on the base; a probe changes nothing",
                            "steps", affects=WHERE, min=1)


@dataclass(kw_only=True, slots=True)
class GenerationConfig:
    """Decoding, under transformers' own names."""

    num_beams: int = key(1, "beams (1: greedy)", "beams", min=1, max=1000)
    do_sample: bool = key(False, "sample instead of taking the most probable token")
    temperature: float = key(1.0, "sampling temperature", min=1e-30)  # below it logits are no numbers any more
    top_k: int = key(50, "sampling draws from so many of the likeliest tokens (0: from all)", "tokens", late=True,
                     min=0)
    top_p: float = key(1.0, "nucleus sampling mass", "probability", min=0, max=1)
    max_new_tokens: int = key(32, "longest output", "tokens", min=1)
    min_new_tokens: int = key(0, "shortest output", "tokens", min=0)
    length_penalty: float = key(1.0, "beam search: exponent of the length", min=-100,
                                max=100)  # beyond it powers of a length are no numbers any more
    early_stopping: bool | str = key(False, "beam search ends: true, with num_beams finished outputs; false, when a "
                                     "better one is unlikely; never, when none can be better", late=True)
    no_repeat_ngram_size: int = key(3, "no n-gram of this size twice (0: off)", "tokens", min=0)
    repetition_penalty: float = key(1.0, "divides the probability of tokens that are written already: more than 1, "
                                    "fewer repetitions (1: off)", late=True, above=0)
    num_return_sequences: int = key(1, "outputs for each row, at most num_beams or else sampled; scores are the "
                                    "first's, with beams the best", "outputs", late=True, min=1, max=1000)
    batch_tokens: int = key(8192, "source tokens decoded together, padding included", "tokens", affects=SPEED, min=1)


@dataclass(kw_only=True, slots=True)
class EvalConfig:
    """Keys of scoring that every task has; the class of a task's section derives from it."""

    split: SplitName = key(SplitName.test, "split to score")
    output: str | None = key(None, "folder for results.json and predictions.jsonl; default: inside the run",
                             affects=WHERE)
    prediction: str = key("prediction", "column of predictions=FILE that holds them", late=True)
    bootstrap_samples: int = key(1000, "resamples behind the 95 % intervals", "samples", min=0, max=1_000_000)
    baselines: bool = key(True, "also score the task's trivial baselines")


@dataclass(kw_only=True, slots=True)
class SummarizeConfig:
    """Keys of how ``llmtrain summarize`` reads and writes."""

    format: OutputFormat = key(OutputFormat.text, "text: one summary a line; jsonl: with scores and copied words",
                                affects=WHERE)
    cite: bool = key(False, "text: number the document's sentences behind each sentence of the summary that comes from "
                            "them (head=ext_abs, extractive)", affects=WHERE)
    batch: int = key(32, "documents read ahead and decoded together", "documents", affects=SPEED, min=1)


@dataclass(kw_only=True, slots=True)
class ShowConfig:
    """What ``llmtrain data show`` takes beside train's own keys."""

    split: DataSplit = key(DataSplit.train, "split whose lengths are drawn and rows are shown", affects=WHERE)
    rows: int = key(3, "rows shown, chosen by a hash of the document", "rows", affects=WHERE, min=1)
    sample: int = key(5000, "rows of each split that lengths are measured on", "rows", affects=WHERE, min=1)
    near: bool = key(True, "look for documents of validation and test in train", affects=WHERE)


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


Config = TrainConfig | EvaluateConfig | SummarizeCommandConfig
SCHEMAS: dict[str, type] = {"train": TrainConfig, "eval": EvaluateConfig, "summarize": SummarizeCommandConfig}
FROM_CHECKPOINT = tuple(name for name in SCHEMAS if name != "train")  # that start from a checkpoint's own configuration
