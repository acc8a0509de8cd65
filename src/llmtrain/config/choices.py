"""Closed sets of values a key may take."""

from __future__ import annotations

from enum import Enum


class Resume(Enum):
    """Whether a run goes on from a checkpoint in its folder."""

    auto = "auto"
    never = "never"
    must = "must"


class PrecisionName(Enum):
    """The number format of the forward and backward pass."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class TuningName(Enum):
    """Whether all weights of the base are trained, or adapters beside them."""

    full = "full"
    lora = "lora"


class OnUnsupported(Enum):
    """What to do about a number format that this machine computes slowly."""

    run = "run"
    error = "error"
    bf16 = "bf16"
    fp32 = "fp32"


class Device(Enum):
    """Where the model computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class ScheduleName(Enum):
    """The course of the learning rate over a run."""

    linear = "linear"
    cosine = "cosine"
    constant_cooldown = "constant_cooldown"
    inverse_sqrt = "inverse_sqrt"
    noam = "noam"


class LongMode(Enum):
    """What to do with a document that has more tokens than the model reads."""

    truncate = "truncate"
    head_tail = "head_tail"
    sliding = "sliding"
    interpolate = "interpolate"
    select_then_write = "select_then_write"


class OnBadRow(Enum):
    """What to do about a row that cannot be used."""

    error = "error"
    skip = "skip"


class OnNonFinite(Enum):
    """What to do about a loss that is not a finite number."""

    stop = "stop"
    skip = "skip"


class BestMode(Enum):
    """Which end of trainer.best_metric is the better one."""

    max = "max"
    min = "min"


class References(Enum):
    """How several references of a row count in its score."""

    first = "first"
    mean = "mean"
    max = "max"
    best_rouge1 = "best_rouge1"


class Language(Enum):
    """The language whose tokenizer scores compare words by."""

    auto = "auto"
    en = "en"
    cjk = "cjk"
    characters = "characters"
    zh_words = "zh_words"
    other = "other"


class SplitName(Enum):
    """A split that can be scored."""

    validation = "validation"
    test = "test"


class DataSplit(Enum):
    """A split that can be shown."""

    train = "train"
    validation = "validation"
    test = "test"


class Tracker(Enum):
    """A service that metrics are logged to besides metrics.jsonl."""

    none = "none"
    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"
    trackio = "trackio"
    aim = "aim"


class OutputFormat(Enum):
    """How a command writes its predictions."""

    text = "text"
    jsonl = "jsonl"


class Mix(Enum):
    """How often rows of tasks that are learnt together come."""

    proportional = "proportional"
    temperature = "temperature"
    even = "even"
