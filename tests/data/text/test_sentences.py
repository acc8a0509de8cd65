"""Where sentences end, by language."""

from __future__ import annotations

import random
import time

import pytest

from llmtrain.data.text.language import CJK
from llmtrain.data.text.sentences import sentence_spans, sentences

CASES = [  # | marks an end
    "Dr. Smith met Mrs. Jones.|Prof. Lee came too.", "He joined the U.S. Army in May.|He left.",
    "He lives in the U.S.|The weather is fine.", "Pi is 3.14 or so.|Next.", "Use tools, e.g. this one.|Then stop.",
    "It came at 5 p.m. Monday.|It left at 6 p.m.|They slept.",
    "See Fig. 3 and No. 5 (cf. Eq. 2).|He said no.|Then he left.",
    "As Smith et al. (2003) show.|Lee et al. 2004 agree.", "J. K. Rowling wrote it.|George W. Bush read it.",
    "Apple Inc. was founded.|He works at Google Inc.|The firm grew.", "Wait... what?|So it goes...|Then he left.",
    'He said "no."|Then he left.', "“Stop!” he cried.|“Why?”|He ran.", "(It works.)|Next one.",
    "It works (see 2.)|Next.",
    "See https://a.b/c?d=1&e=f!g for it.|Mail x.y@z.org. now.|Or ask at www.a.org.|Then go.",
    "1. First item.|2. Second item.|C. Third.|IV. Fourth.", "Items:|• one|• two", "Steps.|- First\n|- second\n|* third",
    "#Person1#: Hi!|#Person2#: Hello.",
    "no punctuation at all", "one\n|two\n\n|three", "!", "...", "He left!!!|Really?!|Yes.",
    "A line that is folded by an editor after many characters\nand goes on here.|End.",
    "A line that is folded by an editor after many characters:\n|and a list",
    "the end .|the next .", "it works.|the next one does too.|does it?|yes",
    "use tools, e.g. this one.|then stop... now",
    "Он ушёл.|Потом вернулся.", "Έφυγε.|Ήρθε.", "वह गया।|वह आया।", "Es ist z. B. so.|Ja.", "version 1.2 is out",
    "¿Qué?|¡Hola!|Sí.", "Roe v. Wade was read.|It is on p. 12.", "She works at Yahoo! in town.",
    "一。|二！|三", "他说：“好。”|然后走了。", "他说：“好。”，然后走了。|对吗？！|对。",
    "真的?|是的!|“走吧!”|他走了", "他走了……|她哭了。",
    "提出了新方法.|仿真结果表明(见图1).|误差为3.14.|用BERT模型.|结束，含量高.|NdCl3好",
    "Node.Js和U.S.A的方法。",
    "1.概述和方法.|结果", "我想...也许吧。",
    "「行こう。」|と言った。|今日は。", "使用Dr. Smith的方法。|The end.|完了。",
    "（参见图1。）|然后", "没有标点的句子", "第一行\n|第二行",
]


@pytest.mark.parametrize("marked", CASES)
def test_sentences_end_where_a_reader_ends_them(marked: str) -> None:
    parts = [part.strip() for part in marked.split("|")]
    text = marked.replace("|", "" if CJK.search(marked) else " ")
    assert sentences(text) == parts


def test_spans_cover_all_but_spaces_in_order() -> None:
    draw = random.Random(0)
    alphabet = "ab A.B 1.?!…。！？”“\"'()（）\n\t•-他们，  e.g. Dr. U.S. "
    for _ in range(3000):
        text = "".join(draw.choice(alphabet) for _ in range(draw.randint(1, 60)))
        spans = sentence_spans(text)
        assert spans
        ends = [0, *(end for _, end in spans)]
        starts = [*(start for start, _ in spans), len(text)]
        assert all(a <= b and not text[a:b].strip() for a, b in zip(ends, starts, strict=True)), repr(text)
        assert all(a < b for a, b in spans)
        assert not text.strip() or all(text[a:b] == text[a:b].strip() for a, b in spans)


def test_empty_and_blank_texts() -> None:
    assert sentence_spans("") == [] == sentences("")
    assert sentence_spans(" \n ") == [(0, 3)]
    assert sentences(" \n ") == []


@pytest.mark.parametrize("piece", ["This is one. ", " ", ".", ". ", "。", "。，", "\"", ".)", "Dr. ", "(", "\n", "a\n",
                                   "他.", "word-" * 12 + "\nand ", ".\"", "!— ", " •", "x. y"])
def test_time_is_linear(piece: str) -> None:
    """Ten times the text takes about ten times as long, whatever it is made of."""

    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.process_time()
        sentence_spans(text)
        return time.process_time() - start

    seconds(1000)
    assert seconds(400_000) < 40 * max(seconds(40_000), 0.002)
