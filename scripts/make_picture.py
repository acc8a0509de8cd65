"""docs/run.svg: the report of a finished run, as its terminal shows it.

    python scripts/make_picture.py runs/NAME
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from rich.console import Console

from llmtrain.evaluation.report import PLAIN_WIDTH, print_report, stored_rows

TARGET = Path(__file__).resolve().parents[1] / "docs" / "run.svg"


def main() -> None:
    run = Path(sys.argv[1])
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    console = Console(record=True, width=PLAIN_WIDTH, file=io.StringIO(), force_terminal=True)
    print_report(console, results, stored_rows(run / "predictions.jsonl"))
    console.save_svg(str(TARGET), title=f"llmtrain train +experiment={results['config']['experiment_name']}")


if __name__ == "__main__":
    main()
