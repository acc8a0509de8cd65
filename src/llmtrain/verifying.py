"""Is what lies there whole, and what is it good for? A checkpoint, a run, a published model or a base, checked wholly.

Beyond the manifest's hashes, which say that files are as they were saved, this looks at what they hold: every tensor
finite and of the shape its configuration gives it, the tokenizer fitting the model, every line of a log readable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmtrain.atomic import JSON_LIMIT, STAGED, read_json
from llmtrain.checkpoint import AVERAGE, check_plugins, read_model_config, verify
from llmtrain.checkpoint.locate import read_pointer, step_folders
from llmtrain.checkpoint.manifest import MANIFEST, Manifest
from llmtrain.config.load import from_dict
from llmtrain.config.objective import trains_summary
from llmtrain.errors import CheckpointError, ConfigError, LlmtrainError
from llmtrain.selecting import FOLDER as SELECTOR

ADVICE = "use another checkpoint or restore this one"
STATE_NEEDED = ("progress", "schedule", "optimizer", "precision", "objectives", "random")
CONFIG_LIMIT = 1 << 20  # bytes
LIKE_THE_PARAMETER = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # optimizer slots of a parameter's own shape
WRITES, READS = ("eval", "summarize", "model.init_from"), ("eval", "summarize", "data.selector")


@dataclass
class Finding:
    """What one folder or file (``path``) is.

    Attributes:
        what: In a few words, with counts.
        good_for: Commands and keys that take it; none while there are problems.
        problems: One line each.
    """

    path: Path
    what: str
    good_for: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)

    def describe(self) -> str:
        if self.problems:
            return f"{self.path}: {self.what}; {len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
        return f"{self.path}: {self.what}" + (f"; good for {', '.join(self.good_for)}" if self.good_for else "")


def look(path: Path) -> Iterator[Finding]:
    """Everything at a path: a run folder's parts one by one, or the one checkpoint, model or base.

    Raises:
        ConfigError: Nothing is there, or nothing that this program knows.
    """
    if path.is_file():
        _, folder = read_pointer(path)
        yield _checked(folder, "a checkpoint", _step)
    elif (path / "checkpoints").is_dir() and not (path / MANIFEST).exists():
        yield from _run(path)
    elif (path / MANIFEST).exists() or (path / MANIFEST).is_symlink():
        inner = path.name != "model" and (path / "model").is_dir()
        yield _checked(path, "a checkpoint" if inner else "a published model", _step if inner else _model)
    elif (path / "config.json").is_file():
        yield _checked(path, "a base", _base)
    elif not path.exists():
        raise ConfigError(f"nothing at {path}; name a run, a checkpoint, a model folder or a base")
    else:
        raise ConfigError(f"no run, checkpoint, model or base at {path}; name a folder with checkpoints/, a {MANIFEST} "
                          "or a config.json")


def _checked(path: Path, kind: str, check: Callable[[Finding], None]) -> Finding:
    """A finding of ``check``, which adds to it; what it raises is a problem too."""
    found = Finding(path, kind)
    try:
        check(found)
    except LlmtrainError as error:
        found.problems += error.problems
    return found


def _run(path: Path) -> Iterator[Finding]:
    """The run's files, then each checkpoint, then what the pointers say."""
    yield _checked(path / "config.yaml", "the run's configuration", _configuration)
    for name, kind in (("environment.json", "the environment"), ("results.json", "the results")):
        if (path / name).exists():
            yield _checked(path / name, kind, _json)
    for name, kind in (("metrics.jsonl", "the log"), ("predictions.jsonl", "the predictions")):
        if (path / name).exists():
            yield _checked(path / name, kind, _lines)
    checkpoints = path / "checkpoints"
    averages = sorted(folder for folder in checkpoints.glob(f"{AVERAGE}*") if folder.is_dir())
    whole: dict[str, bool] = {}
    for folder in [*(folder for _, folder in reversed(step_folders(checkpoints))), *averages]:
        found = _checked(folder, "a checkpoint", _step)
        whole[folder.name] = not found.problems
        yield found
    if not whole:
        yield Finding(checkpoints, "no checkpoint yet")
    for name in ("last", "best"):
        if (checkpoints / name).exists():
            yield _checked(checkpoints / name, "a pointer", lambda found: _pointer(found, whole))
    left = [one for folder in (path, checkpoints) for one in folder.glob(f"{STAGED}*")]
    if left:
        yield Finding(left[0], f"unfinished, as are {len(left) - 1} others" if len(left) > 1 else "unfinished",
                      (f"llmtrain clean {path}",))


def _configuration(found: Finding) -> None:
    try:
        _regular(found.path, CONFIG_LIMIT)
        stored = yaml.safe_load(found.path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CheckpointError(f"cannot read the run's configuration at {found.path} "
                              f"({' '.join(str(error).split())[:200]}); restore it") from error
    if not isinstance(stored, dict):
        raise CheckpointError(f"no mapping at {found.path}; restore the run's configuration")
    from_dict(stored, str(found.path), CheckpointError)


def _regular(path: Path, limit: float = math.inf) -> None:
    if not path.is_file() or path.stat().st_size > limit:  # a pipe would block, a device never end
        raise CheckpointError(f"no regular file of a sane size at {path}; restore it")


def _json(found: Finding) -> None:
    if not isinstance(read_json(found.path), dict):
        raise CheckpointError(f"no JSON object at {found.path}; remove it to have it written again")


def _lines(found: Finding) -> None:
    """Each line is one JSON object; the last one of a log may be unfinished."""
    count = 0
    _regular(found.path)
    with found.path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(JSON_LIMIT), b""), start=1):
            try:
                if not isinstance(json.loads(line), dict):
                    raise ValueError("no object")
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    found.what += ", its last line unfinished"
                    break
                found.problems.append(f"no JSON object at {found.path}:{number} ({str(error)[:80]}); the file was "
                                      "changed or damaged")
                return
            count += 1
    found.what += f", {count} lines"


def _pointer(found: Finding, whole: dict[str, bool]) -> None:
    _, folder = read_pointer(found.path)
    found.what += f" to {folder.name}"
    if not whole.get(folder.name, False):
        state = "damaged" if folder.is_dir() else "gone"
        found.problems.append(f"{found.path.name} points at {folder}, which is {state}; the run's next start mends it, "
                              "from a checkpoint that is whole")


def _step(found: Finding) -> None:
    """A whole checkpoint: its hashes, its model, and a training state that is complete, finite and fits the model."""
    manifest = verify(found.path)
    if manifest.kind != "step":
        raise CheckpointError(f"no checkpoint at {found.path}, only a model; name that")
    inner = Finding(found.path / "model", "")
    _model(inner)
    found.problems, found.good_for = inner.problems, inner.good_for
    tensors = 0
    stems = {Path(name).stem for name in manifest.files if name.startswith("state/")}
    if stems:
        found.problems += [f"state {name!r} is missing at {found.path}; {ADVICE}"
                           for name in STATE_NEEDED if name not in stems]
        tensors = _state(found, manifest)
        found.good_for = ("resume", "run.extend_from", *found.good_for)
    told = f", a training state of {tensors} tensors" if stems else ""
    found.what = f"step {manifest.step}, {len(manifest.files)} files{told}; {inner.what}"


def _state(found: Finding, manifest: Manifest) -> int:
    """Check the tensors of the training state; returns how many there are."""
    count = 0
    shapes = {f"model.{name}": shape for name, shape in _shapes(found.path / "model/model.safetensors").items()}
    for name in manifest.files:
        if not name.startswith("state/") or not name.endswith(".safetensors"):
            continue
        for key, tensor in _tensors(found.path / name):
            count += 1
            _finite(found, found.path / name, key, tensor)
            parameter, _, slot = key.rpartition("/")
            wanted = shapes.get(parameter)
            if slot in LIKE_THE_PARAMETER and wanted is not None and tuple(tensor.shape) != wanted:
                found.problems.append(f"{key} has shape {tuple(tensor.shape)} at {found.path / name} and the model's "
                                      f"parameter {wanted}; {ADVICE}")
    return count


def _model(found: Finding) -> None:
    """A published model: hashes, configuration, weights against it, tokenizer, and the selector in front of it."""
    verify(found.path)
    stored = read_model_config(found.path)
    at = str(found.path / "llmtrain.json")
    config = from_dict(stored["config"], at, CheckpointError, scoring=True)
    check_plugins(stored, found.path)
    if not trains_summary(config.objective):
        _base(found)
        found.good_for = ("model.init_from", "model.path")
        return
    _weights(found, config.head.name)
    selector = found.path / SELECTOR
    if selector.is_dir():
        inner = Finding(selector, "")
        _model(inner)
        found.problems += inner.problems
        found.what += ", behind a selector"


def _weights(found: Finding, head: str) -> None:
    import torch
    from transformers import AutoConfig, AutoTokenizer

    import llmtrain.hf  # noqa: F401  registers the model types
    from llmtrain.data.special import special_ids
    from llmtrain.model.topology import class_of

    kind: Any = class_of(head)
    with _loading(found.path):
        config = AutoConfig.from_pretrained(found.path, trust_remote_code=False)
        model, told = kind.from_pretrained(
            found.path, config=config, use_safetensors=True, dtype=torch.float32, attn_implementation="sdpa",
            output_loading_info=True, ignore_mismatched_sizes=True)
        tokenizer = AutoTokenizer.from_pretrained(found.path, trust_remote_code=False)
    count = _against(found, told)
    ids, own = special_ids(tokenizer), (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    _tokenizer(found, tokenizer, int(model.input_embedding_VD.shape[0]))
    if (ids.bos, ids.eos, ids.pad) != own:
        found.problems.append(f"the tokenizer at {found.path} begins, ends and pads with the tokens {ids.bos}, "
                              f"{ids.eos} and {ids.pad}, the model with {', '.join(map(str, own))}; restore the "
                              "model's own")
    found.what = f"head {head} on {config.base.get('model_type')}, {count} finite tensors, {len(tokenizer):,} tokens"
    found.good_for = WRITES if model.can_generate() else READS


def _base(found: Finding) -> None:
    """A base alone: what ``model.path`` takes."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from llmtrain.config.model import ModelConfig
    from llmtrain.model.base import base_config
    from llmtrain.model.family import family_of
    from llmtrain.model.trust import check_folder

    check_folder(found.path)
    with _loading(found.path):
        config = base_config(ModelConfig(path=str(found.path)))
        model, told = AutoModel.from_pretrained(
            found.path, config=config, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
            attn_implementation="sdpa", output_loading_info=True, ignore_mismatched_sizes=True,
            **family_of(config).arguments)
        tokenizer = AutoTokenizer.from_pretrained(found.path, trust_remote_code=False)
    told["unexpected_keys"] = ()  # a base may come with heads of its own
    count = _against(found, told)
    _tokenizer(found, tokenizer, int(model.get_input_embeddings().weight.shape[0]))
    found.what = f"a {config.model_type} base, {count} finite tensors, {len(tokenizer):,} tokens"
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
    for file in sorted(found.path.glob("*.safetensors")):
        for key, tensor in _tensors(file):
            count += 1
            _finite(found, file, key, tensor)
    return count


def _tokenizer(found: Finding, tokenizer: Any, rows: int) -> None:
    if len(tokenizer) > rows:
        found.problems.append(f"the tokenizer at {found.path} has {len(tokenizer)} tokens and the model embeddings for "
                              f"{rows}; restore the model's own")


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Each tensor, one in memory at a time."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118  it is no mapping
                yield key, opened.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"no safetensors at {file} ({' '.join(str(error).split())[:200]}); {ADVICE}") from error


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in _tensors(file)} if file.is_file() else {}


def _finite(found: Finding, file: Path, key: str, tensor: Any) -> None:
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        first = int((~tensor.isfinite()).flatten().nonzero()[0])
        value = float(tensor.flatten()[first])
        held = "NaN" if math.isnan(value) else f"{value}"
        found.problems.append(f"{key} holds {held} (element {first}) at {file}; {ADVICE}")


@contextmanager
def _loading(path: Path) -> Iterator[None]:
    """Whatever transformers raises, in one line."""
    try:
        yield
    except LlmtrainError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise CheckpointError(f"transformers cannot load {path} ({line}); {ADVICE}") from error
