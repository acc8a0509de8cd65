"""llmtrain: joint training of small language models in low precision.

Importing the package is cheap; ``load`` and ``Summarizer`` (and with them torch) come on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmtrain.core import system

if TYPE_CHECKING:
    from llmtrain.tasks.loaded_model import load
    from llmtrain.tasks.summarization.summarizer import Summarizer

__version__ = "0.1.0"
__all__ = ["Summarizer", "__version__", "load"]

system.prepare()  # before anything imports torch, in every process

if "LLMTRAIN_PLUGINS" in os.environ:  # a child of a process that loaded plugin files may need their modules
    from llmtrain.plugins import serve

    serve()


PUBLIC = {"load": ("llmtrain.tasks.loaded_model", "load"),
          "Summarizer": ("llmtrain.tasks.summarization.summarizer", "Summarizer")}


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        if (problem := system.unsupported()) is not None:
            raise ImportError(problem)
        from llmtrain.core.logging import quieted_imports

        module, attribute = PUBLIC[name]
        with quieted_imports():
            return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'llmtrain' has no attribute {name!r}")
