"""Chinese words by jieba, a package of the extra ``chinese``."""

from __future__ import annotations

import contextlib
import logging
import warnings
from functools import cache
from typing import Any

from llmtrain.config.data import DataConfig
from llmtrain.data.docstrings import cache_folder


@cache
def _segmenter() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks setuptools for its own files
        import jieba

    jieba.setLogLevel(logging.WARNING)
    segmenter = jieba.Tokenizer()
    folder = cache_folder(DataConfig())  # not the shared temporary folder, where anybody may put a dictionary
    with contextlib.suppress(OSError):  # it then reads its dictionary at each start, in a second
        folder.mkdir(parents=True, exist_ok=True)
    segmenter.tmp_dir = str(folder)
    return segmenter


def segments(text: str) -> list[str]:
    """The text cut into words, marks and spaces; together they are the text. Needs jieba."""
    return list(_segmenter().lcut(text))
