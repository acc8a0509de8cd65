"""Differences of models, their intervals and tests: against other people's implementations, and by simulation."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.docs.test_benchmarks import SCRIPTS, script

from llmtrain.core.errors import ConfigError, DataError
from llmtrain.evaluation.comparison import compare, holm
from llmtrain.evaluation.comparison_report import comparison
from llmtrain.evaluation.outcome import Outcome, alike, joined, run_configuration, stored_outcome
from llmtrain.evaluation.verdict import verdict
from llmtrain.tasks.classification.label_metrics import METRICS as LABEL_METRICS
from llmtrain.tasks.classification.label_metrics import counted, macro_f1
from llmtrain.tasks.metric import Metric

SCORE = Metric("score", "score")
MACRO = next(metric for metric in LABEL_METRICS if metric.name == "macro_f1")


def outcome(label: str, *seeds: Any, numbers: tuple[int | None, ...] | None = None, scorer: str = "a tool") -> Outcome:
    """One of scores, a list of them for each seed."""
    rows = tuple([{"id": str(row), "document": f"d{row}", "prediction": f"{value}", "score": float(value)}
                  for row, value in enumerate(values)] for values in seeds)
    known = tuple(range(len(seeds))) if numbers is None else numbers
    return Outcome(label, "summarization", "test", scorer, ("greedy",) * len(seeds), known, rows,
                   tuple(f"{label}-{number}" for number in known))


def normal(size: int, mean: float = 0.0, deviation: float = 1.0, seed: int = 0) -> Any:
    return np.random.default_rng((seed, size)).normal(mean, deviation, size)


def labels(given: Any, gold: Any) -> list[dict[str, Any]]:
    return [{"id": str(row), "prediction": one, **counted([two], [one])} for row, (one, two) in
            enumerate(zip(given, gold, strict=True))]


def test_means_agree_with_scipys_bootstrap_and_statsmodels_tests() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy, a development dependency, is not installed")
    weightstats = pytest.importorskip("statsmodels.stats.weightstats", reason="statsmodels is not installed")
    first = normal(400, 40, 15)
    second = first + normal(400, 0.25, 3, seed=1)
    (found,) = compare([outcome("a", first), outcome("b", second)], [SCORE], samples=20_000)
    difference = found.differences["b"]
    peer = stats.bootstrap((first, second), lambda one, two, axis: np.mean(two - one, axis=axis), paired=True,
                           n_resamples=20_000, method="percentile", rng=np.random.default_rng(1))
    assert difference.value == pytest.approx(np.mean(second - first))
    assert (difference.low, difference.high) == pytest.approx(tuple(peer.confidence_interval), abs=0.015)
    assert difference.p == pytest.approx(stats.ttest_rel(second, first).pvalue, abs=0.015)
    assert difference.equivalence is not None
    tost = weightstats.ttost_paired(second, first, -0.5, 0.5)[0]
    assert difference.equivalence.p == pytest.approx(tost, abs=0.01) and 0.02 < tost < 0.4
    assert found.sides["a"].value == pytest.approx(first.mean()) and found.better("b")


def test_scores_made_of_sums_agree_with_scipys_bootstrap() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy, a development dependency, is not installed")
    draw = np.random.default_rng(4)
    gold = draw.choice(list("abc"), 150)
    sides = [labels(np.where(draw.random(150) < right, gold, draw.choice(list("abc"), 150)), gold)
             for right in (0.6, 0.75)]
    outcomes = [replace(outcome(name, [0.0]), rows=(rows,)) for name, rows in zip("ab", sides, strict=True)]
    (found,) = compare(outcomes, [MACRO], samples=5000)
    columns = [MACRO.columns(rows) for rows in sides]

    def statistic(*rows: Any, axis: int = -1) -> Any:
        chosen = rows[0].astype(int)
        sums = [column[chosen].sum(axis=-2) for column in columns]
        one, two = (macro_f1(np.atleast_2d(value)) for value in sums)
        return (two - one) if chosen.ndim > 1 else (two - one)[0]

    peer = stats.bootstrap((np.arange(150),), statistic, n_resamples=5000, method="percentile", batch=500,
                           rng=np.random.default_rng(2))
    difference = found.differences["b"]
    assert difference.value == pytest.approx(statistic(np.arange(150)))
    assert (difference.low, difference.high) == pytest.approx(tuple(peer.confidence_interval), abs=0.5)


def test_several_tests_at_once_are_adjusted_as_statsmodels_does() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.2, "e": 0.9}
    assert list(holm(p).values()) == pytest.approx(multitest.multipletests(list(p.values()), method="holm")[1])


def test_the_best_of_many_that_are_alike_is_seldom_said_to_be_better_than_another() -> None:
    """Without regard to the choice it would be in one of six times."""
    wrong = []
    for turn in range(60):
        sides = sorted((outcome(f"m{number}", normal(100, seed=100 * turn + number)) for number in range(10)),
                       key=lambda one: -sum(row["score"] for row in one.rows[0]))
        for chosen in (False, True):
            (found,) = compare(sides, [SCORE], samples=2000, margin=0, chosen=chosen)
            if any(one.p_holm < 0.05 for one in found.differences.values()):
                wrong.append(chosen)
    assert wrong.count(True) <= 6 < wrong.count(False)


def test_intervals_of_three_seeds_hold_zero_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    studies = script("null_studies")
    options = Namespace(batches=1, rows=60, seeds=3, samples=200, seed=1)
    for kind in studies.KINDS[:3]:
        ((held, _),) = studies.batches(kind, options)
        assert studies.LEAST <= held <= studies.MOST, kind.name
    decides, generator = studies.KINDS[2], np.random.default_rng(0)
    plain = sum(studies.plain_holds_zero(decides, 60, 3, 100, generator) for _ in range(100))
    assert plain < 90  # a bootstrap of seeds alone would be too narrow


def test_equal_models_do_not_differ_and_are_equivalent() -> None:
    same = normal(300, 40, 15)
    for one, two in ((outcome("a", same), outcome("b", same)),
                     (outcome("a", same, same + 1), outcome("b", same, same + 1))):
        (found,) = compare([one, two], [SCORE])
        difference = found.differences["b"]
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
        assert difference.equivalence is not None and difference.equivalence.equivalent
        assert verdict(found, "b").startswith("no difference shown: +0.00 [+0.00, +0.00], p = 1.000; equivalent within "
                                              "0.5: yes")


def test_few_rows_show_neither_a_difference_nor_that_there_is_none() -> None:
    """A bootstrap of rows that all differ alike, or that all are the same, has no spread at all."""
    (shifted,) = compare([outcome("a", [1.0, 2.0, 3.0]), outcome("b", [4.0, 5.0, 6.0])], [SCORE])
    assert shifted.differences["b"].p == 0.25
    right = [100.0] * 20 + [0.0] * 4
    (same,) = compare([outcome("a", right), outcome("b", right)], [SCORE])
    test = same.differences["b"].equivalence
    assert test is not None and not test.equivalent and test.power == 0 and test.rows_needed is not None
    assert test.p == pytest.approx((1 - 0.5 / 52.7) ** 24, abs=0.01)
    assert test.rows_needed == pytest.approx(np.log(0.05) / np.log(1 - 0.5 / 52.7), rel=0.02)


def test_seeds_are_paired_by_number_whatever_their_order() -> None:
    draw = np.random.default_rng(3)
    luck = draw.normal(0, 5, 3)
    one, two = ([normal(50, 40 + luck[seed], 1, seed=3 * side + seed) for seed in range(3)] for side in (0, 1))
    options: Any = {"metrics": [SCORE], "samples": 500}
    first, other = outcome("a", *one), outcome("b", *two)
    (found,) = compare([first, other], **options)
    turned = outcome("b", two[2], two[0], two[1], numbers=(2, 0, 1))
    (again,) = compare([first, turned], **options)
    paired, apart = found.differences["b"], None
    assert paired.paired_seeds and again.differences["b"].low == pytest.approx(paired.low)
    for numbers in ((3, 4, 5), (0, 0, 1), (None, None, None)):
        (unpaired,) = compare([first, outcome("b", *two, numbers=numbers)], **options)
        apart = unpaired.differences["b"]
        assert apart.paired_seeds is False
    assert apart is not None and apart.high - apart.low > 3 * (paired.high - paired.low)
    (alone,) = compare([first, outcome("b", two[0])], **options)
    assert alone.differences["b"].paired_seeds is False
    (twice,) = compare([outcome("a", *one, numbers=(0, 0, 1)), outcome("b", *two, numbers=(0, 0, 1))], **options)
    assert twice.differences["b"].paired_seeds is False
    between = sum(np.var([values.mean() for values in side], ddof=1) / 3 for side in (one, two))
    assert apart.parts.noise > 0 and apart.parts.seeds + apart.parts.noise == pytest.approx(between)


def test_the_power_of_equivalence_is_what_studies_of_that_size_have() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats", reason="statsmodels is not installed")
    first = normal(200, 40, 15)
    (found,) = compare([outcome("a", first), outcome("b", first + normal(200, 0, 4, seed=2))], [SCORE])
    test = found.differences["b"].equivalence
    assert test is not None and test.rows_needed is not None and not test.equivalent
    rows, draw = test.rows_needed, np.random.default_rng(5)
    shown = sum(weightstats.DescrStatsW(draw.normal(0, 4, rows)).ttost_mean(-0.5, 0.5)[0] < 0.05 for _ in range(300))
    assert 0.7 < shown / 300 < 0.9
    assert "rows would be needed" in verdict(found, "b")
    luck = [outcome(name, *(first + value for value in values)) for name, values in
            (("a", (0, 3, -3)), ("b", (3, -3, 0)))]
    (seeds,) = compare(luck, [SCORE])
    assert "more seeds would be needed" in verdict(seeds, "b")


def test_rows_and_rules_that_do_not_match_are_named() -> None:
    first = outcome("a", [1.0, 2.0, 3.0])
    for other, told in (
            (outcome("b", [1.0, 2.0]), "no row of id '2' (1 of 3) at b-0, which a-0 has; compare"),
            (outcome("b", [1.0] * 5), "no row of id '3', '4' (2 of 5) at a-0, which b-0 has; compare"),
            (outcome("b", [1.0] * 3, scorer="another tool"), "scored by other rules, 'a tool' and 'another tool'"),
            (replace(first, task="translation"), "two tasks, summarization and translation,"),
            (replace(first, rows=([{**row, "document": "x"} for row in first.rows[0]],)),
             "the row of id '0' has another document at a-0 and a-0")):
        with pytest.raises(DataError) as refused:
            alike([first, other])
        assert [problem.startswith(told) for problem in refused.value.problems] == [True], refused.value.problems
    turned = replace(first, label="b", rows=(first.rows[0][::-1],))
    assert [row["id"] for row in alike([first, turned])[1].rows[0]] == ["0", "1", "2"]


def test_rows_that_changed_most_come_first_with_both_outputs() -> None:
    first, other = outcome("a", [1.0, 2.0, 3.0, 4.0]), outcome("b", [1.0, 1.0, 10.0, 4.0])
    found = comparison([first, other], [SCORE], samples=100)["changed"]["b"]
    assert (found["outputs"], found["differ"], found["metric"]) == (4, 2, "score")
    assert [(row["id"], row["change"]) for row in found["rows"]] == [("2", 7.0), ("1", -1.0)]
    assert found["rows"][0] == {"id": "2", "change": 7.0, "asked": {"document": "d2"},
                                "first": {"value": 3.0, "prediction": "3.0"},
                                "other": {"value": 10.0, "prediction": "10.0"}}
    seeds = comparison([outcome("a", [1.0, 2.0], [1.0, 4.0]), outcome("b", [1.0, 2.0], [1.0, 8.0])], [SCORE],
                       samples=100)["changed"]["b"]
    assert (seeds["outputs"], seeds["differ"]) == (4, 1)
    assert seeds["rows"][0]["change"] == 2.0 and seeds["rows"][0]["other"]["prediction"] == "8.0"


def stored(folder: Path, results: dict[str, Any], *lines: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "predictions.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_what_a_run_left_is_read_an_older_one_too(tmp_path: Path) -> None:
    line = json.dumps({"id": "0", "document": "d", "prediction": "p", "rouge1": 3.0})
    results = {"task": "summarization", "metrics": {"validation": {"rouge1": {}}, "test": None}, "seed": 4,
               "signature": "a tool (with x; y), F1; beam 2, short; llmtrain 0.1.0; lead 29 words"}
    old = stored_outcome("a", stored(tmp_path / "old", results, line))
    assert (old.scorer, old.decoding, old.seeds) == ("a tool (with x; y), F1", ("beam 2, short",), (4,))
    assert (old.split, old.size, old.rows[0][0]["rouge1"]) == ("validation", 1, 3.0)
    told = results | {"scorer": "x; y", "decoding": "z", "seed": None,
                      "config": {"run": {"seed": 7}}, "metrics": {"validation": None, "test": {"rouge1": {}}}}
    del told["seed"]
    new = stored_outcome("b", stored(tmp_path / "new", told, line) / "predictions.jsonl")
    assert (new.scorer, new.decoding, new.seeds, new.split) == ("x; y", ("z",), (7,), "test")
    assert run_configuration(tmp_path / "new") == {"run": {"seed": 7}} and run_configuration(tmp_path / "old") is None
    inside = stored(tmp_path / "new/eval/1-test", results, line)
    assert run_configuration(inside) == {"run": {"seed": 7}}
    both = joined("c", [new, replace(new, seeds=(2,))])
    assert both.seeds == (2, 7) and both.several
    members = {"one": told, "two": told}
    several = stored(tmp_path / "several", {"members": members}, json.dumps({"task": "one", **json.loads(line)}))
    assert stored_outcome("a", several, "one").size == 1
    for task, problem in ((None, "several tasks in the results"), ("three", "no task 'three' in the results")):
        with pytest.raises(ConfigError, match=problem):
            stored_outcome("a", several, task)
    for name, lines, problem in (("twice", (line, line), "the id '0' stands 2 times"), ("none", (), "no scored"),
                                 ("half", (line, '{"id": '), "predictions.jsonl:2; score")):
        with pytest.raises(DataError, match=problem):
            stored_outcome("a", stored(tmp_path / name, told, *lines))
