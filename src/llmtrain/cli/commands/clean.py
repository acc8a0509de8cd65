"""``llmtrain clean PATH``: what unfinished runs left below a folder; with ``--yes`` it goes."""

from __future__ import annotations

import os
from pathlib import Path

from llmtrain.core.errors import ConfigError, one_line
from llmtrain.core.logging import keep_going

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def run(arguments: list[str]) -> int:
    """Show each leftover, or remove it."""
    from llmtrain.integrity.clean import leftovers, take_away

    paths = [one for one in arguments if one != "--yes"]
    if len(paths) != 1 or not paths[0] or paths[0].startswith("-"):  # an empty one would be the current folder
        raise ConfigError("clean takes one folder and --yes; use llmtrain clean runs")
    root = Path(paths[0]).expanduser()
    if not root.is_dir():
        raise ConfigError(f"no folder at {root}; name one that holds runs, a run, or a cache")
    os.scandir(root).close()  # raises where it may not be read
    keep_going()
    count = total = 0
    for left in leftovers(root):
        if "--yes" in arguments and not take_away(left):
            continue
        print(one_line(f"{left.path}  {readable(left.size)}  {left.what}"), flush=True)
        count, total = count + 1, total + left.size
    if not count:
        print(f"nothing was left below {root}")
    elif "--yes" in arguments:
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
