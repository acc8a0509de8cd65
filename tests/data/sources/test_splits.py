"""What becomes of rows: splits taken from train, references, ids, rows that cannot be used, globs, hub folders."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard
from huggingface_hub import constants

from helpers import pairs, tiny_tokenizer, write_jsonl
from llmtrain.config.choices import OnBadRow
from llmtrain.config.sections.data import HubConfig
from llmtrain.core.errors import DataError
from llmtrain.data.examples import Splits
from llmtrain.data.features import Features, tokenize
from llmtrain.data.sources.splits import load_splits
from llmtrain.fetch import reach
from llmtrain.tasks.summarization.options import SummarizationData


def load(tmp_path: Path, rows: list[dict[str, Any]], only: str | None = None, **values: Any) -> Splits:
    path = write_jsonl(tmp_path / "t.jsonl", rows)
    return load_splits(SummarizationData(name="files", train=str(path), **values), only)


@pytest.mark.parametrize("count", [3, 4, 5, 9, 20, 40])
def test_a_split_taken_from_few_rows_is_never_empty(count: int, tmp_path: Path) -> None:
    for seed in range(5):
        splits = load(tmp_path, pairs(count, seed))
        sizes = [len(splits.train), len(splits.validation), len(splits.test)]
        assert min(sizes) > 0
        assert sum(sizes) == count
        assert load(tmp_path, pairs(count, seed)[::-1], "test").test == splits.test[::-1]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_rows_for_three_splits_are_one_line(count: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no test and no validation split.*data\.test and data\.validation") as caught:
        load(tmp_path, pairs(count))
    assert len(caught.value.problems) == 1


def test_equal_documents_go_to_the_same_side(tmp_path: Path) -> None:
    rows = [{"document": row["document"], "summary": str(n)} for n in range(3) for row in pairs(12)]
    splits = load(tmp_path, rows)
    parts = [{e.source for e in part} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12
    assert not any("stand in both" in note for note in splits.notes)


def test_no_rows_make_empty_features(tmp_path: Path) -> None:
    features = tokenize([], tiny_tokenizer(), SummarizationData(cache_dir=str(tmp_path)))
    assert isinstance(features, Features)
    assert len(features) == len(features.labels) == 0
    assert "0.0 %" in features.stats.describe()


REFERENCES = ["x y", "z"]


def test_references_are_found_where_every_row_lists_them(tmp_path: Path) -> None:
    rows = [{"document": f"d{i}", "summary": "s", "references": REFERENCES} for i in range(5)]
    splits = load(tmp_path, rows)
    assert {e.references for e in splits.train} == {tuple(REFERENCES)}
    assert {e.target for e in splits.train} == {"s"}
    assert any("the summary is not one of the references" in note for note in splits.notes)
    for broken in ("text", [], None, [1]):
        splits = load(tmp_path, [*rows, {"document": "d9", "summary": "s", "references": broken}])
        assert {e.references for e in splits.train} == {("s",)}
        assert any("5 of 6 rows" in note for note in splits.notes)


def test_rows_may_have_references_and_no_summary(tmp_path: Path) -> None:
    splits = load(tmp_path, [{"document": f"d{i}", "references": REFERENCES} for i in range(5)])
    assert {e.target for e in splits.train} == {"x y"}
    with pytest.raises(DataError, match=r"column 'references' is not a list of texts at .*:5"):
        load(tmp_path, [{"document": f"d{i}", "summary": "s", "references": ["a"] * (i < 4)} for i in range(5)],
             references="references")


def test_ids_are_kept_whatever_they_are(tmp_path: Path) -> None:
    rows = [{"id": identity, "document": f"d{i}", "summary": "s"} for i, identity in enumerate([0, "", None, "x", 7])]
    path = write_jsonl(tmp_path / "u.jsonl", rows)
    found = load_splits(SummarizationData(name="files", train=str(path), validation=str(path), test=str(path))).test
    assert [e.id for e in found] == ["0", "test-1", "test-2", "x", "7"]


@pytest.mark.parametrize("row", [{"document": "a\ud83d b", "summary": "s"}, {"document": "a", "summary": "\udc00"},
                                 {"document": "a", "summary": "s", "id": "\ud83d"}])
def test_half_a_character_is_a_bad_row(row: dict[str, str], tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", pairs(30))
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"surrogate.* at .*t\.jsonl:31"):
        load_splits(SummarizationData(name="files", train=str(path)))


def test_a_nan_spoils_only_the_row_that_needs_it(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{**row, "score": float("nan")} for row in pairs(20)]
    rows[4]["document"] = float("nan")
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"'document' is empty.* at .*t\.json:5") as caught:
        load_splits(SummarizationData(name="files", train=str(path)))
    assert len(caught.value.problems) == 1
    splits = load_splits(SummarizationData(name="files", train=str(path), on_bad_row=OnBadRow.skip))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 19


def test_zst_files_are_read_to_the_end_of_the_last_frame(tmp_path: Path) -> None:
    lines = [json.dumps(row).encode() + b"\n" for row in pairs(2000)]
    whole = zstandard.compress(b"".join(lines[:1000])) + zstandard.compress(b"".join(lines[1000:]))
    path = tmp_path / "t.jsonl.zst"
    path.write_bytes(whole)
    splits = load_splits(SummarizationData(name="files", train=str(path), validation=str(path), test=str(path)))
    assert len(splits.train) == 2000
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"damaged \.zst data file at .*middle of a frame"):
        load_splits(SummarizationData(name="files", train=str(path)))


def test_a_glob_below_a_folder_with_brackets(tmp_path: Path) -> None:
    folder = tmp_path / "data[1]" / "a b"
    folder.mkdir(parents=True)
    for name in ("x1", "x2", "y"):
        write_jsonl(folder / f"{name}.jsonl", pairs(5, ord(name[-1])))
    pattern = str(tmp_path / "data[1]" / "**" / "x*.jsonl")
    config = SummarizationData(name="files", train=pattern, validation=pattern, test=pattern)
    assert len(load_splits(config).train) == 10


def test_whole_counts_stand_beside_cut_splits(tmp_path: Path) -> None:
    splits = load(tmp_path, pairs(400), max_test_rows=2)
    assert len(splits.test) == 2
    assert splits.whole["test"] > 2
    assert splits.whole["train"] == len(splits.train)


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    file = tmp_path / "hub/data/train-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(pairs(40)), file)
    return tmp_path / "hub"


def test_a_hub_dataset_with_train_alone_gives_the_other_splits(hub_folder: Path) -> None:
    splits = load_splits(SummarizationData(name="hub", hub=HubConfig(name=str(hub_folder))))
    assert splits.validation
    assert splits.test
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 40
    assert sum("taken from train" in note for note in splits.notes) == 2
    again = load_splits(SummarizationData(name="hub", hub=HubConfig(name=str(hub_folder))), "test")
    assert again.test == splits.test
    with pytest.raises(DataError, match="no split 'tset'"):
        load_splits(SummarizationData(name="hub", hub=HubConfig(name=str(hub_folder), test_split="tset")))


@pytest.mark.parametrize("damaged", [slice(0, None), slice(10, 900)])  # the whole file, or some of its pages
def test_a_damaged_hub_file_is_one_line(damaged: slice, hub_folder: Path) -> None:
    file = next(hub_folder.rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[damaged] = b"\xff" * len(content[damaged])
    file.write_bytes(content)
    with pytest.raises(DataError, match="cannot load the dataset") as caught:
        load_splits(SummarizationData(name="hub", hub=HubConfig(name=str(hub_folder))))
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]


def test_an_unreachable_hub_is_told_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(reach, "REACH_SECONDS", 0.3)
        started = time.monotonic()
        assert reach.unreachable("/some").startswith(f"no answer from {constants.ENDPOINT}")
        assert time.monotonic() - started < 3
    assert "127.0.0.1" in reach.unreachable("/some")  # nobody listens now
