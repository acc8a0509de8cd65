"""Keys of the number format."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.choices import OnUnsupported, PrecisionName
from llmtrain.config.keys import key


@dataclass(kw_only=True, slots=True)
class PrecisionConfig:
    """Keys of the number format."""

    name: PrecisionName = key(PrecisionName.fp32, "number format of the forward and backward pass")
    on_unsupported: OnUnsupported = key(OnUnsupported.run,
                                        "slow here: run it and say so, stop with an error, or use bf16 / fp32 instead")
    allow_tf32: bool = key(False, "CUDA: fp32 matrix products may use TF32")
    init_scale: float = key(65536.0, "fp16: first loss scale", min=1e-30, max=1e38)  # beyond: no fp32 number
    growth_interval: int = key(2000, "fp16: good steps before the scale doubles", "steps", min=1)
