"""``llmtrain clean PATH``: what unfinished runs left below a folder; with ``--yes`` it goes."""

from __future__ import annotations

import os
from pathlib import Path

from llmtrain.cli.command_table import TAKES_A_FOLDER
from llmtrain.cli.options import YES, Given
from llmtrain.core.errors import ConfigError, one_line
from llmtrain.core.logging import keep_going

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def run(paths: list[str], given: Given) -> int:
    """Show each leftover, or remove it with ``--yes``."""
    from llmtrain.integrity.clean import leftovers, take_away

    if len(paths) != 1 or not paths[0]:  # an empty one would be the current folder
        raise ConfigError(TAKES_A_FOLDER)
    root = Path(paths[0]).expanduser()
    if not root.is_dir():
        raise ConfigError(f"no folder at {root}; name one that holds runs, a run, or a cache")
    os.scandir(root).close()  # raises where it may not be read
    keep_going()
    count = total = 0
    for left in leftovers(root):
        if YES in given and not take_away(left):
            continue
        print(one_line(f"{left.path}  {readable(left.size)}  {left.what}"), flush=True)
        count, total = count + 1, total + left.size
    if not count:
        print(f"nothing was left below {root}")
    elif YES in given:
        print(f"{count} removed, {readable(total)} freed")
    else:
        print(f"{count} left, {readable(total)}; llmtrain clean {root} --yes removes them")
    return 0


def readable(size: int) -> str:
    """Bytes in the largest unit of 1,000 that leaves a whole number before the point."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{size} bytes"
