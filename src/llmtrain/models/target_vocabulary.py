"""A vocabulary that targets are written in and that is not the base's own (no torch here).

A published model keeps its sizes among its facts and its tokenizer in a folder of its own, ``target_tokenizer``. What
``generate`` asks of the configuration (vocab_size, begin, end and padding token) is then this vocabulary's;
``source_pad_token_id`` pads documents.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from llmtrain.core.errors import CheckpointError, LlmtrainError
from llmtrain.data.control_tokens import text_only
from llmtrain.data.examples import digest
from llmtrain.data.learnt import Learnt
from llmtrain.data.special_tokens import id_count, special_ids
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.models.backbone.load_errors import refusing
from llmtrain.models.backbone.tokenizer_checks import VOCABULARIES, check_writable, probe
from llmtrain.models.backbone.untrusted import followed

Surface = tuple[bool, str]
FACT = "target_vocabulary"
LARGEST = 10_000_000  # tokens: the largest real vocabularies have 300,000
FOLDER = "target_tokenizer"


@dataclass(frozen=True, slots=True)
class TargetVocabulary:
    """What a head and ``generate`` must know of it.

    Attributes:
        size: One more than its highest id.
        bos: The token that a target starts from.
        eos: The token that ends it.
        pad: What pads it.
        digest: sha256 of its tokens and their ids: two vocabularies of one size are not one.
    """

    size: int
    bos: int
    eos: int
    pad: int
    digest: str

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TargetVocabulary:
        """That of a tokenizer. Raises ConfigError where it has no end token."""
        ids = special_ids(tokenizer)
        return cls(id_count(tokenizer), ids.bos, ids.eos, ids.pad,
                   digest(json.dumps(sorted(tokenizer.get_vocab().items()))))

    def facts(self) -> dict[str, Any]:
        """What a published model keeps of it."""
        return {FACT: asdict(self)}


def vocabulary_in(facts: Mapping[str, Any]) -> TargetVocabulary | None:
    """The target vocabulary that a task's facts tell of; None: targets are written in the base's own.

    Raises:
        CheckpointError: They tell of none that there could be; facts may come from elsewhere.
    """
    found = facts.get(FACT)
    if found is None:
        return None
    told = found if isinstance(found, dict) else {}
    size, bos, eos, pad = (told.get(name) for name in ("size", "bos", "eos", "pad"))
    if type(size) is not int or size > LARGEST or not all(type(one) is int and 0 <= one < size
                                                          for one in (bos, eos, pad)):
        raise CheckpointError("config.json tells of a target vocabulary that there cannot be "
                              "(facts.target_vocabulary); restore the model's own")
    return TargetVocabulary(size, cast(int, bos), cast(int, eos), cast(int, pad), str(told.get("digest")))


def target_settings(facts: Mapping[str, Any], source_pad: int) -> dict[str, Any]:
    """What a model's configuration says where targets have a vocabulary of their own; nothing else.

    Args:
        facts: The task's.
        source_pad: The token that pads documents.
    """
    own = vocabulary_in(facts)
    return {} if own is None else {
        "vocab_size": own.size, "bos_token_id": own.bos, "eos_token_id": own.eos, "pad_token_id": own.pad,
        "decoder_start_token_id": own.bos, "source_pad_token_id": source_pad}


def target_folder(folder: Path, task: str = "") -> Path:
    """Where a published model has the tokenizer of its targets.

    Args:
        task: Of a model of several tasks, the one that is meant.
    """
    return folder / FOLDER / task if task else folder / FOLDER


def learnt_from(folder: Path, facts: Mapping[str, Any], task: str = "") -> Learnt:
    """What the task of a published model took from its training rows.

    Args:
        folder: The model's.
        facts: As its config.json has them.
        task: Of a model of several tasks, the one that is meant.

    Raises:
        CheckpointError: It has a target vocabulary and another tokenizer, or none.
    """
    own = vocabulary_in(facts)
    if own is None:
        return Learnt(dict(facts))
    place = target_folder(folder, task)
    tokenizer = load_target_tokenizer(place, CheckpointError, "the checkpoint")
    if TargetVocabulary.of(tokenizer) != own:
        raise CheckpointError(f"the tokenizer at {place} is not the one that the model was trained with; "
                              "restore the model's own")
    return Learnt(dict(facts), tokenizer)


def load_target_tokenizer(folder: Path, kind: type[LlmtrainError], what: str) -> Any:
    """The tokenizer in a folder, to which text is text.

    Args:
        folder: Holds a tokenizer, and maybe the rest of a model, which is not read.
        kind: Error to raise.
        what: What names the folder, for its message: ``data.target_tokenizer=FOLDER``.

    Raises:
        LlmtrainError: Of that kind: there is none, or it would have transformers read elsewhere.
    """
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise kind(f"no folder of a tokenizer at {folder}; check {what}")
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise kind(f"no tokenizer at {folder}: none of {', '.join(VOCABULARIES)}; check {what}")
    if problems := followed(folder):
        raise kind(problems)
    with refusing(kind, f"cannot load the tokenizer at {folder}", f"; check {what}"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        probe(tokenizer)
        tokenizer = text_only(tokenizer)
        tokenizer.chat_template = None
        check_writable(tokenizer)
    return tokenizer


def same_surface(base: Tokenizer, rows: int, target: Tokenizer, ends: tuple[int, int]) -> list[int]:
    """For each of the base's tokens the one of the target vocabulary with the same text, or -1.

    A token that begins a word matches one that does, and one that goes on with a word likewise; for marks, which
    tokenizers attach in different ways, either will do. What a base that knows no capitals reads in small letters
    matches a capitalised token where there is no other.

    Args:
        rows: Embeddings that the base has, as many as there are entries.
        ends: The end token of each: to copy the one is to write the other.
    """
    known: dict[Surface, int] = {}
    for number, surface in sorted(_surfaces(target).items()):
        known.setdefault(surface, number)
    found = [-1] * rows
    for number, (starts, text) in _surfaces(base).items():
        tried = [(starts, text), (starts, text.capitalize())]
        if not any(character.isalnum() for character in text):
            tried.append((not starts, text))
        found[number] = next((known[one] for one in tried if one in known), -1)
    found[ends[0]] = ends[1]
    return found


def _surfaces(tokenizer: Tokenizer) -> dict[int, Surface]:
    """What each token but the control tokens stands for: whether it begins a word, and its text."""
    tokens = tokenizer.get_vocab()
    pieces = any(token.startswith("##") for token in tokens)
    marker = next((mark for mark in ("Ġ", "▁") if any(token.startswith(mark) for token in tokens)), None)
    special, found = set(tokenizer.all_special_ids), {}
    for token, number in tokens.items():
        if number in special:
            continue
        starts = not token.startswith("##") if pieces else marker is None or token.startswith(marker)
        text = token.removeprefix("##") if pieces else (
            tokenizer.decode([number]) if marker == "Ġ" else token.removeprefix("▁")).strip()
        if text and "\ufffd" not in text:  # a part of a character's bytes
            found[number] = (starts, text)
    return found
