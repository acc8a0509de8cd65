"""Files that are damaged, hostile or odd are told in one short line, in little time."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from helpers import pairs, write_jsonl
from llmtrain.config.choices import OnBadRow
from llmtrain.config.sections.data import HubConfig
from llmtrain.core.errors import ConfigError, DataError, shown
from llmtrain.data.examples import Example
from llmtrain.data.sources.docstrings import read_docstrings
from llmtrain.data.sources.readers import read_bytes, read_rows
from llmtrain.data.sources.splits import load_splits
from llmtrain.evaluation.predictions import read_predictions
from llmtrain.tasks.summarization.options import SummarizationData

ROWS = "".join(json.dumps(row) + "\n" for row in pairs(12))


def refused(config: SummarizationData) -> str:
    with pytest.raises(DataError) as caught:
        load_splits(config)
    assert all(len(problem) < 400 and "\n" not in problem for problem in caught.value.problems)
    return caught.value.problems[0]


def files(path: Path, **values: Any) -> SummarizationData:
    return SummarizationData(name="files", train=str(path), **values)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SummarizationData:
    """A good folder in the hub's layout, beside a file that is none of its."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub").mkdir()
    for name in ("hub/t.jsonl", "outside.jsonl"):
        (tmp_path / name).write_text(ROWS)
    return SummarizationData(name="hub", hub=HubConfig(name=str(tmp_path / "hub")))


@pytest.mark.parametrize("path", [
    "OUT/outside.jsonl", "../outside.jsonl", "http://127.0.0.1:9/x.jsonl", "hf://datasets/a/b/x.jsonl",
    "file:OUT/outside.jsonl", "data/{..}/outside.jsonl", "zip://x.jsonl::http://127.0.0.1:9/x.zip",
    "[t.jsonl, ../o.csv]"])
@pytest.mark.parametrize("start", ["---\n", "\ufeff---\n", "\r\n ---\r\n"])
def test_a_hub_folders_readme_leads_nowhere_else(path: str, start: str, hub: SummarizationData, tmp_path: Path) -> None:
    text = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {path}\n---\n"
    (tmp_path / "hub/README.md").write_bytes((start + text.replace("OUT", str(tmp_path))).encode())
    assert f"leads out of the folder at {tmp_path / 'hub/README.md'}" in refused(hub)
    (tmp_path / "hub/README.md").write_bytes((start + text.replace(path, "t.jsonl")).encode())
    assert sum(map(len, (load_splits(hub).train, load_splits(hub).validation, load_splits(hub).test))) == 24 // 2


@pytest.mark.parametrize("path", ["OUT/outside.jsonl", "../outside.jsonl", "http://127.0.0.1:9/x.jsonl"])
def test_a_hub_datasets_readme_leads_nowhere_else(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``datasets`` would read an absolute path from this machine, for a dataset of the hub too."""
    card = tmp_path / "README.md"
    card.write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {path.replace('OUT', str(tmp_path))}\n---\n")

    def download(_dataset: str, name: str, **_how: Any) -> str:
        if name != card.name:
            raise FileNotFoundError(name)
        return str(card)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("llmtrain.data.sources.hub._check_reachable", lambda _name: None)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("the dataset was loaded"))
    told = refused(SummarizationData(name="hub", hub=HubConfig(name="some/data")))
    assert "leads out of the dataset 'some/data' at" in told and str(card) in told


@pytest.mark.parametrize(("make", "told"), [
    (lambda hub: (hub / "README.md").write_text("---\na: [\n---\n"), "cannot read the metadata at"),
    (lambda hub: (hub / ".huggingface.yaml").write_text("a: ["), "cannot read the metadata at"),
    (lambda hub: (hub / "README.md").write_text("---\nconfigs: 5\n---\n"), "cannot load the dataset"),
    (lambda hub: (hub / "dataset_infos.json").write_text("[1]"), "cannot load the dataset"),
    (lambda hub: (hub / "u.jsonl").symlink_to(hub.parent / "outside.jsonl"), "a link leads out of the folder at"),
    (lambda hub: (hub / "u").symlink_to(hub), "a link to a folder at"),
    (lambda hub: os.mkfifo(hub / "u.jsonl"), "no regular file at")])
def test_what_else_a_hub_folder_may_hold(make: Callable[[Path], Any], told: str, hub: SummarizationData,
                                         tmp_path: Path) -> None:
    assert len(load_splits(hub).train) > 5
    make(tmp_path / "hub")
    assert told in refused(hub)


def test_files_of_the_hubs_cache_are_links(hub: SummarizationData, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "datasets--a--b/snapshots/0f", tmp_path / "datasets--a--b/blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "1").write_text(ROWS)
    (snapshot / "t.jsonl").symlink_to("../../blobs/1")
    assert load_splits(SummarizationData(name="hub", hub=HubConfig(name=str(snapshot)))).train


def odd_column(path: Path, name: str, kind: Any, value: int) -> Path:
    import pyarrow
    import pyarrow.parquet

    plain = pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64()
    table = pyarrow.table({name: pyarrow.array([value] * 12, plain).cast(kind)}
                          | {key: [row[key] for row in pairs(12)] for key in ("document", "summary") if key != name})
    pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("kind", ["date32", "timestamp us", "timestamp ms", "duration s"])
def test_values_that_python_cannot_hold(kind: str, hub: SummarizationData, tmp_path: Path) -> None:
    import pyarrow

    name, *unit = kind.split()
    made = getattr(pyarrow, name)(*unit)
    value = 2**31 - 1 if name == "date32" else 2**62
    assert load_splits(files(odd_column(tmp_path / "a.parquet", "extra", made, value))).train
    assert "bad row: column 'summary' holds a value that cannot be read" in refused(
        files(odd_column(tmp_path / "b.parquet", "summary", made, value)))
    assert "bad row: column 'id' holds a value that cannot be read" in refused(
        files(odd_column(tmp_path / "c.parquet", "id", made, value)))
    if name == "date32":
        (tmp_path / "hub/t.jsonl").unlink()
        odd_column(tmp_path / "hub/t.parquet", "extra", made, value)
        assert load_splits(hub).train


def test_a_damaged_gz_body_is_one_line(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(ROWS.encode()))
    content[60:200] = bytes(byte ^ 0x5A for byte in content[60:200])
    (tmp_path / "t.jsonl.gz").write_bytes(content)
    assert "cannot read the data file at" in refused(files(tmp_path / "t.jsonl.gz"))


def test_a_frame_for_each_line_and_many_keys_are_read_in_time(tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor()
    frames = (packer.compress(b'{"document": "%d"}\n' % number) for number in range(60_000))
    (tmp_path / "t.jsonl.zst").write_bytes(b"".join(frames))
    began = time.process_time()
    assert len(read_bytes(tmp_path / "t.jsonl.zst").splitlines()) == 60_000
    keys = ", ".join(f'"key {i}": {i}' for i in [*range(80_000), 79_999])
    (tmp_path / "t.jsonl").write_text("{" + keys + "}\n")
    assert list(read_rows(tmp_path / "t.jsonl")) == [
        (f"{tmp_path / 't.jsonl'}:1", "not JSON (the key 'key 79999' stands twice)")]
    assert time.process_time() - began < 5
    (tmp_path / "t.jsonl.zst").write_bytes((tmp_path / "t.jsonl.zst").read_bytes()[:-3])
    with pytest.raises(DataError, match="ends in the middle of a frame"):
        read_bytes(tmp_path / "t.jsonl.zst")


def test_which_of_two_values_counts_is_nobodys_guess(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"document": "a b", "summary": "a", "summary": "b"}]')
    assert "(the key 'summary' stands twice)" in refused(files(tmp_path / "t.json"))
    (tmp_path / "t.csv").write_text("document,summary,summary\n" + "a b c,a,b\n" * 12)
    assert "bad row: column 'summary' stands twice in the header at" in refused(files(tmp_path / "t.csv"))
    (tmp_path / "u.csv").write_text("document,summary,,\n" + "".join(f"a b {i},a,e,f\n" for i in range(12)))
    assert load_splits(files(tmp_path / "u.csv")).train


def test_names_of_any_length_are_shortened(tmp_path: Path) -> None:
    assert len(shown("x" * 5000)) <= 64 and len(shown("\0" * 5000)) <= 64 and shown("ab") == "'ab'"
    long = "k" * 5000
    write_jsonl(tmp_path / "t.jsonl", [{f"{long}{i}": "x" for i in range(9)}])
    (tmp_path / "t.csv").write_text(f"{long},{long}b\na,b\n")
    for name in ("t.jsonl", "t.csv"):
        assert "no column 'document' (it has 'kkk" in refused(files(tmp_path / name))
        assert "rows need the columns" in refused(files(tmp_path / name, document="d" * 900, on_bad_row=OnBadRow.skip))
    examples = [Example(f"{long}{i}", "a", "b", ("b",)) for i in range(2)]
    for identities in ([f"{long}0", f"{long}0"], [f"{long}0", f"{long}7"]):
        write_jsonl(tmp_path / "p.jsonl", [{"id": one, "prediction": "x"} for one in identities])
        with pytest.raises(DataError) as caught:
            read_predictions(tmp_path / "p.jsonl", examples)
        assert len(caught.value.problems[0]) - len(str(tmp_path)) < 250


def test_a_cache_folder_that_is_a_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrain.data.sources.docstrings.PACKAGES", ("rich",))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write at"):
        read_docstrings(SummarizationData(cache_dir=str(tmp_path / "file/cache")))


@pytest.mark.parametrize(("path", "told"), [
    ("~nosuchuser/x", "cannot be looked at (Could not determine home directory.)"), ("x" * 300, "File name too long"),
    ("x\udcff", "is not UTF-8 at 'x\\udcff'; rename it")])
def test_paths_where_nothing_can_be(path: str, told: str) -> None:
    for key, config in {"train": files(Path(path)), "folder": files(Path("x"), folder=path),
                        "hub.name": SummarizationData(name="hub", hub=HubConfig(name=path)),
                        "cache_dir": SummarizationData(cache_dir=path)}.items():
        problem = refused(config)
        assert told in problem and f"the path in data.{key} " in problem
