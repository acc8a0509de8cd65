"""When an answer is right: exact match and F1 by the rules of SQuAD, and for Chinese by those of CMRC 2018.

SQuAD (Rajpurkar et al. 2016, section 6.1; 2.0: Rajpurkar, Jia and Liang 2018) compares lower-cased words without
punctuation and English articles, and F1 counts the words that two answers share. CMRC 2018 (Cui et al. 2019, section 4)
compares characters, with runs of other scripts cut into words, and F1 counts the longest run of them that both have.
Of several references the one that scores best counts.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from llmtrain.data.examples import Example
from llmtrain.data.text.language import detect
from llmtrain.tasks.metric import RowScores
from llmtrain.tasks.task import NO_DETAIL, Scorer

AUTO, ENGLISH, CHINESE, OTHER = "auto", "en", "cjk", "other"  # values of eval.language
ARTICLES = re.compile(r"\b(?:a|an|the)\b")
# what CMRC's script leaves out; its list has an ellipsis of two characters too, which no single character equals
CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
HAN = re.compile("[\u4e00-\u9fa5]")


def squad_text(text: str, english: bool = True) -> str:
    """An answer as SQuAD's script compares it: lower case, no punctuation, single spaces; in English no articles.

    For other languages every mark of Unicode is punctuation, as in MLQA (Lewis et al. 2020).
    """
    text = text.lower()
    if english:
        text = ARTICLES.sub(" ", "".join(one for one in text if one not in string.punctuation))
    else:
        text = "".join(one for one in text if one not in string.punctuation and unicodedata.category(one)[0] != "P")
    return " ".join(text.split())


def shared_words(one: list[str], other: list[str]) -> int:
    """How many words two answers have in common, each as often as both have it."""
    return (Counter(one) & Counter(other)).total()


def cmrc_text(text: str) -> str:
    """An answer as CMRC's script compares it: lower case, without its list of marks."""
    return "".join(one for one in text.lower().strip() if one not in CMRC_MARKS)


def cmrc_units(text: str) -> list[str]:
    """Chinese characters one by one, all between them in words of nltk's Treebank tokenizer.

    The script first cuts what is no Chinese into sentences by a model that nltk would have to download; here a run of
    it is one sentence, which differs only by full stops inside such a run.
    """
    from nltk.tokenize import NLTKWordTokenizer

    tokenizer, found, run = NLTKWordTokenizer(), [], ""
    for one in cmrc_text(text):
        if HAN.match(one):
            found += [*(tokenizer.tokenize(run) if run else ()), one]
            run = ""
        else:
            run += one
    return [*found, *(tokenizer.tokenize(run) if run else ())]


def shared_run(one: list[str], other: list[str]) -> int:
    """The length of the longest run of units that stands in both."""
    return SequenceMatcher(None, one, other, autojunk=False).find_longest_match().size


def f1(prediction: list[str], reference: list[str], shared: Callable[[list[str], list[str]], int]) -> float:
    """F1 of the units that two answers share, 0 to 1; of two answers one of which is empty, whether both are."""
    if not prediction or not reference:
        return float(prediction == reference)
    common = shared(prediction, reference)
    return 2 * common / (len(prediction) + len(reference))


class AnswerScorer(Scorer):
    """Exact match and F1, 0 to 100, with those of rows that have an answer and of rows that have none.

    Args:
        language: ``eval.language``: en, cjk, other, or auto, which the references decide.
        examples: Whose references decide it.
    """

    def __init__(self, language: str, examples: Sequence[Example]) -> None:
        self.language = language if language != AUTO else detect(
            text for example in examples for text in example.references if text)

    @property
    def signature(self) -> str:
        rules = {ENGLISH: "SQuAD's rules (lower case, no punctuation, no articles; words)",
                 CHINESE: "CMRC 2018's rules (lower case, no punctuation; characters, longest common run)"}
        told = rules.get(self.language, "SQuAD's rules without articles (lower case, no Unicode punctuation; words)")
        return f"exact match and F1 by {told}, best of the references"

    @cached_property
    def _rules(self) -> tuple[Callable[[str], str], Callable[[str], list[str]], Callable[..., int]]:
        if self.language == CHINESE:
            return cmrc_text, cmrc_units, shared_run
        english = self.language == ENGLISH
        return (lambda text: squad_text(text, english)), (lambda text: squad_text(text, english).split()), shared_words

    def score(self, prediction: str, example: Example, detail: Mapping[str, Any] = NO_DETAIL) -> RowScores:
        plain, units, shared = self._rules
        # as SQuAD's script: references of marks and articles alone are left out, and none left means no answer
        wanted = [text for text in example.references if plain(text)] or [""]
        said, said_units = plain(prediction), units(prediction)
        return {"exact_match": 100.0 * any(said == plain(text) for text in wanted),
                "f1": 100.0 * max(f1(said_units, units(text), shared) for text in wanted)}

    def extras(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """Where some rows have no answer: both scores over the rows with one and over those without, and the shares."""
        silent = [not any(example.references) for example in examples]
        if not any(silent):
            return {}
        found = {"no_answer_rows": float(sum(silent)),
                 "no_answer_predicted": float(sum(not text.strip() for text in predictions))}
        return found | dict(self._parts(examples, predictions, silent))

    def _parts(self, examples: Sequence[Example], predictions: Sequence[str], silent: list[bool],
               ) -> Iterator[tuple[str, float]]:
        rows = [self.score(text, example) for text, example in zip(predictions, examples, strict=True)]
        for part, wanted in (("has_answer", False), ("no_answer", True)):
            chosen = [row for row, none in zip(rows, silent, strict=True) if none is wanted]
            for name in ("exact_match", "f1") if chosen else ():
                yield f"{part}_{name}", sum(row[name] for row in chosen) / len(chosen)
