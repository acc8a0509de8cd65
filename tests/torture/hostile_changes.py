"""What is done to a model, a checkpoint or a data file to do harm with it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmtrain.checkpoint import manifest as manifests
from torture.hostile_case import Place


def sign_again(step: Path) -> None:
    """Manifests as somebody makes them who wants the folder to be believed; files they refuse are left out."""
    def records(folder: Path, names: list[str]) -> dict[str, manifests.FileRecord]:
        return {name: manifests.record_of(folder / name) for name in names if not name.endswith("manifest.json")
                and (folder / name).is_file()}

    model, _ = manifests.list_files(step / "model")
    write(step / "model", manifests.Manifest("model", None, records(step / "model", model), {}))
    names, _ = manifests.list_files(step)
    files = records(step, names) | {"model/manifest.json": manifests.record_of(step / "model/manifest.json")}
    write(step, manifests.Manifest("step", 2, files, json.loads((step / "model/llmtrain.json").read_text())))


def write(folder: Path, manifest: manifests.Manifest) -> None:
    (folder / "manifest.json").write_text(manifests.to_text(manifest), encoding="utf-8")


def amend(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def instead(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def link(path: Path, target: Path | str) -> None:
    path.unlink()
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def header(length: int, body: bytes = b"") -> bytes:
    """The beginning of a safetensors file."""
    return struct.pack("<Q", length) + body


def remote_code(place: Place, path: Path) -> None:
    amend(path / "config.json", auto_map={"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"})
    (path / "modeling_evil.py").write_text(place.code())


def remote_tokenizer(place: Place, path: Path) -> None:
    amend(path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]},
          tokenizer_class="Evil")
    (path / "tokenization_evil.py").write_text(place.code())


def index(target: str) -> Callable[[Place, Path], None]:
    def change(place: Place, path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path / "model.safetensors", framework="pt") as file:
            names = list(file.keys())
        (path / "model.safetensors").rename(place.outside / "shard.safetensors" if target.startswith("..")
                                            else path / "shard.bin")
        where = os.path.relpath(place.outside / "shard.safetensors", path) if target.startswith("..") else target
        (path / "model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, where)}))
        if not target.startswith(".."):
            (path / "shard.bin").write_bytes(place.pickle())

    return change


def put_pickle(name: str, place: Place, path: Path) -> None:
    (path / name).write_bytes(place.pickle())


def interpolated(place: Place, step: Path) -> None:
    """A stored configuration whose texts ask for the environment."""
    path = step / "model/llmtrain.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    body["config"]["data"]["document"] = "${oc.env:HF_TOKEN}"
    body["config"]["run"]["name"] = "${oc.env:HF_TOKEN}"
    path.write_text(json.dumps(body), encoding="utf-8")


def stored(change: Callable[[Place, dict[str, Any]], object]) -> Callable[[Place, Path], None]:
    """Another llmtrain.json: ``change`` is given all of it, the run's configuration under "config"."""
    def make(place: Place, step: Path) -> None:
        path = step / "model/llmtrain.json"
        body = json.loads(path.read_text(encoding="utf-8"))
        change(place, body)
        path.write_text(json.dumps(body), encoding="utf-8")

    return make


def put(key: str, value: object, place: Place, body: dict[str, Any]) -> None:
    """Set a key with dots of a stored configuration."""
    values = body["config"]
    *groups, name = key.split(".")
    for group in groups:
        values = values[group]
    values[name] = value


def reshaped(part: str, place: Place, step: Path) -> None:
    """One number in the place of each tensor of a state."""
    rework(step / f"state/{part}.safetensors",
           lambda tensors: {name: tensor.flatten()[:1].clone() for name, tensor in tensors.items()})


def said(part: str, values: dict[str, object] | None, place: Place, step: Path) -> None:
    """Another word in a state's JSON, or none at all."""
    path = step / f"state/{part}.json"
    if values is None:
        path.write_text("{}")
    else:
        amend(path, **values)


def rework(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Other tensors in a safetensors file."""
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def lose(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("layer.0.output.dense.weight")}


def adapter(place: Place, path: Path) -> None:
    (path / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "base_model_name_or_path": str(place.outside), "r": 1, "target_modules": ["query"]}))
    (path / "adapter_model.bin").write_bytes(place.pickle())


def templates(name: str) -> Callable[[Place, Path], None]:
    """A chat template whose name leaves the folder that it is saved in."""
    def change(place: Place, path: Path) -> None:
        up = os.path.relpath(place.outside, place.folder / "runs/run/checkpoints/.tmp-step-1/model/x")
        amend(path / "tokenizer_config.json", chat_template=[{"name": "default", "template": "a"},
                                                             {"name": name.replace("UP", up), "template": "b"}])

    return change


def large_index(place: Place, path: Path) -> None:
    """One that points outside, behind more blanks than anybody looks through."""
    index("../shard")(place, path)
    file = path / "model.safetensors.index.json"
    file.write_text(file.read_text(encoding="utf-8") + " " * (9 << 20), encoding="utf-8")


def other_index(place: Place, path: Path) -> None:
    """One that points outside, under a name that the configuration gives."""
    index("../shard")(place, path)
    (path / "model.safetensors.index.json").rename(path / "other.safetensors.index.json")
    amend(path / "config.json", transformers_weights="other.safetensors.index.json")


def doubled(place: Place, path: Path) -> None:
    """Each step makes texts twice as long."""
    amend(path / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 34})
    amend(path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def small_vocabulary(place: Place, path: Path) -> None:
    """Two tokens, none of which begins or ends anything."""
    (path / "tokenizer.json").unlink()
    (path / "vocab.txt").write_text("a\nb\n")
    amend(path / "tokenizer_config.json", tokenizer_class="EsmTokenizer")


def eighth(place: Place, path: Path) -> None:
    """A weight of its own in 8 bits, NaN in it."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(path / "model.safetensors") | {
        "w": torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def inner_link(place: Place, path: Path) -> None:
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates/x.jinja").symlink_to(place.outside / "secret.txt")


def nested(name: str, **values: object) -> Callable[[Place, Path], None]:
    """Another head or base inside a published model's config.json."""
    def change(place: Place, step: Path) -> None:
        path = step / "model/config.json"
        amend(path, **{name: json.loads(path.read_text(encoding="utf-8"))[name] | values})

    return change


def whole_adapter(place: Place, path: Path) -> None:
    """An adapter of a base that lies elsewhere, all of it in safetensors."""
    import torch
    from safetensors.torch import save_file

    layer = "base_model.model.trunk.encoder.layer.0.attention.self.query"
    save_file({f"{layer}.lora_A.weight": torch.ones(1, 32), f"{layer}.lora_B.weight": torch.ones(32, 1)},
              path / "adapter_model.safetensors", metadata={"format": "pt"})
    (path / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "base_model_name_or_path": str(place.outside), "r": 1, "lora_alpha": 1,
        "target_modules": ["query"], "task_type": "SEQ_2_SEQ_LM"}))


def parquet_bomb(place: Place, path: Path) -> None:
    """Two million rows of one text, in a few kilobytes."""
    import pyarrow
    import pyarrow.parquet

    count = 2_000_000
    indices = pyarrow.repeat(pyarrow.scalar(0, pyarrow.int8()), count)
    texts = {"document": "red systems read every file " * 11, "summary": "red systems"}
    table = pyarrow.table({name: pyarrow.DictionaryArray.from_arrays(indices, [text]) for name, text in texts.items()})
    pyarrow.parquet.write_table(table, path, compression="zstd", row_group_size=count)


def zip_bomb(place: Place, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.jsonl", b"\n" * (64 << 20))


def bomb(place: Place, path: Path) -> None:
    """4 GiB of blank lines in a few megabytes: one small member of the archive, many times."""
    member = gzip.compress(b"\n" * (64 << 20), 9)
    path.write_bytes(member * 64)


def short_lines(place: Place, path: Path) -> None:
    """A hundred million lines that are no rows, of less bytes than an archive may hold."""
    path.write_bytes(gzip.compress(b"1\n" * (8 << 20), 9) * 12)


def short_items(place: Place, path: Path) -> None:
    """Eighty million empty lists in one."""
    path.write_bytes(gzip.compress(b"[[]") + gzip.compress(b",[]" * (8 << 20), 9) * 10 + gzip.compress(b"]"))


def laughs(place: Place, path: Path) -> list[str]:
    """YAML whose aliases unfold to 10^9 words, where the run's configuration should be."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path.write_text("\n".join(lines) + "\nhead: *a8\n")
    return []


def point_outside(place: Place, run: Path) -> None:
    (run / "results.json").unlink()
    for name in ("best", "last"):
        (run / "checkpoints" / name).write_text(json.dumps({"step": 2, "folder": "../../outside"}))
    shutil.rmtree(run / "checkpoints/step-2")


def elsewhere(place: Place, path: Path, name: str, key: str) -> None:
    """A file that the configuration beside it has read in place of the usual one."""
    other = place.outside / name.replace(".", ".0.")
    shutil.copy(path / name, other)
    amend(path / ("config.json" if name == "config.json" else "tokenizer_config.json"),
          **{key: [os.path.relpath(other, path)]})


def huge(name: str, place: Place, path: Path) -> None:
    (path / name).touch()
    os.truncate(path / name, 3 << 30)


TEMPLATE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
OVERLAP = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                      "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}).encode()
