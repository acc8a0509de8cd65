"""How this program was started, for the commands that it tells: they can be typed as they stand."""

from __future__ import annotations

import os
import shlex

STARTED_AS = "LLMTRAIN_STARTED_AS"  # set by scripts/llmtrain, whose environment is not on the PATH


def command(*words: object) -> str:
    """A command line of this program, quoted for a shell."""
    return shlex.join([os.environ.get(STARTED_AS, "llmtrain"), *(str(word) for word in words)])
