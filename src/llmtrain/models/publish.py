"""Weights out of a published folder, and a base that was trained without a head into one.

Such a base is published as what it is: an ordinary folder that any run can start from.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.core.errors import ConfigError, shorten
from llmtrain.models.backbone.families import family_of, mlm_head_names
from llmtrain.models.backbone.lora import load_plain, merged_state
from llmtrain.models.backbone.untrusted import WEIGHTS, check_published
from llmtrain.models.hf_config import facts_of
from llmtrain.models.target_vocabulary import FOLDER as TARGET_TOKENIZER
from llmtrain.models.target_vocabulary import vocabulary_in
from llmtrain.models.task_model import TaskModel

ONLY_SAMPLED, ONLY_BEAMS = ("temperature", "top_p", "top_k"), ("length_penalty", "early_stopping")
OFF_AT_0 = ("min_new_tokens", "no_repeat_ngram_size")


def publish_base(trunk: Any, folder: Path, mlm_head: dict[str, Tensor] | None) -> None:
    """Write ``config.json`` and ``model.safetensors`` of a trunk, with the masked-LM head it was trained under.

    Args:
        mlm_head: ``{dense.weight, dense.bias, norm.weight, norm.bias, bias}``, which makes the folder one of the base's
            own masked language model; None for the trunk alone.
    """
    merged = merged_state(trunk)
    if mlm_head is None:
        trunk.save_pretrained(folder, state_dict=merged)
        return
    whole: Any = MODEL_FOR_MASKED_LM_MAPPING[type(trunk.config)]
    names = mlm_head_names(family_of(trunk.config))
    state = {f"{whole.base_model_prefix}.{name}": value for name, value in (merged or trunk.state_dict()).items()}
    state |= {names[name][0]: value for name, value in mlm_head.items()}
    config = deepcopy(trunk.config)
    config.architectures, config.dtype = [whole.__name__], torch.float32
    config.save_pretrained(folder)
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()},
              folder / WEIGHTS, metadata={"format": "pt"})


def publish_generation(model: TaskModel, config: GenerationConfig, folder: Path) -> None:
    """Write ``generation_config.json``, so that a plain ``generate()`` decodes as the run does.

    Every setting that transformers knows under the same name is one of its, but for those that a way of decoding does
    not use, which it would warn of.
    """
    if not model.can_generate():
        return
    made = deepcopy(cast(Any, model).generation_config)
    for name, value in asdict(config).items():
        unused = (name in ONLY_SAMPLED and not config.do_sample) or (name in ONLY_BEAMS and config.num_beams == 1)
        if hasattr(made, name) and value is not None and not unused and (name not in OFF_AT_0 or value):
            setattr(made, name, value.value if isinstance(value, Enum) else value)
    made._from_model_config = False
    made.to_json_file(folder / "generation_config.json")


def is_base(folder: Path) -> bool:
    """Whether a published model is a base alone. Raises CheckpointError where it would have others read."""
    from transformers import PretrainedConfig

    check_published(folder)

    stored, _ = PretrainedConfig.get_config_dict(folder)
    return "head" not in stored


def load_base(trunk: Any, folder: Path) -> None:
    """Put a published base's weights back into ``trunk``. Raises RuntimeError when they are of another shape."""
    stored = load_file(folder / WEIGHTS)
    prefix = f"{trunk.base_model_prefix}."
    inner = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)} or stored
    load_plain(trunk, inner)


def load_weights(model: TaskModel, folder: Path) -> None:
    """Put a published model's weights into ``model``, whose adapters then add nothing.

    Raises:
        ConfigError: They are of another shape, or write in another vocabulary.
        CheckpointError: The folder has none, or would have others read.
    """
    try:
        if is_base(folder):
            load_base(model.trunk, folder)
            return
        _check_vocabulary(model, folder)
        # not safetensors' load_model: it takes cuDNN's views of one buffer for tied weights and refuses
        load_plain(model, model.own_names(load_file(folder / WEIGHTS)))
    except RuntimeError as error:
        line = shorten(str(error), 200)
        raise ConfigError(f"the weights at {folder} do not fit this base and head ({line}); use the model and head "
                          "options they were trained with") from error


def _check_vocabulary(model: TaskModel, folder: Path) -> None:
    """Raise ConfigError where a published model writes in another target vocabulary: of one size they would fit."""
    from transformers import PretrainedConfig

    stored, _ = PretrainedConfig.get_config_dict(folder)
    before, now = stored.get("facts") or {}, facts_of(model.config)
    tasks = getattr(model.config, "parts", ())  # of several, each has its own facts
    each = [(before.get(name, {}), now.get(name, {})) for name in tasks] or [(before, now)]
    if any(vocabulary_in(one) != vocabulary_in(other) for one, other in each):
        raise ConfigError(f"the model at {folder} writes in another target vocabulary than this one; name its own, "
                          f"{TARGET_TOKENIZER} in its folder, or the base's where there is none")
