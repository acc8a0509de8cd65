"""Outputs for many documents: sorted by length, decoded in batches of bounded size, given back in order.

Shapes: B rows, S source tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
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
from llmtrain.models.heads.extractive.choose import joined
from llmtrain.models.output import Output

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


@dataclass(frozen=True, slots=True)
class CitedSentence:
    """A sentence of the document, ``document[start:end]``, and how much it had to do with the output (0 to 1)."""

    index: int
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the output, ``text[start:end]``, and the document's sentences it comes from, largest first."""

    text: str
    start: int
    end: int
    sources: list[CitedSentence]


@dataclass(frozen=True, slots=True)
class CopyTrace:
    """How much each token of an output was copied from each sentence of its document: (T, N), and (N) their places."""

    weights: list[list[float]]
    spans: list[Span]


@dataclass(frozen=True, slots=True)
class Generated:
    """One output as text, its score, and what is known of where it comes from.

    Attributes:
        text: The output as text.
        token_ids: Its tokens without the start, end and padding tokens; none where it is made of chosen sentences.
        score: Mean log-probability of its tokens, the end token included, or of its sentences.
        copied: For heads with a copy gate and when asked for: (output token, probability of copying, source place).
        sentences: For a head that selects: the chosen sentences in the document's order, with their probabilities.
        probabilities: For an extractive head: of every sentence; None for one that cannot be chosen.
        traced: For a head that cites: which sentences each token was copied from.
        citations: For a head that cites, or chooses sentences: each sentence of the output, with those it comes from.
        others: Further outputs for the document, where ``num_return_sequences`` asks for several.
    """

    text: str
    token_ids: list[int]
    score: float
    copied: list[tuple[str, float, int]] | None = None
    sentences: list[CitedSentence] | None = None
    probabilities: list[float | None] | None = None
    traced: CopyTrace | None = None
    citations: list[Citation] | None = None
    others: tuple[Generated, ...] = ()

    @property
    def every(self) -> list[Generated]:
        """All outputs for the document, this one first."""
        return [self, *self.others]

    def each(self, change: Callable[[Generated], Generated]) -> Generated:
        """The same with every output for the document changed."""
        return replace(change(self), others=tuple(change(one) for one in self.others))

    @property
    def verbatim(self) -> bool:
        """Whether the text is the document's own."""
        return self.sentences is not None and not self.token_ids

    def detail(self, every: str) -> dict[str, Any]:
        """What a row tells besides: every output where there are several, and the sentences behind the first.

        Args:
            every: The key of those several, a saved name.
        """
        several = {every: [one.text for one in self.every]} if self.others else {}
        found = {"sentences": self.sentences, "citations": self.citations}
        return several | {name: [asdict(one) for one in listed] for name, listed in found.items() if listed is not None}


def documents_of(features: Features, texts: Sequence[str], rows: Sequence[int]) -> Documents:
    """Some rows of a split, ready for a model; ``texts`` are theirs."""
    extra = {name: [features.extra[name][i] for i in rows] for name in (START, END) if name in features.extra}
    return Documents([features.input_ids[i] for i in rows], [clean(text) for text in texts], extra)


@torch.no_grad()
def predict_batches(model: Any, tokenizer: Any, documents: Documents, config: GenerationConfig, precision: Any,
                      progress: Callable[[int], None] | None = None, evidence: bool = False) -> list[Generated]:
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
                batch, spans = _batch(documents, rows, model.config.pad_token_id, device)
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


def _generated(output: Output, sentences: list[str], document: str, spans: list[Span], tokenizer: Any) -> Generated:
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


def spell_as_written(tokenizer: Any, documents: Sequence[str], made: list[Generated],
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


def loses_spelling(tokenizer: Any, read: Callable[[str], str] = str) -> bool:
    """Whether text does not come back from preprocessing and this tokenizer as it went in."""
    return _there_and_back(tokenizer, read) != SPELLING_PROBE


def _there_and_back(tokenizer: Any, read: Callable[[str], str]) -> str:
    text: str = tokenizer.decode(tokenizer(read(SPELLING_PROBE), add_special_tokens=False)["input_ids"])
    return text.strip()
