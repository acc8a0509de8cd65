"""Twenty steps of the run's own optimizer, its warm-up drawn together: is the rate absurd, and does everything move?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from llmtrain.core.errors import NumericsError
from llmtrain.doctor.check_result import Verdict, judged
from llmtrain.doctor.machine import take
from llmtrain.doctor.sample_run import LATE, SampleRun

STEPS = 20
RAMP = 10  # steps in which the highest rate is reached
ROWS = 8  # of such a step
FAR = 5.0  # times their own length that weights may go in these steps
RISEN = 1.5  # times the first loss
HARDLY = 1e-7  # of their own length: weights that go less far do not move


def look_at_rates(run: SampleRun) -> Iterator[Verdict]:
    """Losses before and after, and how far the weights of base and heads have gone."""
    schedule, top = run.schedule()
    step = run.training.optimization.step
    step.schedule = schedule
    rows = run.batch(run.few(ROWS, STEPS))
    before, stopped, taken, skipped = run.losses(rows), "", 0, 0
    try:
        for number in range(STEPS):
            if run.clock.left < 0 and number > RAMP // 2:
                break
            update = round(top * min(1.0, (number + 1) / RAMP))
            result = take(run, [run.batch(run.few(ROWS, number))], step, update)
            taken, skipped = taken + 1, skipped + result.skipped
    except NumericsError as error:
        stopped = error.problems[0].partition(";")[0].partition(": ")[2]
    after = run.losses(rows)
    yield _of_losses(run, before, after, taken, stopped)
    yield from _of_parts(run, skipped >= taken)
    run.begin_again()


def _of_losses(run: SampleRun, before: dict[str, float], after: dict[str, float], taken: int, stopped: str) -> Verdict:
    weights = run.training.model.weighting.weights(LATE)
    first, last = (sum(weights.get(name, 0.0) * value for name, value in found.items()) for found in (before, after))
    gone = {group: far / max(length, 1e-12) for group, (far, length) in _groups(run).items() if length}
    told = "; ".join([f"loss {first:.3g} -> {last:.3g} in {taken} steps at up to the highest rates",
                      *([stopped] if stopped else []),
                      ", ".join(f"weights of the {group} go {_far(far)} their length" for group, far in gone.items())])
    config = run.training.config.optim
    keys = {"base": ("optim.base_lr", config.base_lr), "head": ("optim.head_lr", config.head_lr)}
    far = [group for group in keys if gone.get(group, 0.0) > FAR or not math.isfinite(gone.get(group, 0.0))]
    bad = stopped or not math.isfinite(last) or (last > RISEN * first and last > first + 1)
    if bad and not far:
        far = [group for group in keys if gone.get(group, 0.0) > FAR / 10] or list(keys)
    remedy = " and ".join(f"lower {keys[group][0]}={keys[group][1]:g} to about {_near(keys[group][1], gone[group])}"
                          for group in far if group in gone)
    return judged("learning rate", told, fail=remedy or ("lower optim.base_lr and optim.head_lr" if bad else ""),
                  before=first, after=_finite(last), steps=taken,
                  gone={name: _finite(far) for name, far in gone.items()})


def _of_parts(run: SampleRun, none_taken: bool) -> Iterator[Verdict]:
    """Whether the base and every head are trained."""
    if none_taken:
        return
    config = run.training.config
    trunk = list(run.training.model.task_model.trunk.parameters())
    named = {"base": (trunk, "optim.base_lr", config.optim.base_lr)}
    for task in run.tasks if run.training.spec.terms.trains_task else ():
        head: Any = run.model_of(task).head
        named[f"head of {task.name}" if task.name else "head"] = (
            list(head.parameters()), "optim.head_lr", config.optim.head_lr)
    for name, (parameters, key, rate) in named.items():
        trained = [p for p in parameters if p.requires_grad]
        far, length = run.moved(iter(trained))
        still = not trained or far <= HARDLY * length
        told = f"{_count(trained)} of its {_count(parameters)} weights are trained and move" if not still else (
            f"none of its {_count(parameters)} weights moves")
        if name == "base" and still and config.model.freeze == "all" and not trained:
            yield judged(f"training of the {name}", f"{told} (model.freeze=all)", trained=0)
            continue
        remedy = ""
        if still:
            remedy = (f"set {key}, which is {rate:g}, above 0" if trained and rate == 0 else
                      f"raise {key}={rate:g}" if trained else
                      "let its parameters need gradients (requires_grad), or leave model.freeze out")
        if parameters:
            yield judged(f"training of the {name}", told, fail=remedy, trained=len(trained), tensors=len(parameters))


def _groups(run: SampleRun) -> dict[str, tuple[float, float]]:
    model = run.training.model.task_model
    return {"base": run.moved(model.trunk.parameters()), "head": run.moved(model.head.parameters())}


def _far(gone: float) -> str:
    return f"{gone:.0%} of" if gone < 2 else f"{gone:.0f} times"


def _near(rate: float, gone: float) -> str:
    """A rate at which weights go a tenth of their length in these steps, one figure of it."""
    wanted = rate * 0.1 / gone if math.isfinite(gone) and gone > 0 else 1e-4
    return f"{min(wanted, 1e-3):.0e}"


def _count(parameters: list[nn.Parameter]) -> str:
    return f"{sum(p.numel() for p in parameters):,}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


