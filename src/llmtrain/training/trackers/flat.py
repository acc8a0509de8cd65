"""What a tracker is told, as flat names and plain values: one name for one thing in every tracker.

``train/loss.total`` is the key ``loss.total`` of the rows of metrics.jsonl whose split is train;
``results/metrics.test.rouge1.low`` is what stands at that place of results.json; ``optim.base_lr`` is that key of the
configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = "results"
TOLD = ("metrics", "baselines", "extras", "losses", "steps", "skipped_steps", "best_step", "seconds",
        "tokens_per_second", "peak_memory_bytes")  # of results.json
PLACE = ("step", "split")  # of a row: the step is given beside the values, the split in their names


def values_of_row(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row of metrics.jsonl."""
    return {f"{row['split']}/{name}": value for name, value in row.items() if name not in PLACE and _is_number(value)}


def values_of_results(results: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of results.json: scores with their intervals, baselines, and what the training took."""
    flat = flattened({name: results.get(name) for name in TOLD})
    return {f"{RESULTS}/{name}": value for name, value in flat.items() if _is_number(value)}


def values_of_config(config: Mapping[str, Any]) -> dict[str, float | str]:
    """Every key of a configuration by its dotted name, as it is written on the command line."""
    return {name: value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(
        value, ensure_ascii=False) for name, value in flattened(config).items()}


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; an empty one stands for itself."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def rows_of(log: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a kill may have cut the last line, which is no row then."""
    rows = []
    if log.is_file() and not log.is_symlink():
        for line in log.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not isinstance(row, dict) or type(row.get("step")) is not int or not isinstance(row.get("split"), str):
                break
            rows.append(row)
    return rows


def last_steps(log: Path) -> dict[str, int]:
    """The last step of each split that metrics.jsonl holds."""
    found: dict[str, int] = {}
    for row in rows_of(log):
        found[row["split"]] = max(row["step"], found.get(row["split"], 0))
    return found
