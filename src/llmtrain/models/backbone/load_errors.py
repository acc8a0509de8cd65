"""What a loader raises becomes one line, since a wrong file can make it fail in any way; and what it only logs does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain.core.errors import CheckpointError, LlmtrainError, shorten
from llmtrain.models.backbone.untrusted import WEIGHTS, weight_files

if TYPE_CHECKING:
    from torch import nn

PANIC = "PanicException"  # of Rust code, the tokenizers' above all; it is no Exception and not to be imported
SHOWN = 150  # characters
LEARNT = (".weight", ".bias", ".gamma", ".beta")
MASK = ".attn.bias"  # of the oldest GPT-2 files


@contextmanager
def refusing(kind: type[LlmtrainError], before: str, after: str) -> Iterator[None]:
    """Raise ``kind`` with the line ``before (what was raised)after`` for all that goes wrong inside.

    Our own errors, memory that ran out, and a stop pass through.
    """
    try:
        yield
    except (LlmtrainError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        raise kind(f"{before} ({shorten(str(error), SHOWN) or type(error).__name__}){after}") from error


def check_complete(told: dict[str, Any], path: Path | str) -> None:
    """Raise CheckpointError for tensors that transformers found nowhere and has filled with random numbers.

    Args:
        told: What ``from_pretrained`` tells with ``output_loading_info``.
        path: The model's folder, or its hub name.
    """
    if missing := sorted(told["missing_keys"]):
        file = Path(path) / WEIGHTS
        more = f" with {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(f"{missing[0]} is missing{more} at {file if file.is_file() else path}; restore the "
                              "model's own weights, or use another model")


def check_kinds(folder: Path) -> None:
    """Raise CheckpointError for weights that are no floating point: transformers would make numbers of them.

    Positions and masks, which some files hold too, are whole numbers.
    """
    from safetensors import safe_open

    for file in weight_files(folder):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  it is no mapping
                kind = opened.get_slice(name).get_dtype()
                if name.endswith(LEARNT) and not name.endswith(MASK) and not kind.startswith(("F", "BF")):
                    raise CheckpointError(f"{shorten(name, 100)} is stored as {kind} at {file} and not in floating "
                                          "point; restore the model's own weights, or use another model")


def check_finite(trunk: nn.Module, path: str) -> None:
    """Raise CheckpointError for a base with a weight that is NaN or infinite."""
    if spoilt := next((name for name, value in trunk.named_parameters() if not bool(value.isfinite().all())), None):
        raise CheckpointError(f"the base at {path} holds a NaN or an infinity in {spoilt}; restore it, or use another "
                              "base")
