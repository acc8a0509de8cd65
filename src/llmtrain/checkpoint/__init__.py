"""Checkpoints: atomic save, verify, prune, find and load. safetensors and JSON only, never pickle.

::

    checkpoints/best, last           JSON pointers, replaced atomically
    checkpoints/step-N/manifest.json format version, sha256 and size of every file below, its own digest
                       model/        a complete Hugging Face folder with a manifest of its own, accepted alone
                       state/        NAME.json and NAME.safetensors of each part that must survive a stop
    checkpoints/average-N            a model made of several checkpoints at the end of a run: no state/
"""

from __future__ import annotations

from llmtrain.checkpoint.locate import AVERAGE, has_checkpoint, latest_valid, locate_model
from llmtrain.checkpoint.parts import Parts, load_parts
from llmtrain.checkpoint.save import point, prune, replace_file, save, save_average
from llmtrain.checkpoint.training_record import SELECTOR, check_plugins, read_model_config
from llmtrain.checkpoint.verify import verify

__all__ = ["AVERAGE", "SELECTOR", "Parts", "check_plugins", "has_checkpoint", "latest_valid", "load_parts",
           "locate_model", "point", "prune", "read_model_config", "replace_file", "save", "save_average", "verify"]
