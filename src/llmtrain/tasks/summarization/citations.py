"""Which sentences of a document each sentence of its summary comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from llmtrain.data.text.sentences import sentence_spans
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.inference.generated import Citation, CitedSentence, CopyTrace, Generated


def cite(tokenizer: Tokenizer, made: Sequence[Generated], least: float) -> list[Generated]:
    """Each summary that was traced with the citations of its sentences; the others as they are.

    A token's weights are how likely it was copied, shared out by what the copy gate points at; a sentence's are the sum
    of its tokens'. It cites what has ``least`` of them or more, and the largest in any case.
    """
    return [one.each(lambda each: each if each.traced is None else replace(
        each, citations=_citations(tokenizer, each, each.traced, least))) for one in made]


def numbered(sentences: Iterable[tuple[str, Iterable[int]]]) -> str:
    """Sentences of a summary, each with the numbers (1: the first) of the document's sentences that it cites.

    Args:
        sentences: Text, and indices from 0.
    """
    return " ".join(f"{text} [{', '.join(str(index + 1) for index in sources)}]" for text, sources in sentences)


def _citations(tokenizer: Tokenizer, one: Generated, traced: CopyTrace, least: float) -> list[Citation]:
    spans = sentence_spans(one.text)
    if not spans or not traced.spans:
        return [Citation(one.text[start:end], start, end, []) for start, end in spans]
    totals = [[0.0] * len(traced.weights[0]) for _ in spans]
    for sentence, weights in zip(_sentence_of_tokens(tokenizer, one), traced.weights, strict=True):
        totals[sentence] = [a + b for a, b in zip(totals[sentence], weights, strict=True)]
    return [Citation(one.text[start:end], start, end, _sources(total, traced, least))
            for (start, end), total in zip(spans, totals, strict=True)]


def _sources(total: list[float], traced: CopyTrace, least: float) -> list[CitedSentence]:
    whole = sum(total)
    shares = sorted(((weight / whole if whole > 0 else 0.0, -index) for index, weight in enumerate(total)),
                    reverse=True)
    return [CitedSentence(-negative, *traced.spans[-negative], round(share, 4))
            for rank, (share, negative) in enumerate(shares) if rank == 0 or share >= least]


def _sentence_of_tokens(tokenizer: Tokenizer, one: Generated) -> list[int]:
    """The sentence each token of a summary stands in, by counting letters: spelling and spaces differ from the text's.
    """
    ends = list(accumulate(_letters(one.text[start:end]) for start, end in sentence_spans(one.text)))
    found = []
    for number in range(len(one.token_ids)):
        written = _letters(tokenizer.decode(one.token_ids[:number + 1], skip_special_tokens=True))
        found.append(next((i for i, end in enumerate(ends) if written <= end), len(ends) - 1))
    return found


def _letters(text: str) -> int:
    return sum(not character.isspace() for character in text)
