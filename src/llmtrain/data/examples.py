"""One shape for every source: an example, the splits it stands in, and the hashes that share rows out."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from llmtrain.core.errors import DataError

SPLIT_PERCENT = 5
NEAR_CHARACTERS = 60
WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Example:
    """A row as it was read.

    Attributes:
        id: Its name, of the row's own column ``id`` or its place.
        source: What the model reads.
        target: What it learns to give; empty for a row that trains the base alone.
        references: What a prediction is scored against.
        fields: JSON values beside them that the task's encoder and scorer ask for.
    """

    id: str
    source: str
    target: str
    references: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def fields_as_text(self) -> str:
        """The fields, written alike everywhere; empty where there are none."""
        return json.dumps(self.fields, sort_keys=True) if self.fields else ""


@dataclass(slots=True)
class Splits:
    """Examples of each split, the hash of all their text, and what the reader had to say.

    ``whole`` counts the rows of each split before ``data.max_*_rows`` cut it; ``unlabelled`` are documents that train
    without a target beside the rows of ``train``; ``license`` is what a dataset of the hub says of itself.
    """

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    source: str
    notes: list[str] = field(default_factory=list)
    content_hash: str = ""
    whole: dict[str, int] = field(default_factory=dict)
    unlabelled: list[Example] = field(default_factory=list)
    license: str | None = None

    @property
    def training(self) -> list[Example]:
        """What the training's row numbers count: the rows of ``train``, then ``unlabelled``."""
        return [*self.train, *self.unlabelled]


def digest(text: str) -> str:
    """sha256 of a text; lone surrogates are hashed as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def share_out(document: str, percent: int, salt: str) -> bool:
    """Whether a hash of the document falls into the given percentage; the same answer everywhere."""
    return _share(document, salt)[0] < percent


def _share(document: str, salt: str) -> tuple[int, str]:
    code = digest(salt + document)
    return int(code[:8], 16) % 100, code


def take_from_train(splits: dict[str, list[Example]], names: list[str], what: str, held_out: int | None = None,
                    seed: int = 0) -> list[str]:
    """Move about 5 % of the training documents, chosen by their hash, to each named split; returns a note for each.

    At least one document moves and one stays. Equal documents go to the same side. ``what`` names a missing split in
    messages: ``data.{}``. With ``held_out``, that many rows become the validation split instead, by ``seed``.

    Raises:
        DataError: There are too few different documents.
    """
    if held_out is not None and "validation" in names:
        notes = take_from_train(splits, [name for name in names if name != "validation"], what)
        return [*notes, _hold_out(splits, held_out, seed)]
    documents = {e.source for e in splits["train"]}
    if names and len(documents) <= len(names):
        raise DataError(f"train has {len(documents)} different document{'s' * (len(documents) != 1)}, from which no "
                        f"{' and no '.join(names)} split can be taken; give more rows, or "
                        + " and ".join(what.format(name) for name in names))
    notes = []
    for left, name in enumerate(names, start=1 - len(names)):
        order = sorted({e.source for e in splits["train"]}, key=lambda text: _share(text, name))
        wanted = sum(share_out(text, SPLIT_PERCENT, name) for text in order)
        chosen = set(order[:min(max(1, wanted), len(order) - 1 + left)])
        splits[name] = [e for e in splits["train"] if e.source in chosen]
        splits["train"] = [e for e in splits["train"] if e.source not in chosen]
        notes.append(f"no {what.format(name)}: {len(splits[name])} rows ({SPLIT_PERCENT} % by a hash of the document, "
                     "at least one) taken from train")
    return notes


def near_key(document: str) -> str:
    """What near-copies of a document share: its first 60 letters and digits, however spaced, marked or written."""
    text = unicodedata.normalize("NFKC", document).lower()
    return "".join(WORDS.findall(text))[:NEAR_CHARACTERS] or text


def _hold_out(splits: dict[str, list[Example]], rows: int, seed: int) -> str:
    """Move ``rows`` training rows to validation, whole groups of near-copies by a hash of the group and the seed.

    The same rows whatever their order in the file. A group that is larger than what is still wanted is passed by, so
    that a few rows may be missing where near-copies are many; the note tells the number. Raises DataError where
    nothing would be left to train on, or nothing small enough is there.
    """
    groups: dict[str, list[int]] = {}
    for index, example in enumerate(splits["train"]):
        groups.setdefault(near_key(example.source), []).append(index)
    chosen: set[int] = set()
    for key in sorted(groups, key=lambda key: digest(f"{seed}\0{key}")):
        if len(chosen) + len(groups[key]) <= rows:
            chosen.update(groups[key])
    if not chosen or len(chosen) == len(splits["train"]):
        raise DataError(f"data.validation_from_train={rows} cannot be held out of {len(splits['train'])} training rows "
                        f"({len(groups)} groups of near-copies) and leave some to train on; lower it")
    splits["validation"] = [e for i, e in enumerate(splits["train"]) if i in chosen]
    splits["train"] = [e for i, e in enumerate(splits["train"]) if i not in chosen]
    wanted = "" if len(chosen) == rows else f" of {rows} asked for (near-copies stay together)"
    return f"{len(chosen)} rows{wanted} held out of train as validation, by a hash of the document and seed {seed}"
