"""A summary is written as its document is: spaces, case and accents come back, nothing else changes."""

from __future__ import annotations

import pytest

from llmtrain.data.text.spelling import plain, speller
from llmtrain.inference.generated import Generated
from llmtrain.inference.predict import spell_as_written


@pytest.mark.parametrize(("document", "summary", "expected"), [
    ("A real-time strategy game, e.g. for GTK+ 3.x.", "real - time game for gtk + 3. x", "real-time game for GTK+ 3.x"),
    ("Bindings for node.js; Node.js is fast.", "node. js library", "node.js library"),
    ("Die Größe wird auf der Straße geprüft.", "große und straße gepruft", "Größe und Straße geprüft"),
    ("Takes pictures of the screen. Saves PDF.", "takes pdf pictures", "takes PDF pictures"),
    ("Well known - and liked.", "known - and liked", "known - and liked"),
    ("it doesn't work", "doesn ' t", "doesn't"),
    ("other text", "library ( development files ) ; python 3", "library (development files); python 3"),
    ("nothing shared", "totally, new words", "totally, new words"),
    ("我们使用GPT模型，效果好。", "使用 gpt 模型", "使用GPT模型"),
    ("", "alone", "alone"),
    ("some text", "", ""),
])
def test_spelling_of_the_document_comes_back(document: str, summary: str, expected: str) -> None:
    assert speller(document)(summary) == expected


def test_a_cased_tokenizers_own_case_is_kept() -> None:
    assert speller("GNOME for Wi-Fi.", uncased=False)("Gnome for wi - fi") == "Gnome for wi-fi"


def test_the_words_an_uncased_tokenizer_sees_stay_the_same() -> None:
    document = "The C++11 API (über-fast) of Foo_Bar v2.0, see http://x.org/A-b?c=1 for Details!"
    summary = "c + + 11 api of foo _ bar v2. 0 - uber - fast; see http : / / x. org / a - b ? c = 1"
    spelled = speller(document)(summary)
    assert plain(spelled).replace(" ", "") == plain(summary).replace(" ", "")
    assert "C++11 API of Foo_Bar v2.0" in spelled
    assert "http://x.org/A-b?c=1" in spelled


class Faithful:
    """A tokenizer that gives every text back as it was, as byte-level ones do."""

    def __call__(self, text: str, **_: object) -> dict[str, list[str]]:
        return {"input_ids": list(text)}

    def decode(self, ids: list[str], **_: object) -> str:
        return "".join(ids)


def test_only_tokenizers_that_lose_spelling_are_corrected() -> None:
    from helpers import tiny_tokenizer

    made = [Generated("red - line", [1], 0.0)]
    assert [one.text for one in spell_as_written(tiny_tokenizer(), ["A Red-line."], made)] == ["Red-line"]
    assert spell_as_written(Faithful(), ["A Red-line."], made) == made
