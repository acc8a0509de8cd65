"""Configurations of published models: the base's own, the head's options, and what generation needs to know."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class LlmtrainConfig(PretrainedConfig):
    """Configuration of a published model: its base, its head, and what generation's cache needs.

    Args:
        base: The base's own configuration, as a dict.
        head: The head's options, as a dict.
        num_hidden_layers: Layers of generation's cache, as the head says.
        num_attention_heads: Attention heads of that cache.
        facts: What the task took from its training rows, such as the set of labels.
        source_pad_token_id: What pads documents, where targets have a vocabulary and a padding token of their own.
    """

    def __init__(self, base: dict[str, Any] | None = None, head: dict[str, Any] | None = None, vocab_size: int = 0,
                 hidden_size: int = 0, num_hidden_layers: int = 0, num_attention_heads: int = 0,
                 facts: dict[str, Any] | None = None, source_pad_token_id: int | None = None,
                 **kwargs: Any) -> None:
        kwargs.setdefault("tie_word_embeddings", False)  # the head reads the trunk's embeddings by reference
        super().__init__(**kwargs)
        self.base = base or {}
        self.head = head or {}
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        if source_pad_token_id is not None:
            self.source_pad_token_id = source_pad_token_id
        if facts:  # most models have none, and their config.json stays as it was before there were any
            self.facts = facts


def facts_of(config: Any) -> dict[str, Any]:
    """What the task of a published model took from its training rows."""
    found: dict[str, Any] = getattr(config, "facts", {})
    return found


def source_padding(config: Any) -> int:
    """What pads the documents of a published model; ``pad_token_id`` pads targets."""
    own: int | None = getattr(config, "source_pad_token_id", None)
    return int(config.pad_token_id if own is None else own)


class LlmtrainSeq2SeqConfig(LlmtrainConfig):
    """Configuration of a base that reads and a head that writes."""

    model_type = "llmtrain_seq2seq"
    is_encoder_decoder = True

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("is_encoder_decoder", True)
        super().__init__(**kwargs)


class LlmtrainExtractionConfig(LlmtrainConfig):
    """Configuration of a base that reads and a head that chooses sentences."""

    model_type = "llmtrain_extractive"


class LlmtrainClassificationConfig(LlmtrainConfig):
    """Configuration of a base that reads and a head that gives labels, which ``facts`` tell.

    ``id2label``, ``label2id`` and ``problem_type`` are transformers' own names for them.
    """

    model_type = "llmtrain_classification"

    def __init__(self, facts: dict[str, Any] | None = None, **kwargs: Any) -> None:
        labels = (facts or {}).get("labels", [])
        if labels:
            kwargs |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
            several = bool((facts or {}).get("multi_label"))
            kwargs["problem_type"] = f"{'multi' if several else 'single'}_label_classification"
        super().__init__(facts=facts, **kwargs)


class LlmtrainSpanConfig(LlmtrainConfig):
    """Configuration of a base that reads a question and a context and a head that marks the answer."""

    model_type = "llmtrain_span"


class LlmtrainSeveralConfig(LlmtrainConfig):
    """Configuration of a base with a head for each of several tasks.

    Args:
        parts: What each task's model says beside its head and its facts, by the task's name.
    """

    model_type = "llmtrain_several"

    def __init__(self, parts: dict[str, dict[str, Any]] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = parts or {}


class LlmtrainPrefixConfig(LlmtrainSeq2SeqConfig):
    """Configuration of a base that reads a document and itself writes behind it.

    Args:
        prompt_ids: What stands between the document and the token from which writing starts.
        prompt_end: That token, the prompt's last; None: the start token.
    """

    model_type = "llmtrain_prefix"

    def __init__(self, prompt_ids: list[int] | None = None, prompt_end: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prompt_ids = prompt_ids or []
        self.prompt_end = prompt_end
