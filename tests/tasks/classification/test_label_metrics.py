"""Scores of labels against their definitions, written out row by row, and over resampled rows."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from llmtrain.data.examples import Example
from llmtrain.data.label_names import as_text
from llmtrain.evaluation.confidence import interval, resampled
from llmtrain.tasks.classification.label_metrics import METRICS, LabelMetric, bin_of, counted, labels_in, mcc
from llmtrain.tasks.classification.label_scorer import LabelScorer, confusion, per_label

BY_NAME = {metric.name: metric for metric in METRICS}
LABELS = ("a", "b", "c", "d")


def one(label: str, index: int = 0) -> Example:
    return Example(str(index), f"text {index}", label, (label,))


def several(labels: list[str], index: int = 0) -> Example:
    return Example(str(index), f"text {index}", as_text(labels), (as_text(labels),), {"labels": labels})


def drawn(n: int, seed: int) -> tuple[list[Example], list[str], list[dict[str, dict[str, float]]]]:
    draw = random.Random(seed)
    gold = [draw.choice(LABELS[:3]) for _ in range(n)]
    given = [label if draw.random() < 0.6 else draw.choice(LABELS) for label in gold]
    details = [{"probabilities": {label: draw.uniform(0.3, 1.0)}} for label in given]
    return [one(label, index) for index, label in enumerate(gold)], given, details


def value(name: str, rows: list[dict[str, float]]) -> float:
    metric = BY_NAME[name]
    return interval(metric.columns(rows), 0, combine=metric.combine).value


def macro_by_hand(gold: list[str], given: list[str]) -> float:
    scores = []
    for label in sorted({*gold, *given}):
        hit = sum(g == p == label for g, p in zip(gold, given, strict=True))
        scores.append(200 * hit / (gold.count(label) + given.count(label)))
    return sum(scores) / len(scores)


def mcc_by_hand(gold: list[str], given: list[str]) -> float:
    """The correlation of the one-hot matrices (Gorodkin 2004, equation 8)."""
    names = sorted({*gold, *given})
    one_hot = [np.array([[label == name for name in names] for label in side], dtype=float) for side in (gold, given)]
    x, y = (side - side.mean(0) for side in one_hot)
    spread = math.sqrt((x * x).sum() * (y * y).sum())
    return 100 * float((x * y).sum()) / spread if spread else 0.0


def ece_by_hand(right: list[bool], confidence: list[float]) -> float:
    total = 0.0
    for number in range(15):
        inside = [i for i, c in enumerate(confidence) if number / 15 < c <= (number + 1) / 15]
        total += abs(sum(right[i] for i in inside) - sum(confidence[i] for i in inside))
    return total / len(right)


@pytest.mark.parametrize("seed", range(5))
def test_each_score_is_its_definition(seed: int) -> None:
    examples, given, details = drawn(60, seed)
    gold = [example.target for example in examples]
    scorer = LabelScorer(examples)
    rows = [scorer.score(*row) for row in zip(given, examples, details, strict=True)]
    right = [g == p for g, p in zip(gold, given, strict=True)]
    assert value("accuracy", rows) == pytest.approx(100 * sum(right) / 60)
    assert value("macro_f1", rows) == pytest.approx(macro_by_hand(gold, given))
    assert value("mcc", rows) == pytest.approx(mcc_by_hand(gold, given))
    confidence = [detail["probabilities"][label] for detail, label in zip(details, given, strict=True)]
    assert value("ece", rows) == pytest.approx(ece_by_hand(right, confidence))
    assert not BY_NAME["micro_f1"].is_there(rows)


def test_resampled_rows_give_the_score_that_they_would_have_alone() -> None:
    examples, given, details = drawn(40, 9)
    scorer = LabelScorer(examples)
    rows = [scorer.score(*row) for row in zip(given, examples, details, strict=True)]
    drawn_RN = np.random.default_rng(3).integers(0, 40, (100, 40))
    for name in ("macro_f1", "mcc", "ece"):
        metric = BY_NAME[name]
        found = resampled(metric.columns(rows), 100, 3, metric.combine)
        alone = [value(name, [rows[i] for i in chosen]) for chosen in drawn_RN]
        assert found == pytest.approx(alone)


def test_several_labels_a_row_have_micro_f1_and_no_score_of_one_label() -> None:
    gold = [["a", "b"], [], ["c"], ["a"]]
    given = [["a"], [], ["c", "a"], ["b"]]
    examples = [several(labels, index) for index, labels in enumerate(gold)]
    scorer = LabelScorer(examples)
    rows = [scorer.score(as_text(labels), example, {"probabilities": {"a": 0.4}})
            for labels, example in zip(given, examples, strict=True)]
    assert value("accuracy", rows) == 25
    assert value("micro_f1", rows) == pytest.approx(100 * 2 * 2 / (4 + 4))
    assert value("macro_f1", rows) == pytest.approx(100 * (0.5 + 0 + 1) / 3)
    assert [name for name, metric in BY_NAME.items() if metric.is_there(rows)] == ["accuracy", "macro_f1", "micro_f1"]


def test_calibration_is_told_only_where_every_prediction_has_its_probability() -> None:
    examples = [one("a"), one("b", 1)]
    scorer = LabelScorer(examples)
    with_one = [scorer.score("a", examples[0], {"probabilities": {"a": 0.9}}), scorer.score("b", examples[1])]
    assert not BY_NAME["ece"].is_there(with_one) and BY_NAME["mcc"].is_there(with_one)
    assert "confidence" not in scorer.score("b", examples[0], {"probabilities": {"a": 0.9}})


@pytest.mark.parametrize(("confidence", "number"), [(0.0, 0), (1 / 15, 0), (0.07, 1), (0.5, 7), (1.0, 14), (0.999, 14)])
def test_bins_are_closed_above(confidence: float, number: int) -> None:
    assert bin_of(confidence) == number


def test_one_label_for_all_rows_has_no_correlation_and_no_nan() -> None:
    examples = [one("a"), one("b", 1)]
    rows = [LabelScorer(examples).score("a", example) for example in examples]
    assert value("mcc", rows) == 0 and value("macro_f1", rows) == pytest.approx(100 / 3)


def test_an_unknown_or_unusable_prediction_is_wrong() -> None:
    examples = [one("a"), one("new", 1)]
    scorer = LabelScorer(examples)
    assert scorer.score("", examples[0]) == {"accuracy": 0, "one_label": 1, "missed:a": 1}
    assert scorer.score("a", examples[1]) == {"accuracy": 0, "one_label": 1, "missed:new": 1, "wrong:a": 1}
    assert scorer.score("1.0", one("1"))["accuracy"] == 0  # a text is compared as it stands


def test_the_tables_add_up() -> None:
    examples, given, _ = drawn(50, 2)
    scorer = LabelScorer(examples)
    rows = [scorer.score(text, example) for text, example in zip(given, examples, strict=True)]
    tables = scorer.tables(rows, examples, given)
    gold = [example.target for example in examples]
    assert labels_in(rows) == [row["label"] for row in tables["per_label"]] == sorted({*gold, *given})
    assert [row["rows"] for row in tables["per_label"]] == [gold.count(row["label"]) for row in tables["per_label"]]
    counts = Counter(zip(gold, given, strict=True))
    for row in tables["confusion"]:
        assert {name: count for name, count in row.items() if name != "label"} == {
            f"as {label}": counts[row["label"], label] for label in sorted({*gold, *given})}
    f1 = [row["f1"] for row in tables["per_label"]]
    assert sum(f1) / len(f1) == pytest.approx(value("macro_f1", rows))


def test_tables_say_nothing_where_there_is_nothing_to_divide_by() -> None:
    found = per_label(["a", "b"], [{"missed:a": 1.0}])
    assert (found[0]["precision"], found[0]["recall"], found[1]["f1"]) == (None, 0, None)
    assert confusion(["a", "b"], [(["a"], [])]) == [{"label": "a", "as a": 0, "as b": 0, "as none": 1}]


def test_labels_that_a_resample_lacks_have_no_part_in_its_mean() -> None:
    hit_only = np.array([[4.0, 0, 0, 0, 0, 0]])
    assert BY_NAME["macro_f1"].combine is not None and BY_NAME["macro_f1"].combine(hit_only) == 100


def test_nothing_given_has_no_confidence_and_what_was_given_is_counted() -> None:
    assert "confidence" not in LabelScorer([one("a")]).score("", one("a"), {"probabilities": {"a": 0.9}})
    found = per_label(["a", "b"], [{"hit:a": 1.0, "accuracy": 100.0}, {"missed:a": 1.0, "wrong:b": 1.0}])
    assert [(row["rows"], row["given"]) for row in found] == [(2, 1), (0, 1)]


def test_several_labels_given_where_rows_have_one_correlate_with_nothing() -> None:
    rows = [counted(["a"], ["a", "b"]), counted(["b"], ["a", "b", "c"])]
    with np.errstate(all="raise"):
        assert mcc(LabelMetric("mcc", "MCC").columns(rows).sum(0, keepdims=True)).tolist() == [0.0]
