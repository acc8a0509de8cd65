"""The vocabulary of translations: learnt of the training rows alone, alike each time, kept, saved and told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from helpers import decoder_tokenizer, tiny_tokenizer
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import ConfigError
from llmtrain.data.control_tokens import text_only
from llmtrain.data.examples import Example
from llmtrain.data.features import tokenize
from llmtrain.data.learnt import Learnt
from llmtrain.models.target_vocabulary import TargetVocabulary
from llmtrain.tasks.translation import target_tokenizer as module
from llmtrain.tasks.translation.options import TranslationConfig, TranslationData
from llmtrain.tasks.translation.target_tokenizer import learnt_bpe, lost_of, target_tokenizer

TEXTS = ["Zwei junge weiße Männer", "Ein Mädchen im Spielhaus", "Zwei Männer im Spielhaus aus Holz"] * 4
ODD = " Über  <s>ein</s> T-Shirt — 中文 \U0001f600 é <pad>"


def config(**data: Any) -> Any:
    joint = data.pop("joint_vocabulary", False)
    return SimpleNamespace(model=ModelConfig(), data=TranslationData(**data),
                           task=TranslationConfig(joint_vocabulary=joint))


def rows(sources: list[str] | None = None) -> list[Example]:
    return [Example(str(i), source, text, (text,)) for i, (source, text)
            in enumerate(zip(sources or ["a man"] * len(TEXTS), TEXTS, strict=True))]


def test_the_same_texts_give_the_same_vocabulary_in_any_cache(tmp_path: Path) -> None:
    first, again = (learnt_bpe(TEXTS, 300, str(tmp_path / name)) for name in ("one", "one"))
    other = learnt_bpe(TEXTS, 300, str(tmp_path / "other"))
    assert first.get_vocab() == again.get_vocab() == other.get_vocab() and len(first) == 300
    assert TargetVocabulary.of(first) == TargetVocabulary.of(other)
    assert TargetVocabulary.of(first) != TargetVocabulary.of(learnt_bpe([*TEXTS[1:], "Holz Holz"], 300, str(tmp_path)))


def test_it_is_learnt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    learnt = learnt_bpe(TEXTS, 280, str(tmp_path))
    monkeypatch.setattr(module, "_learn", lambda *_: pytest.fail("learnt again"))
    assert learnt_bpe(TEXTS, 280, str(tmp_path)).get_vocab() == learnt.get_vocab()
    monkeypatch.undo()
    (kept,) = (tmp_path / module.CACHE).iterdir()
    kept.write_text(kept.read_text()[:100])
    assert learnt_bpe(TEXTS, 280, str(tmp_path)).get_vocab() == learnt.get_vocab()
    assert "learning the target vocabulary anew" in capsys.readouterr().err
    assert learnt_bpe(TEXTS, 280, str(tmp_path)).get_vocab() == learnt.get_vocab()


def test_any_text_comes_back_as_it_was_and_spells_no_control_token(tmp_path: Path) -> None:
    made = learnt_bpe([*TEXTS, "</s> <pad> <s> </s>"] * 3, 290, None)
    ids = made(ODD, add_special_tokens=False)["input_ids"]
    assert made.decode(ids, skip_special_tokens=True) == ODD
    assert not {made.pad_token_id, made.bos_token_id, made.eos_token_id} & set(ids)
    made.save_pretrained(tmp_path)
    loaded = text_only(AutoTokenizer.from_pretrained(tmp_path))
    assert loaded(ODD, add_special_tokens=False)["input_ids"] == ids
    assert loaded.decode(ids, skip_special_tokens=True) == ODD
    assert TargetVocabulary.of(loaded) == TargetVocabulary.of(made)


def test_a_joint_vocabulary_knows_the_words_of_sources(capsys: pytest.CaptureFixture[str]) -> None:
    sources = ["playhouse of wood"] * len(TEXTS)
    alone, joint = (target_tokenizer(config(target_vocabulary=500, joint_vocabulary=joint), rows(sources),
                                     tiny_tokenizer()) for joint in (False, True))
    assert alone is not None and joint is not None
    assert "Ġplayhouse" in joint.get_vocab() and "Ġplayhouse" not in alone.get_vocab()
    assert "Ġeines" not in joint.get_vocab() and "ĠSpielhaus" in joint.get_vocab()
    told = capsys.readouterr().out
    assert "learnt from 12 training targets\n" not in told  # there are fewer tokens than were asked for
    assert "learnt from 12 training targets and 12 sources" in told and "data.target_vocabulary=500" in told


def test_the_targets_are_read_as_they_are_learnt() -> None:
    as_they_are, lowered = (target_tokenizer(config(preprocess=steps), rows(), tiny_tokenizer())
                            for steps in ([], [{"name": "lowercase", "apply": "summary"}]))
    assert as_they_are is not None and "ĠZwei" in as_they_are.get_vocab()
    assert lowered is not None and "Ġzwei" in lowered.get_vocab() and "ĠZwei" not in lowered.get_vocab()


def test_an_uncased_vocabulary_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert target_tokenizer(config(target_tokenizer="base"), rows(), tiny_tokenizer()) is None
    told = capsys.readouterr().out
    assert "its texts are in lower case and without accents, and so are translations" in told and told.count("\n") == 1
    assert lost_of(learnt_bpe(TEXTS, 280, None)) is None and lost_of(text_only(decoder_tokenizer(True))) is None


def test_a_folder_holds_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decoder_tokenizer(True).save_pretrained(tmp_path / "own")
    made = target_tokenizer(config(target_tokenizer=str(tmp_path / "own")), rows(), tiny_tokenizer())
    assert made is not None and made.get_vocab() == decoder_tokenizer(True).get_vocab()
    assert "of " + str(tmp_path / "own") in capsys.readouterr().out
    for name, told in (("none", "no folder of a tokenizer at"), ("empty", "no tokenizer at"),
                       ("broken", "cannot load the tokenizer at")):
        folder = tmp_path / name
        if name != "none":
            folder.mkdir()
        if name == "broken":
            (folder / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')
        with pytest.raises(ConfigError, match=told) as refused:
            target_tokenizer(config(target_tokenizer=str(folder)), rows(), tiny_tokenizer())
        assert len(refused.value.problems) == 1 and "data.target_tokenizer" in str(refused.value)


def test_token_ids_are_kept_for_each_vocabulary_apart(tmp_path: Path) -> None:
    data = TranslationData(cache_dir=str(tmp_path))
    found = {}
    for size in (280, 320, 280, None):
        learnt = Learnt() if size is None else Learnt({}, learnt_bpe(TEXTS, size, None))
        features = tokenize(rows(), text_only(tiny_tokenizer()), data, learnt=learnt)
        writes = learnt.writes(tiny_tokenizer())
        made = [list(features.labels[row]) for row in range(len(features))]
        assert found.setdefault(size, made) == made
        assert made[0] == [*writes(TEXTS[0], add_special_tokens=False)["input_ids"],
                           writes.sep_token_id if size is None else writes.eos_token_id]
    assert len({str(labels) for labels in found.values()}) == 3
