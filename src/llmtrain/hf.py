"""Importing this module registers llmtrain's models with transformers' Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForSeq2SeqLM

from llmtrain.model.config import LlmtrainPrefixConfig, LlmtrainSeq2SeqConfig
from llmtrain.model.prefix import LlmtrainForPrefixLM
from llmtrain.model.seq2seq import LlmtrainForSeq2SeqLM

for model in (LlmtrainForSeq2SeqLM, LlmtrainForPrefixLM):
    AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
    AutoModelForSeq2SeqLM.register(model.config_class, model, exist_ok=True)

__all__ = ["LlmtrainForPrefixLM", "LlmtrainForSeq2SeqLM", "LlmtrainPrefixConfig", "LlmtrainSeq2SeqConfig"]
