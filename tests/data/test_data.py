"""Files, hub folders, docstrings, features and the order of rows."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard

from helpers import pairs, write_jsonl
from llmtrain.config.choices import OnBadRow
from llmtrain.config.sections.data import HubConfig
from llmtrain.core.cache import cache_folder
from llmtrain.core.errors import DataError
from llmtrain.data.features import Features, describe, tokenize
from llmtrain.data.loader import StepLoader, one_task
from llmtrain.data.sources.docstrings import near_keys, read_docstrings
from llmtrain.data.sources.readers import read_bytes, read_rows
from llmtrain.data.sources.splits import load_splits
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.tasks.summarization.options import SummarizationData


def config(**values: Any) -> SummarizationData:
    return SummarizationData(name="files", **values)


def write_as(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if ".csv" in path.suffixes or ".tsv" in path.suffixes:
        mark = "\t" if ".tsv" in path.suffixes else ","
        text = mark.join(rows[0]) + "\n" + "".join(mark.join(f'"{v}"' for v in r.values()) + "\n" for r in rows)
    elif ".txt" in path.suffixes:
        text = "".join(f"{r['document']}\t{r['summary']}\n" for r in rows)
    elif path.suffix == ".json":
        text = json.dumps({"data": rows})
    content = text.encode()
    if ".parquet" in path.suffixes:
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
        content = sink.getvalue()
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix.lower() == ".zst":
        content = zstandard.compress(content)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.txt", "a.jsonl.gz",
                                  "a.csv.zst", "a.tsv.gz", "a.parquet.gz", "A.JSONL.ZST"])
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = pairs(12)
    path = write_as(tmp_path / name, rows)
    splits = load_splits(config(train=str(path), validation=str(path), test=str(path)))
    assert [(e.source, e.target) for e in splits.train] == [(r["document"], r["summary"]) for r in rows]
    assert any("12 documents stand in both train and test" in note for note in splits.notes)


BAD = ['{"document": "a", "summary": 3}', '{"document": "a"}', '{"document": "", "summary": "b"}', "not json", "[1]",
       '{"document": null, "summary": "b"}', '{"document": NaN, "summary": "b"}', '{"document": "a", "summary": " "}']


@pytest.mark.parametrize("bad", BAD)
def test_bad_rows_are_named_or_skipped(bad: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", pairs(30))
    path.write_text(path.read_text() + bad + "\n")
    with pytest.raises(DataError) as caught:
        load_splits(config(train=str(path)))
    assert [p for p in caught.value.problems if f"{path}:31" in p] == caught.value.problems
    splits = load_splits(config(train=str(path), on_bad_row=OnBadRow.skip))
    assert any("1 bad rows skipped" in note for note in splits.notes)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"document": "a", "summary": "b"}\n\xff\xfe{}\n')
    with pytest.raises(DataError, match="not UTF-8 at .*t.jsonl:2"):
        load_splits(config(train=str(path)))


@pytest.mark.parametrize(("name", "content", "told"), [("e.jsonl", b"", "empty"), ("e.xyz", b"x", "unknown kind"),
                                                       ("e.json", b"{", "not a JSON"), ("e.parquet", b"x", "Parquet"),
                                                       ("e.jsonl.gz", b"x", "cannot read")])
def test_whole_files_that_cannot_be_read(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        load_splits(config(train=str(tmp_path / name)))
    with pytest.raises(DataError, match="no data file"):
        load_splits(config(train=str(tmp_path / "none.jsonl")))


def test_parquet_is_read_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setattr("llmtrain.data.sources.readers.MOST_ROWS", 3)
    rows = [{"document": f"document {number % 4}", "summary": f"summary {number}", "references": [str(number)]}
            for number in range(20)]
    table = pyarrow.Table.from_pylist(rows)
    table = table.set_column(0, "document", table["document"].dictionary_encode())
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    assert list(read_rows(tmp_path / "a.parquet")) == [
        (f"{tmp_path / 'a.parquet'}:{number}", row) for number, row in enumerate(rows, start=1)]


@pytest.mark.parametrize(("name", "content", "refused"), [
    ("a.jsonl.gz", gzip.compress(b"1\n" * 1_400_000), True),  # 1.3 million lines of 200 bytes are 256 MiB
    ("a.json.zst", zstandard.compress(b"[" + b"[]," * 1_400_000 + b"[]]"), True),
    ("a.jsonl.gz", gzip.compress(b"1\n" * 1_300_000), False),
    ("a.jsonl.gz", gzip.compress(b"".join(b'{"document": "cells [%d, %d] of {%x}", "summary": "%d"}\n'
                                          % (i, i * 7919 % 9973, i * 104729, i) for i in range(500_000))), False)])
def test_packed_files_hold_no_more_lines_and_items_than_text(name: str, content: bytes, refused: bool,
                                                             tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    if not refused:
        assert read_bytes(tmp_path / name)
        return
    with pytest.raises(DataError, match="more lines or items than any text of"):
        read_bytes(tmp_path / name)


def test_missing_splits_are_taken_by_a_hash_and_said(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", pairs(400))
    splits = load_splits(config(train=str(path)))
    assert 5 <= len(splits.validation) <= 40
    assert 5 <= len(splits.test) <= 40
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 400
    assert sum("by a hash of the document" in note for note in splits.notes) == 2
    shuffled = write_jsonl(tmp_path / "u.jsonl", reversed(pairs(400)))
    other = load_splits(config(train=str(shuffled)))
    assert {e.source for e in other.test} == {e.source for e in splits.test}


def test_several_references(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [{"document": "a b", "refs": ["x", "y", "x"]}] * 2)
    found = load_splits(config(train=str(path), test=str(path), validation=str(path), references="refs"))
    assert found.train[0].references == ("x", "y", "x")
    assert found.train[0].target == "x"


def test_content_decides_the_hash(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", pairs(60))
    first = load_splits(config(train=str(path))).content_hash
    assert first == load_splits(config(train=str(path))).content_hash
    assert first != load_splits(config(train=str(path), max_train_rows=20)).content_hash


def test_a_local_folder_in_the_hubs_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub/data").mkdir(parents=True)
    for number, split in enumerate(("train", "validation", "test")):
        write_as(tmp_path / f"hub/data/{split}-00000-of-00001.parquet", pairs(6 + number, number))
    splits = load_splits(SummarizationData(name="hub", hub=HubConfig(name=str(tmp_path / "hub"))))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 7, 8)


def test_offline_the_hub_is_one_line() -> None:
    with pytest.raises(DataError, match="HF_HUB_OFFLINE") as caught:
        load_splits(SummarizationData(name="hub", hub=HubConfig(name="no-such/dataset")))
    assert len(caught.value.problems) == 1


def test_docstrings_are_read_split_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.data.sources.docstrings.PACKAGES", ("networkx", "rich"))
    first = read_docstrings(SummarizationData(cache_dir=str(tmp_path)))
    assert len(first.train) > 300
    # a second read must not extract again
    monkeypatch.setattr("llmtrain.data.sources.docstrings._pairs_of_files", None)
    assert read_docstrings(SummarizationData(cache_dir=str(tmp_path))).train == first.train
    modules = [{e.id.rpartition(":")[0] for e in part} for part in (first.train, first.validation, first.test)]
    assert not modules[0] & modules[1]
    assert not modules[0] & modules[2]
    keys = [{k for e in part for k in near_keys(e.source, e.target)}
            for part in (first.train, first.validation + first.test)]
    assert not keys[0] & keys[1]
    for example in first.train[:50]:
        assert "\n" not in example.target


@pytest.fixture(scope="module")
def features(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Features:
    folder = tmp_path_factory.mktemp("features")
    path = write_jsonl(folder / "t.jsonl", pairs(45))
    splits = load_splits(config(train=str(path), validation=str(path), test=str(path)))
    return tokenize(splits.train, load_tokenizer(str(tiny_base)), config(cache_dir=str(folder), max_source_tokens=20))


def test_tests_have_a_cache_of_their_own() -> None:
    assert not cache_folder().is_relative_to(Path.home() / ".cache")


def test_features_are_cut_counted_and_cached(tiny_base: Path, tmp_path: Path) -> None:
    rows = load_splits(config(train=str(write_jsonl(tmp_path / "t.jsonl", pairs(45))))).train
    tokenizer = load_tokenizer(str(tiny_base))
    first = tokenize(rows, tokenizer, config(cache_dir=str(tmp_path), max_source_tokens=16, max_summary_tokens=4))
    assert max(first.input_ids.lengths) == 16
    assert first.stats.cut_sources > 0
    assert all(first.labels[i][-1] == tokenizer.sep_token_id for i in range(len(first)))
    made = {p.name for p in (tmp_path / "features").iterdir()}
    again = tokenize(rows, tokenizer, config(cache_dir=str(tmp_path), max_source_tokens=16, max_summary_tokens=4))
    assert {p.name for p in (tmp_path / "features").iterdir()} == made
    assert (again.input_ids[3] == first.input_ids[3]).all()
    tokenize(rows, tokenizer, config(cache_dir=str(tmp_path), max_source_tokens=17, max_summary_tokens=4))
    assert len(list((tmp_path / "features").iterdir())) > len(made)


def test_a_tokenizer_that_brings_limits_of_its_own_is_read_from_the_cache(tiny_base: Path, tmp_path: Path) -> None:
    """_encode changes a fast tokenizer's truncation, and a fresh start finds it as it was shipped."""
    shipped = load_tokenizer(str(tiny_base))
    shipped.backend_tokenizer.enable_truncation(12)
    shipped.backend_tokenizer.enable_padding(length=12)
    shipped.save_pretrained(tmp_path / "shipped")
    rows = load_splits(config(train=str(write_jsonl(tmp_path / "t.jsonl", pairs(45))))).train
    settings = config(cache_dir=str(tmp_path), max_source_tokens=20)
    made = []
    for _ in range(2):
        tokenizer = load_tokenizer(str(tmp_path / "shipped"))
        assert tokenizer.backend_tokenizer.truncation is not None
        before = describe(tokenizer)
        tokenize(rows, tokenizer, settings)
        tokenize(rows, tokenizer, settings)
        assert describe(tokenizer) == before
        made.append({p.name for p in (tmp_path / "features").iterdir()})
    assert made[0] == made[1]
    assert len(made[0]) == 1


def loader(features: Features, **values: Any) -> StepLoader:
    rows = {"batch_size": 8, "bucket": 2, "seed": 0, "pad_id": 0, "transforms": []}
    ours = rows | {name: value for name, value in values.items() if name in rows}
    shared = {"accumulate": 1, "rank": 0, "world_size": 1, "workers": 0, "timeout": 30.0}
    return StepLoader(*one_task(features, **ours), **shared | {
        name: value for name, value in values.items() if name not in rows})


def test_every_row_once_an_epoch_and_another_order_in_the_next(features: Features) -> None:
    one = loader(features)
    assert one.steps_per_epoch == 6
    assert Counter(row for rows in one.plan(0) for row in rows) == Counter(range(45))
    assert one.plan(0) == loader(features).plan(0)
    assert one.plan(0) != one.plan(1)
    assert one.plan(0) != loader(features, seed=1).plan(0)


def rows_of(steps: StepLoader, start: int, count: int) -> list[list[int]]:
    stream = steps.iterate(start)
    return [[i for b in next(stream).micro if not b["dummy"] for i in b["example_id"].tolist()] for _ in range(count)]


def test_micro_batches_and_processes_share_the_same_rows(features: Features) -> None:
    whole = rows_of(loader(features), 0, 8)
    split = rows_of(loader(features, accumulate=4), 0, 8)
    ranks = [rows_of(loader(features, world_size=2, rank=rank), 0, 8) for rank in (0, 1)]
    for step in range(8):
        assert sorted(split[step]) == sorted(whole[step])
        assert sorted(ranks[0][step] + ranks[1][step]) == sorted(whole[step])


def test_resuming_skips_by_index_and_workers_change_nothing(features: Features) -> None:
    whole = rows_of(loader(features), 0, 9)
    assert rows_of(loader(features), 5, 4) == whole[5:]
    assert rows_of(loader(features, workers=2), 0, 9) == whole


def test_a_process_without_rows_takes_part_with_a_dummy(features: Features) -> None:
    found = [next(loader(features, batch_size=44, world_size=2, rank=rank).iterate(
        [len(rows) for rows in loader(features, batch_size=44).plan(0)].index(1))).micro[0] for rank in (0, 1)]
    dummies = [batch for batch in found if batch["dummy"]]
    assert len(dummies) == 1
    assert (dummies[0]["labels"] == -100).all()


def test_iterating_draws_nothing_from_the_global_generator(features: Features) -> None:
    before = torch.get_rng_state()
    rows_of(loader(features, workers=2), 0, 3)
    assert torch.equal(before, torch.get_rng_state())
