"""Somebody's predictions, in every form they come in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from helpers import write_jsonl
from llmtrain.data.examples import Example
from llmtrain.errors import DataError
from llmtrain.evaluation.predictions import read_predictions

EXAMPLES = [Example(str(i), f"document {i}", f"s{i}", (f"s{i}",)) for i in range(3)]
WANTED = ["p0", "p1", "p2"]
SHUFFLED = "".join(json.dumps({"id": i, "prediction": f"p{i}"}) + "\n" for i in (2, 0, 1)).encode()


@pytest.mark.parametrize(("name", "content"), [
    ("p.txt", b"p0\np1\np2\n"),
    ("p.out", b"\xef\xbb\xbfp0\r\np1\r\np2\r\n"),
    ("p.txt.gz", gzip.compress(b"p0\np1\np2", mtime=0)),
    ("p.txt.ZST", zstandard.compress(b"p0\np1\np2\n")),
    ("p.jsonl", b"\xef\xbb\xbf" + SHUFFLED),
    ("p.NDJSON", SHUFFLED),
    ("p.jsonl.gz", gzip.compress(SHUFFLED, mtime=0)),
    ("p.csv", b"id,prediction\n1,p1\n0,p0\n2,p2\n"),
    ("p.jsonl", b"".join(json.dumps({"prediction": p}).encode() + b"\n" for p in WANTED)),
])
def test_every_form_gives_the_same(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_predictions(tmp_path / name, EXAMPLES) == WANTED


@pytest.mark.parametrize(("ids", "told"), [
    ([0, 1, 1], "stands twice, again at .*p.jsonl:3"), ([7, 8, 9], "no prediction for id '0'"),
    ([0, 1, 9], "no prediction for id '2'"), ([0, None, 2], "no id at .*p.jsonl:2"),
])
def test_ids_that_do_not_fit_are_refused(ids: list[int | None], told: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"id": i, "prediction": "x"} for i in ids])
    with pytest.raises(DataError, match=told):
        read_predictions(path, EXAMPLES)


@pytest.mark.parametrize(("name", "content", "told"), [
    ("p.txt", b"a\n\xff\nb\n", "not UTF-8 text at .*p.txt:2"), ("p.txt", b"a\n", "1 predictions at .* for 3"),
    ("p.jsonl", b'{"prediction": "a\\ud83d"}\n', "p.jsonl:1"), ("p.jsonl", b"[1]\n", "p.jsonl:1"),
    ("none.txt", None, "no data file at"),
])
def test_files_that_cannot_be_read(name: str, content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_predictions(tmp_path / name, EXAMPLES)
