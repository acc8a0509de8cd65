"""Whether a tokenizer is one: transformers makes something of a folder without a vocabulary, or with half of one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from llmtrain.core.errors import ConfigError
from llmtrain.data.control_tokens import unlimited
from llmtrain.data.tokenizer import Tokenizer

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model",
                "sentencepiece.bpe.model")
PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
PROBE = "a \u2603 \U0001f600"


def check_vocabulary(folder: Path, path: str) -> None:
    """Raise ConfigError for a folder without a vocabulary, or with one that a package is missing for.

    Args:
        path: The folder as messages call it.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ConfigError(f"no tokenizer at {path}: none of {', '.join(VOCABULARIES)}; restore the base's own")
    if missing := _pieces_need(folder):
        raise ConfigError(f"the tokenizer at {path} is a SentencePiece model alone, which needs "
                          f"{' and '.join(missing)} to be read; run: pip install {' '.join(missing)}")


def _pieces_need(folder: Path) -> list[str]:
    """Packages that transformers reads a folder's only vocabulary with, and that are not installed."""
    if not any((folder / name).is_file() for name in PIECES) or any(
            (folder / name).is_file() for name in VOCABULARIES if name not in PIECES):
        return []
    return [package for package, module in (("sentencepiece", "sentencepiece"), ("protobuf", "google.protobuf"))
            if not _importable(module)]


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False


def probe(tokenizer: Tokenizer) -> None:
    """Raise whatever a vocabulary leads to that lacks the very token for what it lacks.

    Where it can, the backend is asked: calling a fast tokenizer itself would take away the limits it was shipped with.
    """
    if not tokenizer.is_fast:
        if None in tokenizer(PROBE)["input_ids"]:
            raise ValueError("its vocabulary has no token for what it lacks")
        return
    with unlimited(tokenizer.backend_tokenizer) as backend:
        backend.encode(PROBE)


def check_writable(tokenizer: Tokenizer) -> None:
    """Raise whatever its settings lead to that no file can hold: every checkpoint will write them."""
    json.dumps(tokenizer.init_kwargs, ensure_ascii=False, default=str).encode()
