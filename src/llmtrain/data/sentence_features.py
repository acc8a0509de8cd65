"""Documents read sentence by sentence: which tokens each sentence has after truncation, and its label.

A sentence counts while one token of it is left; those behind are no candidates. Its text is always the whole one.

Shapes: N sentences of a document that count, S source tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmtrain.core.errors import ConfigError
from llmtrain.data.extractive_oracle import greedy_oracle, token_ids_of
from llmtrain.data.text.sentences import Span, sentence_spans
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import Cut, bounded, frame

START, END, LABELS = "sentence_start", "sentence_end", "sentence_labels"  # columns of features, keys of a batch


def encode_sentences(texts: Sequence[str], tokenizer: Tokenizer, limit: int, marked: bool) -> dict[str, list[Any]]:
    """Token ids of documents, at most ``limit`` each, and the token range [start, end) of every sentence.

    A sentence without a token of its own has an empty range. ``cut`` says which documents lost tokens.

    Args:
        marked: Set the tokenizer's begin and end token around every sentence (Liu and Lapata 2019, BertSum) instead of
            around the document.

    Raises:
        ConfigError: The tokenizer tells no character places, or has no token to mark sentences with.
    """
    if not tokenizer.is_fast:
        raise ConfigError("sentences are found by the offsets of a fast tokenizer and this base has none; use another "
                          "base, or a head and an objective that read no sentences")
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    if marked and (begin is None or end is None):
        raise ConfigError("head.sentence=cls sets a [CLS] token before each sentence and this base's tokenizer has "
                          "none; use head.sentence=mean or last")
    made: dict[str, list[Any]] = {"input_ids": [], START: [], END: [], "cut": []}
    if not texts:
        return made
    cut = Cut(limit, *frame(tokenizer))
    begun = [bounded(text, tokenizer, cut) for text in texts]  # places in it are places in the text
    whole = tokenizer(begun, add_special_tokens=not marked, return_offsets_mapping=marked, verbose=False)
    short = whole if marked else tokenizer(begun, truncation=True, max_length=limit, return_offsets_mapping=True)
    for row, text in enumerate(texts):
        ids = short["input_ids"][row]
        ranges = token_ranges(short["offset_mapping"][row], sentence_spans(text))
        lost = len(whole["input_ids"][row]) > len(ids)
        if marked and begin is not None and end is not None:
            ids, ranges, lost = _mark(ids, ranges, begin, end, limit)
        made["input_ids"].append(ids)
        made[START].append([start for start, _ in ranges])
        made[END].append([end for _, end in ranges])
        made["cut"].append(lost)
    return made


def token_ranges(offsets: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """The tokens [start, end) of each sentence, up to the last one that has any.

    A token belongs to the sentence of its last character (byte-level BPE counts the space before a word in); special
    tokens, which have no characters, to none.

    Args:
        offsets: First and last character of each token.
        spans: The same of each sentence, in order.
    """
    places = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    real = np.flatnonzero(places[:, 1] > places[:, 0])
    if not len(real) or not spans:
        return []
    owner = np.searchsorted([start for start, _ in spans], places[real, 1] - 1, side="right") - 1
    numbers = np.arange(int(owner.max(initial=-1)) + 1)
    first, behind = np.searchsorted(owner, numbers, side="left"), np.searchsorted(owner, numbers, side="right")
    place = np.append(real, real[-1] + 1)
    return [(int(place[a]), int(place[b - 1]) + 1) if b > a else (int(place[a]), int(place[a]))
            for a, b in zip(first, behind, strict=True)]


def _mark(ids: list[int], ranges: list[Span], begin: int, end: int, limit: int) -> tuple[list[int], list[Span], bool]:
    """Every sentence between ``begin`` and ``end``; (ids, ranges with both marks, whether tokens were lost)."""
    made: list[int] = []
    found: list[Span] = []
    kept = 0
    for start, stop in ranges:
        room = limit - len(made) - 2
        if stop > start and room < 1:
            break
        piece = ids[start:stop][:max(0, room)]
        place = len(made)
        made += [begin, *piece, end] if piece else []
        found.append((place, len(made)))
        kept += len(piece)
    return made or [begin, end], found, kept < sum(stop - start for start, stop in ranges)


def label_sentences(documents: Sequence[str], targets: Sequence[str], counts: Sequence[int], language: str,
                    most: int) -> list[list[int]]:
    """1 for the sentences that the greedy oracle takes of each document's first ``counts``, 0 for the rest."""
    ids = token_ids_of(language)
    rows = []
    for document, target, count in zip(documents, targets, counts, strict=True):
        spans = sentence_spans(document)[:count]
        chosen = set(greedy_oracle([ids(document[start:end]) for start, end in spans], ids(target), most))
        rows.append([int(index in chosen) for index in range(count)])
    return rows
