"""Which of a document's tokens are kept where there are more than ``data.max_source_tokens``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from llmtrain.config.choices import LongMode
from llmtrain.config.sections.data import DataConfig
from llmtrain.data.tokenizer import Tokenizer

Item = TypeVar("Item")
Span = tuple[int, int]  # first and last character
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

    def places(self, offsets: list[Span], left_out: int) -> list[Span]:
        """The kept tokens' places in a document of which :func:`bounded` left out so many characters."""
        kept = self(offsets)
        first = len(kept)
        if self.head_share < 1 and left_out:  # they lie before the last tokens
            first = self.before + round(max(0, self.limit - self.before - self.after) * self.head_share)
        return [*kept[:first], *((start + left_out, end + left_out) for start, end in kept[first:])]

    def describe(self) -> str:
        return f" ({self.head_share:.0%} from the beginning, the rest from the end)" if self.head_share < 1 else ""


def cut_of(tokenizer: Tokenizer, data: DataConfig, limit: int | None = None) -> Cut:
    """The cut that a configuration asks for; ``limit`` instead of ``data.max_source_tokens``."""
    before, after = frame(tokenizer)
    return Cut(data.max_source_tokens if limit is None else limit, before, after,
               data.head_share if data.long is LongMode.head_tail else 1.0)


def bounded(text: str, tokenizer: Tokenizer, cut: Cut) -> str:
    """A very long text without what is not kept of it anyway, but for several times as much as is kept.

    To tokenise 10 MB whole takes gigabytes. What stays is its beginning, and where the end is kept too (``head_tail``)
    its end. Both are cut between words, so that each kept token is the one it is in the whole text.
    """
    size = max(LONGEST_WHOLE, 32 * cut.limit)
    ends = 1 if cut.head_share == 1 else 2
    while size * ends < len(text):
        parts = [_beginning(text, size), _end(text, size)][:ends]
        if all(len(tokenizer(part, verbose=False)["input_ids"]) > 4 * cut.limit for part in parts):
            return "".join(parts)
        size *= 4
    return text


def token_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """All tokens of a text, special ones too; of a very long one piece by piece, cut before a space."""
    if len(text) <= LONGEST_WHOLE:
        return list(tokenizer(text, verbose=False)["input_ids"])
    around, before, at = tokenizer("", verbose=False)["input_ids"], frame(tokenizer)[0], 0
    ids = around[:before]
    while at < len(text):
        end = at + LONGEST_WHOLE
        found = max(text.rfind(space, at + LONGEST_WHOLE // 2, end) for space in " \n") if end < len(text) else -1
        end = found if found > 0 else end
        ids += tokenizer(text[at:end], add_special_tokens=False, verbose=False)["input_ids"]
        at = end
    return [*ids, *around[before:]]


def _beginning(text: str, size: int) -> str:
    end = 1 + max(text.rfind(space, size // 2, size) for space in " \n")  # 0: no words here, so anywhere
    return text[:end or size]


def _end(text: str, size: int) -> str:
    """It begins with a space, which in many tokenizers belongs to the word behind it."""
    first = len(text) - size
    found = [place for space in " \n" if (place := text.find(space, first, len(text) - size // 2)) >= 0]
    return text[min(found, default=first):]


def frame(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and behind a document."""
    unknown = tokenizer.unk_token_id  # which "a" may be; some tokenizers have one token for everything
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id}
    special = set(tokenizer.all_special_ids) - ({unknown} - ends)
    framed = [one in special for one in tokenizer("a", verbose=False)["input_ids"]]
    before = next((i for i, is_special in enumerate(framed) if not is_special), len(framed))
    after = next((i for i, is_special in enumerate(reversed(framed)) if not is_special), 0)
    return before, after
