"""Published models and bases: weights against what the configuration makes of them, and the tokenizer beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from llmtrain import registry
from llmtrain.checkpoint import SELECTOR, check_plugins, read_model_config, verify
from llmtrain.config.convert import from_dict
from llmtrain.config.sections.objective import trains_task
from llmtrain.core.errors import CheckpointError, shorten
from llmtrain.integrity.finding import ADVICE, Finding
from llmtrain.models.backbone.load_errors import check_kinds, refusing
from llmtrain.models.backbone.untrusted import weight_files


def model_folder(found: Finding) -> None:
    """A published model: hashes, configuration, weights against it, tokenizer, and the selector in front of it."""
    verify(found.path)
    stored = read_model_config(found.path)
    at = str(found.path / "llmtrain.json")
    check_plugins(stored, found.path)
    config = from_dict(stored["config"], at, CheckpointError, scoring=True)
    if not trains_task(config.objective):
        base(found)
        found.good_for = ("model.init_from", "model.path")
        return
    _weights(found, config.head.name)
    own = registry.get("task", config.task.name).requires.get("command")  # that uses its models alone
    found.good_for = ("eval", "predict", *(() if own is None else (own,)), *found.good_for)
    selector = found.path / SELECTOR
    if selector.is_dir():
        inner = Finding(selector, "")
        model_folder(inner)
        found.problems += inner.problems
        found.what += ", behind a selector"


def _weights(found: Finding, head: str) -> None:
    import torch
    from transformers import AutoConfig, AutoTokenizer

    import llmtrain.hf  # noqa: F401  registers the model types
    from llmtrain.data.control_tokens import text_only
    from llmtrain.data.special_tokens import misfits, special_ids
    from llmtrain.models.architectures import class_of
    from llmtrain.models.backbone.tokenizer_checks import probe
    from llmtrain.models.backbone.untrusted import check_published
    from llmtrain.models.hf_config import facts_of
    from llmtrain.models.target_vocabulary import learnt_from

    check_published(found.path)
    kind: Any = class_of(head)
    with _loading(found.path):
        config = AutoConfig.from_pretrained(found.path, trust_remote_code=False)
        model, told = kind.from_pretrained(
            found.path, config=config, use_safetensors=True, dtype=torch.float32, attn_implementation="sdpa",
            output_loading_info=True, ignore_mismatched_sizes=True)
        tokenizer = AutoTokenizer.from_pretrained(found.path, trust_remote_code=False)
        probe(tokenizer)
        text_only(tokenizer)  # as commands read with it
    config = model.config  # ours also where the folder is a plain model of the base's kind
    count = _against(found, told)
    facts = facts_of(config)
    writes = learnt_from(found.path, facts).writes(tokenizer)
    for task in getattr(model, "names", ()):  # of several, each may have a vocabulary of its own
        learnt_from(found.path, facts.get(task, {}), task)
    ids, own = special_ids(writes), (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    found.problems += misfits(tokenizer, int(model.input_embedding_VD.shape[0]), found.path)
    if (ids.bos, ids.eos, ids.pad) != own:
        found.problems.append(f"the tokenizer at {found.path} begins, ends and pads with the tokens {ids.bos}, "
                              f"{ids.eos} and {ids.pad}, the model with {', '.join(map(str, own))}; restore the "
                              "model's own")
    found.what = f"head {head} on {config.base.get('model_type')}, {count} finite tensors, {len(tokenizer):,} tokens"
    if writes is not tokenizer:
        found.what += f", {len(writes):,} of targets"
    found.good_for = model.good_for


def base(found: Finding) -> None:
    """A base alone: what ``model.path`` takes."""
    import torch
    from transformers import AutoModel

    from llmtrain.config.sections.model import ModelConfig
    from llmtrain.data.special_tokens import misfits
    from llmtrain.models.backbone.pretrained import open_base
    from llmtrain.models.backbone.untrusted import check_folder

    check_folder(found.path)
    with _loading(found.path):
        opened = open_base(ModelConfig(path=str(found.path)))
        check_kinds(found.path)
        model, told = AutoModel.from_pretrained(
            found.path, config=opened.config, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
            attn_implementation="sdpa", output_loading_info=True, ignore_mismatched_sizes=True,
            **opened.family.arguments)
    told["unexpected_keys"] = ()  # a base may come with heads of its own
    count = _against(found, told)
    found.problems += misfits(opened.tokenizer, int(model.get_input_embeddings().weight.shape[0]), found.path)
    found.what = f"a {opened.config.model_type} base, {count} finite tensors, {len(opened.tokenizer):,} tokens"
    found.good_for = ("model.path",)


def _against(found: Finding, told: dict[str, Any]) -> int:
    """Weights against what the configuration makes of them, and each of them finite; returns how many there are."""
    at = found.path / "model.safetensors"
    found.problems += [f"{name} is missing at {at}; {ADVICE}" for name in sorted(told["missing_keys"])]
    found.problems += [f"{name} at {at} is no tensor of this model; {ADVICE}"
                       for name in sorted(told["unexpected_keys"])]
    found.problems += [f"{name} has shape {tuple(stored)} at {at} and its configuration says {tuple(wanted)}; {ADVICE}"
                       for name, stored, wanted in sorted(told["mismatched_keys"])]
    count = 0
    for file in weight_files(found.path):
        for key, tensor in tensors_of(file):
            count += 1
            finite(found, file, key, tensor)
    return count


def tensors_of(file: Path) -> Iterator[tuple[str, Any]]:
    """Each tensor, one in memory at a time."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118  it is no mapping
                yield key, opened.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"no safetensors at {file} ({shorten(str(error), 200)}); {ADVICE}") from error


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors_of(file)} if file.is_file() else {}


def finite(found: Finding, file: Path, key: str, tensor: Any) -> None:
    if tensor.is_floating_point() and tensor.itemsize == 1:
        tensor = tensor.float()  # torch does not ask numbers of 8 bits whether they are finite
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        first = int((~tensor.isfinite()).flatten().nonzero()[0])
        value = float(tensor.flatten()[first])
        held = "NaN" if math.isnan(value) else f"{value}"
        found.problems.append(f"{key} holds {held} (element {first}) at {file}; {ADVICE}")


def _loading(path: Path) -> AbstractContextManager[None]:
    return refusing(CheckpointError, f"transformers cannot load {path}", f"; {ADVICE}")
