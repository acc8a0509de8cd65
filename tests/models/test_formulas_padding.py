"""Rows padded on the left, moved to the left and back, against Python lists."""

from __future__ import annotations

import pytest
import torch

from llmtrain.models import padding
from llmtrain.models.padding import check_written, leading, moved, right_padded

# padded on the left by two, on the right, with a hole, wholly, not at all, and by all but the last
MASK = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0] * 5, [1] * 5, [0, 0, 0, 0, 1]])
LEAD = [2, 0, 1, 0, 0, 4]
IDS = torch.arange(30).view(6, 5)


@pytest.mark.parametrize("kind", [torch.long, torch.bool, torch.float32])
def test_leading_padding_is_counted_up_to_the_first_real_token(kind: torch.dtype) -> None:
    assert leading(MASK.to(kind)).tolist() == [[lead] for lead in LEAD]
    assert leading(MASK[:, :0]).tolist() == [[0]] * 6
    assert leading(MASK[:0]).shape == (0, 1)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 2), (6, 5, 2, 3)])
def test_rows_are_moved_to_the_left_and_back(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack([torch.cat([row[lead:], row[:lead]]) for row, lead in zip(x, LEAD, strict=True)])
    made = moved(x, torch.tensor(LEAD).unsqueeze(1))
    assert torch.equal(made, wanted)
    assert torch.equal(moved(made, torch.tensor(LEAD).unsqueeze(1), back=True), x)


def test_a_row_moved_by_its_whole_width_is_as_it_was() -> None:
    x = torch.tensor([[7], [8]])
    assert torch.equal(moved(x, torch.ones(2, 1, dtype=torch.long)), x)
    assert moved(x[:, :0], torch.zeros(2, 1, dtype=torch.long)).shape == (2, 0)


def test_documents_are_padded_on_the_right_with_their_sentences() -> None:
    start = torch.tensor([[2, 4, 0], [0, 1, 0], [1, 0, 3], [0, 0, 0], [0, 2, 3], [4, 0, 0]])
    end = torch.tensor([[4, 5, 0], [1, 3, 0], [3, 0, 4], [0, 0, 0], [2, 3, 5], [5, 0, 0]])
    ids, mask, places = right_padded(IDS, MASK, (start, end))
    for row, lead in enumerate(LEAD):
        told, seen = IDS[row].tolist(), MASK[row].tolist()
        assert ids[row].tolist() == told[lead:] + told[:lead]
        assert mask[row].tolist() == seen[lead:] + seen[:lead]
    assert places is not None
    for made, given in zip(places, (start, end), strict=True):
        assert made.tolist() == [[max(0, place - lead) for place in row]
                                 for row, lead in zip(given.tolist(), LEAD, strict=True)]
    ids, mask, nothing = right_padded(IDS, MASK)
    assert nothing is None and ids[0].tolist() == [2, 3, 4, 0, 1]
    ids, mask, places = right_padded(IDS, None, (start, end))
    assert torch.equal(ids, IDS) and mask.tolist() == [[1] * 5] * 6
    assert places is not None and places[0] is start and places[1] is end


def test_one_sentence_in_the_padding_is_refused_but_while_a_graph_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = torch.tensor([[2, 1], [0, 1]]), torch.tensor([[3, 2], [1, 3]])
    with pytest.raises(ValueError, match="sentence_start names padding"):
        right_padded(IDS[:2], MASK[:2], (start, end))
    monkeypatch.setattr(padding, "tracing", lambda: True)
    _, _, places = right_padded(IDS[:2], MASK[:2], (start, end))
    assert places is not None and places[0].tolist() == [[0, 0], [0, 1]] and places[1].tolist() == [[1, 0], [1, 3]]


def test_summaries_padded_on_the_left_are_refused_but_while_a_graph_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    left = torch.tensor([[1, 1, 1], [0, 1, 1]])
    with pytest.raises(ValueError, match="padded on the left"):
        check_written(left)
    for fine in (None, torch.tensor([[1, 1, 0], [1, 0, 0]]), left[:, :0], left[:0]):
        check_written(fine)
    monkeypatch.setattr(padding, "tracing", lambda: True)
    check_written(left)
