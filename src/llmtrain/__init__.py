"""llmtrain: joint training of summarizers in low precision.

Importing the package is cheap; ``Summarizer`` (and with it torch) loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmtrain.summarizer import Summarizer

__version__ = "0.1.0"
__all__ = ["Summarizer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Summarizer":
        from llmtrain.summarizer import Summarizer

        return Summarizer
    raise AttributeError(f"module 'llmtrain' has no attribute {name!r}")
