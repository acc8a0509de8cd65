"""What two processes do together (training/test_loss_contract.py); each is started with RANK and WORLD_SIZE set.

    python two_processes.py BASE OUT     writes NAME-RANK.safetensors (gradients) and facts-RANK.json into OUT
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from safetensors.torch import save_file

from llmtrain.core.errors import ConfigError
from llmtrain.data import loader
from llmtrain.nn.precision import Speeds
from llmtrain.objectives import joint_module
from llmtrain.training import read_data, shared_speeds
from llmtrain.training.diagnostics.gradient_probe import probe
from running import Runs, copies, gradients, take, uneven

CASES = {f"{base}-{accumulate}": ("trainer.processes=2", f"trainer.accumulate={accumulate}", f"objective.base={base}")
         for base in ("select", "mlm", "denoise") for accumulate in (1, 2)}
# the weighting's own gradients are reduced by hand: two micro-batches on each process
AUTO = ("objective.lam=auto", "objective.auto_steps=2")
WEIGHTED: dict[str, tuple[str, ...]] = {
    "fixed": AUTO,
    "pcgrad": (), "gradnorm": (), "uncertainty": (), "famo": (), "dwa": ("objective.dwa.window=1",),
    "linear": ("objective.lam_start=2", "objective.lam_steps=3"), "step": ("objective.step.steps=2",),
    "cosine": ("objective.lam_start=2", "objective.lam_steps=3")}
# a vocabulary of targets that each process learns by itself
TRANSLATED = ("task=translation", "data.source=document", "data.target=summary", "data.target_vocabulary=300",
              "objective.base=mlm")
# gradients are left as they are: no clipping, no movement
STILL = ("optim.clip_norm=0", "optim.base_lr=0", "optim.head_lr=0", "optim.weight_decay=0",
         "objective.mlm.fraction=0.6", "objective.mlm.warm_steps=0", "trainer.bucket=1",
         "objective.denoise.mode=consistency", "objective.denoise.fraction=0.6", "objective.denoise.warm_steps=0",
         "objective.denoise.sigma=0.02")
PROBED = ("objective.base=select", "trainer.bucket=1")
POISONED = 3
LIVELY = ("trainer.bucket=1", "schedule.warmup_steps=0")
# unfreezing withholds gradients that the reducer has waited for; Muon must orthogonalise alike on every rank
MOVING = ("optim=muon", "model.unfreeze_every=1", "optim.layer_decay=0.8", "trainer.bucket=1",
          "schedule.warmup_steps=0")


def count_no_sync(run: Any) -> list[int]:
    """How often a step leaves out DDP's all-reduce."""
    entered: list[int] = []
    real = run.optimization.step.wrapped.no_sync

    @contextlib.contextmanager
    def counted() -> Any:
        entered.append(1)
        with real():
            yield

    run.optimization.step.wrapped.no_sync = counted
    return entered


def probed(run: Any) -> dict[str, float]:
    """What the gradient probe finds at the first step."""
    micro = [run.to_device(part) for part in next(iter(run.data.loader.iterate(0))).micro]
    step = run.optimization.step
    found = probe(step.work(micro, step.agree(micro, 0.0, 0, False), 0), {"select": 1.0, "summary": 0.5})
    assert found is not None
    return found.values


def poison(self: Any, batch: Any, step: int, *rest: Any) -> Any:
    sums = FORWARD(self, batch, step, *rest)
    if bool((batch["example_id"] == POISONED).any()):
        sums["summary"] = sums["summary"] * float("nan")
    return sums


FORWARD = joint_module.JointModule.forward


def main(base: str, out: Path) -> None:
    torch.set_num_threads(1)
    own = out / f"rank{os.environ['RANK']}"
    own.mkdir()
    runs = Runs(Path(base), own, uneven(24))
    facts: dict[str, Any] = {"no_sync": {}}
    for name, overrides in CASES.items():
        run = runs(*overrides, *STILL)
        rank = run.accelerator.process_index
        entered = count_no_sync(run)
        (result,) = take(run)
        facts["no_sync"][name] = len(entered)
        save_file({**gradients(run), "losses": torch.tensor(list(result.losses.values()))},
                  out / f"{name}-{rank}.safetensors")

    run = runs("trainer.processes=2", "trainer.accumulate=2", *TRANSLATED, *STILL)
    take(run)
    save_file(gradients(run), out / f"translated-{rank}.safetensors")

    for name, overrides in WEIGHTED.items():
        run = runs("trainer.processes=2", "trainer.accumulate=2", "objective.base=select",
                   f"objective.weighting={name}", *overrides, *LIVELY)
        results = take(run, 3)
        save_file(copies(run), out / f"{name}-{rank}.safetensors")
        facts[name] = [list(result.weights.values()) for result in results]

    run = runs("trainer.processes=2", "trainer.accumulate=2", *PROBED)
    facts["probe"] = probed(run)

    run = runs("trainer.processes=2", *MOVING)
    take(run, 2)
    save_file(copies(run), out / f"moved-{rank}.safetensors")

    facts["stop"] = run.optimization.step.agree_stop(15 if rank == 1 else 0)
    joint_module.JointModule.forward = poison  # type: ignore[method-assign]
    loader.Order.plan = lambda self, epoch: [list(range(8))] * 3  # type: ignore[method-assign]
    run = runs("trainer.processes=2", "trainer.on_nonfinite=skip", *STILL)
    (result,) = take(run)
    facts["blame"], facts["skipped"] = result.reason, result.skipped
    joint_module.JointModule.forward = FORWARD  # type: ignore[method-assign]

    clocks = [{"fp32": 1.0, "fp16": 3.0, "bf16": 3.0}, {"fp32": 3.0, "fp16": 1.0, "bf16": 1.0}]
    shared_speeds.measure_speeds = lambda device: Speeds(clocks[rank])  # type: ignore[assignment]
    run = runs("trainer.processes=2", "precision=bf16", "precision.on_unsupported=fp32")
    facts["running"] = run.precision.running

    load = read_data.load_splits

    def changed(config: Any, **more: Any) -> Any:
        splits = load(config, **more)
        splits.content_hash = f"{rank}" * 64
        return splits

    read_data.load_splits = changed  # type: ignore[assignment]
    try:
        runs("trainer.processes=2")
    except ConfigError as error:
        facts["data"] = str(error)
    (out / f"facts-{rank}.json").write_text(json.dumps(facts))
    runs.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
