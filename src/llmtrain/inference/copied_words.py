"""Which words of a document its output was copied from, where the head has a copy gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import Cut, bounded
from llmtrain.inference.generated import Copied, Generated

COPY_LIKELY = 0.5  # a token counts as copied when copying it was likelier than writing it


def with_copied_words(tokenizer: Tokenizer, documents: Sequence[str], made: Sequence[Generated], cut: Cut,
                      ) -> list[Generated]:
    """The outputs with the words that each was copied from.

    Words are found by the places of a fast tokenizer's tokens; of another one the outputs stay as they are.

    Args:
        documents: As the model read them.
        cut: Which of their tokens it read.
    """
    rows = [row for row, one in enumerate(made) if one.copied is not None]
    if not tokenizer.is_fast or not rows:
        return list(made)
    begun = [bounded(documents[row], tokenizer, cut) for row in rows]
    whole = tokenizer(begun, verbose=False, return_offsets_mapping=True)
    found = list(made)
    for index, row in enumerate(rows):
        places = cut.places(whole["offset_mapping"][index], len(documents[row]) - len(begun[index]))
        found[row] = replace(made[row], words=copied_words(documents[row], made[row].copied or [], places,
                                                           cut(whole.word_ids(index))))
    return found


def copied_words(document: str, pointed: list[tuple[str, float, int]], offsets: list[tuple[int, int]],
                 words: list[int | None]) -> list[Copied]:
    """The document's words that an output's tokens point at, one entry for tokens that follow each other in one word.

    Args:
        pointed: (token, probability of copying, place among the document's tokens) of each token of the output.
        offsets: First and last character of each of the document's tokens.
        words: The word each belongs to; None for special tokens.
    """
    found: list[Copied] = []
    previous: int | None = None
    for _token, gate, place in pointed:
        word = words[place] if gate > COPY_LIKELY and place < len(words) else None
        if word is not None and word == previous:
            found[-1] = replace(found[-1], probability=min(found[-1].probability, gate))
        elif word is not None:
            spans = [span for span, other in zip(offsets, words, strict=True) if other == word]
            start, end = spans[0][0], spans[-1][1]
            start += len(document[start:end]) - len(document[start:end].lstrip())  # byte-level BPE counts the space in
            found.append(Copied(document[start:end], start, end, gate))
        previous = word
    return found
