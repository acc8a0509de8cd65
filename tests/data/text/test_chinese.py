"""Chinese: rows held out of train, words by jieba, a lead of a given length, text written without spaces."""

from __future__ import annotations

import gzip
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from helpers import warm_cli, write_jsonl
from llmtrain.config.choices import Language, References
from llmtrain.config.load import load_config
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.data.examples import Example, Splits, near_key
from llmtrain.data.sources.splits import load_splits
from llmtrain.data.text import chinese
from llmtrain.data.text.sentences import sentences
from llmtrain.data.text.words import words
from llmtrain.tasks.summarization import options
from llmtrain.tasks.summarization.options import SummarizationData
from llmtrain.tasks.summarization.rouge import Rouge

TOPICS = "水火土木金山河海天地日月星云雨雪风雷电光"
OPENING = "本文在前人工作的基础上对该领域近年来提出的若干方法进行了较为系统的比较研究并给出了"
OPENING += "实验结果和分析以及今后需要进一步解决的问题"


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "document": f"{TOPICS[i % 20]}{TOPICS[i // 20]}的研究。方法有效！{i}", "summary": "研究"}
            for i in range(count)]


def held_out(tmp_path: Path, data: list[dict[str, Any]], wanted: int, **values: Any) -> Splits:
    path = write_jsonl(tmp_path / "t.jsonl", data)
    return load_splits(SummarizationData(name="files", train=str(path), test=str(path), validation_from_train=wanted,
                                  **values))


def ids(examples: list[Example]) -> set[str]:
    return {example.id for example in examples}


def test_rows_are_held_out_whatever_their_order(tmp_path: Path) -> None:
    first = held_out(tmp_path, rows(100), 20)
    assert (len(first.train), len(first.validation)) == (80, 20)
    assert not ids(first.train) & ids(first.validation)
    assert ids(held_out(tmp_path, rows(100)[::-1], 20).validation) == ids(first.validation)
    assert ids(held_out(tmp_path, rows(100), 20, split_seed=1).validation) != ids(first.validation)


def test_near_copies_stay_on_one_side(tmp_path: Path) -> None:
    data = [{"document": f"{TOPICS[i]}，{OPENING}{end}", "summary": "s"}
            for i in range(20) for end in ("。", "！又", "x")]
    splits = held_out(tmp_path, data, 10)
    assert len(splits.validation) == 9  # three groups of three; the tenth row would part a group
    assert not {near_key(e.source) for e in splits.train} & {near_key(e.source) for e in splits.validation}
    assert any("9 rows of 10 asked for" in note for note in splits.notes)


def test_holding_out_all_rows_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"validation_from_train=5 cannot be held out of 5") as caught:
        held_out(tmp_path, rows(5), 5)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(("overrides", "told"), [
    (["data=files", "data.train=a", "data.validation=b", "data.validation_from_train=2"], "both name the validation"),
    (["data.validation_from_train=2"], "needs data=files or data=hub"),
    (["data=files", "data.train=a", "data.validation_from_train=0"], "must be more than 0"),
])
def test_what_holding_out_does_not_go_with(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config("train", overrides)


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    for arguments, told in (([], "data.folder=FOLDER"), (["data.folder=nowhere"], "no folder at nowhere")):
        ended = warm_cli("eval", "eval.lead=3", "data=csl", *arguments, cwd=tmp_path)
        assert ended.returncode != 0
        assert told in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_words_by_jieba_by_hand() -> None:
    """我们 / 研究 / 方法 against 我们 / 提出 / 方法: 2 of 3 words and no pair of words agree."""
    one = Example("0", "x", "我们提出方法", ("我们提出方法",))
    found = Rouge(Language.zh_words, References.first, [one])
    assert words("我们，研究 方法。", "zh_words") == ["我们", "研究", "方法"]
    scores = found.score("我们研究方法", one)
    assert (scores["rouge1"], scores["rouge2"]) == (pytest.approx(200 / 3), 0)
    assert f"words by jieba {version('jieba')}" in found.signature


def test_jieba_keeps_its_dictionary_where_nobody_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it reads one that lies in the shared temporary folder, whoever put it there."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    monkeypatch.setenv("LLMTRAIN_CACHE", str(tmp_path / "own"))
    chinese._segmenter.cache_clear()
    try:
        assert "".join(chinese.segments("我们研究 方法。")) == "我们研究 方法。"
    finally:
        chinese._segmenter.cache_clear()
    assert (tmp_path / "own/jieba.cache").is_file()
    assert not list(shared.iterdir())


def test_every_character_by_hand() -> None:
    """``A，b`` against ``A，c``: 2 of 3 characters, 1 of 2 pairs; marks and capitals count."""
    one = Example("0", "x", "A，c", ("A，c",))
    found = Rouge(Language.characters, References.first, [one])
    scores = found.score("A，b", one)
    assert (scores["rouge1"], scores["rouge2"]) == (pytest.approx(200 / 3), pytest.approx(50))
    assert found.score("甲。 乙", Example("0", "x", "甲。乙", ("甲。乙",)))["rouge1"] == pytest.approx(600 / 7)


def test_without_jieba_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"zh_words needs the package jieba.*llmtrain\[chinese\]"):
        load_config("train", ["eval.language=zh_words"])


def test_quotes_behind_a_stop_belong_to_its_sentence() -> None:
    assert sentences("他说：“我来了。”然后走了！「真的？」是的。") == [
        "他说：“我来了。”", "然后走了！", "「真的？」", "是的。"]


def chinese_base(folder: Path) -> Path:
    """A seeded 2-layer BERT that reads by characters, as bert-base-chinese does."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    listed = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TOPICS, *"的研究方法有效。！用", *"0123456789",
              "bert", "model",
              *(start + letter for start in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz"), *".,-+/()'"]
    (folder / "vocab.txt").write_text("\n".join(listed), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        BertModel(BertConfig(vocab_size=len(listed), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                             intermediate_size=64, max_position_embeddings=64)).save_pretrained(folder)
    return folder


def test_characters_are_joined_and_latin_words_are_not(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from llmtrain.inference.generated import Generated
    from llmtrain.inference.predict import spell_as_written, tidy

    tokenizer = AutoTokenizer.from_pretrained(chinese_base(tmp_path / "base"))
    written = tokenizer.decode(tokenizer("研究bert model的方法", add_special_tokens=False)["input_ids"])
    assert written == "研 究 bert model 的 方 法"
    made = spell_as_written(tokenizer, ["用BERT model的方法。"], [Generated(tidy(written), [1], 0.0)])
    assert [one.text for one in made] == ["研究 BERT model的方法"]


def test_bert_base_chinese_trains_and_is_scored_on_a_folder_in_csls_layout(tmp_path: Path) -> None:
    folder = tmp_path / "csl"
    folder.mkdir()
    for name, data in (("validation", rows(24)), ("test", rows(30)[24:])):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in data)
    base = chinese_base(tmp_path / "base")
    ended = warm_cli("train", "+experiment=csl_zh", "model=bert_base_chinese", f"model.path={base}",
                     f"data.folder={folder}", "data.validation_from_train=4", "data.max_source_tokens=32",
                     f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=2", "trainer.batch_size=4",
                     "generation.max_new_tokens=4", "eval.bootstrap_samples=2", "run.name=zh", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "runs" / "zh" / "results.json").read_text())
    assert "every character as it stands" in json.dumps(results)
    ended = warm_cli("eval", "checkpoint=runs/zh", "eval.language=zh_words", "eval.output=out", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert f"words by jieba {version('jieba')}" in (tmp_path / "out" / "results.json").read_text()
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 6


def test_the_lead_is_scored_without_a_model(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{"document": "研究方法有效", "summary": "研究方向"}])
    ended = warm_cli("eval", "eval.lead=4", "data=files", "data.test=test.jsonl", "eval.output=out",
                     "eval.language=characters", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    row = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    assert (row["prediction"], row["rouge1"]) == ("研究方法", pytest.approx(75))
    assert "lead 4 characters as asked" in (tmp_path / "out" / "results.json").read_text()
