"""Token ids of examples: made by ``datasets.map`` in processes, cached by a fingerprint of all that shapes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmtrain.config.sections.data import DataConfig
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.core.cache import find_cached, open_cache
from llmtrain.core.files import writing
from llmtrain.core.processes import spread
from llmtrain.data.control_tokens import notes_of
from llmtrain.data.examples import Example, digest
from llmtrain.data.learnt import Learnt
from llmtrain.data.row_encoder import FLAGS, L1_IDS, OWNER, RowEncoder, TextPairs
from llmtrain.data.text.language import detect
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.data.truncation import cut_of

ROWS_PER_PROCESS = 20_000  # below this a second process costs more than it saves


@dataclass(frozen=True, slots=True)
class Stats:
    """How much the token limits cut off, and what else there is to tell of the texts."""

    rows: int
    cut_sources: int
    cut_targets: int
    max_source_tokens: int
    max_target_tokens: int
    empty: int = 0  # documents of which preprocessing left no token
    kept: str = ""  # which part of a cut document is kept
    spelled: tuple[str, ...] = ()  # of each row that spells control tokens of the tokenizer, the first one
    unwritable: int = 0  # targets that hold what no token stands for, of windows those that no tokens are exactly
    texts: bool = True  # targets are
    examples: int | None = None  # that the rows are windows of; None: a row is an example

    def describe(self) -> str:
        if self.examples is not None:
            return (f"{self.examples} documents in {self.rows} windows of at most {self.max_source_tokens} tokens, "
                    f"{self.cut_targets} of them with a target of more than {self.max_target_tokens}")
        share = [100 * count / max(1, self.rows) for count in (self.cut_sources, self.cut_targets)]
        targets = f", {share[1]:.1f} % of targets to {self.max_target_tokens}" if self.texts else ""
        empty = f"; of {self.empty} documents data.preprocess leaves no token" if self.empty else ""
        return f"{share[0]:.1f} % of documents cut to {self.max_source_tokens} tokens{self.kept}{targets}{empty}"

    def shares(self) -> dict[str, float]:
        """What part of the rows the limits cut (0 to 1), for results.json; of windows nothing of a source is cut."""
        rows = max(1, self.rows)
        found: dict[str, float] = {"max_source_tokens": self.max_source_tokens}
        if self.examples is None:
            found["sources"] = self.cut_sources / rows
        if self.texts or self.examples is not None:
            found |= {"targets": self.cut_targets / rows, "max_target_tokens": self.max_target_tokens}
        return found

    def notes(self, split: str) -> list[str]:
        """Lines about what is read in another way than one may expect, or not kept."""
        if self.examples is None:
            return notes_of(split, self.rows, self.spelled, self.unwritable)
        found = notes_of(split, self.rows, self.spelled, 0)
        if self.unwritable:
            found.append(f"in {self.unwritable} of {self.rows} windows of {split} the answer begins or ends inside a "
                         "token of the base: no span of tokens is exactly that answer")
        return found


class Ragged:
    """Rows of different length in one flat array; ``ragged[i]`` is a view."""

    def __init__(self, flat: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        self._flat, self._offsets = flat, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int64]:
        return self._flat[self._offsets[row]:self._offsets[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self._offsets)


@dataclass(frozen=True, slots=True)
class Features:
    """Token ids of a split: ``input_ids`` with the tokenizer's special tokens, ``labels`` ending with the end token,
    and empty for a row without a target.

    ``l1_input_ids`` is the document as the base's own term reads it, where preprocessing makes a text for it alone.

    ``extra`` holds what only some heads and objectives ask for, under the key it has in a batch: sentence_start and
    sentence_end (tokens of each sentence) and sentence_labels.

    ``owner`` (N,) is the number of the example that each row was made of, where an example may have several rows, in
    the examples' order; None: each has one.
    """

    input_ids: Ragged
    labels: Ragged
    stats: Stats
    l1_input_ids: Ragged | None = None
    extra: dict[str, Ragged] = field(default_factory=dict)
    owner: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def example_of(self, row: int) -> int:
        """The number of the example that a row was made of."""
        return row if self.owner is None else int(self.owner[row])

    def rows_of(self, examples: int) -> int:
        """How many rows the last so many examples have."""
        if self.owner is None or not examples:
            return examples
        return int((self.owner > self.owner[-1] - examples).sum())


def tokenize(examples: list[Example], tokenizer: Tokenizer, config: DataConfig, sentences: SentenceInput | None = None,
             encoder: Callable[..., RowEncoder] = TextPairs, learnt: Learnt | None = None) -> Features:
    """Tokenise examples, or read them from the cache that an earlier start left.

    Args:
        sentences: Also tell where sentences are and, with labels, which of them make up the target.
        encoder: The task's: called with the tokenizer, ``config``, ``sentences``, the targets' language and
            ``learnt``.
        learnt: What the task took from the training rows.
    """
    from datasets import Dataset, List, Value, disable_progress_bars
    from datasets import Features as Schema

    language = detect(clean(e.target) for e in examples) if sentences is not None and sentences.labels else ""
    encode = encoder(tokenizer, config, sentences, language, learnt or Learnt())
    if not examples:  # datasets forget the columns of a table without rows
        none = Ragged(np.zeros(0, np.int64), np.zeros(1, np.int64))
        return _features(dict.fromkeys(("input_ids", "labels", *encode.columns), none),
                         Stats(0, 0, 0, config.max_source_tokens, config.max_target_tokens))
    if not os.isatty(2):
        disable_progress_bars()
    sources, targets = [clean(e.source) for e in examples], [clean(e.target) for e in examples]
    fields = [example.fields_as_text for example in examples]
    content = digest("\0".join(sources) + "\1" + "\0".join(targets) + ("\1" + "\0".join(fields) if any(fields) else ""))
    cut = cut_of(tokenizer, config)
    key = digest("\0".join([content, describe(tokenizer), type(tokenizer).__name__, str(config.max_source_tokens),
                            str(FORMAT), type(encode).__qualname__, encode.describe(),
                            *([describe(learnt.tokenizer)] if learnt is not None and learnt.tokenizer else [])]))[:24]
    processes = config.processes or max(1, min(os.cpu_count() or 1, len(examples) // ROWS_PER_PROCESS))
    lists = ["input_ids", "labels", *encode.columns]
    given = {"source": sources, "target": targets, "fields": fields, "row": list(range(len(examples)))}
    schema = Schema({name: List(Value("int64")) for name in lists}  # also of empty lists
                    | {name: Value("bool") for name in FLAGS} | {"spelled": Value("string")}
                    | ({OWNER: Value("int64")} if encode.splits else {}))
    files = _files(key, min(processes, len(examples)))
    folder = find_cached(config.cache_dir, "features", files) or open_cache(config.cache_dir, "features")
    needed = 8 * sum(len(text) for text in (*sources, *targets))  # more than tokens take: 8 bytes each
    with nullcontext() if folder is None else writing(folder / f"{key}.arrow", needed):
        rows = _mapped(Dataset.from_dict(given), folder, files, encode, batched=True, remove_columns=list(given),
                       features=schema, new_fingerprint=key)
    stats = Stats(len(rows), sum(rows["cut_source"]), sum(rows["cut_target"]), config.max_source_tokens,
                  config.max_target_tokens, sum(rows["empty"]), cut.describe(),
                  tuple(one for one in rows["spelled"] if one), sum(rows["unwritable"]), bool(config.target_limit),
                  len(examples) if encode.splits else None)
    owner = np.array(rows[OWNER], dtype=np.int64) if encode.splits else None
    return _features({name: _ragged(rows, name) for name in lists}, stats, owner)


def tokenize_now(examples: Sequence[Example], tokenizer: Tokenizer, config: DataConfig,
                 sentences: SentenceInput | None, encoder: Callable[..., RowEncoder], learnt: Learnt,
                 ) -> tuple[Features, list[int]]:
    """A few examples, tokenised at once and kept nowhere, and the numbers of those that lost tokens.

    Args as of :func:`tokenize`.
    """
    encode = encoder(tokenizer, config, sentences, "", learnt)
    made = encode({"source": [clean(e.source) for e in examples], "target": [clean(e.target) for e in examples],
                 "fields": [e.fields_as_text for e in examples], "row": list(range(len(examples)))})
    rows = len(made["input_ids"])
    stats = Stats(rows, sum(made["cut_source"]), 0, config.max_source_tokens, config.max_target_tokens)
    owner = np.array(made[OWNER], dtype=np.int64) if encode.splits else None
    columns = {name: _of_lists(made[name]) for name in ("input_ids", "labels", *encode.columns)}
    features = _features(columns, stats, owner)
    return features, sorted({features.example_of(row) for row in range(rows) if made["cut_source"][row]})


def _of_lists(rows: Sequence[Sequence[int]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Ragged(np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(offsets[-1])), offsets)


def _features(columns: dict[str, Ragged], stats: Stats, owner: NDArray[np.int64] | None = None) -> Features:
    extra = {name: column for name, column in columns.items() if name not in ("input_ids", "labels", L1_IDS)}
    return Features(columns["input_ids"], columns["labels"], stats, columns.get(L1_IDS), extra, owner)


def _files(key: str, processes: int) -> list[str]:
    """What the shards of a table are called."""
    return [f"{key}.arrow"] if processes == 1 else [
        f"{key}_{number:05d}_of_{processes:05d}.arrow" for number in range(processes)]


def _mapped(rows: Any, folder: Path | None, files: list[str], encode: RowEncoder, **how: Any) -> Any:
    """The rows encoded, each shard by a process that leaves it in a file, or read from the files that are there.

    Without a folder all stays in memory.

    The processes are not those of ``datasets``: its pool outlives a killed parent, and trips over one that is stopped.
    """
    from datasets import concatenate_datasets

    if len(files) == 1:
        return rows.map(encode, **_kept_in(folder, files[0]), **how)
    shards = [(rows.shard(len(files), number, contiguous=True), _kept_in(folder, file), number == 0, encode, how)
              for number, file in enumerate(files)]
    named = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads of its own in every process would be too many
    try:
        made = spread(_encode_shard, [shard for shard, file in zip(shards, files, strict=True)
                                       if folder is None or not (folder / file).is_file()])
    finally:
        del os.environ["TOKENIZERS_PARALLELISM"]
        os.environ |= {} if named is None else {"TOKENIZERS_PARALLELISM": named}
    if folder is None:
        return concatenate_datasets(made)
    return concatenate_datasets([rows.map(encode, **kept, **how) for rows, kept, _, encode, how in shards])


def _kept_in(folder: Path | None, file: str) -> dict[str, Any]:
    return {"keep_in_memory": True} if folder is None else {"cache_file_name": str(folder / file)}


def _encode_shard(shard: tuple[Any, dict[str, Any], bool, RowEncoder, dict[str, Any]]) -> Any:
    """The rows of a shard that is kept in memory; nothing for one that is in a file."""
    from datasets import disable_progress_bars

    rows, kept, with_bar, encode, how = shard
    if not with_bar:  # one tells enough
        disable_progress_bars()
    made = rows.map(encode, **kept, **how)
    return made if "keep_in_memory" in kept else None


FORMAT = 7  # raise when what TextPairs makes changes


def describe(tokenizer: Tokenizer) -> str:
    """All that shapes a tokenizer's output but its truncation and padding, which every call sets anew."""
    alone = " text only" if tokenizer.split_special_tokens else ""
    if not tokenizer.is_fast:
        return str(sorted(tokenizer.get_vocab().items())) + alone
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({key: value for key, value in content.items() if key not in ("truncation", "padding")}) + alone


def clean(text: str) -> str:
    """The text without lone surrogates and NUL, which no tokenizer takes."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def _ragged(rows: Any, name: str) -> Ragged:
    lists = list(rows.data.column(name).chunks)
    flat = [np.asarray(chunk.flatten(), dtype=np.int64) for chunk in lists]
    lengths = [np.asarray(chunk.value_lengths(), dtype=np.int64) for chunk in lists]
    none: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(lengths or none))])
    return Ragged(np.concatenate(flat or none), offsets)
