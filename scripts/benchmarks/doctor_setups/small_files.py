"""Small files of real docstrings, in the layout of each experiment that reads files."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmtrain.config.load import load_config
from llmtrain.data.sources.splits import load_splits

ROWS = 400
Rows = list[dict[str, Any]]


def docstrings() -> list[Any]:
    """Real pairs, of documents that a base reads whole."""
    config = load_config("train", ["data=docstrings"])
    return [one for one in load_splits(config.data).train if 15 < len(one.source.split()) < 80]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def pairs() -> Rows:
    return [{"id": one.id, "document": one.source, "summary": one.target} for one in docstrings()[:ROWS]]


def labelled(count: int = ROWS) -> Rows:
    """Documents and the library that each is of, in an order of no kind."""
    wanted = ("numpy", "pandas", "torch", "transformers")
    rows = [{"id": one.id, "text": one.source, "label": one.id.partition(".")[0]} for one in docstrings()]
    rows = sorted((row for row in rows if row["label"] in wanted), key=lambda row: hash_of(row["text"]))
    return rows[:count]


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def translations() -> Rows:
    """Sentences, and the same words in another spelling and order."""
    return [{"id": one.id, "source": one.target, "target": " ".join(f"{word[::-1]}en" for word in one.target.split())}
            for one in docstrings()[:ROWS]]


def questions() -> dict[str, Any]:
    """SQuAD's layout: which word stands behind another."""
    paragraphs = []
    for one in docstrings()[:200]:
        words = one.source.split()
        start = len(" ".join(words[:4])) + 1
        paragraphs.append({"context": " ".join(words), "qas": [
            {"id": one.id, "question": f"what follows {words[3]}", "answers": [
                {"text": words[4], "answer_start": start}]}]})
    return {"version": "1", "data": [{"title": "rows", "paragraphs": paragraphs}]}


def made_data(folder: Path) -> dict[str, Path]:
    """Small files in the layout of each experiment on files."""
    texts, labels, both = pairs(), labelled(), translations()
    rows = [row | {"references": [row["summary"]]} for row in texts]
    layouts = {"dialogsum": rows, "csl": texts, "multi30k-en-de": both, "sst2": labels, "chnsenticorp": labels}
    for name, given in layouts.items():
        third = len(given) // 8
        for split, some in (("train", given[2 * third:]), ("validation", given[third:2 * third] if name != "csl" else
                                                           given[third:]), ("test", given[:third])):
            write(folder / name / f"{split}.jsonl.gz", some)
    (folder / "cmrc2018").mkdir(parents=True)
    whole = questions()
    every = whole["data"][0]["paragraphs"]
    for split, part in (("train", every[:140]), ("validation", every[140:170]), ("test", every[170:])):
        text = json.dumps(whole | {"data": [{"title": "rows", "paragraphs": part}]}).encode()
        (folder / "cmrc2018" / f"{split}.json.gz").write_bytes(gzip.compress(text))
    return {path.name: path for path in folder.iterdir()}
