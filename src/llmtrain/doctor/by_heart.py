"""Can it learn a few rows by heart? By an optimizer of the doctor's own, so that a bad rate is not told twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from llmtrain.data.batch import Batch
from llmtrain.doctor.check_result import Level, Verdict, judged
from llmtrain.doctor.sample_run import SampleRun, without
from llmtrain.models.heads.base import Removal
from llmtrain.optim.groups import TRUNK

ROWS = 8  # of one task; of several tasks so many together, two of each at least
STEPS = 150
ENOUGH = 0.03  # a mean loss at which it stops
LEAST = 15  # steps without which nothing is said
LEARNT, HARDLY = 0.3, 0.7  # of the first loss: below the one it is learnt, above the other it is not
RATE, WIDTH = 1e-3, 384  # of the head on a base of this width; wider ones need less
BASE_RATE = 0.3  # of the head's


@dataclass(slots=True)
class ByHeart:
    """What learning by heart came to.

    Attributes:
        first: Mean of every term before.
        last: And after.
        steps: So many were taken.
        silent: Modules none of whose parameters ever had a gradient.
        settled: It stopped because it had learnt, or nothing more changed.
    """

    first: dict[str, float]
    last: dict[str, float]
    steps: int
    silent: list[str] = field(default_factory=list)
    settled: bool = False


class Student:
    """Learns one batch by heart, on and on from where it stopped.

    Args:
        batch: The rows.

    Attributes:
        learnt: What learning the rows with all ways open came to.
    """

    def __init__(self, run: SampleRun, batch: Batch) -> None:
        self.run, self.batch = run, batch
        self.learnt: ByHeart | None = None
        named = [(name, p) for name, p in run.module.named_parameters() if p.requires_grad]
        head = RATE * WIDTH / run.training.spec.base.config.hidden_size
        groups = [{"params": [p for name, p in named if name.startswith(TRUNK) is trunk],
                   "lr": head * (BASE_RATE if trunk else 1.0)} for trunk in (True, False)]
        self.rates = [float(group["lr"]) for group in groups if group["params"]]  # type: ignore[arg-type]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98),
                                           weight_decay=0.0)
        self.silent = {name for name, _ in named}
        self.taken = 0

    def learn(self, steps: int, removed: tuple[Removal, ...] = ()) -> ByHeart:
        """So many more steps, without some ways on which the document reaches the output."""
        run, first = self.run, self.losses(removed)
        before, settled = float("inf"), False
        scaler = run.training.precision.scaler
        for number in range(steps):
            if run.clock.left < 0 and number >= LEAST:
                break
            total = self._step(removed, scaler)
            if number % 10 == 9:
                settled = total < ENOUGH or (number >= LEAST and total > 0.98 * before)
                before = min(before, total)
            if settled or total < ENOUGH:
                settled = True
                break
        return ByHeart(first, self.losses(removed), number + 1, self.never(), settled)

    def _step(self, removed: tuple[Removal, ...], scaler: torch.amp.GradScaler) -> float:
        """One step; the sum of the terms' means before it."""
        self.taken += 1
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * min(1.0, self.taken / 5)
        self.optimizer.zero_grad(set_to_none=True)
        with without(removed):
            total = torch.stack(list(self.run.means(self.batch, grad=True).values())).sum()
        scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        self._listen()
        scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
        scaler.step(self.optimizer)
        scaler.update()
        return float(total.detach())

    def _listen(self) -> None:
        if self.silent:
            heard = {name for name, p in self.run.module.named_parameters()
                     if name in self.silent and p.grad is not None and bool((p.grad != 0).any())}
            self.silent -= heard

    def never(self) -> list[str]:
        """Modules with parameters of which none ever had a gradient."""
        mine: dict[str, list[str]] = {}
        for name, p in self.run.module.named_parameters():
            if p.requires_grad:
                mine.setdefault(name.rpartition(".")[0], []).append(name)
        return [module for module, names in mine.items() if self.silent.issuperset(names)]

    def losses(self, removed: tuple[Removal, ...] = ()) -> dict[str, float]:
        """Means of every term, without some ways on which the document reaches the output."""
        return self.run.losses_without(self.batch, removed)


def look_at_learning(run: SampleRun, student: Student) -> Iterator[Verdict]:
    """Learn the rows, and say of each term how far it came."""
    made = student.learnt = student.learn(STEPS)
    rows = sum(map(len, run.rows.values()))
    for name, first in made.first.items():
        share = made.last[name] / first if first > 0 else 0.0
        told = f"loss {first:.3g} -> {made.last[name]:.3g} on {rows} rows in {made.steps} steps"
        check = f"learns by heart: {name}"
        if made.steps < LEAST and share > LEARNT:
            yield Verdict(check, Level.skip, f"{told}: too few steps to tell", "give it more time: doctor.seconds=180")
            continue
        low = share > HARDLY and made.last[name] > ENOUGH
        some = share > LEARNT and made.last[name] > 4 * ENOUGH
        yield judged(check, told,
                     fail="the model cannot learn even these rows: look at the head's forward pass and its labels"
                     if low and made.steps >= 2 * LEAST else "",
                     warn="" if not some or made.steps < 2 * LEAST else
                     "it learns these rows slowly; look at data.max_source_tokens, at the head, at dropout",
                     first=first, last=made.last[name], steps=made.steps)
    if made.silent:
        shown = ", ".join(made.silent[:3]) + (f" and {len(made.silent) - 3} more" if len(made.silent) > 3 else "")
        yield judged("gradients", f"no gradient ever reaches {shown}",
                     fail="connect them to the loss in the forward pass, or take them out", modules=made.silent)
    else:
        yield judged("gradients", "every trained module gets one")
