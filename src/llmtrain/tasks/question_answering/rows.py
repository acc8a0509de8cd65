"""How a row becomes a question with its context and answers; SQuAD's nested files become rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmtrain.config.sections.data import RowTexts
from llmtrain.core.errors import shown
from llmtrain.data.sources.own_files import text_of
from llmtrain.tasks.question_answering.answer_places import NOWHERE, Answer, listed, misplaced

IMPOSSIBLE = "is_impossible"  # SQuAD 2.0's word for a question without an answer
NESTED = {"paragraphs": "a list of objects with 'context' and 'qas'", "qas": "a list of objects with 'question' and "
                                                                          "'answers'"}
Inner = Iterator[tuple[str, dict[str, Any] | str]]


class QuestionReader:
    """Makes texts of rows: the context as source, the first answer as target, every answer as a reference.

    Rows without an answer have the empty text for both. ``fields`` hold the question and, of each answer that has a
    place in the context, its first character and the one behind its last; ``answers`` is missing where the row need not
    have any and has none. It remembers the ids of the rows that it was given.
    """

    def __init__(self, context: str, question: str, answers: str) -> None:
        self._context, self._question, self._answers = context, question, answers
        self._seen: set[str] = set()

    def __call__(self, row: Mapping[str, Any], labelled: bool) -> RowTexts | str:
        for name, holds in NESTED.items():
            if name in row and self._question not in row:
                return f"{shown(name)} is {type(row[name]).__name__}, not {holds}"
        context, problem = text_of(dict(row), self._context)
        question, other = text_of(dict(row), self._question)
        if problem or other:
            return problem or f"{other}{_of(row)}"
        identity = row.get("id")
        if isinstance(identity, str | int) and str(identity):
            if str(identity) in self._seen:
                return f"the id {shown(str(identity))} stands twice; each question has its own"
            self._seen.add(str(identity))
        if not labelled and row.get(self._answers) is None:
            return RowTexts(context, fields={"question": question})
        if self._answers not in row:
            return text_of(dict(row), self._answers)[1]
        made = self._of_answers(row, context, question)
        return f"{made}{_of(row)}" if isinstance(made, str) else made

    def _of_answers(self, row: Mapping[str, Any], context: str, question: str) -> RowTexts | str:
        value = row[self._answers]
        found = listed([] if value is None and row.get(IMPOSSIBLE) is True else value, context)
        if isinstance(found, str):
            return f"column {shown(self._answers)} {found}"
        impossible = row.get(IMPOSSIBLE)
        if impossible not in (None, True, False):
            return f"column {shown(IMPOSSIBLE)} is {shown(str(impossible), 16)}, not true or false"
        if impossible is not None and impossible is bool(found):
            return f"{IMPOSSIBLE} is {str(impossible).lower()} and there are {len(found)} answers"
        if not found:
            return RowTexts(context, "", ("",), {"question": question, "answers": []})
        return _placed(found, context, question)


def _placed(found: list[Answer], context: str, question: str) -> RowTexts | str:
    """The answers with their places; those that are in an annotator's own words are references alone."""
    places, looked_for, texts = [], False, []
    for answer in found:
        start = answer.start
        if start is None:
            start, looked_for = context.find(answer.text), True
        elif start != NOWHERE and (problem := misplaced(answer, context)) is not None:
            return problem
        if start != NOWHERE:
            places.append([start, start + len(answer.text)])
            texts.append(answer.text)
    if not places:
        several = "" if len(found) == 1 else f" nor does any of the {len(found)} others"
        return f"answer {shown(found[0].text, 32)} does not stand in the context{several}"
    fields: dict[str, Any] = {"question": question, "answers": places}
    if looked_for:
        fields["looked_for"] = [max(1, context.count(text)) for text in texts]
    return RowTexts(context, texts[0], tuple(answer.text for answer in found), fields)


def _of(row: Mapping[str, Any]) -> str:
    identity = row.get("id")
    return f" (id {shown(str(identity), 40)})" if identity not in (None, "") else ""


def questions_in(row: Mapping[str, Any], context: str, question: str, answers: str) -> Inner | None:
    """The questions of an article or a paragraph as SQuAD's files nest them; None for a row that is one itself.

    Args:
        context: What the column of contexts is called, as of ``question`` and ``answers``.
    """
    if question in row:
        return None
    names = {"context": context, "question": question, "answers": answers}
    if isinstance(row.get("paragraphs"), list):
        return _of_paragraphs(row["paragraphs"], names)
    return _of_paragraph(row, "", names) if isinstance(row.get("qas"), list) else None


def _of_paragraphs(paragraphs: list[Any], names: dict[str, str]) -> Inner:
    if not paragraphs:
        yield "", "'paragraphs' is an empty list"
    for number, paragraph in enumerate(paragraphs, start=1):
        place = f"paragraph {number}"
        if not isinstance(paragraph, dict):
            yield place, f"a paragraph is {type(paragraph).__name__}, not an object with 'context' and 'qas'"
        elif not isinstance(paragraph.get("qas"), list):
            what = type(paragraph["qas"]).__name__ if "qas" in paragraph else "missing"
            yield place, f"'qas' is {what}, not {NESTED['qas']}"
        else:
            yield from _of_paragraph(paragraph, place, names)


def _of_paragraph(paragraph: Mapping[str, Any], place: str, names: dict[str, str]) -> Inner:
    around = {names["context"]: paragraph["context"]} if "context" in paragraph else {}
    for number, asked in enumerate(paragraph["qas"], start=1):
        where = f"{place} question {number}".strip()
        if not isinstance(asked, dict):
            yield where, f"a question is {type(asked).__name__}, not an object with 'question' and 'answers'"
        else:
            yield where, around | {names.get(str(name), str(name)): value for name, value in asked.items()}
