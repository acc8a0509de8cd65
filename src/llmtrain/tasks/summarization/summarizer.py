"""The public Python: ``Summarizer("folder")(["text"])``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

from llmtrain.checkpoint import check_plugins, locate_model, read_model_config
from llmtrain.config.choices import Device, PrecisionName
from llmtrain.config.convert import from_dict
from llmtrain.config.decode_checks import idle_settings
from llmtrain.config.plain import plain
from llmtrain.config.python_arguments import Arguments, arguments
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sections.precision import PrecisionConfig
from llmtrain.config.sections.task import DEFAULT
from llmtrain.core.errors import CheckpointError, ConfigError
from llmtrain.core.logging import warn
from llmtrain.data.features import clean
from llmtrain.data.python_texts import given_texts
from llmtrain.data.sentence_features import END, START, encode_sentences
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.truncation import Cut, bounded, cut_of
from llmtrain.inference.generated import Generated
from llmtrain.inference.predict import Documents, predict_batches, spell_as_written
from llmtrain.inference.published import Published, check_predicts, load_published
from llmtrain.plugins import load as load_plugin
from llmtrain.tasks.summarization.citations import cite

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


def summarize(loaded: Published, texts: Sequence[str], data: DataConfig, generation: GenerationConfig,
              evidence: bool = False) -> Summarized:
    """Summaries in the order of the texts. An empty text gives an empty summary; a long one is cut.

    Calls of several threads wait for each other: tokenizers and sampling have a state.
    """
    with loaded.lock:
        return _summarize(loaded, texts, data, generation, evidence)


def _summarize(loaded: Published, texts: Sequence[str], data: DataConfig, generation: GenerationConfig,
               evidence: bool) -> Summarized:
    limit = min(data.max_source_tokens, loaded.source_limit(generation))
    cut = cut_of(loaded.tokenizer, data, limit)
    pipeline = Pipeline(data.preprocess)
    cleaned = [clean(text) for text in texts]
    selected = None if loaded.selector is None else loaded.selector.shorten(cleaned, loaded.tokenizer, limit)
    read = [pipeline.source(text) for text in (cleaned if selected is None else selected.texts)]
    wanted = [i for i, text in enumerate(read) if text.strip()]
    begun = [bounded(read[i], loaded.tokenizer, cut) for i in wanted]
    whole = _encode(loaded, begun, evidence and loaded.tokenizer.is_fast)
    documents, was_cut = _documents(loaded, begun, whole, cut)
    made = predict_batches(loaded.model, loaded.tokenizer, documents, generation, loaded.precision,
                           evidence=evidence or loaded.cites)
    made = spell_as_written(loaded.tokenizer, [cleaned[i] for i in wanted], made, pipeline.target)
    if loaded.cites:
        made = cite(loaded.tokenizer, made, loaded.model.head.options.cite)
    empty = Generated("", [], 0.0)
    several = 1 if loaded.chooses else generation.num_return_sequences
    summaries = [replace(empty, others=(empty,) * (several - 1)) for _ in texts]
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


def _documents(loaded: Published, texts: list[str], whole: Any, cut: Cut) -> tuple[Documents, list[bool]]:
    """The texts as the model reads them, and which of them are cut."""
    asked = loaded.model.sentence_input
    if asked is None:
        return (Documents([cut(row) for row in whole["input_ids"]], texts),
                [len(row) > cut.limit for row in whole["input_ids"]])
    found = encode_sentences(texts, loaded.tokenizer, cut.limit, asked.marked)
    return Documents(found["input_ids"], texts, {name: found[name] for name in (START, END)}), found["cut"]


def _encode(loaded: Published, texts: list[str], with_offsets: bool) -> Any:
    if not texts:
        return {"input_ids": []}
    return loaded.tokenizer(texts, verbose=False, return_offsets_mapping=with_offsets)


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


def check_summarizes(task: str, folder: Path) -> None:
    """Raise ConfigError for a model of another task."""
    if task != DEFAULT:
        raise ConfigError(f"the model at {folder} was trained with task={task} and writes no summaries; score it with "
                          f"llmtrain eval checkpoint={folder}")


@lru_cache(maxsize=1)
def _kept(folder: Path, precision: PrecisionName, device: Device) -> Published:
    """The last model that a copy loaded: a pool of processes unpickles one for every piece of work."""
    return load_published(folder, PrecisionConfig(name=precision), device)


class Summarizer:
    """A trained model, ready to summarize.

    It can be pickled and copied: a copy holds the folder and the settings, and loads the weights anew. Several threads
    may call one; their calls wait for each other.

    Args:
        folder: A run folder (its best checkpoint), a pointer, a step folder or a lone model folder.
        precision: fp32, fp16 or bf16.
        device: auto, cpu or cuda.
        plugins: Python files that register what the model was trained with (its head); they are run.
        generation: Decode settings under transformers' names (``num_beams=4``); default: the run's own.

    Raises:
        CheckpointError: The folder is damaged or is no llmtrain model.
        ConfigError: An unknown argument, a value of a wrong type or out of its range, or a plugin that is missing or
            cannot be run; one line for each.
    """

    def __init__(self, folder: str | Path, precision: str = "fp32", device: str = "auto",
                 plugins: str | Path | Sequence[str | Path] = (), **generation: Any) -> None:
        self._open(arguments(folder, precision, device, plugins, generation), load_published)
        for line in idle_settings(self.generation, writes=not self.published.chooses):
            if (told := line.replace("generation.", "")).partition("=")[0] in generation:
                warn(told)
        if beyond := self.published.model.beyond_positions({"max_new_tokens": self.generation.max_new_tokens}):
            warn(beyond)

    def _open(self, given: Arguments, load: Callable[[Path, PrecisionConfig, Device], Published]) -> None:
        for file in given.plugins:
            load_plugin(file)
        self.folder = locate_model(given.folder).resolve()
        stored = read_model_config(self.folder)
        check_plugins(stored, self.folder)
        check_predicts(stored, self.folder)
        self.config: TrainConfig = from_dict(stored["config"], str(self.folder / "llmtrain.json"), CheckpointError,
                                             scoring=True)
        check_summarizes(self.config.task.name, self.folder)
        self.generation = self.config.generation = given.over(self.config.generation)
        self.published = load(self.folder, PrecisionConfig(name=given.precision), given.device)
        self._given = replace(given, folder=self.folder, plugins=tuple(file.resolve() for file in given.plugins))

    @overload
    def __call__(self, texts: str) -> str: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, texts: Iterable[str]) -> list[str]: ...

    def __call__(self, texts: Any) -> Any:
        """The summary of one text, or a list of summaries in the order of several; an empty text has an empty one.

        With ``num_return_sequences`` above 1 each text has a list of them, the best first where beams rank them.

        Args:
            texts: A str, or anything that gives str: a list, a generator, an array, a column of a table or dataset.

        Raises:
            DataError: Something else than a str, with its place.
        """
        made = self.details(given_texts(texts, "summarize"))
        found = [[one.text for one in each.every] if each.others else each.text for each in made]
        return found[0] if isinstance(texts, str) else found

    @overload
    def details(  # type: ignore[overload-overlap]
        self, texts: str, with_copies: bool = False) -> Generated: ...

    @overload
    def details(self, texts: Iterable[str], with_copies: bool = False) -> list[Generated]: ...

    def details(self, texts: Any, with_copies: bool = False) -> Any:
        """Summaries with their scores, the sentences a selecting head chose, the citations of a head that cites and,
        with copies, what each token of a head with a copy gate was copied from."""
        made = summarize(self.published, given_texts(texts, "summarize"), self.config.data, self.generation,
                         with_copies).summaries
        return made[0] if isinstance(texts, str) else made

    def __getstate__(self) -> dict[str, Any]:
        given = self._given
        return {"folder": str(given.folder), "precision": given.precision.value, "device": given.device.value,
                "plugins": [str(file) for file in given.plugins], "generation": plain(self.generation)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(arguments(**state), lambda folder, precision, device: _kept(folder, precision.name, device))
