"""The verdicts as lines of a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from llmtrain.core.errors import one_line
from llmtrain.doctor.check_result import Level, Verdict

STYLES = {Level.ok: "green", Level.warn: "yellow", Level.fail: "bold red", Level.skip: "dim"}
NAME, LEAST = 26, 60  # columns of a check's name; of a line at least


def print_verdict(console: Console, verdict: Verdict) -> None:
    """One check: its level, its name, what was found, and below it what to do."""
    width = max(LEAST, console.width) - NAME - 7
    name, shown = one_line(verdict.check), textwrap.wrap(one_line(verdict.found), width) or [""]
    head = Text.assemble((f"{verdict.level.value:<5} ", STYLES[verdict.level]), f"{name:<{NAME}} ")
    if len(name) <= NAME:
        head.append(shown.pop(0))
    console.print(head, soft_wrap=True)
    remedy = textwrap.wrap(f"-> {one_line(verdict.remedy)}", width, subsequent_indent="   ") if verdict.remedy else []
    for line in (*shown, *remedy):
        console.print(Text(" " * (NAME + 7) + line, "bold" if line in remedy else ""), soft_wrap=True)


def last_line(verdicts: Sequence[Verdict], seconds: float) -> str:
    """The last line."""
    counts = Counter(one.level for one in verdicts)
    told = ", ".join(f"{counts[level]} {level.value}" for level in (Level.ok, Level.warn, Level.fail, Level.skip)
                     if counts[level])
    return f"{len(verdicts)} checks in {seconds:.0f} s: {told}"
