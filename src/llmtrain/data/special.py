"""Which tokens begin, end and pad a sequence, whatever the tokenizer calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtrain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SpecialIds:
    bos: int
    eos: int
    pad: int


def special_ids(tokenizer: Any) -> SpecialIds:
    """BERT's [CLS] and [SEP], RoBERTa's <s> and </s>, GPT's <|endoftext|> for everything.

    A tokenizer without a begin token starts with its end token, one without a padding token pads with it: padding is
    masked wherever it is read and counts for nothing where it is a label, so it takes no id of its own.

    Raises:
        ConfigError: The tokenizer has no end token.
    """
    eos = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if eos is None:
        raise ConfigError("the tokenizer has no end token, so no summary could end; use one with an eos_token or "
                          "sep_token")
    bos = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    pad = tokenizer.pad_token_id
    return SpecialIds(int(eos if bos is None else bos), int(eos), int(eos if pad is None else pad))
