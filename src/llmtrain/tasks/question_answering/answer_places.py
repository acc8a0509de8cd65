"""Where an answer stands in its context, and what is wrong with a place that is not there."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from llmtrain.core.errors import shown

NOWHERE = -1  # a start by which data sets say that an answer is in an annotator's own words
STARTS = ("start", "answer_start")
FORMS = ("NFC", "NFKC")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as a row gives it.

    Attributes:
        text: Its text.
        start: Its first character in the context; None: to be looked for; NOWHERE: it stands nowhere.
    """

    text: str
    start: int | None


def listed(value: Any, context: str) -> list[Answer] | str:
    """The answers of a row, or what is wrong with them.

    Args:
        value: A list of ``{text, start}`` or of texts, SQuAD's ``{text: [...], answer_start: [...]}``, a text, or any
            but the last as JSON in a text, which a table's cell holds.
    """
    if value is None:
        return "is empty; [] says that the context has no answer"
    if isinstance(value, str):
        return _of_text(value, context)
    if isinstance(value, dict):
        return _of_columns(value)
    if not isinstance(value, list):
        return f"is {type(value).__name__}, no list of answers"
    if len({isinstance(one, str) for one in value}) > 1:
        return "mixes texts with objects; give every answer as {text, start}"
    found: list[Answer] = []
    for number, one in enumerate(value, start=1):
        made = _text(one, number) if isinstance(one, str) else _of_object(one, number)
        if isinstance(made, str):
            return made
        found.append(made)
    return found


def _of_text(value: str, context: str) -> list[Answer] | str:
    if value.strip()[:1] in ("[", "{") and value not in context:
        import json

        try:
            return listed(json.loads(value), context)
        except (ValueError, RecursionError):
            pass
    return [Answer(value, None)] if value.strip() else "is empty; [] says that the context has no answer"


def _of_columns(value: dict[str, Any]) -> list[Answer] | str:
    """SQuAD's columns of a hub's data set; one object alone is one answer."""
    texts = value.get("text")
    if isinstance(texts, str):
        made = _of_object(value, 1)
        return made if isinstance(made, str) else [made]
    key = next((name for name in STARTS if name in value), None)
    starts = None if key is None else value[key]
    if not isinstance(texts, list) or key is None:
        return f"has the keys {', '.join(map(shown, value)) or 'of nothing'}, not 'text' and 'answer_start'"
    if not isinstance(starts, list):
        return f"has {shown(key)} of type {type(starts).__name__} beside a list of texts; give a list of as many"
    if len(texts) != len(starts):
        return f"has {len(texts)} texts and {len(starts)} starts; they must be as many"
    return listed([{"text": text, key: start} for text, start in zip(texts, starts, strict=True)], "")


def _of_object(one: Any, number: int) -> Answer | str:
    if not isinstance(one, dict):
        return f"has {'nothing' if one is None else type(one).__name__} as answer {number}; give {{text, start}}"
    if "text" not in one:
        return f"has an answer without 'text' (it has {', '.join(map(shown, list(one)[:4])) or 'nothing'})"
    made = _text(one["text"], number)
    if isinstance(made, str):
        return made
    key = next((name for name in STARTS if name in one), None)
    if key is None:
        return "has an answer without 'start', its first character; give it, or texts alone to have them looked for"
    start = one[key]
    if isinstance(start, bool) or not isinstance(start, int):
        return f"has {shown(key)} of type {type(start).__name__}, no whole number"
    return Answer(made.text, start)


def _text(text: Any, number: int) -> Answer | str:
    if not isinstance(text, str):
        return f"has {'nothing' if text is None else type(text).__name__} as the text of answer {number}"
    if not text.strip():
        return f"has an empty text as answer {number}; [] says that the context has no answer"
    return Answer(text, None)


def misplaced(answer: Answer, context: str) -> str | None:
    """What is wrong with an answer's start, and where the answer does stand; None where it is right."""
    text, start = answer.text, answer.start
    assert start is not None
    if start >= 0 and context.startswith(text, start):
        return None
    told = f"answer {shown(text, 32)} does not start at {start}"
    if (at := _nearest(text, start, context)) >= 0:
        return f"{told} but at {at} ({_reason(start, at, context)})"
    if (found := _in_other_form(text, context)) is not None:
        form, begin, end = found
        return f"{told}; at {begin} the context has {shown(context[begin:end], 32)}, {form}"
    return f"{told} nor anywhere in the context"


def _nearest(text: str, start: int, context: str) -> int:
    """The place of the text that is nearest to a start; -1: nowhere."""
    before, behind = context.rfind(text, 0, max(0, start) + len(text)), context.find(text, max(0, start))
    places = [place for place in (before, behind) if place >= 0]
    return min(places, key=lambda place: abs(place - start), default=-1)


def _reason(start: int, at: int, context: str) -> str:
    before, away = context[:at], abs(start - at)
    told = "off by one" if away == 1 else f"off by {away}"
    if start == len(before.encode("utf-8", "surrogatepass")):
        return f"{told}, as if it counted bytes"
    if start == len(before.encode("utf-16-le", "surrogatepass")) // 2:
        return f"{told}, as if it counted units of UTF-16"
    return f"{told}, as if line breaks were two characters" if start == at + before.count("\n") else told


def _in_other_form(text: str, context: str) -> tuple[str, int, int] | None:
    """(what differs, first character, the one behind the last) of a place that has the text but for how it is coded."""
    for form in FORMS:
        if (found := _find(text, context, lambda piece, form=form: unicodedata.normalize(form, piece))) is not None:
            return f"the same in another Unicode form ({form}); write both alike", *found
    if (found := _find(text, context, str.casefold)) is not None:
        return "the same but for capitals; write both alike", *found
    squeezed = _find("".join(text.split()), context, lambda piece: "" if piece.isspace() else piece)
    return None if squeezed is None else ("the same but for spaces; write both alike", *squeezed)


def _find(text: str, context: str, change: Any) -> tuple[int, int] | None:
    """The place in the context that becomes what the text becomes."""
    wanted = "".join(map(change, _clusters(text)))
    made, origin = "", list[tuple[int, int]]()
    at = 0
    for cluster in _clusters(context):
        piece = change(cluster)
        made += piece
        origin += [(at, at + len(cluster))] * len(piece)
        at += len(cluster)
    found = made.find(wanted) if wanted else -1
    return None if found < 0 else (origin[found][0], origin[found + len(wanted) - 1][1])


def _clusters(text: str) -> list[str]:
    """Characters, each with the combining marks behind it."""
    found: list[str] = []
    for one in text:
        if found and unicodedata.combining(one):
            found[-1] += one
        else:
            found.append(one)
    return found
