"""The state/ folder: each part that must survive a stop as NAME.json and, when it has tensors, NAME.safetensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain.checkpoint.manifest import read
from llmtrain.checkpoint.verify import check_files
from llmtrain.core.errors import CheckpointError
from llmtrain.core.files import dump_json, read_json

if TYPE_CHECKING:
    from torch import Tensor

STATE = "state"
LIKE_THE_PARAMETER = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # slots of a parameter's own shape in "optimizer"
_NAME = re.compile(r"[a-z0-9_-][a-z0-9_.-]*")

Parts = dict[str, tuple[dict[str, "Tensor"], dict[str, Any]]]


def parts_size(parts: Parts) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for tensors, _ in parts.values() for tensor in tensors.values())


def write_parts(folder: Path, parts: Parts) -> None:
    """Write all parts into ``folder``, which must exist. Tensors may be anywhere and of any layout.

    Raises:
        CheckpointError: A part's name is not made of a-z, 0-9, "_", "-" and ".".
    """
    from safetensors.torch import save_file

    for name, (tensors, data) in parts.items():
        if not _NAME.fullmatch(name):
            raise CheckpointError(f"state part {name!r} cannot be saved at {folder}; name it with a-z, 0-9, _, - and .")
        (folder / f"{name}.json").write_text(dump_json(data), encoding="utf-8")
        if tensors:
            save_file(_plain(tensors), folder / f"{name}.safetensors")


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """CPU, contiguous, and no two on one storage: what safetensors takes."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        plain[name] = tensor
    return plain


def load_parts(step_folder: Path | str, only: str | None = None) -> tuple[Parts, dict[str, Any]]:
    """All parts of a step folder (or ``only`` one), on the CPU, and the saver's meta. Checks the files it reads.

    Raises:
        CheckpointError: A file is missing, damaged or unsafe, or the part ``only`` is not there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(step_folder)
    manifest = read(folder)
    if manifest.kind != "step":
        raise CheckpointError(f"no training state at {folder}, only a model; name its step folder")
    stems = [match[1] for file in manifest.files if (match := re.fullmatch(r"state/([^/]+)\.json", file))]
    if only is not None and only not in stems:
        raise CheckpointError(f"state {only!r} is missing at {folder}; use another checkpoint")
    wanted = [only] if only is not None else stems
    names = [f"{STATE}/{stem}.{kind}" for stem in wanted for kind in ("json", "safetensors")]
    if problems := check_files(folder, manifest.files, [name for name in names if name in manifest.files]):
        raise CheckpointError(problems)
    parts: Parts = {}
    for stem in wanted:
        data = read_json(folder / STATE / f"{stem}.json")
        if not isinstance(data, dict):
            raise CheckpointError(f"state {stem!r} is no JSON object at {folder}; use another checkpoint")
        tensors: dict[str, Tensor] = {}
        if f"{STATE}/{stem}.safetensors" in manifest.files:
            try:
                tensors = load_file(folder / STATE / f"{stem}.safetensors", device="cpu")
            except SafetensorError as error:
                raise CheckpointError(f"no safetensors at {folder / STATE / stem}.safetensors ({error}); use another "
                                      "checkpoint") from error
        parts[stem] = (tensors, data)
    return parts, manifest.meta
