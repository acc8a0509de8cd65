"""Rows, files and keys that no translation can be learnt of: one line each, which says what and where, and exit 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import make_tiny_base, warm_cli, write_jsonl

GOOD = [{"source": f"a red table {n}", "target": f"ein roter Tisch {n}"} for n in range(6)]


def with_row(**row: Any) -> Callable[[Path], None]:
    return lambda folder: void(write_jsonl(folder / "train.jsonl", [*GOOD, row]))


def files(**contents: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, content in contents.items():
            (folder / name.replace("_", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def void(_: object) -> None:
    return None


def tokenizer_without_end(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"ein": 0, "[UNK]": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]").save_pretrained(folder / "endless")


def broken_tokenizer(folder: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken/tokenizer.json").write_text('{"version": "1.0"}')


PAIR, EN, DE = "data.train=[train.en,train.de]", "a\nb\nc\n", "x\ny\nz\n"
# what a user typed or gave, and what the line says; the files are made by the third
BAD: list[tuple[tuple[str, ...], str, Callable[[Path], None] | None]] = [
    (("data.source=src",), "no column 'src' (it has 'source', 'target') at train.jsonl:1", None),
    (("data.target=translation",), "no column 'translation' (it has 'source', 'target') at", None),
    (("data.source=target",), "data.source and data.target both name the column target; name that of the", None),
    ((), "column 'target' is empty, not text at train.jsonl:7; mend it or set data.on_bad_row=skip",
     with_row(source="a", target=None)),
    ((), "column 'target' is int, not text at train.jsonl:7", with_row(source="a", target=7)),
    ((), "column 'target' is list, not text at train.jsonl:7", with_row(source="a", target=["x", "y"])),
    ((), "column 'target' is empty at train.jsonl:7", with_row(source="a", target="  ")),
    ((), "column 'source' is empty at train.jsonl:7", with_row(source="", target="x")),
    ((), "column 'source' is dict, not text at train.jsonl:7", with_row(source={"en": "a"}, target="x")),
    ((), "no column 'target' (it has 'source', 'de') at train.jsonl:7", with_row(source="a", de="x")),
    ((), "half a character (a lone surrogate", lambda folder: void((folder / "train.jsonl").write_text(
        '{"source": "a", "target": "\\ud83d x"}\n'))),
    (("data.references=refs",), "column 'refs' is not a list of texts at train.jsonl:1 and 5 more rows", None),
    (("data.references=refs",), "column 'refs' is not a list of texts at train.jsonl:1",
     lambda folder: void(write_jsonl(folder / "train.jsonl", [row | {"refs": ["x", " "]} for row in GOOD]))),
    ((PAIR,), "3 lines at train.en and 2 at train.de, whose lines belong together",
     files(train_en=EN, train_de="x\ny\n")),
    ((PAIR,), "empty line at train.de:2", files(train_en=EN, train_de="x\n\nz\n")),
    ((PAIR,), "empty line at train.en:3", files(train_en="a\nb\n \n", train_de=DE)),
    ((PAIR,), "not UTF-8 at train.de:1", files(train_en=EN, train_de=b"\xff\xfa\ny\nz\n")),
    ((PAIR,), "UTF-16 without a byte order mark", files(train_en=EN, train_de=DE.encode("utf-16-le"))),
    ((PAIR,), "a picture, not text, at train.de", files(train_en=EN, train_de=b"\x89PNG\r\n\x1a\n" + b"x" * 60)),
    ((PAIR,), "packed by gzip, not text, at train.en; end its name in .gz", files(train_en=b"\x1f\x8b" + b"x" * 60,
                                                                                 train_de=DE)),
    ((PAIR,), "a Python pickle, which is never opened, at train.de", files(train_en=EN, train_de=b"\x80\x04\x95abc")),
    ((PAIR,), "empty data file at train.de", files(train_en=EN, train_de="")),
    ((PAIR,), "no data file at train.de; check data.train", files(train_en=EN)),
    (("data.train=[train.en,train.en]",), "both sources and targets are to be read from train.en",
     files(train_en=EN)),
    ((PAIR, "data.test=[test.de,test.en]"), "data.test names test.de first and data.train train.en: one of them is",
     files(train_en=EN, train_de=DE, test_en=EN, test_de=DE)),
    (("data.train=[train.en,train.de,more.en]",), "unknown kind of data file at train.en",
     files(train_en=EN, train_de=DE, more_en=EN)),
    (("data.train=train.en",), "or two plain texts with as many lines, the source's and the target's",
     files(train_en=EN)),
    (("data.train=train.??",), "unknown kind of data file at train.de", files(train_en=EN, train_de=DE)),
    (("data.train=[a.txt,b.txt]",), "hold a tab in some lines and none in others", files(a_txt="a\tb\nc\n", b_txt=DE)),
    (("data.train=one.txt",), "no tab between source and target", files(one_txt=EN)),
    (("data=docstrings",), "data=docstrings has no rows for this task; name files of your own", None),
    (("data.preprocess=[{name: length, min_document_words: 99}]",), "data.preprocess left out every row of train",
     None),
    (("data.target_tokenizer=none",), "no folder of a tokenizer at none; check data.target_tokenizer=none", None),
    (("data.target_tokenizer=empty",), "no tokenizer at empty: none of tokenizer.json,",
     lambda folder: (folder / "empty").mkdir()),
    (("data.target_tokenizer=broken",), "cannot load the tokenizer at broken", broken_tokenizer),
    (("data.target_tokenizer=endless",), "has no end token, so no output could end", tokenizer_without_end),
    (("data.target_vocabulary=100",), "data.target_vocabulary=100 must be 300 or more; change it", None),
    (("data.target_vocabulary=some",), "data.target_vocabulary=some is not a whole number; give one", None),
    (("data.max_target_tokens=0",), "data.max_target_tokens=0 must be more than 0; change it", None),
    (("data.target_tokeniser=bpe",), "unknown key data.target_tokeniser; did you mean data.target_tokenizer?", None),
    (("task.joint_vocab=true",), "unknown key task.joint_vocab; did you mean task.joint_vocabulary?", None),
    (("task=translator",), "translation", None),
    (("task=summarization", "data.source=text"), "data.source is a key of task=translation and task is summarization",
     None),
    (("data.document=text",), "data.document is a key of task=summarization and task is translation", None),
    (("task.joint_vocabulary=true", "data.target_tokenizer=base"), "task.joint_vocabulary=true shapes the vocabulary",
     None),
    (("head=prefix_lm",), "head=prefix_lm writes with the base itself and so with its vocabulary; set data.target_tok",
     None),
    (("head=extractive",), "head=extractive (sentence_extraction) makes nothing that task=translation asks for", None),
    (("head=ext_abs",), "head=ext_abs chooses among a document's sentences", None),
    (("objective.base=select",), "the objective select looks for the target's words among the source's", None),
    (("objective.base=extraction",), "the objective extraction looks for the target's words", None),
    (("data.long=select_then_write", "data.selector=run"), "data.long=select_then_write leaves sentences out and a",
     None),
    (("eval.tokenize=14a",), "unknown eval.tokenize=14a; choose from auto, 13a, intl, zh, char, none", None),
    (("eval.lead=3",), "eval.lead is a key of task=summarization and task is translation", None),
    (("trainer.best_metric=rouge1",), "choose from bleu, chrf, bleu_tokenized, loss.total", None)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize(("overrides", "told", "make"), BAD, ids=[f"{n}" for n in range(len(BAD))])
def test_a_bad_input_is_one_line(overrides: tuple[str, ...], told: str, make: Callable[[Path], None] | None,
                                 base: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", GOOD)
    if make is not None:
        make(tmp_path)
    refused = warm_cli("train", "task=translation", "data=files", "data.train=train.jsonl", f"model.path={base}",
                       f"data.cache_dir={tmp_path / 'cache'}", "data.max_source_tokens=32", "trainer.max_steps=1",
                       "trainer.batch_size=2", *overrides,
                       cwd=tmp_path)
    lines = refused.stderr.splitlines()
    assert refused.returncode == 2 and len(lines) == 1, (refused.returncode, refused.stderr, refused.stdout)
    assert lines[0].startswith("llmtrain: ") and told in lines[0], lines[0]
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_there_are_forty() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize(("content", "told"), [
    ("ein roter Tisch\n", "1 predictions at own.txt for 6 documents; they must be as many"),
    ('{"source": "a", "prediction": "x"}\n' * 6, "JSON objects, one a line, in a text file"),
    (b"\xff\xfa\n", "not UTF-8 text at own.txt:1")])
def test_predictions_that_fit_no_rows_are_one_line(content: str | bytes, told: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", GOOD)
    (tmp_path / "own.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused = warm_cli("eval", "task=translation", "data=files", "data.test=test.jsonl", "predictions=own.txt",
                       cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and told in refused.stderr, refused.stderr


def test_predictions_of_others_are_scored_with_intervals_and_a_signature(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", GOOD)
    (tmp_path / "own.txt").write_text("".join(f"{row['target']} und\n" for row in GOOD))
    scored = warm_cli("eval", "task=translation", "data=files", "data.test=test.jsonl", "predictions=own.txt",
                      "eval.output=scored", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    results = json.loads((tmp_path / "scored/results.json").read_text())
    assert 50 < results["metrics"]["test"]["bleu"]["low"] <= results["metrics"]["test"]["bleu"]["value"] < 100
    assert "bleu nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in results["signature"]
    assert results["baselines"]["copy"]["bleu"]["value"] < 10


def test_languages_that_are_the_other_way_round_are_told(base: Path, tmp_path: Path) -> None:
    english, german = "the man is on the table of this house", "der Mann ist auf dem Tisch und nicht in das Haus"
    write_jsonl(tmp_path / "train.jsonl", [{"source": f"{english} {n}", "target": f"{german} {n}"} for n in range(30)])
    write_jsonl(tmp_path / "held.jsonl", [{"source": f"{german} {n}", "target": f"{english} {n}"} for n in range(30)])
    ended = warm_cli("data", "show", "task=translation", "data=files", "data.train=train.jsonl", f"model.path={base}",
                     "data.validation=held.jsonl", "data.test=train.jsonl", "show.rows=1", cwd=tmp_path)
    assert ended.returncode == 0 and "the rows of validation go from the language of train's targets" in ended.stderr
    assert "the rows of test go" not in ended.stderr
