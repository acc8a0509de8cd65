"""Importing this module registers llmtrain's models with transformers' Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from llmtrain.model.config import LlmtrainExtractionConfig, LlmtrainPrefixConfig, LlmtrainSeq2SeqConfig
from llmtrain.model.extraction import LlmtrainForExtraction
from llmtrain.model.prefix import LlmtrainForPrefixLM
from llmtrain.model.seq2seq import LlmtrainForSeq2SeqLM

for model, auto in ((LlmtrainForSeq2SeqLM, AutoModelForSeq2SeqLM), (LlmtrainForPrefixLM, AutoModelForSeq2SeqLM),
                    (LlmtrainForExtraction, AutoModel)):
    AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
    auto.register(model.config_class, model, exist_ok=True)

__all__ = ["LlmtrainExtractionConfig", "LlmtrainForExtraction", "LlmtrainForPrefixLM", "LlmtrainForSeq2SeqLM",
           "LlmtrainPrefixConfig", "LlmtrainSeq2SeqConfig"]
