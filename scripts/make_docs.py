"""docs/configuration.md, from the schema that the program itself checks against."""

from __future__ import annotations

from pathlib import Path

from llmtrain import registry
from llmtrain.config.reference import SCHEMAS, Key, keys, section_keys
from llmtrain.config.schema import ShowConfig

TARGET = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
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
    return f"| `{key.path}` | {default} | {key.unit} | {key.affects} | {key.meaning}{choices} |".replace("|  |", "| |")


def table(chosen: list[Key]) -> list[str]:
    return ["| key | default | unit | changes | meaning |", "|---|---|---|---|---|", *map(row, chosen)]


def text() -> str:
    train = keys("train")
    parts = [HEADER, "\n## train\n", *table([key for path, key in train.items() if not path.startswith("head.")])]
    for head in registry.parts("head"):
        own = [key for path, key in keys("train", head.name).items() if path.startswith("head.")]
        parts += [f"\n### head={head.name}: {head.summary}\n", *table(own)]
    for command in SCHEMAS:
        if command != "train":
            parts += [f"\n## {command}\n", *table([key for path, key in keys(command).items() if path not in train])]
    parts += ["\n## data show\n", *table(section_keys(ShowConfig, "show."))]
    for step in registry.parts("preprocess"):
        parts += [f"\n### data.preprocess step {step.name}: {step.summary}\n", *table(section_keys(step.options, ""))]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
