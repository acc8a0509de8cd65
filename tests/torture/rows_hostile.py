"""Rows about files that somebody else made to do harm: models, tokenizers, checkpoints, configurations, data."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import re
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llmtrain.checkpoint import manifest as manifests
from torture.bench import Bench, Run, must
from torture.observe import finished

SECRET = "hf_" + "C4n4ry" * 5  # in the environment and in a file beside everything
SECONDS, MEMORY = 10, 2 << 30


@dataclass
class Place:
    """Where a case is set up.

    Attributes:
        folder: Its own; runs are written below it.
        outside: A folder that nobody may write to; ``secret.txt`` in it, nobody may read.
        good: A train command that works.
        model: A trained run.
    """

    folder: Path
    outside: Path
    good: list[str]
    model: Path

    @property
    def executed(self) -> Path:
        """Stands there once foreign code has run."""
        return self.folder / "executed"

    def pickle(self) -> bytes:
        return pickle.dumps(_Payload(self.executed))

    def code(self) -> str:
        return f"open({str(self.executed)!r}, 'w').close()\nclass Evil: pass\n"

    def base(self) -> Path:
        """A copy of the tiny base."""
        path = self.folder / "base"
        if not path.is_dir():
            shutil.copytree(next(one.partition("=")[2] for one in self.good if one.startswith("model.path=")), path)
        return path

    def run(self) -> Path:
        """A copy of the trained run."""
        path = self.folder / "copied"
        if not path.is_dir():
            shutil.copytree(self.model, path)
        return path

    def step(self) -> Path:
        return self.run() / "checkpoints/step-2"


class _Payload:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._path}",)


@dataclass(frozen=True)
class Case:
    """``make`` sets it up and returns the command; ``codes`` are right, 0 where the thing may simply not be used.

    Attributes:
        opens: The user names the file that links to the secret: it is opened, and must not be told.
        by: The same with another command, where what is left unread may lie there (code 0).
    """

    name: str
    make: Callable[[Place], list[str]]
    codes: tuple[int, ...] = (2, 3)
    opens: bool = False
    by: Callable[[str], Case] | None = None


def hostile(bench: Bench, n: int, draw: random.Random) -> str:
    """R12: refused, or not used, within seconds: nothing executed, written outside, connected to, no secret read."""
    cases, keen = [*CASES], [case for case in CASES if case.name in KEEN]
    if n > len(CASES):
        cases += [case.by(command) for case in CASES if case.by for command in COMMANDS
                  if not case.name.startswith(f"{command}:")]
    draw.shuffle(cases)
    done = [*keen, *(case for case in cases if case not in keen)][:n]
    with watched(bench) as (inner, trace):
        model, outside = inner.run_folder("to-read"), inner.folder / "outside"
        finished(inner, *inner.train_args(model.name, "trainer.max_steps=2"))
        outside.mkdir()
        (outside / "secret.txt").write_text(SECRET)
        slowest = 0.0
        for number, case in enumerate(done):
            folder = inner.folder / f"hostile-{number}"
            folder.mkdir()
            place = Place(folder, outside, inner.train_args("run", f"run.root={folder / 'runs'}",
                                                            "trainer.max_steps=1"), model)
            args, before = case.make(place), sorted(outside.rglob("*"))
            start = trace.stat().st_size if trace else 0
            run = inner.cli(*args, cwd=folder, env={"HF_TOKEN": SECRET}, timeout=90)
            check(case, run, place, before)
            slowest = max(slowest, run.seconds)
            if trace:
                look(case, trace.read_bytes()[start:].decode(errors="replace"), place, inner)
            shutil.rmtree(folder)
    seen = "connections, openings, programs and writes seen by strace" if trace else "no strace here: output alone seen"
    return f"{len(done)} of {len(cases)} cases, the slowest in {slowest:.1f} s; {seen}"


CALLS = ("connect,open,openat,openat2,execve,execveat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,"
         "link,linkat")


@contextmanager
def watched(bench: Bench) -> Iterator[tuple[Bench, Path | None]]:
    """A bench of the same source that may reach the hub, its server under strace where the machine allows that."""
    trace = bench.folder / "calls.trace"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-e", "signal=none",
              "-o", str(trace)]
    works = shutil.which("strace") and subprocess.run([*strace, "true"], capture_output=True,
                                                      check=False).returncode == 0
    folder = bench.folder / "watched"
    shutil.rmtree(folder, ignore_errors=True)
    env = {"HF_HUB_OFFLINE": "", "PYTHONDONTWRITEBYTECODE": "1",  # a fresh checkout's __pycache__ is no news
           "LLMTRAIN_CACHE": str(folder / "cache")}
    with Bench(folder, bench.source, strace if works else (), env) as inner:
        yield inner, trace if works else None


def look(case: Case, calls: str, place: Place, bench: Bench) -> None:
    """What strace saw: no connection, no program but git (it tells environment.json the commit), nothing opened
    outside, and nothing written where runs may not write."""
    lines = calls.splitlines()
    for line in lines:
        must("AF_INET" not in line, f"{case.name}: connects: {line[:300]}")
        must("execve" not in line or '["git", ' in line, f"{case.name}: starts a program: {line[:300]}")
    if not case.opens:
        seen = next((line for line in lines if re.search(r"= \d+<[^>]*/outside/[^>]+>", line)), None)
        must(seen is None, f"{case.name}: opens what lies outside: {seen}")
    may = (str(place.folder), str(bench.folder / "cache"), str(bench.folder / "outputs"), "/dev/", "/proc/")
    for line in lines:
        if "O_CREAT" in line or "O_WRONLY" in line or "O_RDWR" in line:
            path = re.search(r"= \d+<([^>]*)>", line)
            must(path is None or path[1].startswith(may), f"{case.name}: writes elsewhere: {line[:300]}")
        elif re.search(r"\b(mkdir|rename|symlink|link)(at2?)?\(", line) and line.endswith("= 0"):
            must(any(one in line for one in may), f"{case.name}: writes elsewhere: {line[:300]}")


def check(case: Case, run: Run, place: Place, before: list[Path]) -> None:
    text = run.err()
    must(not place.executed.exists(), f"{case.name}: foreign code was executed")
    must(sorted(place.outside.rglob("*")) == before, f"{case.name}: something was written outside the run's folder")
    must("Traceback" not in text, f"{case.name}: a traceback: {text[-1500:]}")
    must(run.code in case.codes, f"{case.name}: ended with {run.code}, not {case.codes}: {text[-800:]}")
    must(run.busy < SECONDS and run.seconds < 3 * SECONDS,  # the machine may have other work
         f"{case.name}: took {run.seconds:.1f} s, {run.busy:.1f} s of CPU time")
    must(run.peak < MEMORY, f"{case.name}: took {run.peak >> 20} MiB")
    if run.code != 0:
        lines = [line for line in text.splitlines() if line.startswith("llmtrain: ")]
        must(bool(lines) and all(len(line) < 500 for line in lines), f"{case.name}: said {text[-800:]}")
    must(SECRET not in run.out() + text, f"{case.name}: the secret is in its output")
    for path in (place.folder / "runs").rglob("*"):
        must(not path.is_file() or SECRET.encode() not in path.read_bytes(), f"{case.name}: the secret is in {path}")


# --------------------------------------------------------------------------------------------------------- the cases


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


def resumed(name: str, change: Callable[[Place, Path], object]) -> Case:
    """The trained run's own folder with something in it, gone on with."""
    def make(place: Place) -> list[str]:
        change(place, place.run())
        return [*place.good, f"run.root={place.folder}", "run.name=copied", "trainer.max_steps=2"]

    return Case(f"resume: {name}", make)


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


EXTRAS: tuple[tuple[str, Callable[[Place, Path], object]], ...] = (
    ("a pipe", lambda p, b: os.mkfifo(b / "zz.safetensors")),
    ("a folder", lambda p, b: (b / "zz.safetensors").mkdir()),
    ("rubbish", lambda p, b: (b / "zz.safetensors").write_bytes(b"x" * 99)))
TEMPLATE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
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
COMMANDS = ("eval", "summarize", "init", "extend", "verify")
KEEN = ("base: an index that points outside", "base: a vocabulary that is a link to a secret", "eval: a plugin",
        "typed: run.name=${oc.env:HF_TOKEN}", "verify: a pickle called x.pkl",
        "base: a template that climbs", "data: a gzip bomb", "base: a large index that points outside",
        "eval: an index that points outside", "base: code for the tokenizer", "data: a parquet bomb",
        "init: no weights", "data: a gzip bomb of short lines")  # always done first: the broken programs fail on these
OVERLAP = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                      "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}).encode()
assert set(KEEN) <= {case.name for case in CASES}
assert len({case.name for case in CASES}) == len(CASES)
assert re.fullmatch(r"hf_\w+", SECRET)
