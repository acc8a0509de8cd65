"""Scores, intervals, baselines and chosen sentences against numpy, rouge-score and a search written out."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rouge_score import rouge_scorer

from llmtrain.config.choices import Language, References
from llmtrain.core.errors import ConfigError
from llmtrain.data.examples import Example
from llmtrain.data.sentence_features import label_sentences
from llmtrain.evaluation.confidence import interval, paired, resampled
from llmtrain.evaluation.evaluate import SplitScores, intervals
from llmtrain.evaluation.mean_of_tasks import mean_of_tasks
from llmtrain.models.heads.extractive.choose import Selection, choose
from llmtrain.models.heads.extractive.options import ExtractiveHeadConfig
from llmtrain.tasks.metric import Metric
from llmtrain.tasks.summarization import task
from llmtrain.tasks.summarization.baselines import LENGTHS, _f1, best_lead_length, lead, oracle
from llmtrain.tasks.summarization.ngrams import shares_of_ngrams as extras
from llmtrain.tasks.summarization.options import SummarizationEval
from llmtrain.tasks.summarization.rouge import METRICS, Rouge, several_asked_in_vain
from llmtrain.tasks.summarization.sentence_threshold import tune_selection
from llmtrain.tasks.summarization.task import Summarization


def example(document: str, *references: str) -> Example:
    return Example("0", document, references[0], references)


def test_resampled_means_and_their_interval_are_numpys() -> None:
    values = np.random.default_rng(1).normal(5, 2, 17)
    generator = np.random.default_rng(3)
    exact = np.concatenate([values[generator.integers(0, 17, (n, 17))].mean(1) for n in (100, 100, 50)])
    assert np.array_equal(resampled(values, 250, 3), exact)
    found = interval(values, 250, 3)
    ordered = np.sort(exact)
    for value, share in ((found.low, 0.025), (found.high, 0.975)):
        place = share * 249
        below = ordered[int(place)]
        assert value == pytest.approx(below + (place - int(place)) * (ordered[int(place) + 1] - below))
    assert found.value == pytest.approx(values.mean())
    assert interval(values, 250) == interval(values, 250, 0) and interval(values) == interval(values, 1000, 0)
    assert paired(values, exact[:17]) == interval(values - exact[:17], 1000, 0)
    none = interval(values, 0)
    assert none.low == none.value == none.high == pytest.approx(values.mean())
    single = interval(values, 1)
    assert single.low == single.high == pytest.approx(resampled(values, 1, 0)[0]) != single.value
    second = np.random.default_rng(2).normal(5, 2, 17)
    assert paired(values, second, 250, 3) == interval(values - second, 250, 3)
    with pytest.raises(ValueError, match="no values"):
        interval([])
    with pytest.raises(ValueError, match="same documents"):
        paired([1.0, 2.0], [1.0])


def test_a_metric_of_summed_statistics_is_resampled_by_its_sums() -> None:
    """A ratio of sums, as BLEU and macro-F1 are made of, and no mean of the rows' ratios."""
    rows = np.random.default_rng(1).integers(1, 9, (17, 2)).astype(float)

    def ratio(sums: Any) -> Any:
        assert sums.ndim == 2 and sums.shape[1] == 2
        return sums[:, 0] / (sums[:, 1] + 1)  # not the same of means

    generator = np.random.default_rng(3)
    drawn = np.concatenate([generator.integers(0, 17, (n, 17)) for n in (100, 100, 50)])
    exact = [sum(rows[i, 0] for i in one) / (sum(rows[i, 1] for i in one) + 1) for one in drawn]
    assert resampled(rows, 250, 3, ratio) == pytest.approx(exact)
    found = interval(rows, 250, 3, ratio)
    assert found.value == pytest.approx(rows[:, 0].sum() / (rows[:, 1].sum() + 1))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(exact, (2.5, 97.5))))


def test_a_mean_of_several_tasks_has_an_interval_of_rows_that_are_drawn_apart() -> None:
    draw = np.random.default_rng(1)
    right, errors = draw.normal(50, 20, 40), draw.normal(30, 10, 25)
    more, less = Metric("right", "right"), Metric("errors", "errors", more_is_better=False)

    def scores(name: str, rows: Any) -> SplitScores:
        return SplitScores({name: interval(rows, 10)}, {}, {}, "", [{name: float(value)} for value in rows])

    found = mean_of_tasks([(more, scores("right", right)), (less, scores("errors", errors))], 4000)
    assert found.value == pytest.approx((right.mean() - errors.mean()) / 2)
    spread = np.sqrt(right.var() / 40 + errors.var() / 25) / 2  # of a sum of two that do not depend on each other
    ends = (found.value - 1.96 * spread, found.value + 1.96 * spread)
    assert (found.low, found.high) == pytest.approx(ends, rel=0.03)
    alike = mean_of_tasks([(more, scores("right", right))] * 2, 4000)
    wide = interval(right, 4000)
    assert alike.high - alike.low < 0.8 * (wide.high - wide.low), "rows of each task are drawn by themselves"
    assert mean_of_tasks([(more, scores("right", right))] * 2, 0).low == pytest.approx(right.mean())


def test_scores_are_rouge_scores_own() -> None:
    theirs = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    prediction, reference = "The cats sat down. A dog was running home.", "A cat sits down there. Dogs run home."
    exact = theirs.score(reference.replace(". ", ".\n"), prediction.replace(". ", ".\n"))
    row = example("d", reference)
    found = Rouge(Language.en, References.first, [row]).score(prediction, row)
    assert found == pytest.approx({name: 100 * value.fmeasure for name, value in exact.items()})
    config = SummarizationEval(bootstrap_samples=50)
    assert intervals(Summarization.metrics, [found, found], config)["rouge2"].value == pytest.approx(found["rouge2"])


@pytest.mark.parametrize("rule", [References.first, References.mean, References.max])
def test_the_lead_is_as_long_as_scores_best(rule: References) -> None:
    words = [f"{letter}{letter}x" for letter in "abcdefghijklmnopqr"]
    rows = [example(" ".join(words), " ".join(words[:5]), " ".join([words[1], words[0], *words[2:8]])),
            example(" ".join(words[3:]), "ddx ffx eex jjx kkx", "ggx hhx")]
    rouge = Rouge(Language.en, rule, rows)
    totals = [sum(rouge.score(lead(row.source, length, "en"), row)["rouge1"] for row in rows) for length in LENGTHS]
    assert best_lead_length(rows, rouge) == LENGTHS[max(range(len(LENGTHS)), key=lambda i: (round(totals[i], 9), -i))]
    assert best_lead_length([], rouge) == 10
    assert (*range(1, 31), *range(32, 62, 2), *range(65, 105, 5), *range(110, 310, 10)) == LENGTHS
    many = [f"w{n}" for n in range(400)]
    long = example(" ".join(many), *[" ".join(many[:300])] * 2)
    assert best_lead_length([long], rouge) == 300
    assert lead("one two  three", 2, "en") == "one two"
    assert lead("abcdef", 2, "cjk") == "ab"


def test_two_hundred_rows_choose_the_leads_length() -> None:
    neutral, two = example("aa bb", "zz"), example("aa bb", "aa bb")  # 2/3 for one word, 1 for two
    one, last = example("aa b-c-d", "aa"), example("aa bb", "bb")  # 1 and 2/5; 0 and 2/3
    rows = [two, *[neutral] * 198, one, last]
    rouge = Rouge(Language.en, References.first, rows)
    assert [best_lead_length(rows[:count], rouge) for count in (199, 200, 201)] == [2, 1, 1]


def test_the_oracle_adds_the_best_sentence_while_it_helps() -> None:
    texts = ["The red fox ran home.", "A blue bird sang.", "Nothing here fits at all.", "It was late in May."]
    row = example(" ".join(texts), "The fox ran home late in May")

    def score(chosen: tuple[int, ...]) -> float:
        total, target = 0.0, row.target.lower().split()
        units = [texts[i].lower().rstrip(".").split() for i in chosen]
        for size in (1, 2):
            own = Counter(tuple(u[i:i + size]) for u in units for i in range(len(u) - size + 1))
            goal = Counter(tuple(target[i:i + size]) for i in range(len(target) - size + 1))
            total += 2 * (own & goal).total() / (own.total() + goal.total())
        return total

    best = max((c for n in range(1, 5) for c in combinations(range(4), n)), key=score)
    assert oracle(row, "other") == " ".join(texts[i] for i in best) == f"{texts[0]} {texts[3]}"
    assert oracle(example("Nothing fits. At all.", "Zebra"), "other") == ""


@pytest.mark.parametrize("seed", range(6))
def test_the_oracle_is_the_greedy_search_written_out(seed: int) -> None:
    draw = random.Random(seed)
    units = [[f"{letter}x" for letter in draw.choices("abcdefgh", k=5)] for _ in range(7)]
    target = [f"{letter}x" for letter in draw.choices("abcdefgh", k=12)]

    def score(chosen: list[int]) -> float:
        total = 0.0
        for size in (1, 2):
            own = Counter(tuple(units[n][i:i + size]) for n in chosen for i in range(6 - size))
            goal = Counter(tuple(target[i:i + size]) for i in range(13 - size))
            total += 2 * sum(min(count, goal[gram]) for gram, count in own.items()) / (own.total() + goal.total())
        return total

    chosen: list[int] = []
    while len(chosen) < 7:
        best = max((n for n in range(7) if n not in chosen), key=lambda n: (score([*chosen, n]), -n))
        if score([*chosen, best]) <= (score(chosen) if chosen else 0.0):
            break
        chosen.append(best)
    texts = [" ".join(sentence).capitalize() + "." for sentence in units]
    assert oracle(example(" ".join(texts), " ".join(target)), "other") == " ".join(texts[n] for n in sorted(chosen))


def test_lengths_repeats_and_novelty_by_hand() -> None:
    rows = [example("a b c d e", "a b c"), example("x y z", "x y z w")]
    found = extras(rows, ["a b c a b c q", " "], "other")
    # trigrams abc bca cab abc bcq: 1 of 5 again; unigrams: q of 7 is new; bigrams ab bc ca ab bc cq: 2 of 6 are new
    assert found == pytest.approx({"length_ratio": 7 / 7, "repeated_trigrams": 1 / 5, "novel_unigrams": 1 / 7,
                                   "novel_bigrams": 2 / 6, "empty_outputs": 1.0})
    assert extras([], [], "other")["length_ratio"] == 0.0


def test_sentences_are_chosen_by_number_chance_and_without_repeats() -> None:
    texts = ["one two three four", "five six", "zero one two three", "seven eight"]
    chances = [0.9, 0.3, 0.8, 0.5]
    assert choose(chances, texts, Selection(2), False) == [0, 2]
    assert choose(chances, texts, Selection(2), True) == [0, 3]
    assert choose(chances, texts, Selection(None, 0.5), False) == [0, 2, 3]
    assert choose(chances, texts, Selection(None, 0.51), False) == [0, 2]
    assert choose(chances, texts, Selection(3, 0.95), False) == [0]
    assert choose([0.3, 0.4, 0.1, 0.9], texts, Selection(3), False) == [0, 1, 3]
    assert choose([0.9, 0.8], ["one two three", "zero one two"], Selection(2), True) == [0, 1]  # two words are shared
    repeats = ["one two three", "four five six", "one two three", "four five six", "seven"]
    assert choose([0.9, 0.8, 0.7, 0.6, 0.5], repeats, Selection(3), True) == [0, 1, 4]
    assert choose([0.9, 0.8], ["a one two three", "one two three b"], Selection(2), True) == [0]
    assert choose([None, 0.3, 0.3, None], texts, Selection(1), False) == [1]
    assert choose([None] * 4, texts, Selection(1), True) == []


def test_what_validation_chooses_among() -> None:
    from llmtrain.models.heads.base import Sizes
    from llmtrain.models.heads.extractive.head import ExtractiveHead

    sizes = Sizes(6, 2, 10, 17, 8, 2)
    head = ExtractiveHead(ExtractiveHeadConfig(count=2, layers=0), sizes)
    assert head.candidates() == [Selection(1), Selection(2), *(Selection(2, t) for t in
                                                               (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5))]
    assert ExtractiveHead(ExtractiveHeadConfig(count=1, layers=0), sizes).candidates() == [Selection(1)]
    assert head.selection == Selection(2, 0.0)
    head.settle(Selection(None, 0.15))
    assert head.selection == Selection(None, 0.15)
    head.settle(Selection(1, 0.0625))
    assert head.selection == Selection(1, 0.0625)
    for select, wanted in (("count", Selection(2)), ("threshold", Selection(None, 0.4))):
        head = ExtractiveHead(ExtractiveHeadConfig(count=2, threshold=0.4, layers=0, select=select), sizes)
        assert head.selection == wanted
        assert head.candidates() == []


def test_the_printed_oracle_takes_the_sentences_that_labels_name() -> None:
    row = example("The birds were singing. A fox runs home. Nothing else happened.", "Foxes running to their homes")
    labels = label_sentences([row.source], [row.target], [3], "en", 3)[0]
    assert labels == [0, 1, 0]  # by the stems run and home; as they are written no word is shared
    assert oracle(row, "en") == "A fox runs home."


@pytest.mark.parametrize("seed", range(8))
def test_every_score_is_rouge_scores_own_whichever_text_is_the_reference(seed: int) -> None:
    """ROUGE-Lsum alone is not symmetric."""
    draw = random.Random(seed)
    texts = [[" ".join(draw.choices(["Ab", "Bc", "Cd", "De", "Ef"], k=5)) + "." for _ in range(3)] for _ in range(2)]
    theirs = rouge_scorer.RougeScorer(METRICS, use_stemmer=True).score("\n".join(texts[0]), "\n".join(texts[1]))
    row = example("d", " ".join(texts[0]))
    found = Rouge(Language.en, References.first, [row]).score(" ".join(texts[1]), row)
    assert found == pytest.approx({name: 100 * value.fmeasure for name, value in theirs.items()})


def test_characters_are_compared_with_the_spaces_between_sentences() -> None:
    row = example("d", "Ab. Cd.")
    rouge = Rouge(Language.characters, References.first, [row])
    assert rouge.tokens("Ab. Cd.") == list("Ab. Cd.")
    # "Ab. Xd." has 6 of 7 characters and 4 of 6 pairs; by sentences (3 and 3, no space) 5 of 6
    assert rouge.score("Ab. Xd.", row) == pytest.approx({"rouge1": 600 / 7, "rouge2": 400 / 6, "rougeL": 600 / 7,
                                                         "rougeLsum": 500 / 6})
    assert Rouge(Language.en, References.first, [row]).tokens("Cats running") == ["cat", "run"]


def test_the_first_reference_tells_the_language_and_two_are_several() -> None:
    rows = [example("d", "a plain English text of the day", "深度学习模型"), example("d", "that is it", "训练方法研究")]
    assert Rouge(Language.auto, References.mean, rows).language == "en"
    assert several_asked_in_vain(References.max, rows) is None
    assert several_asked_in_vain(References.max, [example("d", "one")]) is not None


def test_scoring_is_tried_on_one_row_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, tried = [example("d", "深度学习模型"), example("d", "that is it")], []

    class Broken:
        def __init__(self, *given: Any) -> None:
            tried.append(given)

        def tokens(self, text: str) -> list[str]:
            raise ImportError("nltk is in pieces")

    Summarization().try_scoring(SummarizationEval(), rows)
    monkeypatch.setattr(task, "Rouge", Broken)
    with pytest.raises(ConfigError, match=r"ImportError: nltk is in pieces.*pip install"):
        Summarization().try_scoring(SummarizationEval(references=References.max), rows)
    assert tried == [(Language.auto, References.max, rows[:1])]


@pytest.mark.parametrize("seed", range(20))
def test_an_f_score_of_units_is_rouge_scores(seed: int) -> None:
    draw = random.Random(seed)
    one, two = (draw.choices(["ab", "bc", "cd", "de", "ef"], k=draw.randint(1, 6)) for _ in range(2))
    theirs = rouge_scorer.RougeScorer(["rouge1"]).score(" ".join(two), " ".join(one))["rouge1"].fmeasure
    assert _f1(Counter(one), Counter(two)) == pytest.approx(theirs)
    assert _f1(Counter(one), Counter("xyz")) == _f1(Counter(), Counter(two)) == _f1(Counter(), Counter()) == 0.0


RULES = [Selection(1), Selection(2), Selection(3), Selection(None, 0.6), Selection(None, 0.3)]


def tuned(seed: int, metric: str, blocking: bool = False, rules: list[Selection] = RULES) -> tuple[Any, Any]:
    """The rule that is settled on, and each rule's scores by rouge-score itself, over two documents."""
    draw, rows, chances, settled = random.Random(seed), [], [], []
    for _ in range(2):
        made = [" ".join(draw.choices(["abs", "bc", "cd", "de", "efs", "gh"], k=4)) for _ in range(4)]
        texts = [f"{sentence.capitalize()}." for sentence in made]
        rows.append(example(" ".join(texts), *(" ".join(draw.choices(["ab", "bcs", "cds", "de", "ef"], k=9))
                                               for _ in range(2))))
        chances.append([draw.random() for _ in texts])
    head = SimpleNamespace(candidates=lambda: rules, settle=settled.append,
                           options=SimpleNamespace(trigram_blocking=blocking))
    tune_selection(head, rows, chances, Rouge(Language.en, References.mean, rows), metric)  # type: ignore[arg-type]
    theirs, totals = rouge_scorer.RougeScorer(METRICS, use_stemmer=True), []
    for rule in rules:
        total: Counter[str] = Counter()
        for row, chance in zip(rows, chances, strict=True):
            texts = [f"{text.strip()}." for text in row.source.split(".") if text]
            taken = choose(chance, texts, rule, blocking)
            for reference in row.references:
                scores = theirs.score(reference, "\n".join(texts[i] for i in taken))
                total.update({name: value.fmeasure for name, value in scores.items()})
        totals.append(total)
    return settled, totals


def test_the_rule_that_scores_best_on_validation_is_settled_on() -> None:
    found = set()
    for seed in range(12):
        for metric in (*METRICS, "loss.total"):
            (rule,), totals = tuned(seed, metric)
            values = [round(total["rouge1" if metric == "loss.total" else metric], 9) for total in totals]
            assert rule == RULES[values.index(max(values))]
            found.add((seed, rule))
    assert len({rule for _, rule in found}) >= 4 and len(found) > 14  # metrics differ in what they choose
    assert tuned(0, "rouge1", rules=[])[0] == []
