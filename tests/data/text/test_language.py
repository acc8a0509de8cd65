"""Telling languages apart, their words and their sentences."""

from __future__ import annotations

import pytest

from llmtrain.data.text.language import detect
from llmtrain.data.text.words import words

TEXTS = {
    "en": ["We met at the café on the corner of the street.", "Fast JSON parser for embedded systems",
           "The team of naïve beginners was better than the one with a résumé."],
    "other": ["Die Katze sitzt auf dem Dach und schaut den Vögeln zu.", "Der Hund ist nicht im Garten.",
              "Schnelles Werkzeug zeigt Prüfsummen großer Dateien verschiedener Verzeichnisse",
              "El gato come pescado en la casa de mi hermana.", "Mañana iré al médico con mi niño.",
              "Le chat mange du poisson dans la cuisine.", "L'élève a été félicité à l'école.",
              "Мы встретились в кафе на углу.", "हम कल बाज़ार गए थे।"],
    "cjk": ["今天天气很好，我们去公园吧。", "今日は天気がいいので散歩した。", "오늘은 날씨가 좋다.",
            "BERT 模型训练方法研究"],
}


@pytest.mark.parametrize(("language", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts])
def test_ordinary_sentences_are_told_apart(language: str, text: str) -> None:
    assert detect([text]) == language


def test_combining_marks_belong_to_their_word() -> None:
    assert words("हिन्दी भाषा", "other") == ["हिन्दी", "भाषा"]
    assert words("cafe\u0301 x", "other") == ["café", "x"]


def test_an_apostrophe_parts_words_however_it_is_spaced() -> None:
    assert words("l'homme", "other") == words("l ' homme", "other") == words("L’homme", "other") == ["l", "homme"]
