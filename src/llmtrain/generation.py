"""Summaries of many documents: sorted by length, decoded in batches of bounded size, given back in order.

Shapes: B rows, S source tokens, T summary tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from llmtrain.config.schema import GenerationConfig
from llmtrain.data.loader import pad
from llmtrain.heads.base import EncoderStates
from llmtrain.surface import CJK, speller

CJK_GAP = re.compile(rf"(?<={CJK}) (?={CJK})")
SPELLING_PROBE = "Wi-Fi (3.x) à la carte"
DEFAULTS_LEFT_OUT = {"temperature": 1.0, "top_p": 1.0, "min_new_tokens": 0, "no_repeat_ngram_size": 0}


@dataclass(frozen=True, slots=True)
class Generated:
    """One summary.

    Attributes:
        text: The summary as text.
        token_ids: Its tokens without the start, end and padding tokens.
        score: Mean log-probability of its tokens, the end token included.
        copied: For heads with a copy gate and when asked for: (summary token, probability of copying, source place).
    """

    text: str
    token_ids: list[int]
    score: float
    copied: list[tuple[str, float, int]] | None = None


def describe(config: GenerationConfig) -> str:
    """Decode settings for a signature line."""
    how = "sampling" if config.do_sample else "greedy" if config.num_beams == 1 else f"beam {config.num_beams}"
    parts = [how, f"max_new_tokens {config.max_new_tokens}"]
    parts += [f"{name} {getattr(config, name)}" for name, value in DEFAULTS_LEFT_OUT.items()
              if getattr(config, name) != value]
    return ", ".join(parts + ([f"length_penalty {config.length_penalty}"] if config.num_beams > 1 else []))


@torch.no_grad()
def summarize_batches(model: Any, tokenizer: Any, input_ids: Sequence[Sequence[int]], config: GenerationConfig,
                      precision: Any, progress: Callable[[int], None] | None = None, with_copies: bool = False,
                      ) -> list[Generated]:
    """Summaries of tokenised documents, in their order. Training mode and random state are left as found.

    Args:
        precision: Something with ``autocast()``, usually a Precision.
        progress: Called with the number of documents just finished.
    """
    was_training, device = model.training, next(model.parameters()).device
    found: list[Generated | None] = [None] * len(input_ids)
    model.eval()
    fork = torch.random.fork_rng(enabled=config.do_sample) if config.do_sample else nullcontext()
    try:
        with fork, precision.autocast():
            for rows in batches_of([len(ids) for ids in input_ids], config.batch_tokens):
                ids_BS = pad([torch.as_tensor(input_ids[i]).numpy() for i in rows], model.config.pad_token_id, 8)
                lengths = torch.tensor([len(input_ids[i]) for i in rows]).unsqueeze(1)
                mask_BS = (torch.arange(ids_BS.shape[1]) < lengths).long()
                made = _generate(model, tokenizer, ids_BS.to(device), mask_BS.to(device), config, with_copies)
                for i, one in zip(rows, made, strict=True):
                    found[i] = one
                if progress is not None:
                    progress(len(rows))
    finally:
        model.train(was_training)
    return [one for one in found if one is not None]


def batches_of(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices, longest first, in batches whose padded size stays within ``tokens`` (one row at least)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start:start + size]
        start += size


def _generate(model: Any, tokenizer: Any, ids_BS: Tensor, mask_BS: Tensor, config: GenerationConfig,
              with_copies: bool) -> list[Generated]:
    sampling = {"temperature": config.temperature, "top_p": config.top_p} if config.do_sample else {}
    beams = {"length_penalty": config.length_penalty} if config.num_beams > 1 else {}
    sequences_BT = model.generate(
        input_ids=ids_BS, attention_mask=mask_BS, num_beams=config.num_beams, do_sample=config.do_sample,
        max_new_tokens=config.max_new_tokens, min_new_tokens=config.min_new_tokens or None,
        no_repeat_ngram_size=config.no_repeat_ngram_size or None, **sampling, **beams)
    end, padding = model.config.eos_token_id, model.config.pad_token_id
    rows = [_cut(row.tolist()[1:], end) for row in sequences_BT]
    scores, copies = [0.0] * len(rows), None
    if with_copies:  # generate() returns no custom outputs: one forced pass over the finished summaries
        scores, copies = _forced_pass(model, ids_BS, mask_BS, rows, end, padding)
    texts = [tidy(text) for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]
    made = []
    for index, (text, row) in enumerate(zip(texts, rows, strict=True)):
        pointed = None
        if copies is not None:
            pointed = [(token, gate, place) for token, (gate, place)
                       in zip(tokenizer.convert_ids_to_tokens(row), copies[index], strict=False)]
        made.append(Generated(text, row, scores[index], pointed))
    return made


def _cut(row: list[int], end: int) -> list[int]:
    return row[:row.index(end)] if end in row else row


def _forced_pass(model: Any, ids_BS: Tensor, mask_BS: Tensor, rows: list[list[int]], end: int, padding: int,
                 ) -> tuple[list[float], list[list[tuple[float, int]]] | None]:
    labels_BT = pad([torch.tensor([*row, end]).numpy() for row in rows], padding).to(ids_BS.device)
    states: EncoderStates = model.encode(ids_BS, mask_BS)
    log_BTV = model.head.log_probabilities(model.head.shift(labels_BT), states)
    chosen_BT = log_BTV.gather(2, labels_BT.unsqueeze(2)).squeeze(2)
    scores = [float(chosen_BT[i, :len(row) + 1].mean()) for i, row in enumerate(rows)]
    if (evidence := model.head.copy_evidence(labels_BT, states)) is None:
        return scores, None
    gate_BT, place_BT = evidence
    return scores, [list(zip(gate_BT[i].tolist(), place_BT[i].tolist(), strict=True)) for i in range(len(rows))]


def tidy(text: str) -> str:
    """One line, without the spaces a WordPiece tokenizer puts between CJK characters."""
    return CJK_GAP.sub("", " ".join(text.split()))


def spell_as_written(tokenizer: Any, documents: Sequence[str], made: list[Generated],
                     read: Callable[[str], str] = str) -> list[Generated]:
    """Each summary in its document's own case, accents and spacing, as far as the model is not given them.

    Args:
        documents: As they were before preprocessing.
        read: What preprocessing makes of a training summary.
    """
    back = _there_and_back(tokenizer, read)
    if back == SPELLING_PROBE:
        return made
    uncased = back == back.lower()
    return [replace(one, text=speller(document, uncased)(one.text))
            for document, one in zip(documents, made, strict=True)]


def loses_spelling(tokenizer: Any, read: Callable[[str], str] = str) -> bool:
    """Whether text does not come back from preprocessing and this tokenizer as it went in."""
    return _there_and_back(tokenizer, read) != SPELLING_PROBE


def _there_and_back(tokenizer: Any, read: Callable[[str], str]) -> str:
    text: str = tokenizer.decode(tokenizer(read(SPELLING_PROBE), add_special_tokens=False)["input_ids"])
    return text.strip()
