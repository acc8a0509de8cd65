"""``llmtrain report PATH ...``: scores, curves and predictions of runs as one HTML file."""

from __future__ import annotations

from pathlib import Path

from llmtrain.cli.command_table import TAKES_RUNS
from llmtrain.cli.options import NO_TEXTS, OUTPUT, Given
from llmtrain.core.errors import ConfigError
from llmtrain.core.logging import say


def run(paths: list[str], given: Given) -> int:
    """Write the report and say where."""
    if not paths or not all(paths):
        raise ConfigError(TAKES_RUNS)
    from llmtrain.report.write_report import write_report

    output = Path(given[OUTPUT][-1]).expanduser() if OUTPUT in given else None
    if output is not None and output.is_dir():
        raise ConfigError(f"a folder at {output}; name a file, --output {output / 'report.html'}")
    written = write_report([Path(path) for path in paths], output, texts=NO_TEXTS not in given)
    say(f"written: {written} ({written.stat().st_size / 1000:,.0f} kB); open it in a browser")
    return 0
