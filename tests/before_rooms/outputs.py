"""What a published model computes, through transformers' own classes, under the old code and under today's.

Nothing here may name a module of llmtrain but ``llmtrain.hf``, which both have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

import llmtrain.hf  # noqa: F401

DOCUMENTS = ["read the table row by row. sort each list. the graph has a new node.",
             "write a small text. the last key is open.", "split the path."]
EXTRACTIVE = "llmtrain_extractive"
NEEDS_SENTENCES = {"extractive", "ext_abs"}


@torch.no_grad()
def outputs(folder: Path) -> dict[str, Tensor]:
    """``logits`` of a batch padded on the right; where the model writes, ``written`` too: greedy and by two beams."""
    config = AutoConfig.from_pretrained(folder)
    auto: Any = AutoModel if config.model_type == EXTRACTIVE else AutoModelForSeq2SeqLM
    model, tokenizer = auto.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
    batch = dict(tokenizer(DOCUMENTS, return_tensors="pt", padding=True))
    batch.pop("token_type_ids", None)
    if config.head["name"] in NEEDS_SENTENCES:
        batch |= {"sentence_start": torch.tensor([[0, 3]] * 3), "sentence_end": torch.tensor([[3, 4]] * 3)}
    if config.model_type == EXTRACTIVE:
        return {"logits": model(**batch).logits}
    logits = model(**batch, decoder_input_ids=batch["input_ids"][:, :6]).logits
    how = {"min_new_tokens": 4, "max_new_tokens": 12, "do_sample": False}
    return {"logits": logits, "greedy": model.generate(**batch, num_beams=1, **how),
            "beams": model.generate(**batch, num_beams=2, **how)}
