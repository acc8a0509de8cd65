"""llmtrain: joint training of small language models in low precision.

Importing the package is cheap; ``Summarizer`` (and with it torch) loads on first use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llmtrain.core import system

if TYPE_CHECKING:
    from llmtrain.tasks.summarization.summarizer import Summarizer

__version__ = "0.1.0"
__all__ = ["Summarizer", "__version__"]

system.prepare()  # before anything imports torch, in every process

if "LLMTRAIN_PLUGINS" in os.environ:  # a child of a process that loaded plugin files may need their modules
    from llmtrain.plugins import serve

    serve()


def __getattr__(name: str) -> Any:
    if name == "Summarizer":
        if (problem := system.unsupported()) is not None:
            raise ImportError(problem)
        from llmtrain.core.logging import quieted_imports

        with quieted_imports():
            from llmtrain.tasks.summarization.summarizer import Summarizer

        return Summarizer
    raise AttributeError(f"module 'llmtrain' has no attribute {name!r}")
