"""The public Python: ``Summarizer("folder")(["text"])``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmtrain.checkpoint import check_plugins, locate_model, read_model_config
from llmtrain.citations import cite
from llmtrain.config.choices import Device, PrecisionName
from llmtrain.config.data import DataConfig
from llmtrain.config.load import from_dict
from llmtrain.config.objective import trains_summary
from llmtrain.config.schema import GenerationConfig, PrecisionConfig, TrainConfig
from llmtrain.data.extraction import END, START, encode_sentences
from llmtrain.data.features import clean
from llmtrain.data.long import Cut, bounded, cut_of
from llmtrain.data.preprocess.pipeline import Pipeline
from llmtrain.errors import CheckpointError, ConfigError
from llmtrain.generation import Documents, Generated, spell_as_written, summarize_batches
from llmtrain.model.family import observed_layer, positions
from llmtrain.plugins import load as load_plugin
from llmtrain.precision import Precision
from llmtrain.selecting import FOLDER as SELECTOR
from llmtrain.selecting import Selector

COPY_LIKELY = 0.5  # a token counts as copied when copying it was likelier than writing it


@dataclass(frozen=True, slots=True)
class Copied:
    """A word that the summary took from the document: ``document[start:end]``, and how likely copying was."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class Summarized:
    """Summaries of some texts, in their order; which texts were cut, by a selector too; the words copied from each,
    when asked for.

    ``read`` is each text as the model read it, where that is another: the copied words stand in that one.
    """

    summaries: list[Generated]
    cut: list[int]
    copied: list[list[Copied] | None]
    read: list[str | None]


@dataclass(frozen=True, slots=True)
class Published:
    """A published model on its device, with its tokenizer, its precision and the selector in front of it."""

    model: Any
    tokenizer: Any
    precision: Precision
    selector: Selector | None = None

    def first_linear(self) -> nn.Module:
        """A layer inside the trunk whose output dtype shows the effective precision."""
        return observed_layer(self.model.trunk)

    @property
    def cites(self) -> bool:
        """Whether its summaries are written and then traced to the document's sentences."""
        return bool(self.model.head.cites)

    @property
    def chooses(self) -> bool:
        """Whether its summaries are made of the document's sentences."""
        return not self.model.can_generate()

    def source_limit(self, generation: GenerationConfig) -> int:
        """The longest document the model can read beside such summaries, in tokens; in windows, any."""
        if getattr(self.model.config, "window_overlap", None) is not None:
            return sys.maxsize
        limit: int = self.model.source_limit(positions(self.model.trunk.config), generation.max_new_tokens)
        return limit

    def summarize(self, texts: Sequence[str], data: DataConfig, generation: GenerationConfig,
                  evidence: bool = False) -> Summarized:
        """Summaries in the order of the texts. An empty text gives an empty summary; a long one is cut."""
        limit = min(data.max_source_tokens, self.source_limit(generation))
        cut = cut_of(self.tokenizer, data, limit)
        pipeline = Pipeline(data.preprocess)
        cleaned = [clean(text) for text in texts]
        selected = None if self.selector is None else self.selector.shorten(cleaned, self.tokenizer, limit)
        read = [pipeline.document(text) for text in (cleaned if selected is None else selected.texts)]
        wanted = [i for i, text in enumerate(read) if text.strip()]
        begun = [bounded(read[i], self.tokenizer, cut) for i in wanted]
        whole = self._encode(begun, evidence and self.tokenizer.is_fast)
        documents, was_cut = self._documents(begun, whole, cut)
        made = summarize_batches(self.model, self.tokenizer, documents, generation, self.precision,
                                 evidence=evidence or self.cites)
        made = spell_as_written(self.tokenizer, [cleaned[i] for i in wanted], made, pipeline.summary)
        if self.cites:
            made = cite(self.tokenizer, made, self.model.head.options.cite)
        summaries = [Generated("", [], 0.0) for _ in texts]
        copied: list[list[Copied] | None] = [None for _ in texts]
        for row, (i, one) in enumerate(zip(wanted, made, strict=True)):
            summaries[i] = one
            if one.copied is not None and "offset_mapping" in whole:
                copied[i] = copied_words(read[i], one.copied, cut.places(
                    whole["offset_mapping"][row], len(read[i]) - len(begun[row])), cut(whole.word_ids(row)))
        shortened = {i for i, lost in zip(wanted, was_cut, strict=True) if lost}
        shortened |= set() if selected is None else set(selected.longer)
        return Summarized(summaries, sorted(shortened), copied,
                          [new if new != old else None for new, old in zip(read, cleaned, strict=True)])

    def _documents(self, texts: list[str], whole: Any, cut: Cut) -> tuple[Documents, list[bool]]:
        """The texts as the model reads them, and which of them are cut."""
        asked = self.model.sentence_input
        if asked is None:
            return (Documents([cut(row) for row in whole["input_ids"]], texts),
                    [len(row) > cut.limit for row in whole["input_ids"]])
        found = encode_sentences(texts, self.tokenizer, cut.limit, asked.marked)
        return Documents(found["input_ids"], texts, {name: found[name] for name in (START, END)}), found["cut"]

    def _encode(self, texts: list[str], with_offsets: bool) -> Any:
        if not texts:
            return {"input_ids": []}
        return self.tokenizer(texts, verbose=False, return_offsets_mapping=with_offsets)


def copied_words(document: str, pointed: list[tuple[str, float, int]], offsets: list[tuple[int, int]],
                 words: list[int | None]) -> list[Copied]:
    """The document's words that a summary's tokens point at, one entry for tokens that follow each other in one word.

    Args:
        pointed: (token, probability of copying, place among the document's tokens) of each token of the summary.
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


def load_published(folder: Path, precision: PrecisionConfig, device: Device = Device.auto) -> Published:
    """Load a verified model folder, the selector in front of it included.

    Raises:
        CheckpointError: transformers cannot load it.
    """
    from llmtrain.hf import load

    cuda = torch.cuda.is_available() and device is not Device.cpu
    if device is Device.cuda and not cuda:
        raise ConfigError("trainer.device=cuda but torch sees no CUDA device; use trainer.device=cpu")
    where = torch.device("cuda" if cuda else "cpu")
    model, tokenizer = load(folder)
    chosen = Precision(precision, where)
    selector = Selector(folder / SELECTOR, where, chosen) if (folder / SELECTOR).is_dir() else None
    return Published(model.to(where).eval(), tokenizer, chosen, selector)


def check_writes(stored: dict[str, Any], folder: Path) -> None:
    """Raise CheckpointError for a base that was trained alone: it writes no summaries."""
    config = from_dict(stored["config"], str(folder / "llmtrain.json"), CheckpointError, scoring=True)
    if not trains_summary(config.objective):
        raise CheckpointError(f"the model at {folder} is a base that was trained alone and writes no summaries; start "
                              f"a summarizer from it: llmtrain train model.init_from={folder}")


class Summarizer:
    """A trained model, ready to summarize.

    Args:
        folder: A run folder (its best checkpoint), a pointer, a step folder or a lone model folder.
        precision: fp32, fp16 or bf16.
        device: auto, cpu or cuda.
        plugins: Python files that register what the model was trained with (its head); they are run.
        generation: Decode settings under transformers' names (``num_beams=4``); default: the run's own.

    Raises:
        CheckpointError: The folder is damaged or is no llmtrain model.
        ConfigError: An unknown decode setting, or a plugin that is missing or cannot be run.
    """

    def __init__(self, folder: str | Path, precision: str = "fp32", device: str = "auto",
                 plugins: Sequence[str | Path] = (), **generation: Any) -> None:
        for file in plugins:
            load_plugin(file)
        self.folder = locate_model(Path(folder))
        stored = read_model_config(self.folder)
        check_plugins(stored, self.folder)
        check_writes(stored, self.folder)
        self.config: TrainConfig = from_dict(stored["config"], str(self.folder / "llmtrain.json"), CheckpointError,
                                             scoring=True)
        self.published = load_published(self.folder, PrecisionConfig(name=PrecisionName(precision)), Device(device))
        self.generation = self.config.generation
        for name, value in generation.items():
            if name not in GenerationConfig.__slots__:
                known = ", ".join(GenerationConfig.__slots__)
                raise ConfigError(f"unknown decode setting {name!r}; choose from {known}")
            setattr(self.generation, name, value)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Summaries in the order of the texts; an empty text gives an empty summary."""
        return [one.text for one in self.details(texts)]

    def details(self, texts: Sequence[str], with_copies: bool = False) -> list[Generated]:
        """Summaries with their scores, the sentences a selecting head chose, the citations of a head that cites and,
        with copies, what each token of a head with a copy gate was copied from."""
        return self.published.summarize(texts, self.config.data, self.generation, with_copies).summaries
