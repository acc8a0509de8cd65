"""Which words of a document a summary copied."""

from __future__ import annotations

from helpers import tiny_tokenizer
from llmtrain.inference.copied_words import copied_words
from llmtrain.inference.generated import Copied

DOCUMENT = "Sorting lists,  then the Graph loads."  # sort ##ing, list ##s: two pieces a word


def test_copied_tokens_become_words_with_their_place_in_the_document() -> None:
    encoded = tiny_tokenizer()([DOCUMENT], return_offsets_mapping=True)
    tokens, offsets, words = encoded.tokens(0), encoded["offset_mapping"][0], encoded.word_ids(0)
    place = {token: index for index, token in enumerate(tokens)}
    assert place["##ing"] == place["sort"] + 1
    pointed = [("sort", 0.9, place["sort"]), ("##ing", 0.6, place["##ing"]), ("written", 0.2, place["graph"]),
               ("graph", 0.8, place["graph"]), ("[SEP]", 0.9, place["[SEP]"]), ("graph", 0.7, place["graph"])]
    found = copied_words(DOCUMENT, pointed, offsets, words)
    graph = DOCUMENT.index("Graph")
    assert found == [Copied("Sorting", 0, 7, 0.6), Copied("Graph", graph, graph + 5, 0.8),
                     Copied("Graph", graph, graph + 5, 0.7)]
    assert all(DOCUMENT[word.start:word.end] == word.text for word in found)


def test_a_space_that_belongs_to_a_token_is_not_part_of_the_word() -> None:
    found = copied_words("the graph", [("Ġgraph", 0.9, 1)], [(0, 3), (3, 9)], [0, 1])
    assert found == [Copied("graph", 4, 9, 0.9)]
