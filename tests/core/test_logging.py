"""The progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from llmtrain.core.logging import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO) -> str:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stdout)
    with Progress(20, 4) as bar:
        for step in range(5, 11):
            bar.step(step, 20)
        bar.line("step 10/20  select 0.693  summary 2.345  1,234 tokens/s")
    return stdout.getvalue()


def test_a_terminal_shows_a_bar_with_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, Terminal())
    for part in ("training", "10/20", "select 0.693", "summary 2.345", "1,234 tokens/s"):
        assert part in text, part
    assert "\x1b[" in text  # drawn in place


def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, io.StringIO()) == "step 10/20  select 0.693  summary 2.345  1,234 tokens/s\n"
