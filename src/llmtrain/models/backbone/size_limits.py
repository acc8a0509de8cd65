"""How large the files of a model's folder, and the numbers in them, may be: more would only hang or fill the memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MIB = 1 << 20
CONFIG = "config.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
FILES = {  # bytes; the largest real tokenizer.json has 33 MiB
    CONFIG: 8 * MIB, "generation_config.json": MIB, "chat_template.jinja": MIB, "chat_template.json": MIB,
    TOKENIZER: 64 * MIB, TOKENIZER_CONFIG: 8 * MIB, "special_tokens_map.json": 8 * MIB, "added_tokens.json": 8 * MIB,
    **dict.fromkeys(("vocab.txt", "vocab.json", "merges.txt", "dict.txt", "entity_vocab.json", "emoji.json",
                     "byte_maps.json", "prophetnet.tokenizer"), 16 * MIB),
    **dict.fromkeys(("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "spm.model",
                     "spm_char.model"), 64 * MIB)}
TEMPLATES = "additional_chat_templates"
NUMBERS = {"num_labels": 100_000, **dict.fromkeys(
    ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "layers"), 500)}  # what is built one by one
BRACKETS = 2_000_000  # a merge is a pair in brackets, and there are half a million
GROWTH = 64  # how many times longer a text may become before it is split


def large_files(folder: Path) -> Iterator[str]:
    """One line for each file that is too large for what it is, or no file."""
    templates = dict.fromkeys(sorted(folder.glob(f"{TEMPLATES}/*.jinja")), MIB)
    for path, limit in ({folder / name: limit for name, limit in FILES.items()} | templates).items():
        try:
            if path.exists() and not path.is_file():
                yield f"{path} is no regular file; restore the model's own"
            elif path.is_file() and path.stat().st_size > limit:  # the loader would read it unseen
                yield f"{path} is larger than {limit:,} bytes; restore the model's own file"
        except OSError:  # the loader will tell
            continue


def large_numbers(path: Path, config: Any) -> Iterator[str]:
    """One line for each number of a configuration, at any depth, that would have too much built."""
    for here in _groups(config):
        for name, most in NUMBERS.items():
            if isinstance(value := here.get(name), int | float) and value > most:
                yield f"{name} is {value:.12g} in {path} and may be {most:,} at most; restore the model's own file"


def _groups(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON value, at any depth."""
    pending = [value]
    while pending:
        here = pending.pop()
        if isinstance(here, list):
            pending += here
        elif isinstance(here, dict):
            pending += here.values()
            yield here


def growing_tokenizer(folder: Path) -> str | None:
    """What is wrong with a tokenizer that would make short texts very long; None for others and for what is no JSON."""
    path = folder / TOKENIZER
    try:
        return _growing(path, os.stat(path).st_size) if path.is_file() else None
    except (OSError, ValueError, RecursionError):  # the loader will tell
        return None


def _growing(path: Path, size: int) -> str | None:
    if size > FILES[TOKENIZER]:
        return None  # told already
    data = path.read_bytes()
    if data.count(b"[") + data.count(b"{") > BRACKETS:
        return f"{path} holds more than {BRACKETS:,} lists and groups; restore the model's own tokenizer"
    body = json.loads(data)
    for section in ("normalizer", "pre_tokenizer", "decoder"):
        if isinstance(body, dict) and _growth(body.get(section)) > GROWTH:
            return (f"the {section} in {path} replaces by longer texts again and again; restore the model's own "
                    "tokenizer")
    return None


def _growth(section: Any) -> float:
    """At most how many times longer its replacements make a text, one after the other."""
    factor = 1.0
    for here in _groups(section):
        if here.get("type") == "Replace" and isinstance(content := here.get("content"), str):
            pattern = here.get("pattern")
            text = pattern.get("String") if isinstance(pattern, dict) else pattern
            # an expression may match nothing, between any two characters
            factor *= max(1.0, len(content) / len(text)) if isinstance(text, str) and text else 1 + len(content)
            if factor > GROWTH:
                break
    return factor
