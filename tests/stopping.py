"""Stopping a run in the middle, in this process."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from llmtrain.training import loop


def stop_behind_step_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run gets a SIGTERM once it has taken two steps; those after it do not."""
    advance = loop.advance

    def advancing(run: Any, *rest: Any) -> None:
        advance(run, *rest)
        if run.progress.step == 2:
            monkeypatch.setattr(loop, "advance", advance)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop, "advance", advancing)
