"""A text's sentences, as spans of the text.

The marks themselves tell the language at each place, so one set of rules reads texts that mix them: Latin, Greek,
Cyrillic and the like end a sentence with a mark, a space and a beginning; Chinese and Japanese with the mark alone.
Own rules, because the libraries fall short: nltk's punkt must be downloaded, pysbd is unkept and gives no true spans,
sentencex is native code that knows neither line breaks, enumerations nor the half-width full stop of Chinese abstracts.
"""

from __future__ import annotations

import regex

from llmtrain.data.text.language import CJK

Span = tuple[int, int]
CLOSERS = r"""["'”’»」』）)\]]*+"""
OPENERS = r"""["'“‘«「『（(\[¿¡]*+"""
STOP = regex.compile(r"[.!?…]++|[。！？｡।؟]++|[\n•‣▪◦●]")  # where a sentence may end; quick to look for
# a stop, what closes behind it, and what begins then; possessive, and never begun inside a run: no text is read twice
END = regex.compile(
    rf"(?<![。！？｡।؟])(?P<wide>[。！？｡।؟][。！？｡।؟.!?…]*+{CLOSERS})(?![，、；：,;])"
    rf"|(?<![.!?…])(?P<stop>[.!?…]++){CLOSERS}(?:(?P<space>[^\S\n]++)(?={OPENERS}(?:(?P<begins>[\p{{Lu}}\p{{Lt}}\p{{Lo}}"
    rf"\p{{N}}])|(?P<small>\p{{Ll}})|(?P<mark>[#•‣▪◦●*–—-])))|(?P<joined>(?={OPENERS}(?:{CJK.pattern}|\p{{Lu}}))))"
    r"|(?P<item>(?<=\s)(?=[•‣▪◦●]))"
    r"|(?P<line>\n\s*+)")
NO_WORD = regex.compile(r"[^\p{Lu}\p{Ll}\p{N}.'’-]++")  # letters with case: other scripts abbreviate otherwise
ENUMERATOR = regex.compile(r"[(\[]?(?:\d{1,3}(?:\.\d{1,3})*|\p{L}|[ivx]{1,5}|[IVX]{1,5})$")
CAPITAL = regex.compile(r"[\p{Lu}\p{Lt}]")
NEXT_WORD = regex.compile(r"[\p{L}\p{N}'’]++")
INITIALS = regex.compile(r"\p{L}(?:\.\p{L})*+")
LONGEST_WORD = 24  # characters looked back for an abbreviation
FOLDED_LINE = 50  # characters; a shorter line that ends before a small letter is meant to end


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# never the last word of a sentence
BEFORE_A_NAME = _set("""dr mr mrs ms mx prof messrs mme mlle st gen sen rep gov capt cmdr lt col sgt maj rev hon pres
    supt msgr vs cf e.g i.e eg ie viz approx ca incl esp resp z.b d.h u.a bzw""")
# an abbreviation where a number follows, a word of its own else: `no. 5`, but `He said no.`
BEFORE_A_NUMBER = _set("""no nos nr fig figs eq eqs sec secs ch chap vol vols p pp pt art tab ref refs app ed al
    jan feb mar apr jun jul aug sep sept oct nov dec ver v op""")
# ends a sentence where the next begins with a word that names seldom begin with: `in the U.S. The ...`
AMBIGUOUS = _set("""inc ltd co corp llc jr sr bros dept univ assn ave blvd mt ft etc usw ph.d m.d b.a m.a b.sc m.sc
    a.m p.m""")
STARTERS = _set("""the this that these those it its a an in on at as of for from by with to he she they we i you his her
    their our my your and but or so if when while where after before since although though because however then there
    here what who why how which not no yes all some many most both each every one two first next finally also thus
    hence moreover furthermore instead meanwhile later now today is are was were do does did can please see use""")


def sentence_spans(text: str) -> list[Span]:
    """(start, end) of each sentence, in order. The spans cover every character but the spaces between them.

    Linear in the length of the text. A text of nothing but spaces is one span; the empty text has none.
    """
    capitals = CAPITAL.search(text) is not None
    spans: list[Span] = []
    start = read = len(text) - len(text.lstrip())
    for stop in STOP.finditer(text, start):
        found = END.match(text, stop.start()) if stop.start() >= read else None
        if found is None:
            continue
        read = found.end()
        end = _end(text, start, found, capitals)
        if end is not None and end > start:
            spans.append((start, start + len(text[start:end].rstrip())))
            start = found.end()
            while start < len(text) and text[start].isspace():
                start += 1
    end = len(text.rstrip())
    if end > start:
        spans.append((start, end))
    return spans or [(0, len(text))] * bool(text)


def sentences(text: str) -> list[str]:
    """The sentences' own texts, without the spaces around them; none for a text of spaces alone."""
    return [text[start:end] for start, end in sentence_spans(text) if not text[start:end].isspace()]


def _end(text: str, start: int, found: regex.Match[str], capitals: bool) -> int | None:
    """Where the sentence ends that began at ``start``; None where this place does not end it."""
    if found["line"] is not None:
        return None if capitals and _folded(text, start, found) else found.start()
    if found["item"] is not None:
        return found.start()
    if found["wide"] is not None:
        return found.end()
    stop, end = found["stop"], found.end() if found["space"] is None else found.start("space")
    pause = "?" not in stop and "!" not in stop and stop not in (".", "……") and len(stop) < 6  # ... and one …
    if found["joined"] is not None:
        cjk = (found.start() > start and CJK.match(text, found.start() - 1)) or CJK.match(text, found.end())
        return None if pause or not cjk or _numbers(text, start, found.start()) else end
    apart = found.start() > start and text[found.start() - 1].isspace()  # as tokenizers leave it: `the end . the next`
    if found["small"] is not None and (capitals or pause):
        return end if apart and len(stop) == 1 else None
    if found["mark"] is not None and found["mark"] in "–—-" and stop != ".":
        return None
    return None if stop == "." and not apart and _abbreviated(text, start, found) else end


def _folded(text: str, start: int, found: regex.Match[str]) -> bool:
    """Whether a line break only folds a long line: one break, no stop before it, a small letter behind."""
    begin = max(start, text.rfind("\n", 0, found.start()) + 1)
    return (found["line"].count("\n") == 1 and found.start() - begin >= FOLDED_LINE
            and text[found.start() - 1] not in ".!?…。！？:;" and text[found.end():found.end() + 1].islower())


def _numbers(text: str, start: int, at: int) -> bool:
    """Whether all that stands before a full stop is a number or letter of an enumeration: ``1.``, ``b.``, ``iv.``"""
    return at - start <= 8 and ENUMERATOR.fullmatch(text[start:at]) is not None


def _abbreviated(text: str, start: int, found: regex.Match[str]) -> bool:
    """Whether the full stop belongs to the word before it."""
    if _numbers(text, start, found.start()):
        return True
    last = NO_WORD.split(text[max(start, found.start() - LONGEST_WORD):found.start()])[-1].lower()
    if last in BEFORE_A_NAME:
        return True
    behind = NEXT_WORD.search(text[found.end():found.end() + LONGEST_WORD])
    follows = behind[0].lower() if behind else ""
    if last in BEFORE_A_NUMBER and (follows[:1].isdigit() or len(last) > 1):
        return follows[:1].isdigit()
    return (last in AMBIGUOUS or INITIALS.fullmatch(last) is not None) and follows not in STARTERS
