"""Rows about what people type and what lies in their files: wrong data, keys, bases, predictions."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers import pairs
from torture.bench import Bench, Run, must
from torture.observe import finished

LONGEST_LINE, SECONDS, MEMORY = 400, 10, 1536 << 20  # what a refusal may take
Make = Callable[[Path, list[str]], list[str]]  # (an empty folder, a good train command) -> the arguments


@dataclass(frozen=True)
class Case:
    """One thing that is wrong.

    Attributes:
        make: Writes what it needs and returns the command line.
        told: Every message must have one of these texts; none: any message.
        codes: Exit codes that are right.
    """

    name: str
    make: Make
    told: tuple[str, ...] = ()
    codes: tuple[int, ...] = (2, 3)


def malformed(bench: Bench, n: int, draw: random.Random) -> str:
    """R9: each is refused with exit code 2 or 3, in short lines without a traceback, and leaves nothing behind.

    Hand cases first, a fifth and whatever is left are mutations of good input, which may also be found good. In a tenth
    of the refusals a corrected command then claims the run folder that was named.
    """
    cases = [*CASES]
    draw.shuffle(cases)
    hand, good, claimed = cases[:n - n // 5], 0, 0
    mutated = n - len(hand)
    cases = [*hand, *(mutation(draw) for _ in range(mutated))]
    model, slowest = trained(bench), 0.0
    for number, case in enumerate(cases):
        folder = bench.folder / f"input-{number}"
        folder.mkdir()
        args = case.make(folder, bench.train_args("wanted", f"run.root={folder / 'runs'}"))
        args = [one.replace(MODEL, str(model)) for one in args]
        before = set(folder.rglob("*"))
        run = bench.cli(*args, cwd=folder, timeout=60)
        accepted = check(case, run, set(folder.rglob("*")) - before, folder)
        good += accepted
        slowest = max(slowest, 0.0 if accepted else run.seconds)
        if number % 10 == 0 and not accepted and args[0] == "train":
            finished(bench, *bench.train_args("wanted", f"run.root={folder / 'runs'}", "trainer.max_steps=1"))
            claimed += 1
        shutil.rmtree(folder)
    return (f"{len(hand)} of {len(CASES)} hand cases, {mutated} mutations, of which {good} were good; the slowest "
            f"refusal in {slowest:.1f} s; {claimed} run folders claimed by a corrected command")


def check(case: Case, run: Run, made: set[Path], folder: Path) -> int:
    """Whether the command was accepted (1) or refused as it should be (0)."""
    about = f"{case.name}: "
    text = run.err()
    must("Traceback" not in text, f"{about}a traceback: {text[-1500:]}")
    must(run.code in case.codes, f"{about}ended with {run.code}, not {case.codes}: {text[-800:]}")
    must(run.busy < SECONDS and run.seconds < 3 * SECONDS,  # the machine may have other work
         f"{about}took {run.seconds:.1f} s, {run.busy:.1f} s of CPU time")
    must(run.peak < MEMORY, f"{about}took {run.peak >> 20} MiB")
    if run.code == 0:
        return 1
    lines = [line for line in text.splitlines() if line.startswith("llmtrain: ")]
    must(bool(lines), f"{about}said nothing of its own: {text[-500:]}")
    for line in lines:
        must(len(line) < LONGEST_LINE, f"{about}a line of {len(line)} characters: {line}")
    if case.told:
        must(any(told in text for told in case.told), f"{about}told none of {case.told}: {text[-500:]}")
    left = {path for path in made if "cache" not in path.parts}
    must(not left, f"{about}left {sorted(str(path.relative_to(folder)) for path in left)}")
    return 0


MODEL = "@model"  # in a command: the run of trained()


def trained(bench: Bench) -> Path:
    """A run to score and to summarize with, made once."""
    folder = bench.run_folder("to-read")
    if not folder.is_dir():
        finished(bench, *bench.train_args(folder.name, "trainer.max_steps=2"))
    return folder


# --------------------------------------------------------------------------------------------------- what is wrong


def data(name: str, content: bytes | str, *told: str, file: str = "train.jsonl") -> Case:
    """A training file with this content."""
    def make(folder: Path, good: list[str]) -> list[str]:
        path = folder / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [*good, f"data.train={path}"]

    return Case(f"data: {name}", make, told or (file,))


def typed(*overrides: str, told: tuple[str, ...] = ()) -> Case:
    """Overrides behind a good command; the message names one of their keys or values at the least."""
    parts = [one.lstrip("+~").partition("=") for one in overrides]
    named = [key for key, _, _ in parts] + [value for _, _, value in parts if len(value) > 4]
    return Case(f"typed: {' '.join(overrides)}", lambda folder, good: [*good, *overrides], told or tuple(named))


def command(*arguments: str, told: tuple[str, ...] = ()) -> Case:
    return Case(f"command: {' '.join(arguments)}", lambda folder, good: list(arguments), told)


def base(name: str, change: Callable[[Path], object], *told: str) -> Case:
    """A copy of the tiny base with something wrong in it."""
    def make(folder: Path, good: list[str]) -> list[str]:
        path = next(one.partition("=")[2] for one in good if one.startswith("model.path="))
        shutil.copytree(path, folder / "base")
        change(folder / "base")
        return [*good, f"model.path={folder / 'base'}"]

    return Case(f"base: {name}", make, told)


def named(name: str, rows: list[object], override: str, *told: str) -> Case:
    """A training file with these rows, beside an override."""
    def make(folder: Path, good: list[str]) -> list[str]:
        (folder / "train.jsonl").write_text(text(rows))
        return [*good, f"data.train={folder / 'train.jsonl'}", override]

    return Case(f"data: {name}", make, told)


def special(name: str, make_it: Callable[[Path], object]) -> Case:
    """Something at the training file's path that is no file."""
    def make(folder: Path, good: list[str]) -> list[str]:
        make_it(folder / "train.jsonl")
        return [*good, f"data.train={folder / 'train.jsonl'}"]

    return Case(f"data: {name}", make, ("train.jsonl",))


def predictions(name: str, content: bytes, *told: str) -> Case:
    def make(folder: Path, good: list[str]) -> list[str]:
        (folder / "made.txt").write_bytes(content)
        test = next(one for one in good if one.startswith("data.test="))
        return ["eval", f"predictions={folder / 'made.txt'}", "data=files", test]

    return Case(f"predictions: {name}", make, told or ("made.txt",))


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)  # a socket's own path may have 107 characters
        try:
            made.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def text(rows: list[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def cut(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def flipped(content: bytes, start: int, end: int) -> bytes:
    return content[:start] + bytes(byte ^ 0x5A for byte in content[start:end]) + content[end:]


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


ROW = {"document": "some words to read", "summary": "some words"}
LINES = text([ROW] * 3)
CASES = [
    data("no JSON", LINES + "{document: 1}\n", "train.jsonl:4"),
    data("half a line", LINES + '{"document": "some', "train.jsonl:4"),
    data("a list", LINES + "[1, 2]\n", "train.jsonl:4"), data("a number", "17\n" + LINES, "train.jsonl:1"),
    data("a text", LINES + '"text"\n', "train.jsonl:4"),
    data("no summary", LINES + '{"document": "text"}\n', "train.jsonl:4", "summary"),
    data("other columns", text([{"text": "a", "title": "b"}] * 3), "document"),
    data("null", LINES + '{"document": null, "summary": "a"}\n', "train.jsonl:4"),
    data("a number as document", LINES + '{"document": 5, "summary": "a"}\n', "train.jsonl:4"),
    data("a list as summary", LINES + '{"document": "a", "summary": ["a"]}\n', "train.jsonl:4"),
    data("an empty document", LINES + '{"document": "  ", "summary": "a"}\n', "train.jsonl:4"),
    data("nothing", ""), data("blank lines", "\n\n  \n"),
    data("no UTF-8", LINES.encode() + b'{"document": "\xff\xfe"}\n'),
    data("UTF-16 without a mark", LINES.encode("utf-16-le"), "UTF-16"),
    data("UTF-16 cut off", LINES.encode("utf-16")[:-1], "UTF-16"),
    data("a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    data("a spreadsheet", b"PK\x03\x04" + bytes(99), "Office", file="train.csv"),
    data("a web page", "<!DOCTYPE html><html></html>", "HTML", file="train.csv"),
    data("a pickle", b"\x80\x04\x95" + bytes(99), "pickle", file="train.json"),
    data("Python dicts", "{'document': 'a b', 'summary': 'c'}\n" * 12, "json.dumps"),
    data("two fitting columns", "Document,DOCUMENT,summary\na b,c,d\n", "did you mean", file="train.csv"),
    data("a NUL in a text", LINES + text([ROW | {"document": "a\0b"}]), "train.jsonl:4"),
    data("xz cut off", lzma.compress(LINES.encode() * 50)[:-20], file="train.jsonl.xz"),
    data("an xz of zeros", lzma.compress(bytes(1 << 20)) * 300, "unpacks",
         file="train.jsonl.xz"),
    data("bz2 damaged", flipped(bz2.compress(text([*pairs(99)]).encode()), 60, 200), file="train.jsonl.bz2"),
    data("zeros", b"\0" * 4096),
    data("a picture", b"\x89PNG\r\n\x1a\n" + bytes(99)), data("deep nesting", "[" * 100_000 + "\n"),
    data("a huge number", LINES + '{"document": ' + "9" * 10_000 + "}\n"),
    data("a key twice", LINES + '{"document": "a b", "document": "c", "summary": "d"}\n', "train.jsonl"),
    data("gz cut off", gzip.compress(LINES.encode() * 50)[:-20], file="train.jsonl.gz"),
    data("gz damaged", flipped(gzip.compress(text([*pairs(99)]).encode()), 60, 200), file="train.jsonl.gz"),
    data("a key twice in json", '[{"document": "a b", "summary": "c", "summary": "d"}]', "twice", file="train.json"),
    data("a column twice", "document,summary,summary\na b c,a,b\n", "train.csv:2", file="train.csv"),
    data("gz that is none", LINES, file="train.jsonl.gz"), data("csv without columns", "1,2\n3,4\n", file="train.csv"),
    data("csv, an open quote", 'document,summary\n"a b,c\nd,e\n', file="train.csv"),
    data("no parquet", "PAR1 and nothing", file="train.parquet"), data("an unknown kind", LINES, file="train.docx"),
    named("references that are none", [ROW | {"references": 7}] * 3, "data.references=references", "references"),
    special("a folder", lambda path: path.mkdir()), special("a named pipe", os.mkfifo), special("a socket", listening),
    special("a link to nothing", lambda path: path.symlink_to("gone.jsonl")),
    special("a link to itself", lambda path: path.symlink_to(path.name)),
    typed("data.train=nowhere.jsonl", told=("nowhere.jsonl",)), typed("data.train=no*.jsonl", told=("no*.jsonl",)),
    typed("data.train=[]"), typed("data.train=/dev/zero"), typed("data.train=/dev/null"),
    typed("data.document=text", told=("'text'",)),
    typed("trainer.batchsize=8", told=("batch_size",)), typed("trainer=quick"), typed("head=transfomer"),
    typed("model=bert_bse"), typed("precision=fp8"), typed("objective.base=mln"), typed("optim=adamm"),
    typed("objective.weighting=equal"), typed("schedule=triangle"), typed("+experiment=bert_sum_fp17"),
    typed("trainer.batch_size=0"), typed("trainer.batch_size=-8"), typed("trainer.batch_size=1.5"),
    typed("trainer.batch_size=many"), typed("trainer.batch_size="), typed("trainer.batch_size=[8]"),
    typed("trainer.accumulate=3"), typed("trainer.max_steps=null"),
    typed("trainer.max_epochs=1"), typed("optim.base_lr=nan"), typed("optim.base_lr=inf"), typed("optim.base_lr=-1"),
    typed("optim.base_lr=1e999"), typed("objective.lam=-0.5"), typed("objective.terms=[{name: mlm, lam: x}]"),
    typed("objective.terms=7"), typed("head.layers=0"), typed("head.layers=-1"), typed("generation.num_beams=0"),
    typed("generation.max_new_tokens=0"), typed("eval.language=klingon"), typed("eval.references=worst"),
    typed("data.max_source_tokens=100000"), typed("data.max_source_tokens=1"), typed("data.long=fold"),
    typed("data.preprocess=[shuffle]"), typed("data.preprocess=[{name: regex, pattern: '('}]"),
    typed("run.name=../out"),
    typed("run.name=/abs"), typed(f"run.name={'n' * 300}"), typed("run.root=/dev/null/x"), typed("run.resume=must"),
    typed("trainer.device=tpu"), typed("trainer.best_metric=bleu"), typed("model.path=nowhere/at/all"),
    typed("model.path=/dev/null"), typed("model.init_from=nowhere"), typed("data.selector=nowhere"),
    typed("=5"), typed("trainer.batch_size"), typed("trainer.[=5"), typed("trainer.max_steps={a"), typed("'"),
    typed("++trainer.new=1"), typed("data@trainer=files"), typed("head.name=${head.name}"),
    typed("hydra.run.dir=/tmp/x"), typed("--config-path=/tmp"), typed("--fast"), typed("-x"), typed("--plugin"),
    typed("--plugin", "nowhere.py"), typed("--cfg", "hydra"), typed("trainer.batch_size=8,16"),
    command("trian", told=("train",)), command("eval"), command("summarize"), command("eval", "checkpoint=nowhere"),
    command("eval", "checkpoint=/dev/zero"), command("summarize", "checkpoint=/"), command("list", "heds"),
    command("verify"), command("verify", "/dev/null"), command("clean", "nowhere"), command("fetch", "gpt9"),
    command("data"), command("data", "show", "show.rows=-1"), command("verify-resume", "--steps", "1"),
    command("eval", f"checkpoint={MODEL}", "head=gru"), command("eval", f"checkpoint={MODEL}", "eval.split=train"),
    command("summarize", f"checkpoint={MODEL}", "input=nowhere.txt", told=("nowhere.txt",)),
    command("summarize", f"checkpoint={MODEL}", "generation.num_beams=x"),
    command("eval", f"checkpoint={MODEL}", "data=files", "data.test=nowhere.jsonl", told=("nowhere.jsonl",)),
    predictions("too few", b"one\n"), predictions("no UTF-8", b"\xff\xfe\n" * 2), predictions("nothing", b""),
    base("no config", lambda path: (path / "config.json").unlink()),
    base("no weights", lambda path: (path / "model.safetensors").unlink()),
    base("no tokenizer", lambda path: [file.unlink() for file in path.glob("*token*")]),
    base("half a tokenizer", lambda path: cut(path / "tokenizer.json", 0.5)),
    base("an empty tokenizer", lambda path: (path / "tokenizer.json").write_text("{}")),
    base("a tokenizer that is a list", lambda path: (path / "tokenizer.json").write_text("[]")),
    base("half the weights", lambda path: cut(path / "model.safetensors", 0.5)),
    base("weights that are none", lambda path: (path / "model.safetensors").write_bytes(b"x" * 999)),
    base("half a config", lambda path: cut(path / "config.json", 0.5)),
    base("another kind", lambda path: change_json(path / "config.json", model_type="t5")),
    base("no kind", lambda path: (path / "config.json").write_text("{}")),
    base("wider than its weights", lambda path: change_json(path / "config.json", hidden_size=64)),
    base("no layers", lambda path: change_json(path / "config.json", num_hidden_layers=0)),
    base("a width of nothing", lambda path: change_json(path / "config.json", hidden_size=-1)),
    base("heads that do not divide", lambda path: change_json(path / "config.json", num_attention_heads=7)),
    base("fewer tokens than the tokenizer", lambda path: change_json(path / "config.json", vocab_size=9)),
]


def mutation(draw: random.Random) -> Case:
    """Good input with some bytes, characters or values changed; it may still be good."""
    kind, seed = draw.choice(("data", "override", "tokenizer", "config", "yaml")), draw.randrange(1 << 30)
    make = {"data": _mutated_data, "override": _mutated_override, "tokenizer": _mutated_file("tokenizer.json"),
            "config": _mutated_file("config.json"), "yaml": _mutated_file("tokenizer_config.json")}[kind]
    codes = (0, 2, 3, 5) if kind == "override" else (0, 2, 3)  # a shortened path may lead where this user may not write
    return Case(f"mutated {kind} {seed}", lambda folder, good: make(folder, good, random.Random(seed)), codes=codes)


def mutate(content: bytes, draw: random.Random) -> bytes:
    """One to three places changed: bytes flipped, cut out, doubled, or replaced by what parsers stumble over."""
    made = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(made) + 1)
        end = min(len(made), place + draw.randint(0, 12))
        piece = draw.choice((b"", b"\0", b"\xff", b"{", b"]", b'"', b"null", b"-1", b"1e999", b"\\ud800", b"NaN", b"\n",
                             bytes(made[place:end]) * 2, bytes(b ^ 1 << draw.randrange(8) for b in made[place:end])))
        made[place:end] = piece
    return bytes(made)


def _mutated_data(folder: Path, good: list[str], draw: random.Random) -> list[str]:
    path = folder / "train.jsonl"
    path.write_bytes(mutate(text(list(pairs(6, draw.randrange(99)))).encode(), draw))
    return [*good, "trainer.max_steps=1", f"data.train={path}"]


def _mutated_override(folder: Path, good: list[str], draw: random.Random) -> list[str]:
    place = draw.randrange(1, len(good))
    changed = mutate(good[place].encode(), draw).replace(b"\0", b"").decode("utf-8", "replace")
    return [*good[:place], changed, *good[place + 1:], "trainer.max_steps=1"]


def _mutated_file(name: str) -> Callable[[Path, list[str], random.Random], list[str]]:
    def make(folder: Path, good: list[str], draw: random.Random) -> list[str]:
        path = next(one.partition("=")[2] for one in good if one.startswith("model.path="))
        shutil.copytree(path, folder / "base")
        file = folder / "base" / name
        file.write_bytes(mutate(file.read_bytes(), draw))
        return [*good, "trainer.max_steps=1", f"model.path={folder / 'base'}"]

    return make
