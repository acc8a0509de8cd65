"""What to do with a format that is slow or missing on a device."""

from __future__ import annotations

import time

import pytest
import torch

from llmtrain.config.choices import OnUnsupported, PrecisionName
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.core.errors import ConfigError
from llmtrain.nn.precision import Precision, Speeds, measure_speeds

CPU = torch.device("cpu")
SLOW = Speeds({"fp32": 1.0, "fp16": 4.0, "bf16": 0.5})


def asked(name: str, policy: str = "run") -> PrecisionConfig:
    return PrecisionConfig(name=PrecisionName(name), on_unsupported=OnUnsupported(policy))


def test_a_stall_does_not_make_a_format_slow_and_a_slow_one_is_timed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[torch.dtype] = []

    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        called.append(left.dtype)
        stalls = left.dtype == torch.float32 and called.count(torch.float32) == 2  # the first one that is timed
        time.sleep(0.2 if stalls or left.dtype == torch.bfloat16 else 0.0)
        return left

    monkeypatch.setattr("llmtrain.nn.precision.linear", product)
    speeds = measure_speeds(CPU)
    assert speeds.fastest != "bf16" and speeds.seconds["fp32"] < 0.1 < speeds.seconds["bf16"]
    assert called.count(torch.bfloat16) == 3 and called.count(torch.float16) == 6


def test_slow_formats_run_and_say_so() -> None:
    one = Precision(asked("fp16"), CPU, speeds=SLOW)
    assert one.running == "fp16"
    assert "4.0 times the time of fp32" in one.describe()
    assert "Fastest here: bf16" in one.describe()


@pytest.mark.parametrize("policy", ["bf16", "fp32"])
def test_slow_formats_are_replaced(policy: str) -> None:
    one = Precision(asked("fp16", policy), CPU, speeds=SLOW)
    assert (one.requested, one.running) == ("fp16", policy)
    assert not one.scaler.is_enabled()
    assert "replaced" in one.describe()


def test_slow_formats_stop_when_told_to() -> None:
    with pytest.raises(ConfigError, match="precision=bf16"):
        Precision(asked("fp16", "error"), CPU, speeds=SLOW)
    assert Precision(asked("bf16", "error"), CPU, speeds=SLOW).running == "bf16"


def test_missing_formats_stop_with_the_alternatives() -> None:
    some = Speeds({"fp32": 1.0, "bf16": 1.0})
    with pytest.raises(ConfigError, match="precision=fp32, precision=bf16"):
        Precision(asked("fp16"), CPU, speeds=some)
    assert Precision(asked("fp16", "bf16"), CPU, speeds=some).running == "bf16"


def test_a_resume_keeps_what_was_decided() -> None:
    assert Precision(asked("fp16", "bf16"), CPU, decided="fp16", speeds=SLOW).running == "fp16"


def test_this_cpu_is_measured() -> None:
    assert measure_speeds(CPU, repeats=1).seconds["fp32"] > 0
