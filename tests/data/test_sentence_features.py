"""Sentences in the features: the oracle's labels, token ranges, truncation, caches."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import WORDS, Measuring, tiny_tokenizer
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.data import sentence_features
from llmtrain.data.examples import Example
from llmtrain.data.extractive_oracle import TIE, TokenIds, greedy_oracle
from llmtrain.data.features import tokenize
from llmtrain.data.loader import Collate
from llmtrain.data.order import Request
from llmtrain.data.sentence_features import END, LABELS, START, encode_sentences, label_sentences, token_ranges
from llmtrain.data.text.sentences import sentence_spans, sentences
from llmtrain.data.truncation import LONGEST_WHOLE
from llmtrain.tasks.summarization.options import SummarizationData

DOCUMENT = "Sum the list. Sort a tree! Then find all the path between a node of it."


def slow_oracle(document: list[str], summary: str, most: int) -> list[int]:
    """The same rule by rouge-score's own counting."""
    from rouge_score import rouge_scorer, tokenizers

    tokenizer = tokenizers.DefaultTokenizer(use_stemmer=True)

    def grams(text: str, size: int) -> Counter[Any]:
        return rouge_scorer._create_ngrams(tokenizer.tokenize(text), size)

    def score(taken: list[int]) -> float:
        return sum(rouge_scorer._score_ngrams(grams(summary, n), sum((grams(document[i], n) for i in taken), Counter())
                                              ).fmeasure for n in (1, 2))

    chosen: list[int] = []
    while len(chosen) < most:
        left = [i for i in range(len(document)) if i not in chosen]
        if not left:
            break
        scores = [score([*chosen, i]) for i in left]
        best = max(scores)
        if best <= (score(chosen) if chosen else 0.0) + TIE:
            break
        chosen.append(next(i for i, value in zip(left, scores, strict=True) if value >= best - TIE))
    return chosen


def test_the_oracle_is_the_greedy_choice_by_rouge_score() -> None:
    draw = random.Random(0)
    lengths: Counter[int] = Counter()
    ids = TokenIds("en")
    for _ in range(150):
        document = [" ".join(draw.choices(WORDS[:40], k=draw.randint(1, 9))) for _ in range(draw.randint(1, 9))]
        summary = " ".join(draw.choices(WORDS[:40], k=draw.randint(1, 14)))
        most = draw.randint(1, 4)
        found = greedy_oracle([ids(sentence) for sentence in document], ids(summary), most)
        assert found == slow_oracle(document, summary, most), (document, summary)
        lengths[len(found)] += 1
    assert min(lengths[n] for n in range(4)) > 0, lengths  # from none to several


def test_english_is_stemmed_and_chinese_is_counted_by_character() -> None:
    ids = TokenIds("en")
    assert ids("Computes the Gradients") == ids("computing the gradient") != ids("the gradient computes")
    assert label_sentences(["It loads. Gradients computing, sorted."], ["computed gradient"], [2], "en", 3) == [[0, 1]]
    assert label_sentences(["天气很好。我们读书。他走了。"], ["读书"], [3], "cjk", 3) == [[0, 1, 0]]


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("limit", [3, 5, 9, 10, 11, 40])
def test_sentences_are_where_their_tokens_are(marked: bool, limit: int) -> None:
    """Partial sentences count, those behind do not; marked ones stand between their own marks."""
    tokenizer = tiny_tokenizer()
    texts = [DOCUMENT, "", "a list", "  \n ", "Sort. . . ."]
    made = encode_sentences(texts, tokenizer, limit, marked)
    for row, text in enumerate(texts):
        ids = made["input_ids"][row]
        assert 2 <= len(ids) <= limit
        assert len(made[START][row]) == len(made[END][row]) <= len(sentence_spans(text))
        for start, end, (a, b) in zip(made[START][row], made[END][row], sentence_spans(text), strict=False):
            whole = tokenizer.convert_ids_to_tokens(tokenizer(text[a:b], add_special_tokens=False)["input_ids"])
            found = tokenizer.convert_ids_to_tokens(ids[start:end])
            if marked:
                assert (found[0], found[-1]) == ("[CLS]", "[SEP]")
                found = found[1:-1]
            assert found and found == whole[:len(found)]
    counts = {3: 1, 5: 1, 9: 2, 10: 2, 11: 3, 40: 3}
    if not marked:
        assert len(made[START][0]) == counts[limit]
        assert made["input_ids"][0] == tokenizer(DOCUMENT, truncation=True, max_length=limit)["input_ids"]
    assert made["cut"][0] == (limit < 40) and not made["cut"][1]
    assert made[START][1] == made[START][3] == []


@pytest.mark.parametrize("marked", [False, True])
def test_of_a_very_long_document_only_the_beginning_is_tokenised(marked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens and sentences are those of the whole: 10 MB of them would take gigabytes."""
    text = " ".join(f"{' '.join(random.Random(n).choices(WORDS, k=9)).capitalize()}." for n in range(4000))
    tokenizer = Measuring(tiny_tokenizer())
    found = encode_sentences([text, "Red. Blue."], tokenizer, 64, marked)
    assert tokenizer.longest < LONGEST_WHOLE + 20 < len(text) and found["cut"] == [True, False]
    monkeypatch.setattr(sentence_features, "bounded", lambda text, *_: text)
    assert encode_sentences([text, "Red. Blue."], tiny_tokenizer(), 64, marked) == found


def test_byte_level_tokens_belong_to_the_sentence_of_their_last_character() -> None:
    """' Sort' counts the space before it in; the second sentence has no token at all."""
    spans = [(0, 3), (4, 5), (6, 10)]
    assert token_ranges([(0, 0), (0, 2), (2, 3), (5, 8), (8, 10), (0, 0)], spans) == [(1, 3), (3, 3), (3, 5)]
    assert token_ranges([(0, 0), (0, 0)], spans) == []


def test_features_hold_labels_of_what_truncation_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [Example("a", DOCUMENT, "find all path between a node", ()), Example("b", "A list.", "a list", ())]
    config = SummarizationData(cache_dir=str(tmp_path), max_source_tokens=40)
    asked = SentenceInput(labels=2)
    whole = tokenize(examples, tiny_tokenizer(), config, asked)
    assert [list(whole.extra[LABELS][i]) for i in (0, 1)] == [[0, 0, 1], [1]]
    config.max_source_tokens = 11  # one token of the third sentence is left
    assert list(tokenize(examples, tiny_tokenizer(), config, asked).extra[LABELS][0]) == [0, 0, 1]
    config.max_source_tokens = 10  # the third sentence is gone: the best of the rest is labelled, not nothing
    cut = tokenize(examples, tiny_tokenizer(), config, asked)
    assert list(cut.extra[LABELS][0]) == [0, 1] and cut.stats.cut_sources == 1
    assert set(tokenize(examples, tiny_tokenizer(), config, SentenceInput()).extra) == {START, END}
    assert tokenize(examples, tiny_tokenizer(), config).extra == {}
    assert set(tokenize([], tiny_tokenizer(), config, asked).extra) == {START, END, LABELS}
    config.max_source_tokens = 40
    monkeypatch.setattr("llmtrain.data.row_encoder.label_sentences", None)  # read from the cache, made no second time
    assert list(tokenize(examples, tiny_tokenizer(), config, asked).extra[LABELS][0]) == [0, 0, 1]

    collate = Collate(whole, 0, 0, [])
    batch = collate(Request(0, 0, [0, 1]))
    assert batch[LABELS].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert (batch[END] > batch[START]).tolist() == [[True] * 3, [True, False, False]]
    assert not torch.any(collate(Request(0, 0, []))[END])  # a dummy has no sentence


def test_labels_made_in_processes_are_those_of_one(tmp_path: Path) -> None:
    draw = random.Random(3)
    texts = [". ".join(" ".join(draw.choices(WORDS, k=4)).capitalize() for _ in range(draw.randint(1, 5))) + "."
             for _ in range(60)]
    examples = [Example(str(i), text, draw.choice(sentences(text)), ()) for i, text in enumerate(texts)]
    one, two = (tokenize(examples, tiny_tokenizer(), SummarizationData(cache_dir=str(tmp_path / str(n)), processes=n),
                         SentenceInput(labels=2)) for n in (1, 2))
    for name in (START, END, LABELS):
        assert [one.extra[name][i].tolist() for i in range(60)] == [two.extra[name][i].tolist() for i in range(60)]
    assert all(one.extra[LABELS][i].any() for i in range(60))


def test_a_document_of_empty_sentences_alone_makes_features(tmp_path: Path) -> None:
    config = SummarizationData(cache_dir=str(tmp_path))
    made = tokenize([Example("a", " ", "a", ())], tiny_tokenizer(), config, SentenceInput(labels=1))
    assert len(made.extra[LABELS][0]) == 0 and len(made.input_ids[0]) == 2


def test_slow_tokenizers_and_missing_marks_are_told() -> None:
    class Slow:
        is_fast = False

    class Decoder:
        is_fast, cls_token_id, sep_token_id = True, None, None

    with pytest.raises(Exception, match="fast tokenizer"):
        encode_sentences(["a"], Slow(), 8, False)
    with pytest.raises(Exception, match="head.sentence=mean or last"):
        encode_sentences(["a"], Decoder(), 8, True)


def test_labels_are_of_the_sentences_that_are_output() -> None:
    """Labels, token ranges and the text that is chosen come from one splitter."""
    assert [DOCUMENT[a:b] for a, b in sentence_spans(DOCUMENT)] == sentences(DOCUMENT)
    assert sentence_features.sentence_spans is sentence_spans
