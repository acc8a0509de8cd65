"""Do special tokens and decode settings make sense, for this base and these targets?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from llmtrain.config.decode_checks import idle_settings
from llmtrain.doctor.check_result import Verdict, judged
from llmtrain.doctor.sample_run import SampleRun
from llmtrain.training.spec import TaskSpec

LONGER = 0.1  # of the targets may be longer than what is decoded
NGRAM = 2  # forbidding repeated n-grams so short forbids ordinary language


def look_at_tokens(run: SampleRun, task: TaskSpec) -> Iterator[Verdict]:
    """Whether the base's config.json and its tokenizer pad with one token, and which tokens rows begin and end with."""
    base = run.training.spec.base
    tokenizer, special, stated = base.tokenizer, base.special, getattr(base.config, "pad_token_id", None)
    names = {key: _token(tokenizer, value) for key, value in
             (("begin", special.bos), ("end", special.eos), ("padding", special.pad))}
    told = ", ".join(f"{key} {name} ({value})" for (key, name), value in
                     zip(names.items(), (special.bos, special.eos, special.pad), strict=True))
    fail = ""
    if stated is not None and stated != special.pad:
        told += f"; config.json pads with {_token(tokenizer, stated)} ({stated})"
        fail = f"set \"pad_token_id\": {special.pad} in {base.path}/config.json, as its tokenizer has it"
        ends = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
        told += ": " + ("positions are counted from there" if base.family.offset else
                        "that token's embedding is never trained" if stated not in ends else
                        "a token of every row is taken for padding")
    rows = run.training.data.rows[task.name].train
    inside = _rows_with(rows, special.pad) if special.pad not in (special.bos, special.eos) else 0
    if inside and not fail:
        told += f"; {inside} of {len(rows)} rows hold the padding token as a word"
        fail = (f"{base.path}: let the tokenizer pad with a token that no text has (tokenizer_config.json, "
                "\"pad_token\")")
    yield judged("special tokens", told, fail=fail, begin=special.bos, end=special.eos, padding=special.pad,
                 stated_padding=stated)


def look_at_decoding(run: SampleRun, task: TaskSpec) -> Iterator[Verdict]:
    """Whether what is written may be as long as targets are, and no setting forbids ordinary language."""
    generation: Any = task.config.generation
    if not run.training.spec.terms.trains_task or not run.model_of(task).can_generate():
        return
    labels = run.training.data.rows[task.name].train.labels.lengths
    lengths = labels[labels > 0]
    most, least = generation.max_new_tokens, generation.min_new_tokens
    share = float((lengths > most).mean()) if len(lengths) else 0.0
    shorter = float((lengths < least).mean()) if len(lengths) else 0.0
    told = (f"at most {most} new tokens, {share:.1%} of targets are longer"
            + (f"; at least {least}, {shorter:.1%} are shorter" if least else ""))
    fail = warn = ""
    if share > 0.5:
        fail = f"raise generation.max_new_tokens to {int(np.percentile(lengths, 99))}"
    elif share > LONGER:
        warn = f"raise generation.max_new_tokens to {int(np.percentile(lengths, 99))}"
    if shorter > 0.5:
        fail = f"lower generation.min_new_tokens to {int(np.percentile(lengths, 10))}"
    if 0 < generation.no_repeat_ngram_size < NGRAM:
        told += f"; no_repeat_ngram_size={generation.no_repeat_ngram_size} forbids every word a second time"
        fail = fail or "set generation.no_repeat_ngram_size=3, or 0"
    idle = idle_settings(generation)
    yield judged("decode settings", "; ".join([told, *idle]), fail=fail, warn=warn or ("; ".join(
        f"leave out {line.partition('=')[0]}" for line in idle)), longer=share, shorter=shorter)


def _rows_with(features: Any, token: int) -> int:
    return sum(bool((features.input_ids[row] == token).any()) for row in range(len(features)))


def _token(tokenizer: Any, number: int) -> str:
    found = tokenizer.convert_ids_to_tokens([number])[0] if 0 <= number < len(tokenizer) else None
    return repr(found) if found is not None else "a token that there is not"
