"""Closed sets of values a key may take."""

from __future__ import annotations

from enum import Enum


class Resume(Enum):
    auto = "auto"
    never = "never"
    must = "must"


class PrecisionName(Enum):
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class TuningName(Enum):
    full = "full"
    lora = "lora"


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
    noam = "noam"


class LongMode(Enum):
    truncate = "truncate"
    head_tail = "head_tail"
    sliding = "sliding"
    interpolate = "interpolate"
    select_then_write = "select_then_write"


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
    characters = "characters"
    zh_words = "zh_words"
    other = "other"


class SplitName(Enum):
    validation = "validation"
    test = "test"


class DataSplit(Enum):
    train = "train"
    validation = "validation"
    test = "test"


class Tracker(Enum):
    none = "none"
    tensorboard = "tensorboard"


class OutputFormat(Enum):
    text = "text"
    jsonl = "jsonl"
