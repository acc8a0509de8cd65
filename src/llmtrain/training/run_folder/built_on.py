"""What a run was built on and no weight tells: the base's configuration, its tokenizer, which heads came with it.

A checkpoint's weights fit a base of the same shapes that reads other tokens, or computes otherwise, just as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import ConfigError, shorten
from llmtrain.data.examples import digest
from llmtrain.objectives.joint_module import JointModule
from llmtrain.objectives.mlm import MaskedLm

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE = "A b\u00c9\u00df, don't U.S. 3.14\t\u4e2d\u6587 \u2603 \U0001f600"  # cases, accents, marks, digits, scripts
ALSO_BY_US = ("dropout", "pdrop")  # in names of what model.dropout sets, which an extension may set anew


def origin_of(module: JointModule, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """JSON that a checkpoint keeps: ``base`` (a Hugging Face configuration), ``tokenizer`` (a digest of its vocabulary
    and of what it makes of a text) and ``pretrained`` (masked-LM terms whose head came with the base)."""
    # not the tokenizer's own description, which another version of its library may write otherwise
    does = [sorted(tokenizer.get_vocab().items()), tokenizer(SAMPLE, verbose=False)["input_ids"]]
    return {"base": dict(module.model.config.base), "tokenizer": digest(json.dumps(does)),
            "pretrained": sorted(name for name, term in module.objectives.items()
                                 if isinstance(term, MaskedLm) and term.pretrained)}


def check_origin(now: dict[str, Any], before: Any, start: Path, model: ModelConfig) -> None:
    """Compare with what the checkpoint at ``start`` keeps; one of a version that kept nothing passes.

    Raises:
        ConfigError: The run would go on from other weights, tokens or sums than it has.
    """
    if not isinstance(before, dict):
        return
    if before.get("tokenizer") != now["tokenizer"]:
        raise ConfigError(f"the tokenizer of model.path={model.path} is not the one that {start} was trained with; "
                          "restore the base's folder, or choose another run.name")
    if keys := _differing(before.get("base"), now["base"]):
        raise ConfigError(f"{keys[0]} of the base is {shorten(str(now['base'].get(keys[0])), 60)} and was "
                          f"{shorten(str(before['base'].get(keys[0])), 60)} for {start}; restore the folder that "
                          "model.path or model.init_from names, or choose another run.name")
    if before.get("pretrained") != now["pretrained"]:
        raise ConfigError(f"{start} was trained from a base with another masked-LM head; give it the model.init_from "
                          f"that it began with (now {model.init_from}), as it was then, or choose another run.name")


def _differing(before: Any, now: dict[str, Any]) -> list[str]:
    """Names of what differs between two base configurations, which hold what is no default."""
    from transformers import AutoConfig

    if not isinstance(before, dict) or before.get("model_type") != now["model_type"]:
        return ["model_type"] if isinstance(before, dict) else []
    # nothing is made of the stored values: they are whoever signed the checkpoint's
    defaults = AutoConfig.for_model(now["model_type"]).to_dict()
    there, here = defaults | before, defaults | now
    return [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)
            and name not in ("transformers_version", "architectures", "dtype", "_name_or_path")
            and not any(part in name for part in ALSO_BY_US)]
