"""Steps that change texts, what they refuse, and that a model reads at its work what it read in training."""

from __future__ import annotations

import json
import time
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from helpers import pairs, warm_cli, write_jsonl
from llmtrain import registry
from llmtrain.config import stored
from llmtrain.config.convert import to_dict
from llmtrain.config.from_checkpoint import Stored
from llmtrain.config.load import load_config
from llmtrain.config.run_id import result_dict, run_hash
from llmtrain.config.sections.preprocess import settled
from llmtrain.core.errors import ConfigError, DataError
from llmtrain.data.batch import Context
from llmtrain.data.examples import Example
from llmtrain.data.features import tokenize
from llmtrain.data.loader import Collate
from llmtrain.data.order import Request
from llmtrain.data.sources.splits import load_splits
from llmtrain.data.text.chinese import segments
from llmtrain.data.text.preprocess import stopword_lists
from llmtrain.data.text.preprocess.base import PreprocessStep
from llmtrain.data.text.preprocess.options import TextOptions
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.evaluation.evaluate import predict_and_score
from llmtrain.inference.generated import Generated
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.objectives.base import Vocabulary
from llmtrain.objectives.mlm import MaskTokens
from llmtrain.objectives.options import MlmConfig
from llmtrain.tasks.summarization.options import SummarizationData
from llmtrain.tasks.summarization.task import Summarization

OWN = {"name": "stopwords", "words": ["red", "the"]}


def document(steps: list[Any], text: str) -> str:
    return Pipeline(settled(steps)).source(text)


@pytest.mark.parametrize(("steps", "text", "wanted"), [
    (["nfc"], "cafe\u0301 ｆ", "café ｆ"), (["nfkc"], "ﬁne ｆｏｏ①", "fine foo1"), (["lowercase"], "A B", "a b"),
    ([{"name": "replace", "pattern": r"\d+", "by": "0"}], "a 12 b 3", "a 0 b 0"),
    ([{"name": "replace", "pattern": r"(\p{Lu})x", "by": r"<\1>", "ignore_case": True}], "ax Bx", "<a> <B>"),
    ([{"name": "sentences", "max": 2}], "One is. Two is. Three is.", "One is.\nTwo is."),
    ([{"name": "sentences", "separator": " | "}], "一。二！", "一。 | 二！"),
    (["lowercase", {"name": "replace", "pattern": "A", "by": "x"}], "Aa", "aa"),
    ([{"name": "replace", "pattern": "A", "by": "x"}, "lowercase"], "Aa", "xa"),
    (["stopwords"], "The model is trained on a cluster, and don't stop.", "model trained cluster, ."),
    ([OWN], "The red fox’s den", "fox’s den"), ([OWN], "The red", "The red"),
    ([{**OWN, "apply": "l1"}], "The red fox", "The red fox"),
    (["stopwords"], "Die Katze ist nicht auf dem Dach und das Haus", "Die Katze ist nicht auf dem Dach und das Haus"),
    ([{"name": "stopwords", "language": "de"}], "Die Katze ist nicht auf dem Dach", "Katze Dach"),
    ([{"name": "stopwords", "segment": "jieba"}], "我们的目的是提出一种新方法。", "目的提出新方法。"),
    ([{"name": "stopwords", "segment": "longest"}], "我们的目的是提出一种新方法。", "目提出新方法。"),
    ([{"name": "stopwords", "language": "zh", "words": ["方法"], "segment": "longest"}], "新方法 The", "新 The"),
])
def test_what_steps_do(steps: list[Any], text: str, wanted: str) -> None:
    assert document(steps, text) == wanted


def test_summaries_change_where_asked_and_lose_no_stop_words() -> None:
    pipeline = Pipeline(settled(["lowercase", {"name": "replace", "pattern": "x", "by": "y", "apply": "summary"},
                                 {"name": "replace", "pattern": "z", "by": "w", "apply": "document"}, OWN]))
    assert pipeline.target("The X Z") == "the y z"
    assert pipeline.source("The X Z") == "x w"


@pytest.mark.parametrize(("step", "told"), [
    ("nfk", "data.preprocess[0]: unknown preprocess 'nfk'; did you mean 'nfkc'?"),
    (3, "data.preprocess[0]=3 is no step; give a name, or {name: NAME, option: value}"),
    ({"name": "lowercase", "aply": "both"}, "unknown key data.preprocess[0].aply; did you mean data.preprocess[0].app"),
    ({"name": "lowercase", "apply": "l1"}, "apply=l1 is not one of both, document, summary; choose one"),
    ({"name": "lowercase", "apply": "references"}, "references are what summaries are scored against and stay"),
    ({"name": "replace", "pattern": "a(b"}, "bad regular expression 'a(b' (missing ) at position 3); mend pattern"),
    ({"name": "replace", "pattern": "(?x)a # c"}, None),
    ({"name": "replace", "pattern": "a(b)", "by": r"\2"}, "does not fit the pattern (invalid group reference)"),
    ({"name": "replace"}, "pattern is empty; give a regular expression"),
    ({"name": "replace", "pattern": "a", "timeout": 0}, "timeout=0 must be more than 0; change it"),
    ({"name": "length"}, "no limit is given; give one"),
    ({"name": "length", "min_summary_words": 3, "max_summary_words": 2}, "=3 is more than max_summary_words=2; change"),
    ({"name": "length", "max_summary_words": 2, "splits": ["dev"]}, "splits=dev is not one of train, validation, test"),
    ({"name": "sentences", "max": 0}, "max=0 must be more than 0; change it"),
    ({"name": "stopwords", "apply": "references"}, "scored against; use document or l1"),
    ({"name": "stopwords", "apply": "summary"}, "what the model is to write"),
    ({"name": "stopwords", "language": "xx"}, "no list of stop words for language=xx; choose from auto, af"),
    ({"name": "stopwords", "language": "ja"}, "written without spaces"),
    ({"name": "stopwords", "segment": "x"}, "segment=x is not one of auto, jieba, longest"),
    ({"name": "stopwords", "file": "nowhere.txt"}, "no list of stop words at nowhere.txt (No such file"),
    ({"name": "stopwords", "list_digest": "0"}, "are not those that the model was trained with; install"),
    ({**OWN, "file": "a.txt"}, "file and words are both given; give one of them"),
])
def test_bad_steps_are_told_in_one_line(step: Any, told: str | None) -> None:
    if told is None:
        settled([step])
        return
    with pytest.raises(ConfigError) as caught:
        settled([step])
    assert len(caught.value.problems) == 1 and told in caught.value.problems[0]
    assert "data.preprocess[0]" in caught.value.problems[0]


def test_every_bad_step_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        settled(["nfk", "lowercase", {"name": "length"}])
    assert [line.partition(" ")[0] for line in caught.value.problems] == ["data.preprocess[0]:", "data.preprocess[2]"]


def test_a_pattern_that_never_ends_stops_the_run() -> None:
    pipeline = Pipeline([{"name": "replace", "pattern": r"(a|aa)+$", "timeout": 0.2}])
    started = time.perf_counter()
    with pytest.raises(DataError, match="takes more than 0.2 s on a text of 61 characters"):
        pipeline.source("a" * 60 + "!")
    assert time.perf_counter() - started < 2


def test_missing_libraries_are_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopword_lists, "find_spec", lambda _: None)
    stopword_lists.words_of.cache_clear()
    stopword_lists.digest_of.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'llmtrain\[preprocess\]'"):
        settled(["stopwords"])
    with pytest.raises(ConfigError, match=r"pip install 'llmtrain\[chinese\]'"):
        settled([{**OWN, "segment": "jieba"}])
    assert settled([OWN]) == [{**OWN, "segment": "longest"}]


def test_jieba_cuts_without_loss() -> None:
    text = "我们 use BERT\n提出了（新）方法。"
    assert "".join(segments(text)) == text
    assert "方法" in segments(text)


def hash_of(*steps: str) -> str:
    return run_hash(load_config("train", list(steps)))  # type: ignore[arg-type]


def test_the_runs_hash_is_of_what_steps_do(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# mine\nred\n\nthe\n")
    (tmp_path / "b c.txt").write_text("red\nthe\n")
    plain = hash_of()
    assert hash_of("data.preprocess=[]") == plain
    assert "data.preprocess" not in result_dict(load_config("train", []))
    first = hash_of(f"data.preprocess=[lowercase,{{name:stopwords,file:{tmp_path}/a.txt}}]")
    assert first == hash_of("data.preprocess=[{name:lowercase},"
                            f"{{name:stopwords,file:'{tmp_path}/b c.txt',apply:document}}]")
    (tmp_path / "a.txt").write_text("red\nblue\n")
    assert len({first, plain, hash_of(f"data.preprocess=[lowercase,{{name:stopwords,file:{tmp_path}/a.txt}}]")}) == 3


def test_a_checkpoint_keeps_its_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("red\n")
    config = load_config("train", [f"data.preprocess=[{{name:stopwords,file:{tmp_path}/a.txt}}]"])
    (tmp_path / "a.txt").unlink()
    stored = json.loads(json.dumps(to_dict(config)))
    again = load_config("eval", ["data=files", "data.test=x.jsonl"], Stored(stored))
    assert again.data.name == "files"
    assert again.data.preprocess == [{"name": "stopwords", "words": ["red"], "segment": "jieba"}]
    assert load_config("eval", ["data.preprocess=[lowercase]"], Stored(stored)).data.preprocess == ["lowercase"]


def test_a_list_that_no_run_could_read_back_is_refused(tmp_path: Path) -> None:
    """A run stores its words. The longest list that is taken must fit what is read of a stored configuration."""
    step = {"name": "stopwords", "file": str(tmp_path / "a.txt")}
    words = "\n".join(map("".join, product(ascii_lowercase, repeat=4)))
    (tmp_path / "a.txt").write_text(words[:stopword_lists.LONGEST_LIST])
    (kept,) = settled([step])
    hundred = yaml.safe_dump({"data": {"preprocess": [kept | {"words": kept["words"][:100]}]}})
    assert len(hundred) / 100 * len(kept["words"]) < stored.LIMIT
    (tmp_path / "a.txt").write_text(words)
    with pytest.raises(ConfigError, match=f"words at {tmp_path}/a.txt .*it is larger than "
                                                f"{stopword_lists.LONGEST_LIST} bytes"):
        settled([step])


@pytest.mark.parametrize(("overrides", "told"), [
    (["objective.base=select"], "objective.base=select reads the task's; use apply=document, or an objective.base"),
    (["objective=summary_only"], "objective.base=none has none; use apply=document, or choose objective.base"),
    (["objective.base=mlm", "objective.mlm.shared_pass=true"], "shared_pass=true reads the task's; use apply=doc"),
])
def test_a_text_for_l1_alone_needs_a_pass_of_its_own(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("train", ["data.preprocess=[{name:stopwords,apply:l1}]", "trainer.max_steps=1", *overrides])
    assert told in caught.value.problems[0]


def test_rows_left_out_are_counted_and_told(tmp_path: Path) -> None:
    rows = [{"document": f"{'word ' * n}{n}", "summary": "a b c"} for n in range(1, 31)]
    path = str(write_jsonl(tmp_path / "t.jsonl", rows))
    step = {"name": "length", "max_document_words": 20, "min_document_words": 6}
    data = SummarizationData(name="files", train=path, validation=path, test=path, preprocess=[step])
    splits = load_splits(data)
    assert len(splits.train) == 15 and len(splits.validation) == len(splits.test) == 30
    assert ("data.preprocess left out 15 of 30 rows of train: 4 for a document of less than 6 words, 11 for a document "
            "of more than 20 words") in splits.notes
    assert splits.whole["train"] == 15
    # measured on what the steps before made of the text
    shorter = load_splits(SummarizationData(name="files", train=path, validation=path, test=path, preprocess=[
        {"name": "replace", "pattern": "word ", "apply": "document"},
        {"name": "length", "min_document_words": 1, "max_document_words": 1}]))
    assert len(shorter.train) == 30
    with pytest.raises(DataError, match="left out every row of train"):
        load_splits(SummarizationData(name="files", train=path, validation=path, preprocess=[
            {"name": "length", "min_summary_characters": 100}]))


def test_features_and_data_hash_follow_the_steps(tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    path = str(write_jsonl(tmp_path / "t.jsonl", pairs(12)))

    def made(*steps: Any) -> tuple[str, list[list[int]], list[list[int]]]:
        data = SummarizationData(name="files", train=path, validation=path, test=path, preprocess=list(steps),
                          cache_dir=str(tmp_path / "cache"), processes=2)
        splits = load_splits(data)
        assert splits.train[0].source == pairs(1)[0]["document"]  # scoring and spelling read the original
        found = tokenize(splits.train, tokenizer, data)
        return (splits.content_hash, [found.input_ids[i].tolist() for i in range(12)],
                [found.labels[i].tolist() for i in range(12)])

    plain, shorter = made(), made({"name": "stopwords", "words": ["red", "table", "layer", "the", "of", "to"]})
    assert plain == made()
    assert plain[0] != shorter[0] and plain[2] == shorter[2]
    assert sum(map(len, plain[1])) > sum(map(len, shorter[1]))
    swapped = made({"name": "replace", "pattern": "e", "by": "o", "apply": "summary"})
    assert swapped[1] == plain[1] and swapped[2] != plain[2]


def test_l1_reads_its_own_text(tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    rows = [Example(str(i), "the red layer of the table " * 3, "red table", ("red table",)) for i in range(4)]
    data = SummarizationData(name="files", preprocess=[{**OWN, "apply": "l1"}], cache_dir=str(tmp_path))
    features = tokenize(rows, tokenizer, data)
    mask = MaskTokens(MlmConfig(fraction=1.0), Vocabulary(len(tokenizer), tokenizer.mask_token_id,
                                                         frozenset(tokenizer.all_special_ids),
                                                         torch.zeros(len(tokenizer), dtype=torch.bool)))
    batch = Collate(features, 0, 0, [])(Request(0, 0, [0, 1]))
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True).startswith("the red layer of")
    before = batch["input_ids"].clone()
    mask(batch, Context(0, 0))
    read = torch.where(batch["mlm_labels"] != -100, batch["mlm_labels"], batch["mlm_input_ids"])
    assert tokenizer.decode(read[0], skip_special_tokens=True) == " ".join(["layer of table"] * 3)
    assert torch.equal(batch["input_ids"], before)
    assert batch["mlm_input_ids"].shape[1] < before.shape[1]


class Swap(PreprocessStep):
    def change(self, text: str) -> str:
        return text.swapcase()


def test_a_step_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.parts("preprocess")
    monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    registry.register("preprocess", "swap", TextOptions, f"{__name__}:Swap", "the other case")
    assert document(["lowercase", "swap"], "aB") == "AB"


def test_a_model_reads_at_work_what_it_read_in_training(tiny_base: Path, tmp_path: Path) -> None:
    """Training, eval and summarize through the commands: what the step takes out is seen by none of them."""
    rows = [row | {"document": f"XYZZY{i} {row['document']} XYZZY", "summary": f"{row['summary']} XYZZY{i}"}
            for i, row in enumerate(pairs(40))]
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    validation = write_jsonl(tmp_path / "validation.jsonl", rows[:8])
    steps = ("data.preprocess=[{name:replace,pattern:'\\s*XYZZY\\d*\\s*',by:' '},"
             "{name:stopwords,words:[the,of],apply:l1},lowercase]")
    shared = [f"model.path={tiny_base}", "data=files", f"data.train={train}", f"data.validation={validation}",
              "head.layers=1", "data.max_source_tokens=64", f"data.cache_dir={tmp_path / 'cache'}",
              "data.max_test_rows=0", "trainer.max_steps=2", "run.name=r", "objective.base=mlm",
              "objective.mlm.fraction=1", "trainer.batch_size=8", "schedule.warmup_steps=1"]
    done = warm_cli("train", *shared, steps, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    checkpoint = f"checkpoint={tmp_path / 'runs' / 'r'}"
    texts = ["XYZZY12 The Model Of Red Tables.", "The Model Of Red Tables."]
    asked = write_jsonl(tmp_path / "asked.jsonl", [{"document": text} for text in texts])
    said = warm_cli("summarize", checkpoint, "summarize.format=jsonl", f"input={asked}", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    first, second = map(json.loads, said.stdout.splitlines())
    assert first["score"] == second["score"] and first["summary"].lower() == second["summary"].lower()
    assert first["read"].strip() == "the model of red tables."
    scored = warm_cli("eval", checkpoint, "data=files", f"data.validation={validation}", "eval.split=validation",
                      f"eval.output={tmp_path / 'e'}", "eval.baselines=false", f"data.cache_dir={tmp_path / 'cache'}",
                      cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    own = json.loads((tmp_path / "runs" / "r" / "results.json").read_text())["metrics"]["validation"]
    assert json.loads((tmp_path / "e" / "results.json").read_text())["metrics"]["validation"]["rouge1"] == own["rouge1"]
    line = json.loads((tmp_path / "e" / "predictions.jsonl").read_text().splitlines()[0])
    assert line["document"] == rows[0]["document"] and line["references"] == [rows[0]["summary"]]


class Plain:
    """A tokenizer that keeps every text as it is."""

    def __call__(self, text: str, **_: Any) -> dict[str, str]:
        return {"input_ids": text}

    def decode(self, ids: str) -> str:
        return ids


@pytest.mark.parametrize(("steps", "wanted"), [([], "wi-fi router"), (["lowercase"], "Wi-Fi Router")])
def test_scored_summaries_get_back_the_case_that_preprocessing_took(steps: list[str], wanted: str,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("train", ["eval.baselines=false", f"data.preprocess=[{','.join(steps)}]"])
    made = [Generated("wi-fi router", [], 0.0)]
    monkeypatch.setattr("llmtrain.inference.predict.predict_batches", lambda *_, **__: made)
    examples = [Example("0", "A Wi-Fi Router for all.", "Router", ("Router",))]
    model = SimpleNamespace(describe_decoding=lambda _: "greedy", can_generate=lambda: True,
                            head=SimpleNamespace(cites=False))
    features = SimpleNamespace(input_ids=[[1]], extra={}, stats=SimpleNamespace(shares=dict))
    scores = predict_and_score(Summarization(), model, Plain(), examples, features, config, None)
    assert scores.rows[0]["prediction"] == wanted
    assert ("the document's spelling" in scores.signature) == bool(steps)
