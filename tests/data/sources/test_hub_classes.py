"""Labels of a dataset of the hub's layout are called what the dataset calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from llmtrain.config.sections.data import HubConfig
from llmtrain.core.errors import DataError
from llmtrain.data.sources.splits import load_splits
from llmtrain.tasks.classification.options import ClassificationData

NAMES = ["pos", "neg"]  # not in the order of their letters


def load(folder: Path, labels: list[object], feature: object) -> list[str]:
    texts = [f"text number {number}" for number in range(len(labels))]
    rows = Dataset.from_dict({"text": texts, "label": labels},
                             Features({"text": Value("string"), "label": feature}))
    for split in ("train", "validation", "test"):
        rows.to_parquet(folder / f"{split}.parquet")
    config = ClassificationData(name="hub", hub=HubConfig(name=str(folder)))
    return [example.target for example in load_splits(config).train]


def test_numbers_of_classes_are_read_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert load(tmp_path, [0, 1, 1], ClassLabel(names=NAMES)) == ["pos", "neg", "neg"]


def test_several_classes_of_a_row_are_read_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert load(tmp_path, [[0, 1], [1], []], List(ClassLabel(names=NAMES))) == ['["pos", "neg"]', '["neg"]', "[]"]


def test_a_row_without_a_class_has_no_label(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'label' is empty .*\[test\]:2"):
        load(tmp_path, [0, -1, 1], ClassLabel(names=NAMES))
