"""Chinese words by jieba, a package of the extra ``chinese``."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from llmtrain.core.cache import find_cached, open_cache
from llmtrain.core.errors import LlmtrainError


@cache
def _segmenter() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks setuptools for its own files
        import jieba

    folder = _dictionary_folder()  # not the shared temporary folder, where anybody may put a dictionary
    # without one it reads its dictionary at each start, in a second, and would show the traceback of that
    jieba.setLogLevel(logging.WARNING if folder is not None else logging.CRITICAL)
    segmenter = jieba.Tokenizer()
    segmenter.tmp_dir = os.devnull if folder is None else str(folder)
    return segmenter


def _dictionary_folder() -> Path | None:
    """A place that was named and is closed stops nothing here: it may be meant for other files."""
    try:
        return find_cached(None, "", ["jieba.cache"]) or open_cache(None, "")
    except LlmtrainError:
        return None


def segments(text: str) -> list[str]:
    """The text cut into words, marks and spaces; together they are the text. Needs jieba."""
    return list(_segmenter().lcut(text))
