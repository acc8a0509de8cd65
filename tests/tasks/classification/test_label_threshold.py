"""The threshold that validation rows choose for several labels."""

from __future__ import annotations

import pytest

from llmtrain.data.examples import Example
from llmtrain.data.label_names import as_text
from llmtrain.tasks.classification.label_threshold import best_threshold


def rows(*labels: list[str]) -> list[Example]:
    return [Example(str(i), "t", as_text(one), (as_text(one),), {"labels": one}) for i, one in enumerate(labels)]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "micro_f1", "loss.total"])
def test_the_threshold_parts_right_from_wrong(metric: str) -> None:
    chances = [[0.28, 0.1], [0.05, 0.3], [0.22, 0.2]]
    assert best_threshold(chances, ["a", "b"], rows(["a"], ["b"], []), metric) == 0.25


def test_of_equal_ones_the_nearest_to_one_half_is_taken() -> None:
    assert best_threshold([[0.9], [0.1]], ["a"], rows(["a"], []), "macro_f1") == 0.5
    assert best_threshold([[0.9], [0.7]], ["a"], rows(["a"], []), "accuracy") == 0.75
    assert best_threshold([[0.1], [0.1]], ["a"], rows([], []), "micro_f1") == 0.5


def test_macro_f1_decides_where_it_picks_the_best_checkpoint() -> None:
    chances = [[0.62, 0.1], [0.62, 0.1], [0.62, 0.42], [0.58, 0.42], *[[0.58, 0.1]] * 6]
    examples = rows(["a"], ["a"], ["a", "b"], ["b"], *[[]] * 6)
    assert best_threshold(chances, ["a", "b"], examples, "micro_f1") == 0.6
    assert best_threshold(chances, ["a", "b"], examples, "macro_f1") == 0.4
