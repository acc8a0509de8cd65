"""Files that somebody else made to do harm: models, tokenizers, checkpoints, configurations, data."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from llmtrain.checkpoint import manifest as manifests
from torture.hostile_case import Case, Place
from torture.hostile_changes import (
    OVERLAP,
    TEMPLATE,
    adapter,
    amend,
    bomb,
    doubled,
    eighth,
    elsewhere,
    header,
    huge,
    index,
    inner_link,
    instead,
    interpolated,
    large_index,
    laughs,
    link,
    lose,
    nested,
    other_index,
    parquet_bomb,
    pipe,
    point_outside,
    put,
    put_pickle,
    remote_code,
    remote_tokenizer,
    reshaped,
    rework,
    said,
    short_items,
    short_lines,
    sign_again,
    small_vocabulary,
    stored,
    templates,
    whole_adapter,
    write,
    zip_bomb,
)


def base(name: str, change: Callable[[Place, Path], object], *codes: int, opens: bool = False,
         more: tuple[str, ...] = ()) -> Case:
    """A base folder with something in it."""
    def make(place: Place) -> list[str]:
        change(place, place.base())
        return [*place.good, f"model.path={place.base()}", *more]

    return Case(f"base: {name}", make, codes or (2, 3), opens)


def looked(name: str, change: Callable[[Place, Path], object], *codes: int) -> Case:
    """The same base, verified."""
    def make(place: Place) -> list[str]:
        change(place, place.base())
        return ["verify", str(place.base())]

    return Case(f"verify: a base with {name}", make, codes or (2, 3))


def published(name: str, change: Callable[[Place, Path], object], command: str = "eval", sign: bool = True,
              *codes: int, again: bool = True) -> Case:
    """A step folder with something in it, its manifests made anew by whoever did that."""
    def make(place: Place) -> list[str]:
        change(place, place.step())
        if sign:
            sign_again(place.step())
        step = place.step()
        (place.folder / "document.txt").write_text("The pump brought water up the hill for seventy years.")
        return {"eval": ["eval", f"checkpoint={step}", "eval.split=validation"],
                "summarize": ["summarize", f"checkpoint={step / 'model'}", f"input={place.folder / 'document.txt'}"],
                "init": [*place.good, f"model.init_from={step}"],
                "extend": [*place.good, f"run.extend_from={step}", "trainer.max_steps=4"],
                "verify": ["verify", str(step)]}[command]

    by = partial(_by, name, change, sign) if again else None
    return Case(f"{command}: {name}", make, codes or (2, 3), by=by)


def _by(name: str, change: Callable[[Place, Path], object], sign: bool, command: str) -> Case:
    return published(name, change, command, sign, 0, 2, 3, again=False)


def typed(*overrides: str, codes: tuple[int, ...] = (2,)) -> Case:
    return Case(f"typed: {' '.join(overrides)}", lambda place: [
        *place.good, *(one.replace("OUTSIDE", str(place.outside)) for one in overrides)], codes)


def data(name: str, write: Callable[[Place, Path], object], file: str, *codes: int, opens: bool = False) -> Case:
    def make(place: Place) -> list[str]:
        write(place, place.folder / file)
        return [*place.good, f"data.train={place.folder / file}"]

    return Case(f"data: {name}", make, codes or (2, 3), opens)


def resumed(name: str, change: Callable[[Place, Path], object]) -> Case:
    """The trained run's own folder with something in it, gone on with."""
    def make(place: Place) -> list[str]:
        change(place, place.run())
        return [*place.good, f"run.root={place.folder}", "run.name=copied", "trainer.max_steps=2"]

    return Case(f"resume: {name}", make)


EXTRAS: tuple[tuple[str, Callable[[Place, Path], object]], ...] = (
    ("a pipe", lambda p, b: os.mkfifo(b / "zz.safetensors")),
    ("a folder", lambda p, b: (b / "zz.safetensors").mkdir()),
    ("rubbish", lambda p, b: (b / "zz.safetensors").write_bytes(b"x" * 99)))
CASES = [
    base("weights as a pickle alone", lambda p, b: (instead(b / "model.safetensors", b""),
                                                    (b / "model.safetensors").rename(b / "pytorch_model.bin"),
                                                    (b / "pytorch_model.bin").write_bytes(p.pickle()))),
    base("a pickle beside the weights", lambda p, b: (b / "pytorch_model.bin").write_bytes(p.pickle()), 0),
    base("a pickle called safetensors", lambda p, b: instead(b / "model.safetensors", p.pickle())),
    *(base(f"a pickle called {name}", partial(put_pickle, name), 0, 2, 3)
      for name in ("training_args.bin", "optimizer.pt", "tf_model.h5", "flax_model.msgpack", "model.ckpt.index")),
    base("code for the model", remote_code, 0, 2, 3), base("code for the tokenizer", remote_tokenizer, 0, 2, 3),
    base("an index that points outside", index("../shard")),
    base("an index that points at a pickle", index("shard.bin")),
    base("a large index that points outside", large_index),
    base("an index under another name", other_index),
    base("a whole adapter", whole_adapter),
    base("an adapter by pickle", adapter, 0, 2, 3),
    base("weights that are a link to a secret", lambda p, b: link(b / "model.safetensors", p.outside / "secret.txt"),
         opens=True),
    base("a vocabulary that is a link to a secret", lambda p, b: (b / "tokenizer.json").unlink() or (
        (b / "vocab.txt").unlink(missing_ok=True) or (b / "vocab.txt").symlink_to(p.outside / "secret.txt"))),
    base("a chat template that is a link to a secret", lambda p, b: (b / "chat_template.jinja").symlink_to(
        p.outside / "secret.txt")),
    base("a tokenizer that is a link to a secret", lambda p, b: link(b / "tokenizer.json", p.outside / "secret.txt")),
    base("weights that are a pipe", lambda p, b: pipe(b / "model.safetensors")),
    base("a configuration that is a pipe", lambda p, b: pipe(b / "config.json")),
    base("a tokenizer that is a pipe", lambda p, b: pipe(b / "tokenizer.json")),
    base("weights that never end", lambda p, b: link(b / "model.safetensors", "/dev/zero")),
    base("a configuration that never ends", lambda p, b: link(b / "config.json", "/dev/zero")),
    base("a tokenizer that never ends", lambda p, b: link(b / "tokenizer.json", "/dev/zero")),
    base("a header of 2^62 bytes", lambda p, b: instead(b / "model.safetensors", header(1 << 62, b"{}"))),
    base("a header that is a lie", lambda p, b: instead(b / "model.safetensors", header(64, b"{" + b" " * 63))),
    base("tensors on each other", lambda p, b: instead(b / "model.safetensors", header(
        len(OVERLAP), OVERLAP) + bytes(64))),
    base("a nested configuration", lambda p, b: (b / "config.json").write_text("[" * 200_000)),
    base("a hub's kernel for attention", lambda p, b: amend(b / "config.json", attn_implementation="evil/kernel",
                                                            _attn_implementation="evil/kernel"), 0, 2, 3),
    base("weights quantised by a package", lambda p, b: amend(b / "config.json", quantization_config={
        "quant_method": "bitsandbytes", "load_in_4bit": True}), 2, 3, 0),
    base("a template that climbs", templates("UP/climbed"), 0, 2, 3),
    base("a template with an absolute name", lambda p, b: templates(f"{p.outside}/absolute")(p, b), 0, 2, 3),
    base("a template that looks around", lambda p, b: amend(b / "tokenizer_config.json", chat_template=TEMPLATE), 0),
    base("a vocabulary from elsewhere", lambda p, b: amend(b / "tokenizer_config.json", vocab_file=str(
        p.outside / "secret.txt"), merges_file=str(p.outside / "secret.txt")), 0, 2, 3),
    base("20 million labels", lambda p, b: amend(b / "config.json", num_labels=20_000_000)),
    base("20,000 layers", lambda p, b: amend(b / "config.json", num_hidden_layers=20_000)),
    base("400 layers", lambda p, b: amend(b / "config.json", num_hidden_layers=400), 2),
    base("a width of a billion", lambda p, b: amend(b / "config.json", intermediate_size=10 ** 9), 2),
    *(base(f"{name} beside the weights", change, 0, more=("objective.base=mlm",)) for name, change in EXTRAS),
    *(looked(f"{name} beside its weights", change, 0) for name, change in EXTRAS),
    looked("weights that are a pipe", lambda p, b: pipe(b / "model.safetensors")),
    looked("numbers of 8 bits", eighth, 3),
    base("a chat template further in that is a link to a secret", inner_link),
    base("a tokenizer of 3 GiB", lambda p, b: os.truncate(b / "tokenizer.json", 3 << 30)),
    *(base(f"{name} of 3 GiB", partial(huge, name)) for name in (
        "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "merges.txt", "generation_config.json")),
    base("a configuration under another name", lambda p, b: elsewhere(p, b, "config.json", "configuration_files")),
    base("a tokenizer under another name", lambda p, b: elsewhere(p, b, "tokenizer.json", "fast_tokenizer_files")),
    published("a tokenizer under another name", lambda p, s: elsewhere(
        p, s / "model", "tokenizer.json", "fast_tokenizer_files")),
    base("a chat template further in that is a pipe", lambda p, b: (
        (b / "additional_chat_templates").mkdir(), os.mkfifo(b / "additional_chat_templates/x.jinja"))),
    published("20 million labels", lambda p, s: amend(s / "model/config.json", num_labels=20_000_000), "init"),
    base("a tokenizer that pads without end", lambda p, b: amend(b / "tokenizer.json", padding={
        "strategy": {"Fixed": 10 ** 12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "[PAD]"}), 0),
    base("a tokenizer that panics", lambda p, b: amend(b / "tokenizer.json", normalizer={
        "type": "Precompiled", "precompiled_charsmap": "/////w=="})),
    looked("a tokenizer that panics", lambda p, b: amend(b / "tokenizer.json", normalizer={
        "type": "Precompiled", "precompiled_charsmap": "/////w=="})),
    base("a tokenizer that doubles its text", doubled), looked("a tokenizer that doubles its text", doubled),
    base("a tokenizer of two words", small_vocabulary, 2), looked("a tokenizer of two words", small_vocabulary),
    base("outputs without names", lambda p, b: amend(b / "config.json", return_dict=False), 0),
    base("layers in pieces", lambda p, b: amend(b / "config.json", chunk_size_feed_forward=7), 0),
    base("positions from nowhere", lambda p, b: amend(b / "config.json", model_type="roberta", pad_token_id=None,
                                                      architectures=None), 2),
    published("20 million labels", lambda p, s: amend(s / "model/config.json", num_labels=20_000_000), "summarize"),
    published("30,000 layers in the head", nested("head", layers=30_000)),
    published("20,000 layers in the base", nested("base", num_hidden_layers=20_000), "verify"),
    published("outputs without names", nested("base", return_dict=False, chunk_size_feed_forward=7), "eval", True, 0),
    published("a tokenizer that panics", lambda p, s: amend(s / "model/tokenizer.json", normalizer={
        "type": "Precompiled", "precompiled_charsmap": "/////w=="}), "summarize", True, 3),
    published("a tokenizer of two words", lambda p, s: small_vocabulary(p, s / "model"), "summarize", True, 3),
    published("a tokenizer that doubles its text", lambda p, s: doubled(p, s / "model"), "eval", True, 3),
    *(published(f"a pickle called {name}", partial(put_pickle, name), command)
      for name, command in (("model/pytorch_model.bin", "eval"), ("state/optimizer.pt", "extend"), ("x.pkl", "verify"),
                            ("model/training_args.bin", "init"))),
    published("a pickle called safetensors", lambda p, s: instead(s / "model/model.safetensors", p.pickle())),
    published("a state that is a pickle", lambda p, s: instead(s / "state/optimizer.safetensors", p.pickle()),
              "extend"),
    published("code", lambda p, s: remote_code(p, s / "model"), "summarize"),
    published("code for the tokenizer", lambda p, s: remote_tokenizer(p, s / "model"), "init"),
    published("a link to a secret", lambda p, s: link(s / "model/tokenizer.json", p.outside / "secret.txt"), "verify"),
    published("an index that points outside", lambda p, s: index("../shard")(p, s / "model")),
    published("an index that points outside", lambda p, s: index("../shard")(p, s / "model"), "init"),
    published("an index that points outside", lambda p, s: index("../shard")(p, s / "model"), "verify"),
    published("a whole adapter", lambda p, s: whole_adapter(p, s / "model"), "summarize"),
    published("quantised weights", lambda p, s: amend(s / "model/config.json", quantization_config={
        "quant_method": "bitsandbytes", "load_in_4bit": True})),
    *(published("no weights", lambda p, s: (s / "model/model.safetensors").unlink(), command)
      for command in ("eval", "init", "extend", "verify")),
    published("a pipe", lambda p, s: pipe(s / "model/config.json"), "verify", False),
    published("a path that climbs", lambda p, s: write(s, manifests.Manifest("step", 2, {
        "../../../outside/secret.txt": manifests.record_of(p.outside / "secret.txt")}, {})), "verify", False),
    published("an interpolated environment", interpolated, "eval", True, 0, 2, 3),
    published("a target", lambda p, s: amend(s / "model/llmtrain.json", config={"_target_": "os.system", "_args_": [
        f"touch {p.executed}"]})),
    published("a plugin", lambda p, s: ((p.folder / "evil.py").write_text(p.code()), amend(
        s / "model/llmtrain.json", plugins=[{"name": "evil", "path": str(p.folder / "evil.py"), "sha256": "0" * 64,
                                             "parts": []}])), "eval", True, 0, 2, 3),
    published("a header of 2^62 bytes", lambda p, s: instead(s / "model/model.safetensors", header(1 << 62, b"{}"))),
    published("a configuration with a kernel", lambda p, s: amend(
        s / "model/config.json", attn_implementation="evil/kernel", _attn_implementation="evil/kernel"),
        "eval", True, 0, 2, 3),
    published("a cache outside", stored(lambda p, b: b["config"]["data"].update(cache_dir=str(p.outside / "cache"))),
              "eval", True, 0),
    published("stop words in a secret", stored(lambda p, b: b["config"]["data"].update(preprocess=[
        {"name": "stopwords", "file": str(p.outside / "secret.txt")}])), "summarize", True, 3),
    *(published("nothing told of the run", stored(lambda _p, b: b.clear()), command, True, 3)
      for command in ("eval", "verify", "extend")),
    published("a progress that is a method", lambda p, s: amend(s / "state/progress.json", save=5), "extend", True, 3),
    base("a weight that is missing", lambda p, path: rework(path / "model.safetensors", lose)),
    *(published("a weight that is missing", lambda p, s: rework(s / "model/model.safetensors", lose), command)
      for command in ("eval", "summarize", "verify", "init", "extend")),
    *(published(f"a state of another shape: {part}", partial(reshaped, part), "extend", True, 3)
      for part in ("optimizer", "objectives", "random")),
    *(published(f"a state in words: {part}", partial(said, part, {key: "x"}), "extend", True, 3) for part, key in (
        ("optimizer", "values"), ("schedule", "total"), ("precision", "scaler"), ("random", "0"))),
    *(published(f"a state without a word: {part}", partial(said, part, None), "extend", True, 3)
      for part in ("schedule", "random")),
    *(published(f"a stored {key}={value}", stored(partial(put, key, value)), "eval", True, *codes)
      for key, value, codes in (
        ("data.processes", 100_000, (0,)), ("data.workers", 100_000, (0,)), ("generation.num_beams", 10**6, (2,)),
        ("eval.bootstrap_samples", 10**12, (2,)))),
    published("another base in its origin", stored(lambda p, body: body["origin"]["base"].update(
        num_labels=10**9, hidden_act=[["x"]])), "extend", True, 2),
    published("an origin in words", stored(lambda p, body: body.update(origin={"base": "x", "tokenizer": [1]})),
              "extend", True, 2),
    published("a progress in words", lambda p, s: amend(s / "state/progress.json", step="x"), "extend", True, 3),
    published("no step", stored(lambda _p, b: b.update(step=None)), "eval", True, 3),
    published("a step in words", stored(lambda _p, b: b.update(step="x")), "summarize", True, 3),
    published("plugins that are words", stored(lambda _p, b: b.update(plugins=["x"])), "eval", True, 3),
    published("plugins in parts", stored(lambda _p, b: (b.update(plugins=[{"name": "x", "sha256": 5, "parts": 5}]),
                                                        b["config"].update(head={"name": "none"}))), "eval", True, 3),
    published("a manifest of 20 million groups", lambda _p, s: (s / "manifest.json").write_text(
        "[" + ",".join(["{}"] * 20_000_000) + "]"), "verify", False, 3),
    resumed("YAML that makes objects", lambda p, r: (r / "config.yaml").write_text(
        f"!!python/object/apply:os.system ['touch {p.executed}']\n")),
    resumed("a billion laughs", lambda p, r: laughs(p, r / "config.yaml")),
    resumed("pointers that climb", point_outside),
    data("a gzip bomb", bomb, "train.jsonl.gz", 2, 3, 5),
    data("a gzip bomb of short lines", short_lines, "train.jsonl.gz"),
    data("a gzip bomb of short items", short_items, "train.json.gz"),
    data("a parquet bomb", parquet_bomb, "train.parquet", 2, 3, 5),
    data("a zip bomb", zip_bomb, "train.jsonl.zip"),
    data("a link to a secret", lambda p, f: f.symlink_to(p.outside / "secret.txt"), "train.jsonl",
         opens=True),
    data("a pickle called parquet", lambda p, f: f.write_bytes(p.pickle()), "train.parquet"),
    data("a pickle called arrow", lambda p, f: f.write_bytes(p.pickle()), "train.arrow"),
    typed("trainer._target_=os.system"), typed("++_target_=os.system"), typed("++model._target_=os.system"),
    typed("head={_target_: os.system}"), typed("run.name=${oc.env:HF_TOKEN}"), typed("run.name=${oc.decode:1}"),
    typed("data.document=${oc.env:HF_TOKEN}"), typed("model.path=${hydra:runtime.cwd}"),
    typed("hydra.searchpath=[file://OUTSIDE]"), typed("hydra/launcher=joblib"), typed("hydra.run.dir=OUTSIDE/x"),
    typed("--config-dir=OUTSIDE"), typed("--config-path", "OUTSIDE"), typed("+experiment=../../outside/secret"),
    typed("head=../../outside/secret"), typed("run.name=../outside/run"), typed("run.name=OUTSIDE/run"),
]
assert len({case.name for case in CASES}) == len(CASES)
