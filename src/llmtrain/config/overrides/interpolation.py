"""What a text asks of OmegaConf: ``${data.train}`` is another key, ``${oc.env:NAME}`` a look outside."""

from __future__ import annotations

import re
from typing import Any

_BEGIN = re.compile(r"(\\*)\$\{")


def resolver_in(text: str) -> str | None:
    """An interpolation in the text, as far as its first colon, that calls a resolver or may come to call one.

    The colon may lie deeper: ``${oc.${data.document}:NAME}`` names its resolver by another key. An odd number of
    backslashes before it makes an interpolation a plain text.
    """
    for begin in _BEGIN.finditer(text):
        if len(begin[1]) % 2:
            continue
        depth = 1
        for place in range(begin.end(), len(text)):
            letter = text[place]
            depth += (letter == "{") - (letter == "}")
            if letter == ":":
                return text[begin.end() - 2:place + 1]
            if not depth:
                break
    return None


def texts(value: Any) -> list[str]:
    """Every text in a plain value, keys included."""
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in texts(one)]
    return [str(value)] if isinstance(value, str) else []
