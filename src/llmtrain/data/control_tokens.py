"""Text is text: what a source or a target spells is never read as one of the tokenizer's own control tokens.

As transformers loads it, a tokenizer makes its end token of the four characters ``</s>``, in a target too: the model
would learn to stop there, and what it copies would be dropped where ids become text again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from llmtrain.data.special_tokens import special_ids
from llmtrain.data.tokenizer import Tokenizer

AROUND = (("", ""), ("a", "a"), ("a ", " a"), (">", "<"))  # texts in which a control token is tried
SHOWN = 3  # control tokens that a line names


def text_only(tokenizer: Any) -> Any:
    """The tokenizer, reading ``</s>``, ``[SEP]``, ``<|endoftext|>`` and their like in a text as characters.

    It still puts its control tokens around a text, and it is published so: loaded by transformers alone it gives the
    same ids. A call with ``split_special_tokens=False`` reads them as transformers does. Tokens that were added to it
    and control nothing stay whole.
    """
    tokenizer.split_special_tokens = tokenizer.init_kwargs["split_special_tokens"] = True  # the latter is saved
    if not tokenizer.is_fast:
        tokenizer._tokenize = partial(_spelled_out, tokenizer)
        return tokenizer
    tokenizer.backend_tokenizer.encode_special_tokens = True
    if not (reached := _reached(tokenizer)):
        return tokenizer
    from tokenizers import Regex, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = tokenizer.backend_tokenizer
    cuts = pre_tokenizers.Split(Regex(_first_letters(reached)), "isolated")
    before = backend.pre_tokenizer
    backend.pre_tokenizer = cuts if before is None else pre_tokenizers.Sequence([before, cuts])
    if type(tokenizer) is PreTrainedTokenizerFast or "__init__" not in vars(type(tokenizer)):
        return tokenizer
    # a model's class with an __init__ of its own builds its backend anew, without the cuts, where it is loaded again
    return PreTrainedTokenizerFast(tokenizer_object=backend, **tokenizer.init_kwargs)


def control_tokens(tokenizer: Tokenizer) -> list[str]:
    """Texts of the tokenizer's control tokens, the longest first."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(added | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token))


def finder(tokenizer: Tokenizer) -> re.Pattern[str]:
    """What finds control tokens that a text spells."""
    return re.compile("|".join(map(re.escape, control_tokens(tokenizer))) or "(?!)")


def first_spelled(controls: re.Pattern[str], *texts: str) -> str:
    """The first control token that one of the texts spells; empty where none does."""
    return next((found[0] for text in texts if (found := controls.search(text)) is not None), "")


def unwritable(ids: list[int], tokenizer: Tokenizer) -> bool:
    """Whether a text's tokens leave something of it out: what the vocabulary lacks, or has an end token for."""
    return not {tokenizer.unk_token_id, special_ids(tokenizer).eos}.isdisjoint(ids)


def notes_of(split: str, rows: int, spelled: Sequence[str], lost: int) -> list[str]:
    """Lines about a split's texts.

    Args:
        spelled: Of each row that spells control tokens, the first one.
        lost: Targets that a model cannot write.
    """
    found = []
    if spelled:
        named = sorted(set(spelled))
        shown = ", ".join(named[:SHOWN]) + (" ..." if len(named) > SHOWN else "")
        found.append(f"{len(spelled)} of {rows} rows of {split} spell control tokens of the tokenizer ({shown}): they "
                     "are read and written as text")
    if lost:
        found.append(f"{lost} of {rows} targets of {split} hold characters that the tokenizer has no token for: the "
                     "model cannot write them")
    return found


def _reached(tokenizer: Tokenizer) -> list[str]:
    """Control tokens, and tokens that stand for a byte, which the vocabulary alone makes of a text that spells them.

    A Unigram model has them among its pieces, at the best score there is.
    """
    backend, known = tokenizer.backend_tokenizer, tokenizer.get_vocab()
    names = [name for name in (*control_tokens(tokenizer), *(f"<0x{byte:02X}>" for byte in range(256)))
             if len(name) > 1 and name in known]
    found = []
    with unlimited(backend):
        for name in names:
            for left, right in AROUND:
                made = backend.encode(left + name + right, add_special_tokens=False)
                if (known[name], (len(left), len(left) + len(name))) in zip(made.ids, made.offsets, strict=True):
                    found.append(name)
                    break
    return found


@contextmanager
def unlimited(backend: Any) -> Iterator[Any]:
    """Padding and truncation that a tokenizer was shipped with are lifted meanwhile.

    Padding to 10^12 tokens would end the process.
    """
    padding, truncation = backend.padding, backend.truncation
    backend.no_padding()
    backend.no_truncation()
    try:
        yield backend
    finally:
        if padding is not None:
            backend.enable_padding(**padding)
        if truncation is not None:
            backend.enable_truncation(**truncation)


def _first_letters(names: list[str]) -> str:
    """A pattern for the first character of each name: a text cut there no longer holds the name in one piece."""
    return "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names)


def _spelled_out(tokenizer: Any, text: str, **how: Any) -> list[str]:
    """Tokens of a text by a tokenizer written in Python, which by itself keeps control tokens that stand between
    spaces, or takes all of its added tokens apart."""
    whole = [str(token) for token in tokenizer.added_tokens_decoder.values() if not token.special]
    parts = re.split(f"({'|'.join(map(re.escape, sorted(whole, key=len, reverse=True)))})", text) if whole else [text]
    cuts = re.compile("|".join(f"(?<={re.escape(name[0])})(?={re.escape(name[1:])})"
                               for name in control_tokens(tokenizer) if len(name) > 1) or "(?!)")
    read = type(tokenizer)._tokenize
    return [token for part in parts for token in ([part] if part in whole else [
        token for piece in cuts.split(part) if piece for token in read(tokenizer, piece, **how)])]
