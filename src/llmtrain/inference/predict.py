"""Outputs for many documents: sorted by length, decoded in batches of bounded size, given back in order.

Shapes: B rows, S source tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.data.batch import pad
from llmtrain.data.features import Features, clean
from llmtrain.data.sentence_features import END, START
from llmtrain.data.text.sentences import Span, sentence_spans
from llmtrain.data.text.spelling import CJK, speller
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.inference.generated import Citation, CitedSentence, CopyTrace, Generated
from llmtrain.models.heads.extractive.choose import joined
from llmtrain.models.hf_config import source_padding
from llmtrain.models.output import Output
from llmtrain.models.task_model import TaskModel

CJK_GAP = re.compile(rf"(?<={CJK}) (?={CJK})")
Row = Sequence[int] | NDArray[np.int64]
SPELLING_PROBE = "Wi-Fi (3.x) à la carte"


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents ready for a model.

    Attributes:
        input_ids: Token ids of each.
        texts: Each as it was read.
        extra: What the features hold besides, under its key in a batch (sentence_start, sentence_end).
    """

    input_ids: Sequence[Row]
    texts: Sequence[str]
    extra: Mapping[str, Sequence[Row]] = field(default_factory=dict)


def documents_of(features: Features, texts: Sequence[str], rows: Sequence[int]) -> Documents:
    """Some rows of a split, ready for a model; ``texts`` are theirs."""
    extra = {name: [features.extra[name][i] for i in rows] for name in (START, END) if name in features.extra}
    return Documents([features.input_ids[i] for i in rows], [clean(text) for text in texts], extra)


@torch.no_grad()
def predict_batches(model: TaskModel, tokenizer: Tokenizer, documents: Documents, config: GenerationConfig,
                    precision: Any, progress: Callable[[int], None] | None = None, evidence: bool = False,
                    ) -> list[Generated]:
    """Outputs for tokenised documents, in their order. Training mode and random state are left as found.

    Args:
        precision: Something with ``autocast()``, usually a Precision.
        progress: Called with the number of documents just finished.
        evidence: Also say where each output comes from.
    """
    was_training, device = model.training, next(model.parameters()).device
    found: list[Generated | None] = [None] * len(documents.input_ids)
    model.eval()
    fork = torch.random.fork_rng(enabled=config.do_sample) if config.do_sample else nullcontext()
    try:
        with fork, precision.autocast():
            for rows in batches_of([len(ids) for ids in documents.input_ids], config.batch_tokens):
                batch, spans = _batch(documents, rows, source_padding(model.config), device)
                outputs = model.predict(batch, config, evidence)
                for row, (i, output, places) in enumerate(zip(rows, outputs, spans, strict=True)):
                    sentences = batch["sentences"][row] if "sentences" in batch else []
                    first, *others = (_generated(one, sentences, documents.texts[i], places, tokenizer)
                                      for one in (output, *output.others))
                    found[i] = replace(first, others=tuple(others))
                if progress is not None:
                    progress(len(rows))
    finally:
        model.train(was_training)
    return [one for one in found if one is not None]


def batches_of(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices, longest first, in batches: as many rows as fit in ``tokens`` at the longest one's size, one at least."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start:start + size]
        start += size


def _batch(documents: Documents, rows: list[int], padding: int, device: Any) -> tuple[dict[str, Any], list[list[Span]]]:
    """A batch on the device, and the spans of each row's sentences where the model reads them."""
    ids_BS = pad([documents.input_ids[i] for i in rows], padding, 8)
    lengths = torch.tensor([len(documents.input_ids[i]) for i in rows]).unsqueeze(1)
    mask_BS = (torch.arange(ids_BS.shape[1]) < lengths).long()
    batch: dict[str, Any] = {"input_ids": ids_BS.to(device), "attention_mask": mask_BS.to(device)}
    for name, column in documents.extra.items():
        batch[name] = pad([column[i] for i in rows], 0).to(device)
    if START not in batch:
        return batch, [[] for _ in rows]
    spans = [sentence_spans(documents.texts[i]) for i in rows]
    batch["sentences"] = [[documents.texts[i][start:end] for start, end in places]
                          for i, places in zip(rows, spans, strict=True)]
    return batch, spans


def _generated(output: Output, sentences: list[str], document: str, spans: list[Span], tokenizer: Tokenizer,
               ) -> Generated:
    """An output as text; ``sentences`` are its document's, for a head that chooses them."""
    text = joined([sentences[choice.index] for choice in output.sentences or []]) if output.token_ids is None else tidy(
        tokenizer.decode(output.token_ids, skip_special_tokens=True))
    row = output.token_ids or []
    copied = sources = None
    if output.copied is not None:
        copied = [(token, gate, place) for token, (gate, place)
                  in zip(tokenizer.convert_ids_to_tokens(row), output.copied, strict=True)]
    if output.sentences is not None:
        sources = [CitedSentence(c.index, *spans[c.index], round(c.probability, 4)) for c in output.sentences]
    traced = None if output.traced is None else CopyTrace([weights[:len(spans)] for weights in output.traced], spans)
    chosen = sources is not None and output.token_ids is None
    own = _of_themselves(text, sources or [], document) if chosen else None
    return Generated(text, row, output.score, copied, sources, output.probabilities, traced, own)


def _of_themselves(text: str, chosen: list[CitedSentence], document: str) -> list[Citation]:
    """Chosen sentences as an output that cites them."""
    found, end = [], 0
    for source in chosen:
        sentence = " ".join(document[source.start:source.end].split())
        start = text.index(sentence, end)
        end = start + len(sentence)
        found.append(Citation(sentence, start, end, [replace(source, weight=1.0)]))
    return found


def tidy(text: str) -> str:
    """One line, without the spaces a WordPiece tokenizer puts between CJK characters."""
    return CJK_GAP.sub("", " ".join(text.split()))


def spell_as_written(tokenizer: Tokenizer, documents: Sequence[str], made: list[Generated],
                     read: Callable[[str], str] = str) -> list[Generated]:
    """Each output in its document's own case, accents and spacing, as far as the model is not given them.

    Args:
        documents: As they were before preprocessing.
        read: What preprocessing makes of a training target.
    """
    back = _there_and_back(tokenizer, read)
    if back == SPELLING_PROBE:
        return made
    uncased = back == back.lower()
    return [one if one.verbatim else _respelled(one, speller(document, uncased))
            for document, one in zip(documents, made, strict=True)]


def _respelled(one: Generated, spell: Callable[[str], str]) -> Generated:
    return one.each(lambda each: replace(each, text=spell(each.text)))


def loses_spelling(tokenizer: Tokenizer, read: Callable[[str], str] = str) -> bool:
    """Whether text does not come back from preprocessing and this tokenizer as it went in."""
    return _there_and_back(tokenizer, read) != SPELLING_PROBE


def _there_and_back(tokenizer: Tokenizer, read: Callable[[str], str]) -> str:
    text: str = tokenizer.decode(tokenizer(read(SPELLING_PROBE), add_special_tokens=False)["input_ids"])
    return text.strip()
