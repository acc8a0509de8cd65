"""A GGUF file to a Hugging Face folder, its quantised weights unpacked to fp32, by transformers' own loader."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch


def convert(file: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of ``file`` into ``folder``.

    Raises:
        ValueError, ImportError: From transformers, for an architecture it cannot read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    with redirect_stderr(StringIO()):  # a bar of its own that no setting switches off; errors are raised
        packed = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, **_unpacked())
    config = packed.config
    if hasattr(config, "quantization_config"):  # what is saved is unpacked: it must load as any other model does
        del config.quantization_config
    plain = type(packed)(config)
    plain.load_state_dict(packed.state_dict())
    plain.save_pretrained(folder)
    tokenizer.model_max_length = config.max_position_embeddings
    for name in ("is_local", "local_files_only"):  # how it was loaded is nothing to keep
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(folder)


def _unpacked() -> dict[str, Any]:
    """Newer transformers keep the blocks packed where they have kernels for them, unless told otherwise."""
    import transformers

    wanted = getattr(transformers, "GgufConfig", None)
    return {} if wanted is None else {"quantization_config": wanted(dequantize=True)}
