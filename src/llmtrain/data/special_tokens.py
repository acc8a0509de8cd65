"""Which tokens begin, end and pad a sequence, whatever the tokenizer calls them, and which ids it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmtrain.core.errors import ConfigError
from llmtrain.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids of the tokens that a text begins with, ends with and is padded with."""

    bos: int
    eos: int
    pad: int


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
    """BERT's [CLS] and [SEP], RoBERTa's <s> and </s>, GPT's <|endoftext|> for everything.

    A tokenizer without a begin token starts with its end token, one without a padding token pads with it: padding is
    masked wherever it is read and counts for nothing where it is a label, so it takes no id of its own.

    Raises:
        ConfigError: The tokenizer has no end token.
    """
    eos = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if eos is None:
        raise ConfigError(f"the tokenizer at {tokenizer.name_or_path} has no end token, so no output could end; use "
                          "one with an eos_token or sep_token")
    bos = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    pad = tokenizer.pad_token_id
    return SpecialIds(int(eos if bos is None else bos), int(eos), int(eos if pad is None else pad))


def id_count(tokenizer: Tokenizer) -> int:
    """One more than its highest id: between the ids there may be gaps."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def misfits(tokenizer: Tokenizer, rows: int, path: Path | str) -> list[str]:
    """A line where the tokenizer of the model at ``path`` has ids without one of the ``rows`` embeddings."""
    count = id_count(tokenizer)
    return [] if count <= rows else [
        f"the tokenizer at {path} has {len(tokenizer)} tokens, ids up to {count - 1}, and the model embeddings for "
        f"{rows}; restore the model's own"]
