"""What llmtrain asks of a tokenizer: the part of transformers' own that it uses."""

from __future__ import annotations

from typing import Any, Protocol


class Tokenizer(Protocol):
    """A tokenizer of transformers, fast or slow."""

    is_fast: bool
    name_or_path: str
    split_special_tokens: bool
    all_special_ids: list[int]
    all_special_tokens: list[str]
    bos_token_id: int | None
    cls_token_id: int | None
    eos_token_id: int | None
    mask_token_id: int | None
    pad_token_id: int | None
    sep_token_id: int | None
    unk_token_id: int | None
    eos_token: str | None
    pad_token: str | None
    sep_token: str | None
    padding_side: str
    model_input_names: list[str]
    truncation_side: str
    added_tokens_decoder: dict[int, Any]
    backend_tokenizer: Any  # of a fast one: the tokenizers library's own
    init_kwargs: dict[str, Any]

    def __len__(self) -> int: ...

    def __call__(self, text: Any, **how: Any) -> Any:
        """Token ids of a text or of several, under ``input_ids``."""

    def decode(self, token_ids: Any, **how: Any) -> str:
        """The text of token ids."""

    def convert_ids_to_tokens(self, ids: Any) -> Any: ...

    def convert_tokens_to_ids(self, tokens: Any) -> Any: ...

    def save_pretrained(self, save_directory: Any) -> Any:
        """Write the files that it is loaded from."""

    def get_vocab(self) -> dict[str, int]: ...
