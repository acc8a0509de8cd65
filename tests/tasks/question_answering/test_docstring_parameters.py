"""Parameters that docstrings describe, as questions about the docstring."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from llmtrain.config.sections.data import DocstringsConfig
from llmtrain.tasks.question_answering.docstring_parameters import (
    PASSAGE_WORDS,
    _filtered,
    read_parameters,
    rows_of_docstring,
)
from llmtrain.tasks.question_answering.options import QuestionAnsweringData

GOOGLE = inspect.cleandoc("""
    Read a table.

    Args:
        path (`str` or `os.PathLike`, *optional*): Where the table lies. It may
            be packed.

            A second paragraph.
        *rows (list[int]):
            Which rows are read: all where none is named.
        quick: Guess
          types.
        empty:
    Returns:
        table: The rows.

    Example:
        >>> read("x")
    """)
NUMPY = inspect.cleandoc("""
    Sum along an axis.

    Parameters
    ----------
    a : array_like
        What is summed.
    axis : int, optional
        Along which axis. By default
        over all of them.

        * a list
    out : ndarray

    **kwargs
        Passed on.

    Returns
    -------
    total : float
        The sum.
    """)


def described(docstring: str) -> dict[str, str]:
    return {name: context[start:end] for _, context, name, start, end in rows_of_docstring("m:1", docstring)}


def test_googles_sections_are_read() -> None:
    assert described(GOOGLE) == {"path": "Where the table lies. It may be packed.",
                                 "rows": "Which rows are read: all where none is named.", "quick": "Guess types."}


def test_numpydocs_sections_are_read() -> None:
    assert described(NUMPY) == {"a": "What is summed.", "axis": "Along which axis. By default over all of them.",
                                "kwargs": "Passed on."}


def test_the_context_is_the_docstrings_prose_without_examples_and_rules() -> None:
    (_, context, *_), *_ = rows_of_docstring("m:1", GOOGLE)
    assert context.startswith("Read a table. Args: path (`str` or `os.PathLike`, *optional*): Where the table lies.")
    assert ">>>" not in context and "\n" not in context
    (_, context, *_), *_ = rows_of_docstring("m:1", NUMPY)
    assert "Parameters a : array_like What is summed." in context and "---" not in context


def test_of_a_long_docstring_a_passage_is_taken_that_holds_the_description() -> None:
    before, behind = "\n\n".join(["word " * 40] * 9), "\n\n".join(["other " * 40] * 9)
    found = {}
    for number in range(8):
        text = f"{before}\n\nArgs:\n    x: The thing that is asked for.\n\n{behind}"
        ((_, context, _, start, end),) = rows_of_docstring(f"m:{number}", text)
        assert context[start:end] == "The thing that is asked for." and len(context.split()) == PASSAGE_WORDS
        found[start] = number
    assert len(found) > 4  # not always at the same place


@pytest.mark.parametrize("docstring", ["", "No sections.", "Args:\n    x", "Args:\nx: not deeper",
                                       "Parameters\n----------",
                                       "Parameters\n----------\nx : int", "Args:\n    x: \n\n    y (int):\n"])
def test_what_describes_nothing_gives_nothing(docstring: str) -> None:
    assert described(docstring) == {}


def test_near_copies_and_what_is_beyond_the_limits_are_left_out() -> None:
    context = "one two three four five six"
    rows: list[list[str | int]] = [["m:1", context, "x", 0, 13], ["m:2", "ONE two, three again", "y", 0, 14],
                                   ["m:3", context, "z", 14, 18], ["m:3", context, "z", 14, 23],
                                   ["m:4", "four five", "z", 0, 9]]
    options = DocstringsConfig(min_document_words=3, min_summary_words=2)
    assert [(place, name) for place, _, name, _, _ in _filtered(rows, options)] == [("m:1", "x"), ("m:3", "z")]


def test_whole_modules_go_to_one_split_and_answers_are_their_characters(monkeypatch: pytest.MonkeyPatch,
                                                                        tmp_path: Path) -> None:
    monkeypatch.setattr("llmtrain.data.sources.docstrings.PACKAGES", ("llmtrain",))
    config = QuestionAnsweringData(cache_dir=str(tmp_path))
    splits = read_parameters(config)
    every = [*splits.train, *splits.validation, *splits.test]
    assert len(every) > 100 and [one for one in every if one.fields["question"] == "What is tokenizer?"]
    for one in every:
        ((start, end),) = one.fields["answers"]
        assert one.source[start:end] == one.target == one.references[0]
    modules = [{one.id.split(":")[0] for one in getattr(splits, name)} for name in ("train", "validation", "test")]
    assert not modules[0] & modules[1] and not modules[0] & modules[2] and not modules[1] & modules[2]
    assert len({one.id for one in every}) == len(every)
    again = read_parameters(config)  # from the cache
    assert [one.id for one in again.train] == [one.id for one in splits.train]
