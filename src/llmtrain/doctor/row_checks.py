"""What the rows are like: how many, empty, twice, in two splits, cut; each from the texts, before anything is learnt.

Test rows are compared with the training rows as texts; no model sees them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from llmtrain.config.choices import LongMode
from llmtrain.data.examples import Example, Splits
from llmtrain.data.inspect import Profile, Reader, overlaps_with_train
from llmtrain.data.sources.splits import subset
from llmtrain.doctor.check_result import Verdict, judged
from llmtrain.doctor.sample_run import SampleRun
from llmtrain.training.spec import TaskSpec

LOOKED_AT = 20_000  # rows of a split that are compared with others
PROFILED = 200  # rows that are tokenised whole, to see what is cut of them
NAMED = 3  # rows that a line names
TWICE = 0.2  # of the training rows: more are told as a warning
SHARED, SOME_SHARED = 0.05, 0.01  # of a held-out split's rows in train: an error, a warning
ALL_CUT, MOST_CUT = 0.9, 0.5  # of the rows
HALF = 0.5  # of a text's tokens


def look_at_rows(run: SampleRun, task: TaskSpec) -> Iterator[Verdict]:
    """Rows of the splits, empty ones, and rows that stand twice in train."""
    splits = run.whole[task.name]
    train = splits.train
    counts = {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}
    told = " / ".join(f"{count:,}" for count in counts.values()) + " rows of train / validation / test"
    labelled = run.training.spec.terms.needs_targets
    empty = [one for one in train if not one.source.strip() or (labelled and not one.target.strip() and not one.fields)]
    texts = Counter(_key(one) for one in train)
    twice = sum(count - 1 for count in texts.values())
    share = twice / max(1, len(train))
    few = f"train has {len(train)} rows; give more" if len(train) < 8 else ""
    yield judged("rows", f"{told}; {len(empty)} empty, {twice:,} stand a second time in train ({share:.1%})",
                 warn=few or (f"leave out the empty rows of train, {_named(empty)}" if empty else
                              f"leave out rows of train that are there twice ({share:.0%}): they count twice"
                              if share > TWICE else ""),
                 splits=counts, empty=len(empty), twice=twice)


def look_at_splits(run: SampleRun, task: TaskSpec) -> Iterator[Verdict]:
    """Rows of validation and test that stand in train."""
    splits = run.whole[task.name]
    bounded = Splits(splits.train[:LOOKED_AT], subset(splits.validation, 2000), subset(splits.test, 2000), "")
    near = {one.split: one for one in overlaps_with_train(bounded)} if run.clock.left > 0 else {}
    known = {_key(one) for one in splits.train}
    for name in ("validation", "test"):
        held: list[Example] = getattr(splits, name)
        if not held:
            continue
        same = [one for one in held if _key(one) in known]
        share = len(same) / len(held)
        told = f"{len(same)} of {len(held):,} {name} rows stand in train ({share:.1%})"
        if (one := near.get(name)) is not None:
            told += f", {one.near} of {one.rows:,} share more than 80 % of their 8-grams with it"
        remedy = (f"take these {name} rows out of train ({_named(same)}), or leave data.{name} out: 5 % of train are "
                  "taken then, equal documents on one side")
        yield judged(f"{name} rows in train", told, fail=remedy if share >= SHARED else "",
                     warn=remedy if share >= SOME_SHARED else "", rows=len(held), same=len(same),
                     near=None if one is None else one.near)


def look_at_cuts(run: SampleRun, task: TaskSpec) -> Iterator[Verdict]:
    """How much of sources and targets the limits leave, and targets that cannot be written."""
    data = task.config.data
    rows = run.training.data.rows[task.name]
    chosen = subset(run.whole[task.name].train, PROFILED)
    profile = Reader(run.training.spec.base.tokenizer, data, None,
                     rows.learnt.writes(run.training.spec.base.tokenizer)).profile(chosen)
    windows = rows.train.owner is not None
    whole = windows or data.long not in (LongMode.truncate, LongMode.head_tail)
    yield _sources(run, task, profile, whole)
    if data.target_limit and len(profile.target_tokens):
        yield _targets(data.target_limit, data.max_target_tokens, profile)


def _sources(run: SampleRun, task: TaskSpec, profile: Profile, whole: bool) -> Verdict:
    """``whole``: nothing is cut, long sources are read in windows or shortened by sentences."""
    limit, lengths = task.config.data.max_source_tokens, profile.source_tokens
    cut = float((lengths > limit).mean())
    kept = float(np.minimum(lengths, limit).sum() / max(1, lengths.sum()))
    told = (f"{cut:.1%} of sources are longer than data.max_source_tokens={limit}, {kept:.0%} of all tokens are read "
            f"(median {int(np.median(lengths))}, longest {int(lengths.max())} of {len(lengths)} rows)")
    if whole:
        return judged("cut sources", f"{told}; long ones are not cut", share=cut, kept=kept)
    room = run.training.spec.base.positions - task.behind_document
    wanted = min(room, int(np.percentile(lengths, 90)))
    remedy = (f"raise data.max_source_tokens to {wanted}" if wanted > limit else
              "read more of them with data.long=windows, or use a base that reads more tokens")
    return judged("cut sources", told, fail=remedy if cut >= ALL_CUT and kept < HALF else "",
                  warn=remedy if cut >= MOST_CUT and kept < HALF else "", share=cut, kept=kept)


def _targets(key: str, limit: int, profile: Profile) -> Verdict:
    lengths, rows = profile.target_tokens, len(profile.target_tokens)
    cut, lost = float((lengths > limit).mean()), profile.unwritable / rows
    told = (f"{cut:.1%} of targets are longer than {key}={limit} (median {int(np.median(lengths))}, longest "
            f"{int(lengths.max())}), {lost:.1%} hold what the tokenizer has no token for")
    remedy = f"raise {key} to {int(np.percentile(lengths, 99))}: what is cut is never learnt to be written"
    if lost > HALF and cut < ALL_CUT:
        return judged("cut targets", told, fail="use a base whose tokenizer knows these characters (model=)",
                      share=cut, unwritable=lost)
    return judged("cut targets", told, fail=remedy if cut >= ALL_CUT else "", warn=remedy if cut >= HALF else "",
                  share=cut, unwritable=lost)


def _key(example: Example) -> tuple[str, str, str]:
    return example.source, example.target, example.fields_as_text


def _named(rows: Sequence[Example]) -> str:
    names = ", ".join(one.id for one in rows[:NAMED])
    return f"{len(rows)} of them: {names}{' ...' if len(rows) > NAMED else ''}" if len(rows) > 1 else f"row {names}"
