"""Importing this module registers llmtrain's models with transformers' Auto classes."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForSeq2SeqLM

from llmtrain.model.config import LlmtrainSeq2SeqConfig
from llmtrain.model.seq2seq import LlmtrainForSeq2SeqLM

AutoConfig.register(LlmtrainSeq2SeqConfig.model_type, LlmtrainSeq2SeqConfig, exist_ok=True)
AutoModelForSeq2SeqLM.register(LlmtrainSeq2SeqConfig, LlmtrainForSeq2SeqLM, exist_ok=True)

__all__ = ["LlmtrainForSeq2SeqLM", "LlmtrainSeq2SeqConfig"]
