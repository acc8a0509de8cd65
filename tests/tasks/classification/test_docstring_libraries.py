"""Which library a docstring comes from: names are taken out, modules stay whole, large libraries are cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llmtrain.config.load import load_config
from llmtrain.data.sources.docstrings import PACKAGES
from llmtrain.data.sources.splits import load_splits
from llmtrain.tasks.classification import docstring_libraries
from llmtrain.tasks.classification.docstring_libraries import INSTEAD, LEAST, MOST, NAMES

ROWS = {"torch": 1500, "numpy": 400, "rich": 60}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    pairs = [(f"{library}.m{number // 10}:{number}", f"Text {number} of {library}, as np.array.", "A first line.")
             for library, count in ROWS.items() for number in range(count)]
    monkeypatch.setattr(docstring_libraries, "docstring_pairs", lambda config: (pairs, "docstrings"))
    return load_splits(load_config("train", ["task=classification", "data=docstrings", "trainer.max_steps=1"]).data)


def test_modules_are_whole_and_libraries_are_of_a_size(made: Any) -> None:
    splits = {name: getattr(made, name) for name in ("train", "validation", "test")}
    modules = {name: {row.id.rpartition(":")[0] for row in rows} for name, rows in splits.items()}
    assert not modules["train"] & modules["test"] and not modules["train"] & modules["validation"]
    counts = Counter(row.target for row in made.train)
    assert counts["torch"] == MOST["train"] and LEAST <= counts["numpy"] <= 400 and "rich" not in counts
    assert all(count <= MOST["test"] for count in Counter(row.target for row in made.test).values())
    assert made.test and made.validation and "at most 600 to train on of each of 2 libraries" in made.notes[0]


def test_no_text_gives_a_librarys_name_away(made: Any) -> None:
    texts = [row.source for row in (*made.train, *made.validation, *made.test)]
    assert not any(name in text.lower() for text in texts for name in ("torch", "numpy"))
    assert texts[0].startswith("A first line. Text ") and f"of {INSTEAD}, as {INSTEAD}.array." in texts[0]


@pytest.mark.parametrize(("text", "left"), [
    ("NumPy's np.array", "lib's lib.array"), ("a NetworkXError of nx.Graph", "a libError of lib.Graph"),
    ("PyTorch and torch.nn, TorchScript", "lib and lib.nn, libScript"),
    ("a richer, enriched text", "a richer, enriched text"),
    ("huggingface_hub, Hugging Face Hub and huggingface-hub", "lib, lib lib and lib"), ("import rich", "import lib"),
    ("pandas.DataFrame by pd", "lib.DataFrame by lib"), ("arrays, hubs and spa", "arrays, hubs and spa")])
def test_names_are_found_as_they_are_written(text: str, left: str) -> None:
    assert NAMES.sub(INSTEAD, text) == left


def test_every_library_has_its_name_taken_out() -> None:
    assert all(NAMES.sub("", name) == "" for name in PACKAGES)


def test_pairs_of_texts_are_none_of_these(tmp_path: Path) -> None:
    data = load_config("train", ["task=classification", "data=files", "data.train=x", "data.text_pair=other",
                                 "trainer.max_steps=1"]).data
    assert data.columns().embedded is None
