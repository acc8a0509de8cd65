"""Is every part alive: the document, each way on which it reaches the output, and each term of the loss.

After some rows are learnt by heart, a way is taken away, and the loss must be another one. A way may hide behind
another: with a copy gate a model learns these rows although its cross-attention is dead. So each way is tried with the
others taken away before, after the model had a few steps to get on without them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from llmtrain.doctor.by_heart import LEAST, Student
from llmtrain.doctor.check_result import Level, Verdict, judged
from llmtrain.doctor.sample_run import SampleRun, other_rows_documents
from llmtrain.training.spec import TaskSpec

STEPS = 30  # to get on without the other ways
DEAD, LEAST_GONE = 3e-5, 1e-6  # a share of the loss, and nats of an item: less, and nothing was taken away
LONG = 4  # of the longest rows that are tried too: a document of one sentence has nothing to choose from


def look_at_document(run: SampleRun, task: TaskSpec, student: Student) -> Iterator[Verdict]:
    """Whether the task's loss is another one where each row has another's document."""
    if not run.training.spec.terms.trains_task:
        return
    term = run.term_of(task)
    own = student.losses()[term]
    others = run.losses_without(other_rows_documents(student.batch), ())[term]
    yield _judged("the document", own, others, "other rows' documents", "the head never reads the document: look at "
                  "how it uses states.hidden_BSD, and at attention masks")


def look_at_ways(run: SampleRun, task: TaskSpec, student: Student) -> Iterator[Verdict]:
    """Each way that the model names, alone."""
    if not run.training.spec.terms.trains_task:
        return
    ways = run.model_of(task).removals()
    term = run.term_of(task)
    for number, (name, way) in enumerate(ways.items()):
        others = tuple(other for key, other in ways.items() if key != name)
        if run.clock.left < 0:
            yield Verdict(name, Level.skip, "no time left", "give it more time: doctor.seconds=180")
            continue
        steps = 0
        if others:
            with run.clock.share(len(ways) - number):
                steps = student.learn(STEPS, others).steps
        own, without = student.losses(others)[term], student.losses((*others, way))[term]
        if _is_dead(own, without):
            long = [run.losses_without(run.longest(LONG), removed).get(term, own)
                    for removed in (others, (*others, way))]
            own, without = (own, without) if _is_dead(*long) else long
        alone = f", after {steps} steps without {' and '.join(key for key in ways if key != name)}" if others else ""
        yield _judged(name, own, without, "it", f"connect what the {name} computes to the head's output, and check its "
                      "mask and its memory", alone, steps if others else LEAST)


def look_at_terms(run: SampleRun, student: Student) -> Iterator[Verdict]:
    """Whether each term counts anything, weighs anything, and moves the base."""
    config = run.training.config
    weights = run.training.model.weighting.weights(0) | {
        name: weight for name, weight in run.training.model.weighting.weights(1 << 30).items() if weight}
    trunk = [p for p in run.training.model.task_model.trunk.parameters() if p.requires_grad]
    means = run.means(student.batch, grad=True)
    for name in run.module.terms:
        if name not in means:
            yield judged(f"term {name}", "it counts nothing in these rows",
                         warn="look at what it predicts: its labels or masks are empty")
            continue
        grads = torch.autograd.grad(means[name], trunk, retain_graph=True, allow_unused=True) if trunk else ()
        norm = float(sum(grad.float().square().sum() for grad in grads if grad is not None)) ** 0.5 if trunk else 0.0
        weight = weights.get(name, 0.0)
        told = f"weight {weight:g}, gradient on the base {norm:.2g}"
        fail = ""
        if weight == 0:
            fail = f"it weighs nothing: raise objective.lam={config.objective.lam:g}, or leave the term out"
        elif trunk and norm == 0.0:
            fail = "its loss does not depend on the base: connect it to the base's states (no detach)"
        yield judged(f"term {name}", told, fail=fail, weight=weight, gradient=norm)


def _judged(name: str, own: float, without: float, what: str, remedy: str, more: str = "", steps: int = LEAST,
            ) -> Verdict:
    told = f"loss {own:.3g}, {without:.3g} with{'out' if what == 'it' else ''} {what}{more}"
    dead = _is_dead(own, without)
    if dead and steps < LEAST:
        return Verdict(name, Level.skip, f"{told}: too few steps to tell", "give it more time: doctor.seconds=180")
    return judged(name, told, fail=remedy if dead else "", own=own, without=without)


def _is_dead(own: float, without: float) -> bool:
    return abs(without - own) < max(LEAST_GONE, DEAD * own)
