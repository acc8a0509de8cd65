"""Importing this module registers llmtrain's models with transformers' Auto classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from llmtrain.core.logging import quieted_imports

with quieted_imports():
    import torch
    import transformers
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    from llmtrain.core.errors import CheckpointError
    from llmtrain.data.control_tokens import text_only
    from llmtrain.data.special_tokens import misfits
    from llmtrain.models.architectures import class_of
    from llmtrain.models.backbone.load_errors import check_complete, refusing
    from llmtrain.models.backbone.tokenizer_checks import probe
    from llmtrain.models.backbone.untrusted import check_published
    from llmtrain.models.hf_config import (
        LlmtrainClassificationConfig,
        LlmtrainExtractionConfig,
        LlmtrainPrefixConfig,
        LlmtrainSeq2SeqConfig,
        LlmtrainSeveralConfig,
        LlmtrainSpanConfig,
    )
    from llmtrain.models.prefix_lm import LlmtrainForPrefixLM
    from llmtrain.models.sentence_extraction import LlmtrainForExtraction
    from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
    from llmtrain.models.sequence_classification import LlmtrainForSequenceClassification
    from llmtrain.models.several_heads import LlmtrainForSeveralTasks
    from llmtrain.models.span import LlmtrainForQuestionAnswering
    from llmtrain.models.text_generation import special_tokens

for model in (LlmtrainForSeq2SeqLM, LlmtrainForPrefixLM, LlmtrainForExtraction, LlmtrainForSeveralTasks,
              LlmtrainForQuestionAnswering, LlmtrainForSequenceClassification):
    AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
    getattr(transformers, model.auto_class).register(model.config_class, model, exist_ok=True)

# what the pipeline "text-classification" asks: it takes any other model too, and logs an error
MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[LlmtrainClassificationConfig.model_type] = (
    LlmtrainForSequenceClassification.__name__)

__all__ = ["LlmtrainClassificationConfig", "LlmtrainExtractionConfig", "LlmtrainForExtraction", "LlmtrainForPrefixLM",
           "LlmtrainForQuestionAnswering", "LlmtrainForSeq2SeqLM", "LlmtrainForSequenceClassification",
           "LlmtrainForSeveralTasks", "LlmtrainPrefixConfig", "LlmtrainSeq2SeqConfig", "LlmtrainSeveralConfig",
           "LlmtrainSpanConfig"]


def load(folder: Path) -> tuple[Any, Any]:
    """(model, tokenizer) of a verified model folder, on the CPU: safetensors only, no remote code, fp32 weights.

    Raises:
        CheckpointError: transformers cannot load it, would read elsewhere for it, or finds a weight missing.
    """
    check_published(folder)
    with refusing(CheckpointError, f"cannot load the model at {folder}", "; use another checkpoint"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        probe(tokenizer)
        tokenizer = text_only(tokenizer)  # one that was published before it was so by itself
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        # the attention is named: a configuration may ask for one that is fetched from the hub; and the special tokens
        # alone are taken for generation: how to decode is llmtrain's own configuration, no generation_config.json
        model, told = cast(Any, class_of(config.head["name"])).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True,
            generation_config=GenerationConfig(**special_tokens(config)))
    check_complete(told, folder)
    if problems := misfits(tokenizer, int(model.input_embedding_VD.shape[0]), folder):
        raise CheckpointError(problems)
    return model, tokenizer
