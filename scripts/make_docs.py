"""docs/configuration.md, from the schema that the program checks against, and docs/records/combinations.md, from its
run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from llmtrain import registry
from llmtrain.config.reference import Key, keys, section_keys
from llmtrain.config.schema import SCHEMAS
from llmtrain.config.sections.show import ShowConfig
from llmtrain.config.sections.study import StudyConfig

DOCS = Path(__file__).resolve().parents[1] / "docs"
TARGET, COMBINATIONS = DOCS / "configuration.md", DOCS / "records" / "combinations.json"
HEADER = """# Every key

Written by `scripts/make_docs`; a test compares it with the schema. *Changes*: `results` keys make another run (they are
in the run's hash), `speed` keys only change time and memory, `where` keys only names, folders and logging.
"""


def row(key: Key) -> str:
    default = "null" if key.default is None else key.default
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, str):
        default = default.replace("\n", "\\n")
    choices = f" ({', '.join(key.choices)})" if key.choices and key.type is not bool else ""
    cells = (f"`{key.path}`", default, key.unit, key.range, key.affects, f"{key.meaning}{choices}")
    return "".join(f"| {cell} " if cell != "" else "| " for cell in cells) + "|"


def table(chosen: list[Key]) -> list[str]:
    return ["| key | default | unit | range | changes | meaning |", "|---|---|---|---|---|---|", *map(row, chosen)]


def text() -> str:
    train = keys("train")
    parts = [HEADER, "\n## train\n", *table([key for path, key in train.items() if not path.startswith("head.")])]
    for head in registry.parts("head"):
        own = [key for path, key in keys("train", head.name).items() if path.startswith("head.")]
        parts += [f"\n### head={head.name}: {head.about}\n", *table(own)]
    for command in SCHEMAS:
        if command != "train":
            parts += [f"\n## {command}\n", *table([key for path, key in keys(command).items() if path not in train])]
    parts += ["\n## data show\n", *table(section_keys(ShowConfig, "show."))]
    parts += ["\n## study\n", *table(section_keys(StudyConfig, "study."))]
    for step in registry.parts("preprocess"):
        parts += [f"\n### data.preprocess step {step.name}: {step.about}\n", *table(section_keys(step.options, ""))]
    return "\n".join(parts) + "\n"


COMBINED = """# Every combination

Written by `scripts/combinations`, which runs what stands here on tiny bases: {rows} rows hold every pair of values of
two different columns that can be trained, {pairs} pairs. Each row trained three steps, went on from the second again
bit by bit, and was scored; `well` says that all three held. `tests/integration/test_combinations.py` runs some of them
each time.
{absent}
## Refused

{refused}

## Trained

{table}
"""


def combinations() -> str:
    """The text of docs/records/combinations.md."""
    content = json.loads(COMBINATIONS.read_text(encoding="utf-8"))
    columns = [*content["factors"], "outcome"]
    rows = [f"| {' | '.join(row[column] for column in columns)} |" for row in content["rows"]]
    refused = [f"| {what} | {reason} |" for reason, what in by_reason(content["refused"]).items()]
    refusals = "\n".join(["With exit code 2 and one line, before any weight is read.", "", "| what | why |",
                          "|---|---|", *refused]) if refused else "Nothing among these parts."
    table = "\n".join([f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *rows])
    return COMBINED.format(rows=len(rows), pairs=len(pairs(content)), refused=refusals, table=table,
                           absent=absent(content))


def absent(content: dict[str, Any]) -> str:
    """A paragraph on the registered parts that no row holds; empty where there are none."""
    known = {kind: [part.name for part in registry.parts(kind) if not part.origin]
             for kind in ("head", "objective", "weighting", "optimizer")}
    missing = {kind: names for kind, all_names in known.items()
               if (names := [name for name in all_names if name not in content["factors"].get(kind, [])])}
    lines = "\n".join(f"- {told({kind: names})}" for kind, names in missing.items())
    return f"\nNo rows yet:\n\n{lines}\n" if missing else ""


def by_reason(refused: list[dict[str, Any]]) -> dict[str, str]:
    """For each reason what is refused for it, in words; cells that differ in one factor alone stand together."""
    found: dict[str, str] = {}
    for reason in dict.fromkeys(entry["reason"] for entry in refused):
        cells = [entry["cell"] for entry in refused if entry["reason"] == reason]
        values = {factor: list(dict.fromkeys(cell.get(factor, "") for cell in cells)) for factor in cells[0]}
        whole = all(cell.keys() == values.keys() for cell in cells) and (
            math.prod(map(len, values.values())) == len(cells))
        found[reason] = told(values) if whole else "; ".join(told({f: [v] for f, v in cell.items()}) for cell in cells)
    return found


def told(values: dict[str, list[str]]) -> str:
    return ", ".join(f"{factor} {' / '.join(names)}" for factor, names in values.items())


def pairs(content: dict[str, Any]) -> set[tuple[tuple[str, str], ...]]:
    """The pairs of two factors' values that some row holds."""
    names = list(content["factors"])
    return {((one, row[one]), (two, row[two])) for row in content["rows"]
            for index, one in enumerate(names) for two in names[index + 1:]}


def write() -> None:
    TARGET.write_text(text(), encoding="utf-8")
    COMBINATIONS.with_suffix(".md").write_text(combinations(), encoding="utf-8")


if __name__ == "__main__":
    write()
