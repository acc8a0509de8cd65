"""A sentence selector in front of a writer: ``data.long=select_then_write``.

Of a document that has more tokens than the writer reads, an extractive model chooses the sentences that the writer gets
instead, in the document's order. This is extract-then-abstract as of Liu et al. 2018 (arXiv:1801.10198) and
Pilault et al. 2020, with the two trained one after the other.

Shapes: B pieces of documents, N sentences of a piece.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from llmtrain.checkpoint import check_plugins, locate_model, read_model_config
from llmtrain.config.choices import LongMode
from llmtrain.config.convert import from_dict
from llmtrain.config.sections.data import DataConfig
from llmtrain.core.cache import find_cached, open_cache
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.core.files import read_json, write_json
from llmtrain.core.logging import Counting, warn
from llmtrain.data.batch import pad
from llmtrain.data.document_pieces import Piece, fitting, pieces
from llmtrain.data.examples import Example, digest
from llmtrain.data.features import clean, describe
from llmtrain.data.sentence_features import END, START, encode_sentences
from llmtrain.data.text.sentences import sentence_spans
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import frame
from llmtrain.hf import load
from llmtrain.inference.predict import batches_of
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone.families import positions
from llmtrain.models.heads.extractive.choose import joined
from llmtrain.models.hf_config import source_padding
from llmtrain.models.sentence_extraction import LlmtrainForExtraction

FOLDER = "selected"  # of the cache
FORMAT = 1  # raise when the choice changes
AT_A_TIME = 256  # documents tokenised together
WHOLE = 1 << 30  # tokens; no limit


@dataclass(frozen=True, slots=True)
class Selected:
    """Documents as a writer reads them, and how many were too long, of how many sentences how many stayed."""

    texts: list[str]
    longer: list[int]
    kept: int
    sentences: int

    def describe(self) -> str:
        """The line about it; of no document that was too long too."""
        if not self.longer:
            return f"none of {len(self.texts)} documents is too long for the writer; the selector has nothing to do"
        return (f"of {len(self.longer)} of {len(self.texts)} documents, too long for the writer, the selector keeps "
                f"{self.kept} of {self.sentences} sentences")


class Selector:
    """Shortens documents to the sentences that an extractive model chooses.

    Its weights are read the first time they are needed.

    Args:
        path: A run, pointer, step or model folder.
        device: Where it computes.
        precision: Something with ``autocast()`` and ``running``, usually the writer's Precision; None: fp32.

    Raises:
        ConfigError: Nothing is there, or its head chooses no sentences.
        CheckpointError: It is damaged.
    """

    def __init__(self, path: str | Path, device: torch.device, precision: Any = None) -> None:
        self.folder = locate_model(path)
        stored = read_model_config(self.folder)
        check_plugins(stored, self.folder)
        self._config = from_dict(stored["config"], str(self.folder / "llmtrain.json"), CheckpointError, scoring=True)
        if class_of(self._config.head.name) is not LlmtrainForExtraction:
            raise ConfigError(f"data.selector={path} was trained with head={self._config.head.name}, which chooses no "
                              "sentences; name a run of head=extractive")
        self.digest = digest((self.folder / "manifest.json").read_text(encoding="utf-8"))
        self._device, self._precision = device, precision

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        model, tokenizer = load(self.folder)
        return model.to(self._device).eval(), tokenizer

    def forget(self) -> None:
        """Free the weights; they are read again when they are needed."""
        self.__dict__.pop("_loaded", None)

    def copy_to(self, folder: Path) -> None:
        """Put the whole model into a new folder."""
        shutil.copytree(self.folder, folder)

    def shorten(self, texts: Sequence[str], tokenizer: Tokenizer, limit: int, cache: DataConfig | None = None,
                ) -> Selected:
        """Documents of at most about ``limit`` of the writer's tokens.

        Args:
            tokenizer: The writer's.
            limit: Special tokens included; only a sentence that is longer alone still has more.
            cache: Says where choices are kept; without it they are not.
        """
        running = getattr(self._precision, "running", "fp32")
        key = digest("\0".join([*texts, self.digest, describe(tokenizer), str(limit), running, str(FORMAT)]))[:24]
        folder = None if cache is None else find_cached(cache.cache_dir, FOLDER, [f"{key}.json"])
        chosen = None if folder is None else _read(folder / f"{key}.json")
        if chosen is None:
            folder = None if cache is None else open_cache(cache.cache_dir, FOLDER)  # tried before the work
            chosen = self._choose(texts, tokenizer, limit)
            if folder is not None:
                write_json(folder / f"{key}.json", chosen)
        made, total = list(texts), 0
        for row, found in chosen.items():
            spans = sentence_spans(texts[row])
            total += len(spans)
            made[row] = joined([texts[row][start:end] for start, end in (spans[i] for i in found)])
        return Selected(made, sorted(chosen), sum(map(len, chosen.values())), total)

    def _choose(self, texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> dict[int, list[int]]:
        """The sentences that stay of each document that is too long."""
        room = limit - sum(frame(tokenizer))
        chosen: dict[int, list[int]] = {}
        with Counting("selecting sentences", len(texts)) as bar:
            for first in range(0, len(texts), AT_A_TIME):
                part = texts[first:first + AT_A_TIME]
                longer = [row for row, length in enumerate(_lengths(tokenizer, part)) if length > room]
                for row, probabilities in zip(longer, self._probabilities([part[row] for row in longer]), strict=True):
                    # a space in front, as byte-level BPE counts it
                    alone = [f" {part[row][start:end]}" for start, end in sentence_spans(part[row])]
                    chosen[first + row] = fitting(probabilities, _lengths(tokenizer, alone), room)
                bar.add(len(part))
        return chosen

    @torch.inference_mode()
    def _probabilities(self, texts: Sequence[str]) -> list[list[float | None]]:
        """Of every sentence of each document, None for one without a token."""
        if not texts:
            return []
        model, tokenizer = self._loaded
        marked = model.sentence_input.marked
        found = encode_sentences(texts, tokenizer, WHOLE, marked)
        before, after = (0, 0) if marked else frame(tokenizer)
        todo: list[tuple[int, Piece]] = []
        for row, ids in enumerate(found["input_ids"]):
            ranges = list(zip(found[START][row], found[END][row], strict=True))
            todo += [(row, piece) for piece in pieces(ids, ranges, self._limit(model), before, after)]
        made: list[list[float | None]] = [[None] * len(starts) for starts in found[START]]
        with nullcontext() if self._precision is None else self._precision.autocast():
            for rows in batches_of([len(piece.input_ids) for _, piece in todo], self._config.generation.batch_tokens):
                batch = _batch([todo[i][1] for i in rows], source_padding(model.config), self._device)
                for i, chances in zip(rows, torch.sigmoid(model(**batch).logits).tolist(), strict=True):
                    row, piece = todo[i]
                    for sentence, chance in zip(piece.sentences, chances, strict=False):  # chances of padding behind
                        made[row][sentence] = chance
        return made

    def _limit(self, model: Any) -> int:
        """The longest piece: what it was trained on, as far as it can read that here."""
        wanted = self._config.data.max_source_tokens
        if getattr(model.config, "window_overlap", None) is not None:
            return wanted
        return min(wanted, int(model.source_limit(positions(model.trunk.config), 0)))


def _read(path: Path) -> dict[int, list[int]] | None:
    """An earlier choice; None where it is damaged."""
    try:
        return {int(row): found for row, found in read_json(path).items()}
    except CheckpointError as error:
        warn(f"choosing sentences anew: {error.problems[0]}")
        return None


def _lengths(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, special ones left out."""
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]


def _batch(rows: list[Piece], padding: int, device: torch.device) -> dict[str, torch.Tensor]:
    lengths = torch.tensor([[len(piece.input_ids)] for piece in rows])
    ids_BS = pad([piece.input_ids for piece in rows], padding, 8)
    made = {"input_ids": ids_BS, "attention_mask": (torch.arange(ids_BS.shape[1]) < lengths).long(),
            START: pad([[start for start, _ in piece.ranges] for piece in rows], 0),
            END: pad([[end for _, end in piece.ranges] for piece in rows], 0)}
    return {name: value.to(device) for name, value in made.items()}


def selector_of(data: DataConfig, device: torch.device, precision: Any) -> Selector | None:
    """The selector that a training run names; None where ``data.long`` is another way."""
    if data.long is not LongMode.select_then_write:
        return None
    assert data.selector is not None
    return Selector(data.selector, device, precision)


def as_read(examples: list[Example], selector: Selector | None, tokenizer: Tokenizer, data: DataConfig,
            ) -> tuple[list[Example], str | None]:
    """The examples with the documents a writer reads, and a line about them; without a selector as they are."""
    if selector is None or not examples:
        return examples, None
    found = selector.shorten([clean(example.source) for example in examples], tokenizer, data.max_source_tokens,
                             data)
    made = [replace(example, source=text) for example, text in zip(examples, found.texts, strict=True)]
    return made, found.describe()
