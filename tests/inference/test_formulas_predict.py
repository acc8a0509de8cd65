"""Batches of documents and the summaries made of drafts, against what is written out by hand."""

from __future__ import annotations

import random
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers import tiny_tokenizer
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.data.sentence_features import END, LABELS, START
from llmtrain.inference import predict
from llmtrain.inference.generated import Citation, CitedSentence, CopyTrace, Generated
from llmtrain.inference.predict import (
    SPELLING_PROBE,
    Documents,
    batches_of,
    documents_of,
    loses_spelling,
    predict_batches,
    spell_as_written,
    tidy,
)
from llmtrain.models.output import Choice, Output

PADDING = 9
PLAIN = SimpleNamespace(autocast=nullcontext)


@pytest.mark.parametrize("tokens", [1, 7, 8, 16, 30, 1000])
def test_batches_take_the_longest_first_and_as_many_rows_as_fit(tokens: int) -> None:
    draw = random.Random(tokens)
    for lengths in ([], [0, 0, 0], [5], [0, 3], [4, 4, 4, 4, 4], [draw.randint(0, 20) for _ in range(40)]):
        made = list(batches_of(lengths, tokens))
        assert [i for rows in made for i in rows] == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        for number, rows in enumerate(made):
            longest = max(1, *(lengths[i] for i in rows), 0)
            assert rows and (len(rows) == 1 or len(rows) * longest <= tokens)
            if number + 1 < len(made):  # one row more would not have fitted
                assert (len(rows) + 1) * longest > tokens


class Echo(nn.Module):
    """Writes each document's first two tokens, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(pad_token_id=PADDING)
        self.asked: list[tuple[dict[str, Any], Any, bool]] = []
        self.drawn: list[float] = []
        self.open = False

    def predict(self, batch: dict[str, Any], config: Any, evidence: bool) -> list[Output]:
        assert not self.training and not torch.is_grad_enabled() and self.open
        self.asked.append((batch, config, evidence))
        self.drawn.append(torch.rand(()).item())
        return [Output(row[:2], float(mask.sum()), others=(Output(row[1:2], -1.0),))
                for row, mask in zip(batch["input_ids"].tolist(), batch["attention_mask"], strict=True)]

    @contextmanager
    def autocast(self) -> Any:
        self.open = True
        yield
        self.open = False


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_summaries_come_in_the_documents_order_and_nothing_else_changes(sampled: bool, training: bool) -> None:
    tokenizer, model, progress = tiny_tokenizer(), Echo().train(training), []
    words = tokenizer("sort the list read a file", add_special_tokens=False)["input_ids"]
    rows = [words[:3], words, words[1:6], words[2:4]]
    config = GenerationConfig(do_sample=sampled, batch_tokens=12)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    made = predict_batches(model, tokenizer, Documents(rows, ["a"] * 4), config, model, progress.append)
    assert [one.text for one in made] == [tokenizer.decode(row[:2]) for row in rows]
    assert [[other.text for other in one.others] for one in made] == [[tokenizer.decode(row[1:2])] for row in rows]
    assert [one.score for one in made] == [3.0, 6.0, 5.0, 2.0]
    assert all(one.score == -1.0 for row in made for one in row.others)
    assert progress == [2, 2] and model.training is training
    assert torch.equal(torch.random.get_rng_state(), before) is sampled
    assert len(model.drawn) == 2
    assert [asked[2] for asked in model.asked] == [False, False] and model.asked[0][1] is config
    for (batch, _, _), members in zip(model.asked, ([1, 2], [0, 3]), strict=True):
        assert set(batch) == {"input_ids", "attention_mask"}
        for row, i in enumerate(members):
            ids, size = rows[i], len(rows[i])
            assert batch["input_ids"][row].tolist() == ids + [PADDING] * (8 - size)
            assert batch["attention_mask"][row].tolist() == [1] * size + [0] * (8 - size)
    predict_batches(model, tokenizer, Documents(rows, ["a"] * 4), config, model, evidence=True)
    assert model.asked[-1][2] is True


def test_a_model_that_fails_is_left_in_the_mode_it_was_in() -> None:
    model = Echo().train()
    with pytest.raises(AssertionError):
        predict_batches(model, tiny_tokenizer(), Documents([[5]], ["a"]), GenerationConfig(), PLAIN)
    assert model.training


def test_drafts_that_are_fewer_than_what_they_belong_to_are_not_given_to_others() -> None:
    model, tokenizer, given = Echo(), tiny_tokenizer(), Documents([[5], [6]], ["a", "b"])
    real = model.predict
    model.predict = lambda *asked: real(*asked)[:1]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="zip"):
        predict_batches(model, tokenizer, given, GenerationConfig(), model)
    with pytest.raises(ValueError, match="zip"):
        predict._generated(Output([5, 6], copied=[(0.5, 1)]), [], "", [], tokenizer)
    with pytest.raises(ValueError, match="zip"):
        spell_as_written(tokenizer, ["A", "B"], [Generated("a", [5], 0.0)])


TEXTS = ["Sort a list.  Read  a file. Write it.", "One line"]
EXTRA = {START: [[1, 4, 8], [1]], END: [[4, 8, 11], [3]]}


class Chooses(Echo):
    def predict(self, batch: dict[str, Any], config: Any, evidence: bool) -> list[Output]:
        self.asked.append((batch, config, evidence))
        return [Output(None, 0.5, sentences=[Choice(0, 0.123456), Choice(1, 0.9)] if len(texts) > 1 else None,
                      probabilities=[0.1] * len(texts)) for texts in batch["sentences"]]


def test_chosen_sentences_are_the_summary_and_cite_themselves() -> None:
    model, documents = Chooses(), Documents([[5] * 12, [5] * 4], TEXTS, EXTRA)
    one, other = predict_batches(model, tiny_tokenizer(), documents, GenerationConfig(), PLAIN)
    (batch, _, _), = model.asked
    assert batch["sentence_start"].tolist() == [[1, 4, 8], [1, 0, 0]]
    assert batch["sentence_end"].tolist() == [[4, 8, 11], [3, 0, 0]]
    assert batch["sentences"] == [["Sort a list.", "Read  a file.", "Write it."], ["One line"]]
    first, second = CitedSentence(0, 0, 12, 0.1235), CitedSentence(1, 14, 27, 0.9)
    assert one == Generated("Sort a list. Read a file.", [], 0.5, None, [first, second], [0.1] * 3, None, [
        Citation("Sort a list.", 0, 12, [CitedSentence(0, 0, 12, 1.0)]),
        Citation("Read a file.", 13, 25, [CitedSentence(1, 14, 27, 1.0)])])
    assert one.verbatim
    assert other == Generated("", [], 0.5, None, None, [0.1])


def test_a_sentence_that_stands_twice_is_cited_where_it_stands() -> None:
    draft = Output(None, sentences=[Choice(0, 1.0), Choice(2, 1.0), Choice(3, 1.0)])
    document = "Run it. Stop. Run it. It ran."
    spans = [(0, 7), (8, 13), (14, 21), (22, 29)]
    made = predict._generated(draft, [document[a:b] for a, b in spans], document, spans, tiny_tokenizer())
    assert made.text == "Run it. Run it. It ran."
    assert [(one.start, one.end, one.sources[0].index) for one in made.citations or []] == [
        (0, 7, 0), (8, 15, 2), (16, 23, 3)]


def test_written_summaries_tell_what_was_copied_and_traced() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("sorting lists", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["sort", "##ing", "list", "##s"]
    draft = Output([*ids, tokenizer.sep_token_id], -0.5, [(0.1 * n, n) for n in range(5)], [Choice(1, 0.7)], None,
                  [[0.1, 0.2, 0.0], [0.3, 0.4, 0.0]])
    spans = [(0, 3), (4, 9)]
    made = predict._generated(draft, [], "Sum lists", spans, tokenizer)
    assert made == Generated("sorting lists", [*ids, tokenizer.sep_token_id], -0.5, [
        ("sort", 0.0, 0), ("##ing", 0.1, 1), ("list", 0.2, 2), ("##s", 0.1 * 3, 3), ("[SEP]", 0.4, 4)],
        [CitedSentence(1, 4, 9, 0.7)], None, CopyTrace([[0.1, 0.2], [0.3, 0.4]], spans))
    assert not made.verbatim
    nothing = predict._generated(Output([], -1.0), [], "", [], tokenizer)
    assert nothing == Generated("", [], -1.0) and not nothing.verbatim
    assert predict._generated(Output(None, sentences=[]), [], "", [], tokenizer) == Generated(
        "", [], 0.0, sentences=[], citations=[])


def test_what_is_told_beside_a_summary() -> None:
    one = Generated("a", [1], 0.0)
    assert one.detail("summaries") == {} and one.every == [one]
    several = Generated("a", [1], 0.0, others=(Generated("b", [2], 0.0),))
    assert several.detail("summaries") == {"summaries": ["a", "b"]}
    source = CitedSentence(2, 3, 4, 0.5)
    told = Generated("a", [], 0.0, sentences=[source], citations=[Citation("a", 0, 1, [source])], others=several.others)
    row = {"index": 2, "start": 3, "end": 4, "weight": 0.5}
    assert told.detail("summaries") == {"summaries": ["a", "b"], "sentences": [row],
                             "citations": [{"text": "a", "start": 0, "end": 1, "sources": [row]}]}


def test_a_batch_lies_on_the_models_device() -> None:
    documents = Documents([[5] * 12, [5] * 4], TEXTS, EXTRA)
    batch, spans = predict._batch(documents, [1, 0], PADDING, "meta")
    assert {name: value.device.type for name, value in batch.items() if name != "sentences"} == dict.fromkeys(
        ("input_ids", "attention_mask", START, END), "meta")
    assert batch["input_ids"].shape == (2, 16) and spans == [[(0, 8)], [(0, 12), (14, 27), (28, 37)]]
    batch, spans = predict._batch(Documents([[5]], ["A. B."]), [0], PADDING, "cpu")
    assert set(batch) == {"input_ids", "attention_mask"} and spans == [[]]


def test_documents_of_features_are_some_of_their_rows() -> None:
    features: Any = SimpleNamespace(input_ids=[[1], [2], [3]], extra={START: [[0], [1], [2]], END: [[1], [2], [3]],
                                                                      LABELS: [[0], [0], [1]]})
    made = documents_of(features, ["c\0", "a"], [2, 0])
    assert made == Documents([[3], [1]], ["c ", "a"], {START: [[2], [0]], END: [[3], [1]]})
    features.extra = {}
    assert documents_of(features, ["b"], [1]) == Documents([[2]], ["b"], {})


def test_text_is_one_line_without_spaces_between_chinese_characters() -> None:
    assert tidy("  a\n b  我 们 use 它 \t") == "a b 我们 use 它"


class Keeps:
    """A tokenizer that gives a text back as it was, or as ``change`` makes it; its marks stand for special tokens."""

    def __init__(self, change: Any = str) -> None:
        self.change = change

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[str]]:
        return {"input_ids": list(f"<{text}>" if add_special_tokens else text)}

    def decode(self, ids: list[str]) -> str:
        return f" {self.change(''.join(ids))} "


def test_summaries_are_spelt_as_their_own_documents_where_the_tokenizer_loses_it() -> None:
    read, chosen = Generated("wi - fi NEAR", [1], 0.0), Generated("wi - fi", [], 0.0, sentences=[])
    documents = ["A Wi-Fi near.", "A WI-FI."]
    assert spell_as_written(Keeps(), documents, [read, chosen]) == [read, chosen]
    assert not loses_spelling(Keeps())
    for tokenizer, how in ((Keeps(str.lower), str), (Keeps(), str.lower)):
        made = spell_as_written(tokenizer, documents, [read, chosen], how)
        assert loses_spelling(tokenizer, how)
        assert [one.text for one in made] == ["Wi-Fi near", "wi - fi"]
    cased = Keeps(lambda text: text.replace("-", " - "))
    assert loses_spelling(cased) and SPELLING_PROBE.lower() != SPELLING_PROBE
    assert [one.text for one in spell_as_written(cased, documents, [read, chosen])] == ["wi-fi NEAR", "wi - fi"]
    several = Generated("wi - fi", [1], 0.0, others=(Generated("near wi - fi", [1], 0.0),))
    (made,) = spell_as_written(Keeps(str.lower), documents[:1], [several])
    assert [one.text for one in made.every] == ["Wi-Fi", "near Wi-Fi"]


def test_rows_may_be_arrays() -> None:
    batch, _ = predict._batch(Documents([np.array([4, 5]), np.array([6])], ["", ""]), [0, 1], PADDING, "cpu")
    assert batch["input_ids"][:, :3].tolist() == [[4, 5, 9], [6, 9, 9]]
