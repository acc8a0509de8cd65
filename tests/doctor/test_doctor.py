"""``llmtrain doctor``: is silent of a sound set-up, names what is wrong with a broken one, and leaves nothing behind.

All set-ups, on a real base, and every shipped experiment: scripts/benchmarks/doctor_cases.py.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import Page

from helpers import Finished, pairs, warm_cli, write_jsonl
from llmtrain.config.command_keys import own_keys
from llmtrain.config.load import load_config
from llmtrain.config.sections.doctor import DoctorConfig
from task_rows import ROWS

PLUGIN = '''
from dataclasses import dataclass, replace

from llmtrain.config.keys import key
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class BlindConfig(TransformerHeadConfig):
    name: str = key("blind", "registered name of the head")
    blind: bool = key(True, "it reads no document, but for copying")
    sees: bool = key(False, "it sees the answer while it is trained")


class Blind(TransformerHead):
    def decode(self, input_ids, states, cache=None):
        read = replace(states, hidden_BSD=states.hidden_BSD * 0) if self.options.blind else states
        return super().decode(input_ids, read, cache)

    def shift(self, labels):
        return labels.clamp_min(0) if self.options.sees else super().shift(labels)


register("head", "blind", BlindConfig, Blind, "a head with a fault", writes=True)
'''


def doctor(folder: Path, base: Path, *words: str, task: str = "summarization", seconds: int = 12) -> Finished:
    """The doctor on small rows of a task, in a folder of its own."""
    if not (folder / "train.jsonl").exists():
        write_jsonl(folder / "train.jsonl", ROWS[task](48, 0))
        write_jsonl(folder / "held.jsonl", ROWS[task](12, 1))
    return warm_cli("doctor", f"model.path={base}", f"task={task}", "data=files", "data.train=train.jsonl",
                    "data.validation=held.jsonl", "data.test=held.jsonl", "data.max_source_tokens=64",
                    "trainer.max_steps=500", "trainer.batch_size=8", "schedule.warmup_steps=2",
                    f"doctor.seconds={seconds}", *words, cwd=folder)


def lines_of(done: Finished) -> dict[str, dict[str, Any]]:
    """The checks by their name."""
    assert done.stdout, done.stderr
    return {line["check"]: line for line in json.loads(done.stdout)["checks"]}


def told(lines: dict[str, dict[str, Any]], *levels: str) -> dict[str, str]:
    return {name: line["found"] for name, line in lines.items() if line["level"] in levels}


@pytest.fixture(scope="module")
def sound(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A sound set-up, examined."""
    folder = tmp_path_factory.mktemp("sound")
    return folder, doctor(folder, tiny_base, "--json", "generation.max_new_tokens=16", seconds=30)


def test_a_sound_run_raises_no_alarm_and_every_check_is_made(sound: tuple[Path, Finished]) -> None:
    _, done = sound
    lines = lines_of(done)
    assert done.returncode == 0 and not done.stderr
    assert not told(lines, "WARN", "FAIL")
    assert {"matrix products", "rows", "test rows in train", "cut sources", "cut targets", "targets of their rows",
            "special tokens", "decode settings", "memory", "disk", "number range", "a real step", "learning rate",
            "training of the base", "training of the head", "learns by heart: summary", "gradients", "the document",
            "predicts what it learnt", "save and load", "cross-attention", "copy gate", "time"} <= lines.keys()


def test_nothing_is_left_behind(sound: tuple[Path, Finished]) -> None:
    folder, _ = sound
    assert sorted(path.name for path in folder.iterdir()) == ["held.jsonl", "train.jsonl"]


def test_what_a_killed_one_leaves_is_known_to_clean(tmp_path: Path) -> None:
    left = tmp_path / "llmtrain-doctor-abcd_123"
    (left / "cache/features").mkdir(parents=True)
    (left / ".lock").touch()
    done = warm_cli("clean", str(tmp_path), "--yes", cwd=tmp_path)
    assert "the runs of a doctor that was killed" in done.stdout and not left.exists()


def test_what_is_wrong_is_named_with_its_remedy(sound: tuple[Path, Finished], tiny_base: Path, tmp_path: Path) -> None:
    """Six faults at once, of files, base and rates: each its own line, and all but the learning of rows goes on."""
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"pad_token_id": 50}), encoding="utf-8")
    rows = pairs(60)
    moved = [row | {"summary": rows[(i + 1) % 60]["summary"]} for i, row in enumerate(rows)]
    write_jsonl(tmp_path / "train.jsonl", moved)
    write_jsonl(tmp_path / "held.jsonl", moved[:12])
    done = doctor(tmp_path, base, "--json", "optim.head_lr=0", "precision=fp16", "precision.init_scale=1e38",
                  "data.max_source_tokens=8", seconds=6)
    failed = {name: line["remedy"] for name, line in lines_of(done).items() if line["level"] == "FAIL"}
    for check, remedy in {"special tokens": '"pad_token_id": 0', "test rows in train": "out of train",
                          "cut sources": "raise data.max_source_tokens to", "training of the head": "set optim.head_lr",
                          "targets of their rows": "row of its own source",
                          "number range": "leave out precision.init_scale"}.items():
        assert remedy in failed.get(check, ""), (check, failed)
    assert done.returncode == 2
    assert done.stderr.startswith(f"llmtrain: {len(failed)} of ") and "special tokens" in done.stderr


def test_an_absurd_rate_fails_in_words(sound: tuple[Path, Finished], tiny_base: Path, tmp_path: Path) -> None:
    done = doctor(tmp_path, tiny_base, "optim.head_lr=1", seconds=4)
    words = " ".join(done.stdout.split())
    assert done.returncode == 2 and "FAIL learning rate" in words, done.stdout
    assert "-> lower optim.head_lr=1 to about 1e-03" in words
    assert "checks in" in done.stdout.splitlines()[-1]


def test_a_copy_gate_does_not_hide_a_dead_cross_attention(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "blind.py").write_text(PLUGIN, encoding="utf-8")
    lines = lines_of(doctor(tmp_path, tiny_base, "--json", "--plugin", "blind.py", "head=blind", seconds=20))
    assert lines["the document"]["level"] == "OK"  # the copy gate reads it
    assert (lines["copy gate"]["level"], lines["cross-attention"]["level"]) == ("OK", "FAIL")
    assert "connect what the cross-attention computes" in lines["cross-attention"]["remedy"]


def test_a_head_that_sees_the_answer_does_not_predict_what_it_learnt(tiny_base: Path, tmp_path: Path) -> None:
    """Labels one place off, as a head's own shift has them."""
    (tmp_path / "blind.py").write_text(PLUGIN, encoding="utf-8")
    lines = lines_of(doctor(tmp_path, tiny_base, "--json", "--plugin", "blind.py", "head=blind", "head.blind=false",
                            "head.sees=true", seconds=20))
    assert lines["predicts what it learnt"]["level"] == "FAIL" and "one place off" in lines[
        "predicts what it learnt"]["remedy"]


def test_several_tasks_are_each_looked_at(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("classification", "question_answering"):
        write_jsonl(tmp_path / f"{name}.jsonl", ROWS[name](48, 0))
        write_jsonl(tmp_path / f"{name}-held.jsonl", ROWS[name](8, 1))
    tasks = ",".join(f"{{name: {name}, task: {name}, data: {{train: {name}.jsonl, validation: {name}-held.jsonl, "
                     f"test: {name}-held.jsonl}}}}" for name in ("classification", "question_answering"))
    done = warm_cli("doctor", "--json", "task=multi", f"task.tasks=[{tasks}]", f"model.path={tiny_base}",
                    "data.max_source_tokens=40", "trainer.max_steps=20", "trainer.batch_size=8", "doctor.seconds=20",
                    cwd=tmp_path)
    lines = lines_of(done)
    assert not told(lines, "WARN", "FAIL"), done.stderr
    assert {"classification: the document", "question_answering: predicts what it learnt", "save and load",
            "training of the head of classification", "term question_answering"} <= lines.keys()


@pytest.mark.parametrize(("words", "problem"), [
    (["doctor.second=3"], "unknown key doctor.second; did you mean doctor.seconds?"),
    (["doctor.rows=2"], "doctor.rows=2 must be 16 or more"), (["optim.head_rl=3"], "unknown key optim.head_rl")])
def test_a_wrong_key_is_refused_as_everywhere(words: list[str], problem: str, tmp_path: Path) -> None:
    done = warm_cli("doctor", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and problem in done.stderr


def test_the_commands_of_its_page_are_such() -> None:
    commands = [shlex.split(line) for line in Page("docs/doctor.md").commands]
    assert len(commands) > 1
    for command in commands:
        assert command[:2] == ["llmtrain", "doctor"]
        load_config("train", own_keys(DoctorConfig, "doctor", command[2:])[1])


def test_what_training_would_refuse_is_a_line_of_the_table(tiny_base: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [{"document": "one", "summary": 3}])
    write_jsonl(tmp_path / "held.jsonl", pairs(4))
    done = doctor(tmp_path, tiny_base)
    assert done.returncode == 2 and done.stdout.startswith("FAIL  start"), done.stdout
    assert "train.jsonl:1" in done.stdout
