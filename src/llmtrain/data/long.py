"""Which of a document's tokens are kept where there are more than ``data.max_source_tokens``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from llmtrain.config.choices import LongMode
from llmtrain.config.data import DataConfig

Item = TypeVar("Item")
LONGEST_WHOLE = 1 << 16  # characters of a text that is always tokenised whole


@dataclass(frozen=True, slots=True)
class Cut:
    """Keeps a row's special tokens and as much between them as fits; picklable.

    Attributes:
        limit: Tokens kept, special ones included.
        before: Special tokens that a document begins with, ``after``: ends with.
        head_share: Share of the rest that are the document's first tokens; the others are its last (Sun et al. 2019,
            "How to Fine-Tune BERT for Text Classification?", section 5.3.1: 128 of 510).
    """

    limit: int
    before: int
    after: int
    head_share: float = 1.0

    def __call__(self, row: list[Item]) -> list[Item]:
        """The kept items of a row that has one for each token: ids, offsets, words."""
        if len(row) <= self.limit:
            return row
        room = max(0, self.limit - self.before - self.after)
        first = round(room * self.head_share)
        return [*row[:self.before + first], *row[len(row) - self.after - (room - first):]]

    def describe(self) -> str:
        return f" ({self.head_share:.0%} from the beginning, the rest from the end)" if self.head_share < 1 else ""


def cut_of(tokenizer: Any, data: DataConfig, limit: int | None = None) -> Cut:
    """The cut that a configuration asks for; ``limit`` instead of ``data.max_source_tokens``."""
    before, after = frame(tokenizer)
    return Cut(data.max_source_tokens if limit is None else limit, before, after,
               data.head_share if data.long is LongMode.head_tail else 1.0)


def beginning(text: str, tokenizer: Any, cut: Cut) -> str:
    """The part of a very long text that holds all that is kept of it, and several times as much beside.

    To tokenise 10 MB whole takes gigabytes. Where the end is kept too (``head_tail``), the text stays as it is.
    """
    size = max(LONGEST_WHOLE, 32 * cut.limit)
    while cut.head_share == 1 and size < len(text):
        end = 1 + max(text.rfind(space, size // 2, size) for space in " \n")  # 0: no words here, so anywhere
        part = text[:end or size]
        if len(tokenizer(part, verbose=False)["input_ids"]) > 4 * cut.limit:
            return part
        size *= 4
    return text


def frame(tokenizer: Any) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and behind a document."""
    special = set(tokenizer.all_special_ids)
    framed = [one in special for one in tokenizer("a", verbose=False)["input_ids"]]
    before = next((i for i, is_special in enumerate(framed) if not is_special), len(framed))
    after = next((i for i, is_special in enumerate(reversed(framed)) if not is_special), 0)
    return before, after
