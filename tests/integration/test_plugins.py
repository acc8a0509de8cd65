"""Parts from a user's own file, by --plugin: trained, scored, resumed, listed, and refused in one line.

The files of docs/extending.md are taken from there as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import SOURCE, Finished, pairs, run_cli, warm_cli, write_jsonl
from llmtrain import plugins, registry
from llmtrain.core.errors import ConfigError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def documented(name: str, folder: Path) -> Path:
    """A file of docs/extending.md, written into ``folder``."""
    blocks = re.findall(r"```python\n(# (\S+\.py)\n.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    (text,) = (block for block, file in blocks if file == name)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def place(tiny_base: Path, tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "train.jsonl", pairs(24))
    write_jsonl(tmp_path / "held.jsonl", pairs(4, 1))
    return tmp_path


def train(place: Path, base: Path, *more: str, run: str = "run") -> Finished:
    return warm_cli("train", f"model.path={base}", "data=files", "data.train=train.jsonl",
                    "data.validation=held.jsonl", "data.test=held.jsonl", f"data.cache_dir={place / 'cache'}",
                    "data.max_source_tokens=32", "trainer.batch_size=8", "trainer.max_steps=4", "trainer.eval_every=2",
                    "generation.max_new_tokens=4", "eval.bootstrap_samples=5", f"run.name={run}", *more, cwd=place)


def test_the_documented_coverage_loss_trains_resumes_and_scores(place: Path, tiny_base: Path) -> None:
    file = documented("coverage.py", place)
    assert len(file.read_text().splitlines()) < 60
    more = ["--plugin", "coverage.py", "head.layers=1", "objective.base=coverage", "objective.lam=1",
            "model.dropout=0.1", "trainer.accumulate=2"]
    whole = train(place, tiny_base, *more, run="whole")
    assert whole.returncode == 0, whole.stderr
    log = [json.loads(line) for line in (place / "runs/whole/metrics.jsonl").read_text().splitlines()]
    held = [row["loss.coverage"] for row in log if row["split"] == "validation"]
    assert all(0 < value < 1 for value in held) and len(set(held)) == len(held)

    stopped = place / "runs/stopped"
    shutil.copytree(place / "runs/whole", stopped)
    shutil.rmtree(stopped / "checkpoints/step-4")
    (stopped / "results.json").unlink()
    again = train(place, tiny_base, *more, run="stopped")
    assert again.returncode == 0 and "going on from step 2" in again.stdout, again.stderr
    first, second = (load_file(place / "runs" / name / "checkpoints/step-4/model/model.safetensors")
                     for name in ("whole", "stopped"))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)

    scored = warm_cli("eval", "checkpoint=runs/whole", "--plugin=coverage.py", cwd=place)
    assert scored.returncode == 0, scored.stderr
    without = warm_cli("eval", "checkpoint=runs/whole", cwd=place)  # training code is not needed to score
    assert without.returncode == 0, without.stderr
    other = train(place, tiny_base, *more, "head.copy_gate=false", run="no_gate")
    assert other.returncode == 2 and "head.copy_gate=true" in other.stderr
    assert "run:" not in other.stdout, "told before anything starts"


def test_coverage_is_the_papers_sum(place: Path, tiny_base: Path) -> None:
    """Against the definition, token by token, on one batch of a real model."""
    from running import Runs

    with_plugin = plugins.load(documented("coverage.py", place))
    runs = Runs(tiny_base, place)
    try:
        run = runs("objective.base=coverage", "objective.lam=1")
        (batch, *_), = (step.micro for step, _ in zip(run.data.loader.iterate(0), range(1), strict=False))
        states = run.model.task_model.read(batch)
        objective = run.model.module.objectives["coverage"]
        attention = run.model.task_model.head.attention_weights(states, batch["labels"]).detach()
        assert torch.allclose(attention.sum(2), torch.ones(attention.shape[:2]), atol=1e-5)
        expected = 0.0
        for row, length in enumerate((batch["labels"] != -100).sum(1).tolist()):
            covered = torch.zeros(attention.shape[2])
            for token in range(length):
                expected += float(torch.minimum(attention[row, token], covered).sum())
                covered = covered + attention[row, token]
        assert float(objective(run.model.task_model, states, batch, 0).detach()) == pytest.approx(expected, rel=1e-4)
        decoded, decode = [], run.model.task_model.head.decode
        run.model.task_model.head.decode = lambda *given: decoded.append(1) or decode(*given)
        run.model.module(batch, 0)
        assert len(decoded) == 1, "both terms read one pass of the decoder"
    finally:
        runs.close()
        plugins.unload(with_plugin)


def test_the_documented_head_trains_and_is_loaded_again(place: Path, tiny_base: Path) -> None:
    file = documented("bag_head.py", place)
    made = train(place, tiny_base, "--plugin", "bag_head.py", "head=bag", "head.hidden=8")
    assert made.returncode == 0, made.stderr
    results = json.loads((place / "runs/run/results.json").read_text())
    assert results["config"]["head"] == {"name": "bag", "hidden": 8}
    model = place / "runs/run/checkpoints/step-4/model"
    config = json.loads((model / "config.json").read_text())
    assert (config["num_hidden_layers"], config["head"]) == (1, {"name": "bag", "hidden": 8})
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert json.loads((model / "llmtrain.json").read_text())["plugins"] == [
        {"name": "bag_head.py", "sha256": sha256, "parts": ["head bag"]}]
    assert json.loads((place / "runs/run/environment.json").read_text())["plugins"] == {"bag_head.py": sha256}
    assert "bag" not in {part.name for part in registry.parts("head")}, "a command leaves no plugin behind"

    told = warm_cli("summarize", "checkpoint=runs/run", cwd=place)
    assert told.returncode == 2 and told.stderr.count("\n") == 1
    assert "'bag'" in told.stderr and "--plugin bag_head.py" in told.stderr and sha256[:12] in told.stderr
    with pytest.raises(ConfigError, match=r"'bag'.*plugins=\['bag_head.py'\]"):
        from llmtrain import Summarizer

        Summarizer(place / "runs/run")
    from transformers import AutoModelForSeq2SeqLM

    import llmtrain.hf  # noqa: F401

    with pytest.raises(ConfigError, match="'bag' is unknown.*llmtrain.plugins.load"):
        AutoModelForSeq2SeqLM.from_pretrained(model)
    scored = warm_cli("eval", "checkpoint=runs/run", "--plugin", "bag_head.py", cwd=place)
    assert scored.returncode == 0, scored.stderr

    file.write_text(file.read_text() + "\n# changed\n")
    changed = warm_cli("eval", "checkpoint=runs/run", "--plugin", "bag_head.py", cwd=place)
    assert changed.returncode == 0 and "is not the file that the model" in changed.stderr
    again = train(place, tiny_base, "--plugin", "bag_head.py", "head=bag", "head.hidden=8", "run.extend_from=runs/run",
                  "trainer.max_steps=6", run="longer")
    assert again.returncode == 0, again.stderr
    try:
        (one,) = Summarizer(place / "runs/run", plugins=[file]).details(["a b c"], with_copies=True)
        assert one.token_ids and one.copied is None
        AutoModelForSeq2SeqLM.from_pretrained(model)
    finally:
        for plugin in plugins.loaded():
            plugins.unload(plugin)


def test_the_documented_weighting_moves_the_weights(place: Path, tiny_base: Path) -> None:
    documented("random_weights.py", place)
    more = ["--plugin", "random_weights.py", "head.layers=1", "objective.weighting=random", "trainer.log_every=1"]
    made = train(place, tiny_base, *more)
    assert made.returncode == 0, made.stderr
    log = [json.loads(line) for line in (place / "runs/run/metrics.jsonl").read_text().splitlines()]
    used = [row["loss.summary.weighted"] / row["loss.summary"] for row in log if row["split"] == "train"]
    assert len(used) == 4 and len({round(weight, 6) for weight in used}) == 4
    still = train(place, tiny_base, *more, "objective.random.spread=0", run="still")
    assert still.returncode == 0, still.stderr
    log = [json.loads(line) for line in (place / "runs/still/metrics.jsonl").read_text().splitlines()]
    assert {round(row["loss.summary.weighted"] / row["loss.summary"], 6) for row in log
            if row["split"] == "train"} == {0.5}
    alone = train(place, tiny_base, *more, "objective=summary_only", run="alone")
    assert alone.returncode == 2 and "at least 2 terms" in alone.stderr
    scored = warm_cli("eval", "checkpoint=runs/run", cwd=place)  # training code is not needed to score
    assert scored.returncode == 0, scored.stderr


def test_every_command_takes_a_plugin(place: Path, tiny_base: Path) -> None:
    documented("bag_head.py", place)
    documented("coverage.py", place)
    both = ["--plugin", "bag_head.py", "--plugin=coverage.py"]
    listed = warm_cli("list", "heads", "objectives", *both, cwd=place).stdout
    assert re.search(r"^  bag +a bag of words \(from bag_head.py\)$", listed, re.M)
    assert "(from coverage.py)" in listed
    assert "from " not in warm_cli("list", "heads", cwd=place).stdout
    assert "head.hidden: 12" in warm_cli("config", *both, "head=bag", "head.hidden=12", cwd=place).stdout
    assert "hidden: 9" in warm_cli("train", "--cfg", "job", *both, "head=bag", "head.hidden=9", cwd=place).stdout
    assert "usage" in warm_cli("train", "--plugin", "nowhere.py", "--help", cwd=place).stdout
    experiments = warm_cli("list", "experiments", *both, cwd=place).stdout
    assert re.search(r"^  bag_bf16 +head=bag .*precision=bf16 .*\(from code\)$", experiments, re.M), experiments
    own = warm_cli("config", "--defaults", *both, "+experiment=bag_bf16", cwd=place).stdout
    assert "trainer.max_steps: 150" in own and "set by experiment/bag_bf16, registered in code" in own
    assert "precision.name: bf16" in own and "head.name: bag" in own
    assert "registered in code" not in warm_cli("config", "--defaults", *both, cwd=place).stdout
    shown = warm_cli("train", "--multirun", "--cfg", "job", *both, "head=bag,transformer", cwd=place).stdout
    assert shown.count("# job") == 2
    wrong = warm_cli("train", *both, "head=bag", "head.hiden=9", "trainer.max_steps=1", cwd=place)
    assert wrong.returncode == 2 and "head.hidden" in wrong.stderr


def test_children_read_the_plugin_too(place: Path, tiny_base: Path) -> None:
    """--multirun starts a process a job, each of which must know the head."""
    documented("bag_head.py", place)
    made = run_cli("train", "--multirun", "--plugin", "bag_head.py", "head=bag", "head.hidden=8",
                   f"model.path={tiny_base}", "data=files", "data.train=train.jsonl", "data.validation=held.jsonl",
                   "data.max_test_rows=0", f"data.cache_dir={place / 'cache'}", "trainer.max_steps=1",
                   "data.max_source_tokens=32", "trainer.batch_size=4", "generation.max_new_tokens=2", "run.name=job",
                   cwd=place)
    assert made.returncode == 0, made.stderr
    assert json.loads((place / "runs/job/results.json").read_text())["config"]["head"] == {"name": "bag", "hidden": 8}


def part(call: str, *fields: str) -> str:
    """A plugin's text: options with these fields, and a call that registers them."""
    return "\n".join(["from dataclasses import dataclass", "from typing import Literal",
                      "from llmtrain.registry import register", "", "@dataclass", "class O:",
                      *(f"    {field}" for field in fields or ("x: int = 1",)), "", f"register({call}, 'a:B', '')", ""])


BAD = {
    "nowhere.py": (None, "no plugin file at nowhere.py"),
    "folder.py": ("/", "cannot read the plugin at folder.py"),
    "plugin.txt": ("", "is no Python file"),
    "syntax.py": ("x = 1\ndef broken(:\n", "syntax.py:2 has a syntax error"),
    "raises.py": ("import math\n\nmath.sqrt('a')\n", "raises.py:3 raised TypeError"),
    "leaves.py": ("import sys\nsys.exit(0)\n", "leaves.py:2 raised SystemExit"),
    "nothing.py": ("x = 1\n", "registers nothing"),
    "taken.py": (part("'head', 'transformer', O", "name: str = 'transformer'"), "taken.py:9: head 'transformer'"),
    "kind.py": (part("'hed', 'x', O"), "the kinds are head"),
    "options.py": (part("'objective', 'x', int"), "must be a dataclass type"),
    "default.py": (part("'objective', 'x', O", "width: int"), "have no default for width"),
    "nameless.py": (part("'head', 'x', O"), 'write name: str = key("x"'),
    "type.py": (part("'head', 'x', O", "name: str = 'x'", "mode: Literal['a'] = 'a'"), "cannot be a configuration"),
    "typed.py": (part("'objective', 'x', O", "mode: Literal['a'] = 'a'"), "cannot be a configuration"),
    "key.py": (part("'objective', 'lam', O"), "would stand under objective.lam, which is a key of its own"),
    "dash.py": (part("'head', 'x-y', O", "name: str = 'x-y'"), "use letters, digits and _"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_ends_in_one_line(name: str, tmp_path: Path) -> None:
    text, told = BAD[name]
    if text == "/":
        (tmp_path / name).mkdir()
    elif text is not None:
        (tmp_path / name).write_text(text)
    result = warm_cli("train", "--plugin", name, "trainer.max_steps=1", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert told in result.stderr
    assert not plugins.loaded() and not list(tmp_path.glob("__pycache__"))


def test_our_own_parts_come_first(tmp_path: Path) -> None:
    """In a process that has loaded nothing yet a name taken twice is still the plugin's fault."""
    (tmp_path / "taken.py").write_text(BAD["taken.py"][0] or "")
    result = run_cli("list", "--plugin", "taken.py", cwd=tmp_path)
    assert result.returncode == 2 and BAD["taken.py"][1] in result.stderr


def test_a_class_that_is_not_there_is_told(place: Path, tiny_base: Path) -> None:
    (place / "lost.py").write_text(
        part("'head', 'lost', O", "name: str = 'lost'").replace("'a:B'", "f'{__name__}:Lost'"))
    result = train(place, tiny_base, "--plugin", "lost.py", "head=lost")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert "lost.py names the class llmtrain_plugin_lost:Lost" in result.stderr


def test_options_without_a_file(tmp_path: Path) -> None:
    for words in (["--plugin"], ["--plugin="], ["--plugin", "--cfg", "job"]):
        result = warm_cli("train", *words, cwd=tmp_path)
        assert result.returncode == 2 and "--plugin needs a file" in result.stderr


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        documented("bag_head.py", tmp_path / folder)
    result = warm_cli("list", "--plugin", "a/bag_head.py", "--plugin", "b/bag_head.py", cwd=tmp_path)
    assert result.returncode == 2 and "two plugins have one name" in result.stderr
    twice = warm_cli("list", "--plugin", "a/bag_head.py", "--plugin", "a/../a/bag_head.py", cwd=tmp_path)
    assert twice.returncode == 0, twice.stderr


SPAWNED = """
import multiprocessing
from dataclasses import dataclass

from llmtrain.config.keys import key
from llmtrain.objectives.content_selection import ContentSelection
from llmtrain.registry import register

multiprocessing.set_start_method("spawn", force=True)  # as on systems that cannot fork


@dataclass(kw_only=True, slots=True)
class SpawnedConfig:
    positive_weight: float = key(1.0, "weight of the tokens that are in the summary")


def mark(batch, context):
    batch["marked"] = batch["example_id"] + 1


class Spawned(ContentSelection):
    name = "spawned"

    def transform(self):
        return mark

    def count(self, batch):
        assert batch["marked"].equal(batch["example_id"] + 1)
        return super().count(batch)


register("objective", "spawned", SpawnedConfig, Spawned, "a transform that data workers must find")
"""


def test_data_workers_started_afresh_find_the_plugin(place: Path, tiny_base: Path) -> None:
    (place / "spawned.py").write_text(SPAWNED)
    made = run_cli("train", "--plugin", "spawned.py", "objective.base=spawned", "data.workers=1", "head.layers=1",
                   f"model.path={tiny_base}", "data=files", "data.train=train.jsonl", "data.validation=held.jsonl",
                   "data.max_test_rows=0", f"data.cache_dir={place / 'cache'}", "trainer.max_steps=1",
                   "data.max_source_tokens=32", "trainer.batch_size=4", "generation.max_new_tokens=2", "run.name=run",
                   cwd=place)
    assert made.returncode == 0, made.stderr


def install(folder: Path, files: dict[str, Path], entries: dict[str, str]) -> dict[str, str]:
    """A distribution as pip leaves it, on the path of a child process: modules and a dist-info with entry points."""
    for module, file in files.items():
        shutil.copy(file, folder / f"{module}.py")
    info = folder / "own_parts-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[llmtrain.plugins]\n" + "".join(f"{name} = {module}\n" for name, module in entries.items()))
    return {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(folder)])}


def test_an_installed_package_that_leaves_is_told(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    (site := tmp_path / "site").mkdir()
    result = run_cli("list", cwd=tmp_path, env=install(site, {"own": tmp_path / "leaving.py"}, {"bag": "own"}))
    assert (result.returncode, result.stdout) == (2, "")
    assert "plugin 'bag' at own cannot be imported (SystemExit: 0)" in result.stderr


def test_parts_of_an_installed_package(place: Path, tiny_base: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (place / "spawned.py").write_text(SPAWNED)
    env = install(site, {"own_bag": documented("bag_head.py", place), "own_select": place / "spawned.py"},
                  {"bag": "own_bag", "spawned": "own_select"})
    listed = run_cli("list", "heads", "objectives", cwd=place, env=env)
    assert "a bag of words (from own-parts 1.2)" in listed.stdout, listed.stderr
    assert "must find (from own-parts 1.2)" in listed.stdout
    made = run_cli("train", "head=bag", "objective.base=spawned", f"model.path={tiny_base}", "data=files",
                   "data.train=train.jsonl", "data.validation=held.jsonl", "data.test=held.jsonl",
                   f"data.cache_dir={place / 'cache'}", "trainer.max_steps=1", "data.max_source_tokens=32",
                   "trainer.batch_size=4", "generation.max_new_tokens=2", "run.name=run", cwd=place, env=env)
    assert made.returncode == 0, made.stderr
    without = warm_cli("eval", "checkpoint=runs/run", cwd=place)
    assert without.returncode == 2 and "own-parts 1.2; install that package" in without.stderr
    (site / "own_bag.py").write_text("import nowhere_to_be_found\n")
    broken = run_cli("list", cwd=place, env=env)
    assert broken.returncode == 2 and "plugin 'bag' at own_bag cannot be imported" in broken.stderr
