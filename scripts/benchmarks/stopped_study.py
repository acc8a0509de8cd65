"""A study of 12 cells that is killed five times: is a finished step repeated, and is study.json the same?

One study goes straight through. Another one of the same cells gets Ctrl-C, SIGTERM, twice SIGKILL, and at last a
SIGKILL of one of its runs, each in the middle of another run, and is started again each time. Rows and base are made
here, from a seed; a run takes a few seconds.

    python scripts/benchmarks/stopped_study.py --root /tmp/stopped
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from helpers import environment, make_tiny_base, pairs, write_jsonl

STEPS = 8
AXES = ["study.lam=[none,0.5,1,auto]", "study.precision=[fp32,fp16,bf16]"]
BLOWS = [("lam=none-precision=fp16-seed=0", 3, "study", signal.SIGINT),
         ("lam=0.5-precision=fp32-seed=0", 5, "study", signal.SIGTERM),
         ("lam=0.5-precision=bf16-seed=0", 2, "study", signal.SIGKILL),
         ("lam=1-precision=fp16-seed=0", 7, "study", signal.SIGKILL),
         ("lam=auto-precision=fp32-seed=0", 4, "run", signal.SIGKILL)]
PLUGIN = '''
"""Ends a study, or one of its runs, where blows.txt says so: one line a blow, RUN STEP WHOM SIGNAL."""
import os, sys, time
from dataclasses import dataclass
from pathlib import Path

from llmtrain.registry import register


@dataclass
class NoOptions:
    """A plugin must bring something."""


register("weighting", "killer", NoOptions, "llmtrain.objectives.weighting.fixed:Fixed", "as fixed")

if "--starter" in sys.argv:  # a study's run, not the study
    from llmtrain.training import trainer

    BLOWS, ADVANCE = Path(__file__).with_name("blows.txt"), trainer.advance
    STUDY = int(sys.argv[sys.argv.index("--starter") + 1])

    def struck(run, *rest):
        ADVANCE(run, *rest)
        waiting = BLOWS.read_text().splitlines() if BLOWS.exists() else []
        if waiting and waiting[0].split()[:2] == [run.folder.path.name, str(run.state.progress.step)]:
            BLOWS.write_text("".join(f"{line}\\n" for line in waiting[1:]))
            whom, number = waiting[0].split()[2:]
            os.kill(STUDY if whom == "study" else os.getpid(), int(number))
            time.sleep(1)  # until the study has handed it on

    trainer.advance = struck
'''


def write_plugin(folder: Path, blows: list[tuple[str, int, str, int]]) -> Path:
    """The plugin and its list of blows; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blows.txt").write_text("".join(f"{run} {step} {whom} {int(number)}\n"
                                              for run, step, whom, number in blows), encoding="utf-8")
    (folder / "killer.py").write_text(PLUGIN, encoding="utf-8")
    return folder / "killer.py"


def overrides(folder: Path, base: Path) -> list[str]:
    """What all runs have alike; the rows are written into ``folder``."""
    files = {name: write_jsonl(folder / f"{name}.jsonl", pairs(count, seed)) for seed, (name, count) in enumerate(
        {"train": 40, "validation": 8, "test": 12}.items())}
    named = [f"data.{name}={path}" for name, path in files.items()]
    return [f"model.path={base}", "head.layers=1", "data=files", *named, f"data.cache_dir={folder / 'cache'}",
            "data.max_source_tokens=32", "data.max_summary_tokens=8", "generation.max_new_tokens=6",
            "trainer.batch_size=8", f"trainer.max_steps={STEPS}", "trainer.log_every=1", "trainer.save_every=1",
            "schedule.warmup_steps=1", "optim.base_lr=3e-3", "optim.head_lr=3e-3", "objective.auto_steps=3",
            "eval.bootstrap_samples=5", "eval.baselines=false", "study.samples=200", "run.name=s"]


def repeated(study: Path, count: int = STEPS) -> dict[str, list[int]]:
    """Steps that the runs of a study took more than once, by run: each has told every one of its steps."""
    found = {}
    for log in sorted((study / "logs").glob("*.log")):
        steps = Counter(int(number) for number in re.findall(r"^step (\d+)/", log.read_text(encoding="utf-8"), re.M))
        assert set(steps) == set(range(1, count + 1)), (log, steps)
        if again := [step for step, times in steps.items() if times > 1]:
            found[log.stem] = again
    return found


def unmeasured(content: Any) -> Any:
    """A study.json without what was measured."""
    if isinstance(content, dict):
        return {key: unmeasured(value) for key, value in content.items() if not key.startswith(("time.", "memory."))}
    return [unmeasured(entry) for entry in content] if isinstance(content, list) else content


def study_json(study: Path) -> Any:
    return unmeasured(json.loads((study / "study.json").read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="an empty folder")
    root = parser.parse_args().root.resolve()
    base = make_tiny_base(root / "base")
    words = [*overrides(root, base), *AXES, "study.seeds=1"]
    plugin = write_plugin(root / "plugin", BLOWS)

    def start(name: str) -> int:
        command = [sys.executable, "-m", "llmtrain", "study", "--plugin", str(plugin), *words,
                   f"run.root={root / name}"]
        began = time.monotonic()
        code = subprocess.run(command, env=environment(), check=False, stdout=sys.stderr).returncode
        print(f"{name}: ended with {code} after {time.monotonic() - began:.0f} s", flush=True)
        return code

    os.environ["PYTHONUNBUFFERED"] = "1"
    codes = [start("killed") for _ in range(len(BLOWS) + 1)]
    assert not (root / "plugin/blows.txt").read_text(encoding="utf-8"), "a blow did not fall"
    start("straight")
    same = study_json(root / "killed/s") == study_json(root / "straight/s")
    print(f"exit codes {codes}; steps repeated {repeated(root / 'killed/s')}; study.json but for measurements: "
          f"{'the same' if same else 'NOT the same'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
