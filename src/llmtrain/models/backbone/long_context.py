"""Documents longer than the base's positions: overlapping windows, or positions stretched to the new length.

Shapes: B rows, S source tokens, N windows of all rows, X tokens of a window, D width of the trunk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmtrain.config.choices import LongMode
from llmtrain.config.sections.data import DataConfig
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.families import family_of, first_position, positions
from llmtrain.nn.attention import kept_probabilities

FRAME = 2  # special tokens around a window
LINEAR = ("default", "linear")  # scalings of rotary positions that another factor can be put on
Indices = NDArray[np.int64]


def length_problems(data: DataConfig, base: Base, limit: int, head: str) -> Iterator[str]:
    """A line where documents would be longer than base and head can read, or the way cannot be gone.

    Args:
        limit: The longest document in one piece, in tokens.
    """
    room = base.positions - FRAME
    if data.long is LongMode.sliding and 2 * data.window_overlap > room:
        yield (f"data.window_overlap={data.window_overlap} is more than half of the {room} tokens of a window of the "
               f"base at {base.path}; lower it")
    if data.long is LongMode.interpolate and base.family.positions is None and _rotary(base.config) not in LINEAR:
        yield (f"data.long=interpolate, but the rotary positions of the base at {base.path} are scaled already, by "
               f"{_rotary(base.config)!r}; use data.long=sliding or head_tail")
    if data.max_source_tokens > limit and data.long not in (LongMode.sliding, LongMode.interpolate):
        yield (f"data.max_source_tokens={data.max_source_tokens} is more than the {limit} tokens that the base at "
               f"{base.path} can read with head={head}; lower it, or choose data.long=sliding or interpolate")


def read_long(model: Any, data: DataConfig, needed: int) -> None:
    """Make a new model read documents as ``data.long`` says; its configuration keeps that.

    Args:
        needed: Positions for the longest document and what else the model puts behind it.
    """
    if data.long is LongMode.sliding:
        model.config.window_overlap = data.window_overlap
    elif data.long is LongMode.interpolate:
        stretch_positions(model, needed)


def is_stretched(folder: Path) -> bool:
    """Whether a published model's positions were stretched."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("written_positions") is not None


def stretch_positions(model: Any, length: int) -> None:
    """Interpolate the trunk's positions so that ``length`` fit (none to do where there are as many).

    Learned positions are resampled linearly, the ends staying the ends. Rotary ones are brought nearer to each other,
    position n being turned as n * old / length was (Chen et al. 2023, "Extending Context Window of Large Language
    Models via Positional Interpolation", equation 4). A head's own positions stay as they are (``written_positions``).
    """
    base = model.trunk.config
    old = positions(base)
    if length <= old:
        return
    name = "max_position_embeddings"
    changed: dict[str, Any] = {base.attribute_map.get(name, name): first_position(base) + length}
    path = family_of(base).positions
    if path is None:
        scaled = dict(base.rope_parameters)
        factor = scaled.get("factor", 1.0) * length / old
        changed["rope_parameters"] = scaled | {"rope_type": "linear", "factor": factor}
    for name, value in changed.items():
        setattr(base, name, value)
    model.config.base = model.config.base | changed
    model.config.written_positions = old
    if path is None:
        model.trunk.rotary_emb = type(model.trunk.rotary_emb)(config=base)
    else:
        _resample(model.trunk, path, first_position(base), length)


@torch.no_grad()
def _resample(trunk: Any, path: str, first: int, length: int) -> None:
    """Put a table of ``length`` positions, behind ``first`` other rows, in place of the trunk's."""
    table: Any = trunk.get_submodule(path)
    stretched_DS = nn.functional.interpolate(table.weight[first:].T[None], size=length, mode="linear",
                                             align_corners=True)[0]
    new = nn.Embedding(first + length, table.embedding_dim, table.padding_idx)
    new.weight.copy_(torch.cat([table.weight[:first], stretched_DS.T]))
    trunk.set_submodule(path, new.to(table.weight))
    embeddings: Any = trunk.get_submodule(path.rpartition(".")[0])
    if hasattr(embeddings, "position_ids"):
        embeddings.position_ids = torch.arange(first + length, device=table.weight.device).expand(1, -1)
    if hasattr(embeddings, "token_type_ids"):
        embeddings.token_type_ids = torch.zeros_like(embeddings.position_ids)


def _rotary(base: Any) -> str:
    """How a base's rotary positions are scaled; "default" where they are not."""
    return str(base.rope_parameters["rope_type"])


@dataclass(frozen=True, slots=True)
class Windows:
    """How rows are cut into windows: ``column_NX`` the source token of each, ``real_NX`` whether it is one; and
    ``place_BS`` the window token (n * X + x) that gives each source token its state."""

    row_N: Indices
    column_NX: Indices
    real_NX: NDArray[np.bool_]
    place_BS: Indices


def plan_windows(lengths_B: Indices, width: int, overlap: int, before: int, after: int) -> Windows:
    """Windows of at most ``width`` tokens, each in the row's own special tokens, over rows of the given lengths.

    They lie ``width - before - after - overlap`` tokens apart; a row's last one ends where the row ends. A token that
    stands in two takes its state from the one whose nearer end is farther, so with most context on both sides.

    Args:
        before: Special tokens that each row begins with; ``after``: ends with.
    """
    room = width - before - after
    content_B = lengths_B - before - after
    count_B = 1 + np.maximum(0, -(-(content_B - room) // (room - overlap)))
    row_N = np.repeat(np.arange(len(lengths_B)), count_B)
    first_B = np.cumsum(count_B) - count_B
    number_N = np.arange(len(row_N)) - first_B[row_N]
    start_N = np.minimum(number_N * (room - overlap), np.maximum(0, content_B[row_N] - room))
    size_N = np.minimum(room, content_B[row_N])
    middle_N = (start_N[1:] + start_N[:-1] + room) // 2  # of what a window shares with the next one
    last_N = number_N == count_B[row_N] - 1
    low_N = np.where(number_N == 0, 0, np.concatenate([[0], middle_N]))
    high_N = np.where(last_N, content_B[row_N], np.concatenate([middle_N, [0]]))

    place_X = np.arange(int(size_N.max(initial=0)) + before + after)
    behind_NX = place_X - before - size_N[:, None]  # 0 at the first token behind the content
    column_NX = np.where(place_X < before, place_X, place_X + start_N[:, None])
    column_NX = np.where(behind_NX >= 0, (lengths_B[row_N] - after)[:, None] + behind_NX, column_NX)
    real_NX = behind_NX < after

    width_X = len(place_X)
    place_BS = np.zeros((len(lengths_B), int(lengths_B.max(initial=0))), np.int64)
    owner = np.repeat(np.arange(len(row_N)), high_N - low_N)
    content = np.concatenate([np.arange(low, high) for low, high in zip(low_N, high_N, strict=True)])
    place_BS[row_N[owner], before + content] = owner * width_X + before + content - start_N[owner]
    for row, (first, length) in enumerate(zip(first_B, lengths_B, strict=True)):
        place_BS[row, :before] = first * width_X + np.arange(before)
        final = first + count_B[row] - 1
        place_BS[row, length - after:length] = final * width_X + before + size_N[final] + np.arange(after)
    return Windows(row_N, np.where(real_NX, column_NX, 0), real_NX, place_BS)


def embedded(trunk: Any, ids_BS: Tensor, noise_BSD: Tensor | None) -> dict[str, Tensor]:
    """How the trunk is given its tokens: by id, or as token embeddings with noise on them."""
    if noise_BSD is None:
        return {"input_ids": ids_BS}
    return {"inputs_embeds": trunk.get_input_embeddings()(ids_BS) + noise_BSD}


def encode_windows(model: Any, ids_BS: Tensor, mask_BS: Tensor, overlap: int,
                   noise_BSD: Tensor | None = None) -> Tensor:
    """(B, S, D): the trunk's states of long rows, read in overlapping windows as one batch and joined again."""
    lengths_B = mask_BS.sum(1)
    before = int(bool((ids_BS[:, 0] == model.config.bos_token_id).all()))
    last_B = ids_BS.gather(1, (lengths_B - 1).clamp_min(0).unsqueeze(1)).squeeze(1)
    after = int(bool((last_B == model.config.eos_token_id).all()))
    plan = plan_windows(lengths_B.cpu().numpy(), positions(model.trunk.config), overlap, before, after)
    row_N1, column_NX, real_NX, place_BS = (torch.from_numpy(array).to(ids_BS.device) for array in (
        plan.row_N[:, None], plan.column_NX, plan.real_NX, plan.place_BS))
    ids_NX = torch.where(real_NX, ids_BS[row_N1, column_NX], model.config.pad_token_id)
    noise_NXD = None if noise_BSD is None else noise_BSD[row_N1, column_NX]
    hidden_NXD = model.trunk(**embedded(model.trunk, ids_NX, noise_NXD),
                             attention_mask=None if bool(plan.real_NX.all()) else real_NX.long()).last_hidden_state
    joined_BSD = hidden_NXD.flatten(0, 1).index_select(0, place_BS.flatten()).unflatten(0, place_BS.shape)
    padding = ids_BS.shape[1] - place_BS.shape[1]
    return nn.functional.pad(joined_BSD, (0, 0, 0, padding)) if padding else joined_BSD


def describe(data: DataConfig, base: Any, longest: int, rows: int, dtype: torch.dtype, device: str) -> str:
    """The startup line: how long documents are read, and what a micro-batch of the longest keeps for its gradient.

    About 17 numbers a token, layer and unit of width (Korthikanti et al. 2022, "Reducing Activation Recomputation in
    Large Transformer Models", equation 2, without attention's part), and attention's probabilities where they are kept.
    """
    tokens, count, windows = longest, 1, ""
    width = positions(base)
    if data.long is LongMode.sliding and longest > width:
        plan = plan_windows(np.array([longest]), width, data.window_overlap, 1, 1)
        count, tokens = plan.column_NX.shape
        windows = f", the longest in {len(plan.row_N)} windows of {width} that share {data.window_overlap}"
    kept = 17 * dtype.itemsize * base.hidden_size * rows * count * tokens
    kept += kept_probabilities((rows * count, base.num_attention_heads, tokens, tokens), dtype, device)
    kept *= base.num_hidden_layers
    return (f"long documents: {data.long.value}, up to {longest} tokens{windows}; about {kept / 2**30:.2f} GiB of "
            f"trunk activations in a micro-batch of {rows} of the longest (a fraction with "
            "model.gradient_checkpointing=true)")
