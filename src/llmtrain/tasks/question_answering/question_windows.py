"""A question and its context as one input, in windows where the context is longer than the model reads.

The question stands first, then the context, joined as the tokenizer joins two texts; one that puts nothing between them
(GPT-2's, Llama's) gets its end token there and behind the context. Neighbouring windows share ``data.stride`` tokens of
the context, and every one begins with the whole question (Devlin et al. 2019, the authors' run_squad.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrain.core.errors import ConfigError
from llmtrain.data.special_tokens import special_ids
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import LONGEST_WHOLE, frame

Span = tuple[int, int]  # first character and the one behind the last


@dataclass(frozen=True, slots=True)
class Joints:
    """Special tokens before a question, between it and its context, and behind that."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    behind: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.before) + len(self.between) + len(self.behind)


def joints_of(tokenizer: Tokenizer) -> Joints:
    """What the tokenizer puts around two texts, before them as before one, and its end token where it puts nothing."""
    joined = tokenizer("a", text_pair="b", verbose=False)
    parts: dict[int, list[int]] = {0: [], 1: [], 2: []}
    seen = 0
    for one, which in zip(joined["input_ids"], joined.sequence_ids(0), strict=True):
        if which is None:
            parts[seen].append(one)
        else:
            seen = which + 1
    alone, end = tokenizer("a", verbose=False)["input_ids"], [special_ids(tokenizer).eos]
    return Joints(tuple(parts[0] or alone[:frame(tokenizer)[0]]), tuple(parts[1] or end), tuple(parts[2] or end))


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a context behind its question.

    Attributes:
        input_ids: What the model reads.
        first: The place of the context's first token in it.
        places: The characters of each of its tokens of the context, without spaces around them; ``(n, n)`` for a token
            that has none of its own.
        at: How many tokens of the context stand before it.
    """

    input_ids: list[int]
    first: int
    places: list[Span]
    at: int

    def holds(self, tokens: Span) -> Span | None:
        """Where the first and the last of some of the context's tokens stand in it; None where it lacks one."""
        first, last = (one - self.at for one in tokens)
        return (self.first + first, self.first + last) if first >= 0 and last < len(self.places) else None


@dataclass(frozen=True, slots=True)
class ContextRead:
    """A context in windows, in its order, one at least; ``places`` are those of all its tokens."""

    windows: list[Window]
    places: list[Span]

    def tokens_of(self, answer: Span) -> Span | None:
        """The first and the last token that an answer's characters have a part in; None where no token has any."""
        start, end = answer
        inside = [i for i, (a, b) in enumerate(self.places) if a < b and b > start and a < end]
        return (inside[0], inside[-1]) if inside else None

    def marks(self, answer: Sequence[int]) -> bool:
        """Whether some tokens are exactly an answer's characters, spaces around it aside."""
        start, end = answer
        tokens = self.tokens_of((start, end))
        if tokens is None:
            return False
        return self.places[tokens[0]][0] >= start and self.places[tokens[1]][1] <= end


class QuestionWindows:
    """Cuts contexts into windows. Picklable.

    Args:
        tokenizer: The base's.
        limit: Tokens of a window, special ones included.
        question_limit: Tokens kept of a question.
        stride: Tokens of the context that neighbouring windows share.

    Raises:
        ConfigError: The tokenizer does not tell characters, or the limits leave no room.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int, question_limit: int, stride: int) -> None:
        if not tokenizer.is_fast:
            raise ConfigError(f"head=span needs a tokenizer that tells which characters a token stands for and the one "
                              f"at {tokenizer.name_or_path} is a slow one; use a base with a tokenizer.json")
        self._tokenizer, self._limit = tokenizer, limit
        self._question_limit, self._stride, self._joints = question_limit, stride, joints_of(tokenizer)
        if (room := limit - question_limit - self._joints.count) <= stride:
            raise ConfigError(f"data.max_source_tokens={limit} has room for {room} tokens of a context beside a "
                              f"question of data.max_question_tokens={question_limit}, no more than the data.stride="
                              f"{stride} that windows share; raise the first or lower the others")

    def describe(self) -> str:
        return f"{self._limit} {self._question_limit} {self._stride} {self._joints}"

    def __call__(self, question: str, context: str) -> ContextRead:
        joints = self._joints
        asked = self._tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"][:self._question_limit]
        head = [*joints.before, *asked, *joints.between]
        room = self._limit - len(head) - len(joints.behind)
        ids, places = self._tokens(context)
        found: list[Window] = []
        at = 0
        while not found or at + self._stride < len(ids):
            part = slice(at, at + room)
            found.append(Window([*head, *ids[part], *joints.behind], len(head), places[part], at))
            at += room - self._stride
        return ContextRead(found, places)

    def _tokens(self, context: str) -> tuple[list[int], list[Span]]:
        """All tokens of a context and their characters; a very long one is read piece by piece."""
        ids: list[int] = []
        places: list[Span] = []
        for at, piece in _pieces(context):
            read: Any = self._tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            ids += read["input_ids"]
            places += [_trimmed(at + start, at + end, context) for start, end in read["offset_mapping"]]
        return ids, places


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Parts of a text, cut before a space, each with its first character's place: 10 MB at once take gigabytes."""
    at = 0
    while len(text) - at > LONGEST_WHOLE:
        end = at + LONGEST_WHOLE
        found = max(text.rfind(space, at + LONGEST_WHOLE // 2, end) for space in " \n")
        end = found if found > 0 else end
        yield at, text[at:end]
        at = end
    yield at, text[at:]


def _trimmed(start: int, end: int, text: str) -> Span:
    """Characters without the spaces around them, which byte-level and SentencePiece tokens have."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
