"""Texts and rows as Python callers give them: one, or anything that gives them one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmtrain.core.errors import DataError
from llmtrain.core.files import SURROGATE

SHOWN_PROBLEMS = 10


def given_texts(texts: Any, verb: str) -> list[str]:
    """The texts of a list, a tuple, a generator, a numpy array, a pandas Series, a column of a dataset ...; one text
    is a list of one.

    Args:
        verb: What is done to them, for messages.

    Raises:
        DataError: Something in it is no text, a line each for the first few; or the whole is none, or a table.
    """
    return _given(texts, verb, False)


def given_rows(rows: Any, verb: str) -> list[Any]:
    """The same, where a mapping of columns may stand in a text's place; one mapping is a list of one."""
    return [rows] if isinstance(rows, Mapping) else _given(rows, verb, True)


def _given(texts: Any, verb: str, mappings: bool) -> list[Any]:
    if isinstance(texts, str):
        return _checked([texts], True, mappings)
    if isinstance(texts, bytes | bytearray | memoryview) or not isinstance(texts, Iterable):
        raise DataError(f"what to {verb} is {_named(texts)}, not a str; {_advice(texts)}")
    if isinstance(texts, Mapping) or hasattr(texts, "columns"):  # both give their names, one after the other
        raise DataError(f"what to {verb} is {_named(texts)}, not a list of str; give one column of it")
    try:
        listed = list(texts)
    except TypeError as error:  # numpy's array of no dimension
        raise DataError(f"what to {verb} is {_named(texts)}, which cannot be read ({error}); give a str or a list "
                        "of str") from error
    return _checked(listed, False, mappings)


def _checked(texts: list[Any], single: bool, mappings: bool) -> list[Any]:
    problems = []
    for number, text in enumerate(texts):
        where = "the text" if single else f"text {number}"
        if mappings and isinstance(text, Mapping):
            continue
        if not isinstance(text, str):
            problems.append(f"{where} is {_named(text)}, not a str; {_advice(text)}")
        elif SURROGATE.search(text):
            problems.append(f"{where} holds half a character (a lone surrogate, as in \\ud83d); mend it")
    if problems:
        hidden = len(problems) - SHOWN_PROBLEMS
        raise DataError(problems[:SHOWN_PROBLEMS] + ([f"... and {hidden} more texts like these"] if hidden > 0 else []))
    return [str(text) if isinstance(text, str) else text for text in texts]


def _named(value: Any) -> str:
    if value is None:
        return "None"
    return "nan" if isinstance(value, float) and value != value else f"of type {type(value).__name__}"


def _advice(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return "decode it: .decode('utf-8')"
    if value is None or isinstance(value, float):
        return "leave it out, or give an empty text"
    if isinstance(value, list | tuple):
        return "give one flat list of str"
    return "give a str or a list of str"
