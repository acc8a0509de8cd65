"""``llmtrain study``: its plan, its refusals, a study that is killed and started again, and what it says."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers import warm_cli
from llmtrain.core.children import Forwarding
from llmtrain.study.run_folders import last_step
from warm.libraries import python

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/benchmarks/stopped_study.py"
BERT = "+experiment=bert_sum_bf16"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stopped_study", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STOPPED = script()


class Bench:
    """Small studies on one set of rows."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.words = folder, STOPPED.overrides(folder, base)

    def study(self, root: str, *words: str, blows: list[tuple[str, int, str, int]] | None = None) -> Any:
        plugin = [] if blows is None else [
            "--plugin", str(STOPPED.write_plugin(self.folder / f"plugin-{root}", blows))]
        return warm_cli("study", *plugin, *self.words, f"run.root={self.folder / root}", *words, cwd=self.folder)


@pytest.fixture(scope="module")
def bench(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", python())
        yield Bench(tmp_path_factory.mktemp("study"), tiny_base)


LENGTH = 5
WORDS = ("study.lam=[auto]", "study.seeds=1", "study.target_score=0", f"trainer.max_steps={LENGTH}",
         "trainer.eval_every=5")


@pytest.fixture(scope="module")
def straight(bench: Bench) -> Any:
    done = bench.study("straight", *WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_killed_study_repeats_nothing_and_gives_the_same(bench: Bench, straight: Any,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last run is killed, then the study gets SIGTERM in that run's second start; the third ends well.

    scripts/benchmarks/stopped_study.py is the long form.
    """
    begun: list[str] = []
    start = Forwarding.start

    def noted(self: Forwarding, command: Any, *rest: Any) -> Any:
        begun.append(next(word for word in command if word.startswith("run.name=") and word != "run.name=s"))
        return start(self, command, *rest)

    monkeypatch.setattr(Forwarding, "start", noted)
    study, whole = bench.folder / "killed/s", bench.folder / "straight/s"
    for name in ("base-seed=0", "logs/base-seed=0.log"):  # a finished run, which no process is started for
        (study / "logs").mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (whole / name).is_dir() else shutil.copy)(whole / name, study / name)
    first = bench.study("killed", *WORDS, blows=[("lam=auto-seed=0", 2, "run", signal.SIGKILL)])
    assert first.returncode == 5, first.stderr
    assert "failed, passed over: killed by signal 9" in first.stdout
    (failed,) = [cell for cell in json.loads((study / "study.json").read_text())["cells"] if cell["state"] == "failed"]
    assert failed["name"] == "lam=auto" and failed["against_base"] is None
    second = bench.study("killed", *WORDS, blows=[("lam=auto-seed=0", 4, "study", signal.SIGTERM)])
    assert second.returncode == 143 and "the same command goes on" in second.stderr
    third = bench.study("killed", *WORDS, blows=[])
    assert third.returncode == 0, third.stderr
    assert begun == ["run.name=lam=auto-seed=0"] * 3
    assert STOPPED.repeated(study, LENGTH) == {} == STOPPED.repeated(whole, LENGTH)
    assert STOPPED.study_json(study) == STOPPED.study_json(whole)


def test_a_study_says_what_each_choice_gave(bench: Bench, straight: Any) -> None:
    study = bench.folder / "straight/s"
    found = json.loads((study / "study.json").read_text())
    base, auto = found["cells"]
    assert (found["kind"], found["metric"], found["margin"], found["split"], found["rows"]) == (
        "study", "rouge1", 0.5, "test", 12)
    assert base["base"] and not base["joint"] and auto["joint"] and base["against_base"] is None
    value = auto["metrics"]["rouge1"]["mean"] - base["metrics"]["rouge1"]["mean"]
    assert auto["against_base"]["rouge1"]["value"] == pytest.approx(value)
    assert auto["metrics"]["rouge1"]["low"] <= auto["metrics"]["rouge1"]["mean"]
    assert auto["lam"] == auto["runs"][0]["lam"] > 0 and base["lam"] is None
    assert base["effective"] == ["float32"]
    assert base["steps_to_target"] == 5 and 0 < base["time.to_target"] < base["time.seconds"] + 1
    heads, *lines = (line.split(",") for line in (study / "study.csv").read_text().splitlines())
    assert len(lines) == 2 and len(set(heads)) == len(heads)
    assert dict(zip(heads, lines[1], strict=True))["measured_lam"] == str(auto["lam"])
    assert "lambda was measured as" in straight.stdout and "the only joint cell in fp32, lam=auto" in straight.stdout
    assert "cost: 10 steps" in straight.stdout
    for command in (("compare", *(str(study / name) for name in ("base-seed=0", "lam=auto-seed=0"))),
                    ("verify", str(study / "base-seed=0"))):
        done = warm_cli(*command, cwd=bench.folder)
        assert done.returncode == 0, done.stderr
    again = bench.study("straight", *WORDS, "study.margin=1")
    assert again.returncode == 2
    assert "has begun and study.margin was 0.5 and is 1.0 here" in again.stderr


def test_a_paused_run_goes_on_as_if_never_paused(bench: Bench, straight: Any) -> None:
    words = ["train", *(word for word in bench.words if not word.startswith("study.")), *WORDS[3:],
             "objective.base=none", "precision=fp32", f"run.root={bench.folder}", "run.name=paused"]
    paused = warm_cli(*words, "--pause", "3", cwd=bench.folder)
    assert paused.returncode == 143 and "stopped and saved at step 3" in paused.stderr
    assert last_step(bench.folder / "paused") == 3
    assert warm_cli(*words, cwd=bench.folder).returncode == 0
    logs = [[{key: value for key, value in json.loads(line).items() if not key.startswith("time.")}
             for line in (folder / "metrics.jsonl").read_text().splitlines()]
            for folder in (bench.folder / "paused", bench.folder / "straight/s/base-seed=0")]
    assert logs[0] == logs[1]


def test_runs_beside_each_other_train_the_same_and_have_no_times(bench: Bench, straight: Any) -> None:
    """Two at a time, each on its share of the cores, and one of them killed at its second step."""
    words = [word for word in WORDS if not word.startswith("study.target_score")]
    killed = bench.study("beside", *words, "study.parallel=2", blows=[("lam=auto-seed=0", 2, "run", signal.SIGKILL)])
    assert killed.returncode == 5 and "failed, passed over: killed by signal 9" in killed.stdout
    study, whole = bench.folder / "beside/s", bench.folder / "straight/s"
    assert last_step(study / "base-seed=0") == LENGTH  # the other one went on to its end
    done = bench.study("beside", *words, "study.parallel=2", blows=[])
    assert done.returncode == 0, done.stderr
    assert "tokens/s" not in done.stdout + killed.stdout
    found, alone = ([json.loads((folder / "study.json").read_text())["cells"]] for folder in (study, whole))
    for ours, theirs in zip(*found, *alone, strict=True):
        assert ours["metrics"] == theirs["metrics"] and ours["lam"] == pytest.approx(theirs["lam"])
        assert not [key for key in ours if key.startswith("time.") and ours[key] is not None]


BAD = [
    ((BERT, "study.lamm=[1]"), "unknown key study.lamm; did you mean study.lam?"),
    ((BERT, "study.axes={heads: [gru]}"), "unknown key heads; did you mean head"),
    ((BERT, "study.lam=[]"), "study.lam lists no values"),
    ((BERT, "study.lam=[1]", "study.seeds=0"), "study.seeds=0 must be more than 0"),
    (("objective=task_only", "trainer.max_steps=9", "study.lam=[1,2]"), "the same run, for objective.base=none"),
    ((BERT, "study.precision=[fp32,fp61]"), "did you mean precision=fp16?"),
    ((BERT, "study.lam=[0.5,1]", "study.halving=4"), "there are 2 beside the base cell"),
    ((BERT, "study.lam=0.25,0.5"), "list the values in brackets"),
    ((BERT, "study.lam=[0.5,-1]"), "study.lam[1]=-1 must be 0 or more"),
    ((BERT, "study.lam=[0.5,otto]"), "study.lam has otto, which is no lambda"),
    ((BERT, "precision=bf16", "study.precision=[fp32,bf16]"), "precision=bf16 and the axis precision both choose"),
    ((BERT, "study.lam=[1]", "study.parallel=2", "study.total_minutes=5"), "leave out study.parallel=2"),
    ((BERT, "study.lam=[1]", "study.equal=minutes"), "study.equal=minutes needs a time"),
    ((BERT, "study.axes={run.seed: [1,2]}"), "study.axes.run.seed cannot be an axis"),
    ((BERT, "study.axes={task: [translation]}"), "make a study of each"),
    ((BERT, "study.lam=[1]", "study.metric=blue"), "study.metric=blue is no score of this task"),
    (("+experiment=base_only_mlm", "study.lam=[1]"), "trains the base alone"),
    ((BERT,), "a study needs a cell beside the base cell"),
    ((BERT, 'study.recipes={a: "head.layers"}'), "which is not KEY=VALUE"),
    ((BERT, "study.lam=[1]", "run.extend_from=x"), "leave it out"),
    ((BERT, "study.lam=[1]", "trainer.max_minutes=1"), "use study.equal=minutes"),
    ((BERT, "study.lam=[auto]", "trainer.max_steps=10"), "lower objective.auto_steps")]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[told for _, told in BAD])
def test_a_wrong_study_is_refused_in_one_line(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    refused = warm_cli("study", *words, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert told in refused.stderr
    assert not list(tmp_path.iterdir())
