"""The public Python: ``Summarizer("folder")(["text"])``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmtrain.checkpoint import locate_model, read_model_config
from llmtrain.config.load import from_dict
from llmtrain.config.schema import GenerationConfig, PrecisionConfig, PrecisionName, TrainConfig
from llmtrain.data.features import clean
from llmtrain.errors import ConfigError
from llmtrain.generation import Generated, summarize_batches


class Summarizer:
    """A trained model, ready to summarize.

    Args:
        folder: A run folder (its best checkpoint), a pointer, a step folder or a lone model folder.
        precision: fp32, fp16 or bf16.
        device: Where to compute; default: CUDA when there is one.
        generation: Decode settings under transformers' names (``num_beams=4``); default: the run's own.

    Raises:
        CheckpointError: The folder is damaged or is no llmtrain model.
        ConfigError: An unknown decode setting.
    """

    def __init__(self, folder: str | Path, precision: str = "fp32", device: str | None = None,
                 **generation: Any) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        import llmtrain.hf  # noqa: F401  registers the model type
        from llmtrain.precision import Precision

        self.folder = locate_model(Path(folder))
        self.config: TrainConfig = from_dict(read_model_config(self.folder)["config"])
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = Precision(PrecisionConfig(name=PrecisionName(precision)), where)
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(self.folder, use_safetensors=True, dtype=torch.float32)
        self.model.to(where).eval()
        self.generation = self.config.generation
        for name, value in generation.items():
            if name not in GenerationConfig.__slots__:
                raise ConfigError(f"unknown decode setting {name!r}; choose from "
                                  f"{', '.join(GenerationConfig.__slots__)}")
            setattr(self.generation, name, value)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Summaries in the order of the texts; an empty text gives an empty summary."""
        return [one.text for one in self.details(texts)]

    def details(self, texts: Sequence[str], with_copies: bool = False) -> list[Generated]:
        """Summaries with their scores and, for a head with a copy gate, what each token was copied from."""
        limit = self.config.data.max_source_tokens
        wanted = [i for i, text in enumerate(texts) if text.strip()]
        ids = [self.tokenizer(clean(texts[i]), truncation=True, max_length=limit)["input_ids"] for i in wanted]
        made = summarize_batches(self.model, self.tokenizer, ids, self.generation, self.precision,
                                 with_copies=with_copies)
        found = dict(zip(wanted, made, strict=True))
        return [found.get(i, Generated("", [], 0.0)) for i in range(len(texts))]
