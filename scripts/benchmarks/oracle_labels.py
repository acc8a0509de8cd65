"""Time to split documents into sentences, tokenise them and label them by the greedy oracle; then from the cache.

    python scripts/benchmarks/oracle_labels.py --data FOLDER

CPU seconds, over all processes, are told too: on a machine that others use they say more than the clock.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from common import data_overrides, table

from llmtrain.config.load import load_config
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.data.features import tokenize
from llmtrain.data.sources.splits import load_splits
from llmtrain.models.backbone.pretrained import load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train/validation/test.jsonl[.gz]; default: docstrings")
    parser.add_argument("--labels", type=int, default=3, help="most sentences labelled in a document")
    parser.add_argument("--max-in", type=int, default=512)
    options = parser.parse_args()
    data = [f"data.max_source_tokens={options.max_in}"] if options.data is None else data_overrides(
        options.data, options.max_in, 48)
    config = load_config("train", data)
    examples, tokenizer = load_splits(config.data).train, load_tokenizer(config.model.path)
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        config.data.cache_dir = cache
        for what in ("made", "from the cache"):
            clock, before = time.perf_counter(), os.times()
            tokenize(examples, tokenizer, config.data, SentenceInput(labels=options.labels))
            after = os.times()
            used = sum(after[:4]) - sum(before[:4])  # children count once they have ended
            rows.append([what, len(examples), f"{time.perf_counter() - clock:.1f}", f"{used:.1f}"])
    print(table(["labels", "documents", "seconds", "CPU seconds"], rows))


if __name__ == "__main__":
    main()
