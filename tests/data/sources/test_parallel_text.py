"""Two plain-text files as one split, and what a list of two files is taken for."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from llmtrain.core.errors import DataError
from llmtrain.data.sources.splits import load_splits
from llmtrain.tasks.summarization.options import SummarizationData
from llmtrain.tasks.translation.options import TranslationData

SOURCES = ["A man walks.", "Two women read.", "A child sleeps."]
TARGETS = ["Ein Mann geht.", "Zwei Frauen lesen.", "Ein Kind schläft."]


def lines(path: Path, texts: list[str], end: str = "\n") -> str:
    path.write_bytes("".join(f"{text}{end}" for text in texts).encode())
    return str(path)


def pair(folder: Path, sources: list[str] = SOURCES, targets: list[str] = TARGETS, names: str = "train.en train.de",
         ) -> list[str]:
    return [lines(folder / name, texts) for name, texts in zip(names.split(), (sources, targets), strict=True)]


def load(train: Any, **more: Any) -> Any:
    held = {"validation": train, "test": train} | more
    return load_splits(TranslationData(name="files", train=train, **held))


@pytest.mark.parametrize("names", ["train.en train.de", "train.en.txt train.de.txt", "source target", "a.txt b",
                                   "train.EN.gz train.de"])
def test_lines_are_matched_by_their_number(names: str, tmp_path: Path) -> None:
    files = pair(tmp_path, names=names)
    if names.endswith(".gz train.de"):
        (tmp_path / "train.EN.gz").write_bytes(gzip.compress((tmp_path / "train.EN.gz").read_bytes()))
    splits = load(files)
    assert [(e.source, e.target, e.references) for e in splits.train] == [
        (source, target, (target,)) for source, target in zip(SOURCES, TARGETS, strict=True)]
    first, second = (Path(file).name for file in files)
    assert f"parallel text: source from {first}, target from {second}, 3 lines" in splits.notes


def test_lines_may_end_in_any_way_and_hold_tabs(tmp_path: Path) -> None:
    sources = [lines(tmp_path / "s.en", ["a\tb", "c"], "\r\n"), lines(tmp_path / "t.de", ["d", "e\tf"])]
    (tmp_path / "t.de").write_bytes((tmp_path / "t.de").read_bytes().removesuffix(b"\n"))
    assert [(e.source, e.target) for e in load(sources).train] == [("a\tb", "d"), ("c", "e\tf")]


def test_a_list_of_files_of_rows_is_none(tmp_path: Path) -> None:
    both = [f"{source}\t{target}" for source, target in zip(SOURCES, TARGETS, strict=True)]
    tabbed = [lines(tmp_path / f"{n}.txt", both) for n in (1, 2)]
    assert len(load(tabbed).train) == 6
    tables = [lines(tmp_path / f"{n}.tsv", ["source\ttarget", "a\tb"]) for n in (1, 2)]
    assert len(load(tables).train) == 2


def test_half_tabbed_files_are_neither(tmp_path: Path) -> None:
    files = pair(tmp_path, ["a\tb", "c", "d"], names="one.txt two.txt")
    with pytest.raises(DataError, match=r"one.txt and .*two.txt hold a tab in some lines and none in others.*train.en"):
        load(files)


def test_different_lengths_are_told_with_both(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3 lines at .*train.en and 2 at .*train.de, whose lines belong together"):
        load(pair(tmp_path, targets=TARGETS[:2]))
    (tmp_path / "train.de").write_text("\n".join(TARGETS) + "\n\n")
    with pytest.raises(DataError, match=r"3 lines at .*train.en and 4 at .*train.de"):
        load([str(tmp_path / "train.en"), str(tmp_path / "train.de")])


def test_an_empty_line_is_a_bad_row_of_its_file(tmp_path: Path) -> None:
    files = pair(tmp_path, targets=["Ein Mann geht.", " ", "Ein Kind schläft."])
    with pytest.raises(DataError, match=r"^bad row: empty line at .*train.de:2; mend it or set data.on_bad_row=skip$"):
        load(files)
    from llmtrain.config.choices import OnBadRow

    assert [e.source for e in load(files, on_bad_row=OnBadRow.skip).train] == [SOURCES[0], SOURCES[2]]
    (tmp_path / "train.en").write_bytes(b"A man\n\xff\xfe\xfa\nA child\n")
    with pytest.raises(DataError, match=r"not UTF-8 at .*train.en:2"):
        load(files)


def test_files_that_are_the_other_way_round_are_told(tmp_path: Path) -> None:
    train = pair(tmp_path)
    with pytest.raises(DataError, match=r"data.test names test.de first and data.train train.en: one of them is the "
                                        "other way round"):
        load(train, test=pair(tmp_path, TARGETS, SOURCES, "test.de test.en"))
    with pytest.raises(DataError, match="the other way round"):
        load(pair(tmp_path, names="a.en.txt a.de.txt"), validation=pair(tmp_path, names="b.de.txt b.en.txt"))
    assert load(train, test=pair(tmp_path, names="other.en other.de")).test


@pytest.mark.parametrize(("given", "told"), [
    ("train.en", "unknown kind of data file at .*train.en; use .*or two plain texts with as many lines"),
    ("train.*", "unknown kind of data file at"),  # a glob says nothing of which is the source
    (["train.en", "train.de", "train.en"], "unknown kind of data file at"),
    (["train.en", "none.de"], "no data file at .*none.de; check data.train"),
    (["train.en", "rows.jsonl"], "unknown kind of data file at .*train.en")])
def test_other_lists_are_no_pair(given: Any, told: str, tmp_path: Path) -> None:
    pair(tmp_path)
    lines(tmp_path / "rows.jsonl", ['{"source": "a", "target": "b"}'])
    paths = [str(tmp_path / one) for one in given] if isinstance(given, list) else str(tmp_path / given)
    with pytest.raises(DataError, match=told):
        load(paths)


def test_a_task_without_parallel_text_reads_no_pair(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown kind of data file at .*train.en; use .jsonl[^;]*$"):
        load_splits(SummarizationData(name="files", train=pair(tmp_path)))
