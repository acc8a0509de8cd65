"""Makes this folder anew with the code as it was before its files moved into rooms; README.md tells how it is started.

It writes the rows, two bases, a run that a signal stops, what the same run becomes where nothing stops it, a published
model of every kind of head, and the stored configuration and the hash of every experiment.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module  # modules that are no more: no checker of today's code shall look for them
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = Path(sys.argv[1]).resolve()  # of the commit that README.md names
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path[:0] = [str(CHECKOUT / "src"), str(CHECKOUT / "tests"), str(HERE)]

helpers, stopping = import_module("helpers"), import_module("stopping")

STEPS, STOPPED = 16, 9  # of 5 in an epoch; a validation every 6
WIDTH = 16
SMALL = ["data=files", "data.train=rows/train.jsonl", "data.validation=rows/validation.jsonl",
         "data.test=rows/test.jsonl", "data.max_source_tokens=48", "data.max_summary_tokens=10",
         "trainer.batch_size=8", "trainer.threads=1", "trainer.eval_rows=4", "trainer.device=cpu", "run.root=.",
         "schedule.warmup_steps=2", "optim.base_lr=0.003", "optim.head_lr=0.01", "generation.max_new_tokens=8",
         "eval.bootstrap_samples=20", "eval.baselines=false"]
BERT, GPT = [*SMALL, "model.path=base"], [*SMALL, "model.path=decoder"]
# every part that a run's state can hold: an average beside the weights, a term and a weighting that learn, a scaler
RUN = [*BERT, "head.layers=1", "head.copy_gate=true", "head.dropout=0.1", "model.dropout=0.1", "precision=fp16",
       "precision.growth_interval=4", "objective.base=mlm", "objective.weighting=uncertainty", "optim.ema_decay=0.8",
       f"trainer.max_steps={STEPS}", "trainer.eval_every=6", "trainer.log_every=1", "trainer.keep_last=1",
       "trainer.accumulate=2", "probe.every=4"]
MODELS = {"prefix_lm": [*GPT, "head=prefix_lm", "objective=summary_only"],
          "extractive": [*BERT, "head=extractive", "objective=summary_only"],
          "ext_abs": [*BERT, "head=ext_abs", "head.layers=1"], "gru": [*BERT, "head=gru"]}  # and the run's own: seq2seq
LIKE_FILES = ["data=files", "data.train=x.jsonl", "data.document=a", "data.summary=b", "eval.language=cjk",
              "data.max_summary_tokens=77"]


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Documents of several sentences, the second of which is the summary."""
    draw, made = random.Random(seed), []
    for index in range(count):
        sentences = [" ".join(draw.choices(helpers.WORDS, k=draw.randint(4, 8))) for _ in range(draw.randint(2, 5))]
        made.append({"id": f"{seed}-{index}", "document": ". ".join(sentences) + ".", "summary": sentences[1]})
    return made


def make_bases() -> None:
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    tokenizer, causal = helpers.tiny_tokenizer(), small_bpe()
    bert = AutoConfig.for_model("bert", vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=2,
                                num_attention_heads=2, intermediate_size=32, max_position_embeddings=64,
                                pad_token_id=0)
    gpt = AutoConfig.for_model("gpt2", vocab_size=len(causal) + 4, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=128,
                               bos_token_id=causal.bos_token_id, eos_token_id=causal.eos_token_id, pad_token_id=None)
    torch.manual_seed(1234)
    for name, made, config, texts in (("base", AutoModel, bert, tokenizer), ("decoder", AutoModelForCausalLM, gpt,
                                                                             causal)):
        made.from_config(config).save_pretrained(HERE / name)
        texts.save_pretrained(HERE / name)


def small_bpe() -> Any:
    return helpers.decoder_tokenizer(begins=False)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of a relative path, since a model tells where its run was."""
    folder = Path("scratch")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def llmtrain(*arguments: str) -> tuple[int, str]:
    """The exit status and what was printed of a command, in this process and folder."""
    out = io.StringIO()
    with redirect_stdout(out):
        try:
            code = import_module("llmtrain.cli").main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue()


def train(*overrides: str) -> None:
    code, _ = llmtrain("train", *overrides)
    assert code == 0, f"train exits with {code}"


def make_stopped_run() -> str:
    """The folder that a signal leaves in the middle of an epoch, its default name made of the run's hash."""
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        stopping.stop_at(patch, STOPPED, signal.SIGTERM)
        code, _ = llmtrain("train", *RUN)
    assert code == 128 + signal.SIGTERM, code
    (folder,) = HERE.glob("train-*")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"step-6", "step-9", "best", "last"}
    return folder.name


def make_straight_run() -> dict[str, Any]:
    """What the same run is where nothing stops it; its model becomes the published one of seq2seq."""
    with scratch() as root:
        train(*RUN, f"run.root={root}")
        (run,) = root.glob("train-*")
        log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        step = run / "checkpoints" / f"step-{STEPS}"
        found = {"log": [{key: value for key, value in row.items() if not key.startswith("time.")} for row in log],
                 "tensors": {path.relative_to(step).as_posix(): digest(path.read_bytes())
                             for path in sorted(step.rglob("*.safetensors"))},
                 "numbers": {path.name: digest(json.dumps(stopping.numbers(path), sort_keys=True).encode())
                             for path in sorted((step / "state").glob("*.json"))},
                 "metrics": json.loads((run / "results.json").read_text())["metrics"],
                 "predictions": list(lines(run / "predictions.jsonl"))}
        shutil.copytree(step / "model", HERE / "models" / "seq2seq")
    return found


def make_models() -> None:
    for name, overrides in MODELS.items():
        with scratch() as root:
            train(*overrides, "generation.min_new_tokens=4", f"run.root={root}", "run.name=run",
                  "trainer.max_steps=40", "trainer.eval_every=40")
            shutil.copytree(root / "run/checkpoints/step-40/model", HERE / "models" / name)


def ask_models() -> dict[str, Any]:
    """What each published model gives, by transformers, ``eval`` and ``summarize``."""
    from outputs import DOCUMENTS, outputs
    from safetensors.torch import save_file

    found, tensors = {}, {}
    for folder in sorted((HERE / "models").iterdir()):
        tensors |= {f"{folder.name}.{key}": value.contiguous() for key, value in outputs(folder).items()}
        with scratch() as made:
            out, given = made / "scores", helpers.write_jsonl(made / "documents.jsonl",
                                                              ({"document": text} for text in DOCUMENTS))
            code, _ = llmtrain("eval", f"checkpoint={folder.relative_to(HERE)}", f"eval.output={out}")
            assert code == 0, code
            code, written = llmtrain("summarize", f"checkpoint={folder.relative_to(HERE)}", f"input={given}")
            assert code == 0, code
            found[folder.name] = {"metrics": json.loads((out / "results.json").read_text())["metrics"],
                                  "predictions": list(lines(out / "predictions.jsonl")),
                                  "summaries": written.splitlines()}
    save_file(tensors, HERE / "outputs.safetensors")
    return found


def make_configurations() -> dict[str, Any]:
    """The hash of every experiment, with its own data and with somebody's files; and its configuration as stored."""
    load, hashing = import_module("llmtrain.config.load"), import_module("llmtrain.config.hashing")
    typed = import_module("llmtrain.config.typed")
    yaml, hashes = import_module("yaml"), {}
    (HERE / "configurations").mkdir()
    for path in sorted((CHECKOUT / "configs/experiment").glob("*.yaml")):
        found = [load.to_typed("train", load.compose("train", [f"+experiment={path.stem}", *more]))
                 for more in ([], LIKE_FILES)]
        hashes[path.stem] = {"hash": hashing.run_hash(found[0], True), "name": hashing.run_name(found[0], True),
                             "hash_with_files": hashing.run_hash(found[1], True)}
        (HERE / "configurations" / path.name).write_text(
            yaml.safe_dump(typed.to_dict(found[0]), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return hashes


def lines(path: Path) -> Iterator[Any]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    import torch

    os.chdir(HERE)
    for path in HERE.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LLMTRAIN_CACHE"] = cache
        (HERE / "rows").mkdir()
        for seed, (name, count) in enumerate((("train", 40), ("validation", 6), ("test", 4))):
            helpers.write_jsonl(HERE / "rows" / f"{name}.jsonl", rows(count, seed))
        make_bases()
        name = make_stopped_run()
        environment = json.loads((HERE / name / "environment.json").read_text())
        made = {"made_on": {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(),
                            "cpu": environment["cpu"]},
                "run": {"name": name, "command": RUN, "stopped": STOPPED, "steps": STEPS, **make_straight_run()}}
        make_models()
        made["models"] = ask_models()
        made["experiments"] = make_configurations()
    (HERE / "expected.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
