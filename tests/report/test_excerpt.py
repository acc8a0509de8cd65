"""What a page shows of a long or a strange text."""

from __future__ import annotations

from llmtrain.report.excerpt import excerpt, harmless


def test_a_cut_is_told_with_its_length_and_evidence_behind_it_is_kept() -> None:
    text = "a" * 1000 + "ANSWER" + "b" * 1000
    found = excerpt(text, 100, [(1000, 1006)])
    assert found.text.startswith("a" * 100) and len(found.text) < 400
    told = [found.text[start:end] for start, end in found.notes]
    assert told == [" [… 1,906 characters are left out here …] "]  # the window is more than half of 100
    found = excerpt(text, 400, [(1000, 1006)])
    assert [found.text[start:end].split()[1] for start, end in found.notes] == ["520", "920"]
    start, end = found.place(1000, 1006) or (0, 0)
    assert found.text[start:end] == "ANSWER"
    assert found.place(500, 510) is None and found.place(390, 405) is None
    assert found.place(0, 5) == (0, 5)


def test_a_short_text_is_whole() -> None:
    found = excerpt("abc", 3, [(1, 2)])
    assert (found.text, found.notes, found.place(1, 2)) == ("abc", [], (1, 2))


def test_places_are_counted_as_javascript_counts() -> None:
    found = excerpt("😀 a 𝒳 b", 100)
    start, end = found.place(2, 5) or (0, 0)
    assert found.text.encode("utf-16-le")[2 * start:2 * end].decode("utf-16-le") == "a 𝒳"


def test_what_is_no_character_to_show_is_a_symbol_and_lengths_stay() -> None:
    text = "\0 \x1b[31m \x7f \ud83d \u202e turned \n\t"
    shown = harmless(text)
    assert len(shown) == len(text) and shown == "␀ ␛[31m \ufffd \ufffd \ufffd turned \n\t"
    shown.encode()
