"""What must be true of the card of a finished run's best model, whatever its task."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from helpers import environment
from llmtrain import checkpoint
from warm.libraries import python

CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def check_card(run: Path, place: Path) -> ModelCard:
    """Read the card as the hub does, hold its figures against results.json, and run its Python.

    Args:
        place: The folder that the run was started from, where plugins lie.
    """
    folder = checkpoint.locate_model(run)  # and every manifest fits
    text = (folder / "README.md").read_text()
    card = ModelCard(text)
    results = json.loads((run / "results.json").read_text())
    assert card.data.data_hash == results["data_hash"] and results["data_hash"] in card.text
    assert str(Path.home()) + "/" not in text
    told = {(entry.task_name, entry.dataset_split, entry.metric_type): entry for entry in card.data.eval_results or ()}
    scored = list(scores_of(results))
    assert len(told) == len(scored)
    for task, split, name, value in scored:
        entry = told[task, split, name]
        assert entry.metric_value == round(value["value"], 4)
        assert [entry.metric_args[end] for end in ("low", "high")] == [round(value[end], 4) for end in ("low", "high")]
        shown = ["{value:.{0}f} [{low:.{0}f}, {high:.{0}f}]".format(digits, **value) for digits in range(5)]
        assert any(text in card.text for text in shown), (name, value)
    if results["signature"]:
        assert results["signature"].replace("`", "") in card.text
    blocks = CODE.findall(text)
    assert blocks
    for block in blocks:
        done = subprocess.run([python(), "-c", block.replace('"FOLDER"', repr(str(folder)))], env=environment(),
                              capture_output=True, text=True, cwd=place)  # a plugin that it loads stays loaded
        assert done.returncode == 0, done.stderr
    return card


def scores_of(results: dict[str, Any]) -> Any:
    """(task's name in the run, split, metric, {value, low, high}) of results.json."""
    for name, member in (results.get("members") or {results["task"]: results}).items():
        for split, metrics in member["metrics"].items():
            for metric, value in (metrics or {}).items():
                yield name, split, metric, value
