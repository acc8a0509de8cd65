"""Does it predict what it has learnt by heart, and the same again after it was saved and loaded?

Low losses and wrong predictions together tell of labels that are one place off, of a head that sees the answer while it
is trained, and of decode settings that cut or forbid it. Predictions are scored by the task's first metric, beside the
references themselves and other rows' references. Of a head that writes, the targets' loss is also taken as decoding
would: from the start token on, each token by those before it.

Shapes: B rows, T target tokens, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from llmtrain.data.batch import IGNORED, Batch
from llmtrain.data.examples import Example
from llmtrain.data.features import Features
from llmtrain.doctor.by_heart import Student
from llmtrain.doctor.check_result import Level, Verdict, judged
from llmtrain.doctor.sample_run import SampleRun
from llmtrain.inference.published import load_published
from llmtrain.models.task_model import sentences_of
from llmtrain.tasks.task import Prediction, Scorer
from llmtrain.training.save import save
from llmtrain.training.spec import TaskSpec
from llmtrain.training.validate import while_training

KNOWN = 0.05  # a mean loss that tells that rows are known by heart; a loss with label smoothing has settled above
SETTLED = 0.2  # of the first loss
WANTED = 0.5  # of the way from other rows' references to a row's own
CHOSEN = 0.05  # the same of a head that chooses among the document's sentences
APART, BEYOND = 2.0, 0.3  # times the loss, and nats of a token: more as decoding takes it is another loss
ALIKE = 1e-2  # of a loss, before and after; bf16 has 3 digits, adapters are merged


def look_at_predictions(run: SampleRun, task: TaskSpec, student: Student) -> Iterator[Verdict]:
    """Predict the rows that were learnt by heart, and score them."""
    if not run.training.spec.terms.trains_task:
        return
    rows, examples, features = _known(run, task)
    started = time.perf_counter()
    made = predict(run, task, features, rows)
    run.row_seconds[task.name] = (time.perf_counter() - started) / len(rows)
    loss = student.losses()[run.term_of(task)]
    scorer = task.task.scorer(task.config.eval, examples)
    gold = [Prediction(one.references[0] if one.references else one.target) for one in examples]
    own, best, other = (_score(task, scorer, given, examples) for given in
                        (made, gold, [*gold[1:], *gold[:1]]))
    metric = task.task.metrics[0]
    told = (f"{metric.heading} {own:.{metric.digits}f} of rows that it has learnt by heart (loss {loss:.2g}); their "
            f"references have {best:.{metric.digits}f}, other rows' {other:.{metric.digits}f}")
    check = "predicts what it learnt"
    learnt = student.learnt
    forced = _as_decoded(run, task, student)
    told += "" if forced is None else f"; loss as decoding takes it {forced:.2g}"
    other_loss = forced is not None and forced > APART * loss + BEYOND
    known = loss < KNOWN or other_loss or (learnt is not None and learnt.settled
                             and loss < SETTLED * learnt.first[run.term_of(task)])
    if not known or abs(best - other) < 1e-6:
        why = "it has not learnt them well enough to tell" if not known else "too alike to tell"
        yield Verdict(check, Level.skip, f"{told}: {why}", "give it more time: doctor.seconds=180" if not known else "")
        return
    share = (own - other) / (best - other)
    model = run.model_of(task)
    chooses = model.sentence_input is not None and not model.can_generate()  # sentences, and the references are others
    yield judged(check, told, fail="" if share >= (CHOSEN if chooses else WANTED) and not other_loss else
                 "what is learnt is not what is predicted: look for labels that are one place off (the task's encoder, "
                 "the head's shift and nll), and at generation.*", own=own, references=best, others=other, loss=loss,
                 decoded_loss=forced)


@torch.no_grad()
def _as_decoded(run: SampleRun, task: TaskSpec, student: Student) -> float | None:
    """Mean loss of the rows' targets by the log-probabilities of decoding; None for a head that does not write."""
    model: Any = run.model_of(task)
    if not model.can_generate():
        return None
    batch = _part_of(run, task, student)
    labels_BT = batch["labels"]
    start_B1 = torch.full_like(labels_BT[:, :1], model.head.start_id)
    with run.still(), run.training.precision.autocast():
        states = model.encode(batch["input_ids"], batch["attention_mask"])
        states.sentences = sentences_of(batch)
        log_BTV = model.head.log_probabilities(torch.cat([start_B1, labels_BT[:, :-1].clamp_min(0)], 1), states)
    gold_BT = log_BTV.gather(2, labels_BT.clamp_min(0).unsqueeze(2)).squeeze(2)
    return float(-gold_BT[labels_BT != IGNORED].float().mean())


def _part_of(run: SampleRun, task: TaskSpec, student: Student) -> Batch:
    """The rows of one task."""
    parts = run.training.model.task_model.parts(student.batch)
    return next(rows for name, _, rows in parts if name == task.name)


def look_at_round_trip(run: SampleRun, student: Student) -> Iterator[Verdict]:
    """Save a checkpoint as training does, load its model as ``llmtrain predict`` does, and compare."""
    check = "save and load"
    if not run.training.spec.terms.trains_task:
        return
    run.training.state.progress.step = 1
    save(run.training)
    folder = run.training.folder.path / "checkpoints" / "step-1" / "model"
    different, compared, loss = 0, 0, ""
    config = run.training.config
    for task in run.tasks:
        rows, _, features = _known(run, task)
        before = predict(run, task, features, rows)
        loaded = load_published(folder, config.precision, config.trainer.device, task.name)
        loaded.precision.running, loaded.precision.dtype = (run.training.precision.running,
                                                            run.training.precision.dtype)
        after = task.task.predict(loaded.model, loaded.writes, run.training.data.rows[task.name].splits.training,
                                  features, rows, _quick(task), loaded.precision, progress=lambda rows: None,
                                  evidence=False)
        different += sum(one.text != other.text for one, other in zip(before, after, strict=True))
        compared += len(rows)
        loss = loss or _changed(run, task, student, loaded)
    told = f"{compared - different} of {compared} predictions are the same after it was saved and loaded"
    remedy = ("register every weight and buffer of the head as nn.Parameter or buffer, and make it from its options "
              "alone") if different or loss else ""
    yield judged(check, told + (f"; {loss}" if loss else "; so is the loss"), fail=remedy, different=different,
                 compared=compared)


@torch.no_grad()
def _changed(run: SampleRun, task: TaskSpec, student: Student, loaded: object) -> str:
    """How the task term's loss differs in a model that was loaded; nothing where it does not."""
    model = loaded.model  # type: ignore[attr-defined]
    batch = _part_of(run, task, student)
    with run.still(), run.training.precision.autocast():
        values = [float(total / count) for total, count in
                  (one.task_nll(one.read(batch), batch) for one in (run.model_of(task), model))]
    return "" if abs(values[0] - values[1]) <= ALIKE * max(1.0, abs(values[0])) else (
        f"the loss was {values[0]:.3g} and is {values[1]:.3g}")


def predict(run: SampleRun, task: TaskSpec, features: Features, rows: Sequence[int]) -> list[Prediction]:
    """What the model gives for some training rows, as validation predicts."""
    sampled = run.training.data.rows[task.name]
    with run.still():
        return task.task.predict(run.model_of(task), sampled.learnt.writes(run.training.spec.base.tokenizer),
                                 sampled.splits.training, features, rows, _quick(task), run.training.precision,
                                 progress=lambda rows: None, evidence=False)


def _quick(task: TaskSpec) -> object:
    return replace(task.config, generation=while_training(task.config))


def _known(run: SampleRun, task: TaskSpec) -> tuple[list[int], list[Example], Features]:
    sampled = run.training.data.rows[task.name]
    rows = run.rows[task.name]
    return rows, [sampled.splits.training[row] for row in rows], sampled.train


def _score(task: TaskSpec, scorer: Scorer, made: Sequence[Prediction], examples: Sequence[Example]) -> float:
    """The task's first metric of some predictions."""
    metric = task.task.metrics[0]
    values = metric.columns([scorer.score(one.text, example, one.detail)
                             for one, example in zip(made, examples, strict=True)])
    return float(values.mean() if metric.combine is None else metric.combine(values.sum(0, keepdims=True))[0])


