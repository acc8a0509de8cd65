"""The public Python: ``Summarizer("folder")(["text"])``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmtrain.checkpoint import locate_model, read_model_config
from llmtrain.config.load import from_dict
from llmtrain.config.schema import DataConfig, Device, GenerationConfig, PrecisionConfig, PrecisionName, TrainConfig
from llmtrain.data.features import clean
from llmtrain.errors import CheckpointError, ConfigError
from llmtrain.generation import Generated, summarize_batches
from llmtrain.model.base import layers
from llmtrain.precision import Precision


@dataclass(frozen=True, slots=True)
class Published:
    """A published model on its device, with its tokenizer and precision."""

    model: Any
    tokenizer: Any
    precision: Precision

    def first_linear(self) -> nn.Module:
        """A layer inside the trunk whose output dtype shows the effective precision."""
        return next(m for m in reversed(list(layers(self.model.trunk)[0].modules())) if isinstance(m, nn.Linear))

    def summarize(self, texts: Sequence[str], data: DataConfig, generation: GenerationConfig,
                  with_copies: bool = False) -> tuple[list[Generated], int]:
        """Summaries in the order of the texts, and how many texts were cut. An empty text gives an empty summary."""
        wanted = [i for i, text in enumerate(texts) if text.strip()]
        whole = self.tokenizer([clean(texts[i]) for i in wanted], verbose=False)["input_ids"] if wanted else []
        ids = [self._cut(row, data.max_source_tokens) for row in whole]
        made = summarize_batches(self.model, self.tokenizer, ids, generation, self.precision, with_copies=with_copies)
        found = dict(zip(wanted, made, strict=True))
        summaries = [found.get(i, Generated("", [], 0.0)) for i in range(len(texts))]
        return summaries, sum(len(row) > data.max_source_tokens for row in whole)

    def _cut(self, ids: list[int], limit: int) -> list[int]:
        return ids if len(ids) <= limit else [*ids[:limit - 1], ids[-1]]  # the end token stays


def load_published(folder: Path, precision: PrecisionConfig, device: Device = Device.auto) -> Published:
    """Load a verified model folder: safetensors only, no remote code, fp32 weights.

    Raises:
        CheckpointError: transformers cannot load it.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    import llmtrain.hf  # noqa: F401  registers the model type

    cuda = torch.cuda.is_available() and device is not Device.cpu
    if device is Device.cuda and not cuda:
        raise ConfigError("trainer.device=cuda but torch sees no CUDA device; use trainer.device=cpu")
    where = torch.device("cuda" if cuda else "cpu")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32,
                                                      trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        line = " ".join(str(error).split())[:200]
        raise CheckpointError(f"cannot load the model at {folder} ({line}); use another checkpoint") from error
    return Published(model.to(where).eval(), tokenizer, Precision(precision, where))


class Summarizer:
    """A trained model, ready to summarize.

    Args:
        folder: A run folder (its best checkpoint), a pointer, a step folder or a lone model folder.
        precision: fp32, fp16 or bf16.
        device: auto, cpu or cuda.
        generation: Decode settings under transformers' names (``num_beams=4``); default: the run's own.

    Raises:
        CheckpointError: The folder is damaged or is no llmtrain model.
        ConfigError: An unknown decode setting.
    """

    def __init__(self, folder: str | Path, precision: str = "fp32", device: str = "auto", **generation: Any) -> None:
        self.folder = locate_model(Path(folder))
        self.config: TrainConfig = from_dict(read_model_config(self.folder)["config"])
        self.published = load_published(self.folder, PrecisionConfig(name=PrecisionName(precision)), Device(device))
        self.generation = self.config.generation
        for name, value in generation.items():
            if name not in GenerationConfig.__slots__:
                known = ", ".join(GenerationConfig.__slots__)
                raise ConfigError(f"unknown decode setting {name!r}; choose from {known}")
            setattr(self.generation, name, value)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Summaries in the order of the texts; an empty text gives an empty summary."""
        return [one.text for one in self.details(texts)]

    def details(self, texts: Sequence[str], with_copies: bool = False) -> list[Generated]:
        """Summaries with their scores and, for a head with a copy gate, what each token was copied from."""
        return self.published.summarize(texts, self.config.data, self.generation, with_copies)[0]
