"""Where the outputs of two precisions part."""

from __future__ import annotations

from helpers import tiny_tokenizer
from llmtrain.evaluation.precision_audit import changes


def test_the_first_character_and_token_that_differ_are_named() -> None:
    texts = {"same": ("red green", "red green"), "word": ("red green blue", "red blue"), "longer": ("red", "red red"),
             "empty": ("", "red")}
    rows = [[{"id": name, "prediction": pair[side]} for name, pair in texts.items()] for side in (0, 1)]
    tokenizer = tiny_tokenizer()
    places = {name: [len(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in ("red ", "red", "")]
              for name in texts}
    red = places["word"][0]
    found = {one.pop("id"): one for one in changes(*rows, tokenizer)}
    assert list(found) == ["word", "longer", "empty"]
    assert (found["word"]["character"], found["word"]["token"]) == (4, red)
    assert (found["longer"]["character"], found["longer"]["token"]) == (3, red)
    assert found["longer"]["tokens"][0] == "" and (found["empty"]["character"], found["empty"]["token"]) == (0, 0)
