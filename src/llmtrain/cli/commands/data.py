"""``llmtrain data show``: rows as the model will read them, lengths, cuts, copied words, overlaps. No weights,
but a sentence selector's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain.cli.options import Given
from llmtrain.config.choices import LongMode
from llmtrain.config.command_keys import own_keys
from llmtrain.config.load import load_config
from llmtrain.config.members import members_of
from llmtrain.config.overrides.paths import path_value
from llmtrain.config.sections.objective import needs_targets
from llmtrain.config.sections.show import ShowConfig
from llmtrain.core.errors import ConfigError, DataError, one_line
from llmtrain.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from llmtrain.config.sections.data import DataConfig
    from llmtrain.data.examples import Example, Splits
    from llmtrain.data.inspect import Overlap, Profile, RowAsRead, Shorten
    from llmtrain.data.learnt import Learnt

BINS = 16
FRAME = 2  # special tokens that end a document, at most
BAR = 40  # characters of the longest bar
SHOWN_CHARACTERS = 600
SPLITS = ("train", "validation", "test")


def run(arguments: list[str], _given: Given) -> int:
    """``data show [OVERRIDE ...]``: train's overrides, or ``checkpoint=PATH`` and eval's; ``show.*`` are its own."""
    if not arguments or arguments[0] != "show":
        raise ConfigError(f"unknown command data {' '.join(arguments[:1])!r}; use llmtrain data show [OVERRIDE ...]")
    show, overrides = own_keys(ShowConfig, "show", arguments[1:])
    tasks, base, labelled = _configuration(overrides)

    from rich.console import Console

    from llmtrain.core.logging import quiet_libraries
    from llmtrain.data.sources.splits import load_splits
    from llmtrain.evaluation.report import PLAIN_WIDTH
    from llmtrain.models.backbone.pretrained import load_tokenizer, tokenizer_in

    quiet_libraries()
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    published = path_value(overrides, "checkpoint") is not None
    tokenizer = tokenizer_in(base[0], base[0]) if published else load_tokenizer(*base)
    for name, config in tasks:
        if not any(one.startswith("data.on_bad_row=") for one in overrides):
            config.data.on_bad_row = type(config.data.on_bad_row)("skip")
        if name:
            console.print(f"\n{name}:", style="bold", markup=False)
        splits = load_splits(config.data, labelled=labelled)
        learnt = _learnt(name, config, splits, tokenizer, base[0] if published else None)
        _show(console, config.data, show, splits, tokenizer, learnt.writes(tokenizer))
    return 0


def _show(console: Console, data: DataConfig, show: ShowConfig, splits: Splits, tokenizer: Tokenizer,
          writes: Tokenizer) -> None:
    """The rows of one task; ``writes`` is the tokenizer of its targets."""
    from llmtrain.data.control_tokens import notes_of
    from llmtrain.data.inspect import Reader, overlaps_with_train
    from llmtrain.data.sources.splits import subset

    reader = Reader(tokenizer, data, _shortener(data, tokenizer), writes)
    named = [*SPLITS, *(["unlabelled"] if splits.unlabelled else [])]
    profiles = {name: reader.profile(subset(getattr(splits, name), show.sample)) for name in named}
    examples = getattr(splits, show.split.value)
    if not examples:
        raise DataError(f"no {show.split.value} rows in {splits.source}; choose show.split or name data."
                        f"{show.split.value}")
    _print_head(console, splits)
    _print_table(console, splits, profiles, data)
    for name, profile in profiles.items():
        for note in notes_of(name, len(profile.source_tokens), profile.spelled, profile.unwritable):
            console.print(one_line(note), markup=False)
    _print_histogram(console, show.split.value, data.columns().source_word, profiles[show.split.value],
                     data.max_source_tokens)
    _print_overlaps(console, overlaps_with_train(splits) if show.near else [], len(splits.train),
                    data.columns().targets)
    for example in subset(examples, show.rows):
        _print_row(console, example, reader.read(example), data)


def _learnt(name: str, config: Any, splits: Splits, tokenizer: Tokenizer, folder: str | None) -> Learnt:
    """What the task takes from the training rows, or a published model's took."""
    if folder is None:
        from llmtrain.tasks.task import task_named

        return task_named(config.task.name).learn(splits, tokenizer, config)
    from transformers import PretrainedConfig

    from llmtrain.models.target_vocabulary import learnt_from

    facts = PretrainedConfig.get_config_dict(folder)[0].get("facts") or {}
    return learnt_from(Path(folder), facts.get(name, {}) if name else facts, name)


def _shortener(data: DataConfig, tokenizer: Tokenizer) -> Shorten | None:
    """What the selector does to documents, where the configuration has one."""
    if data.long is not LongMode.select_then_write:
        return None
    import torch

    from llmtrain.inference.selector import selector_of

    selector = selector_of(data, torch.device("cpu"), None)
    assert selector is not None
    return lambda texts: selector.shorten(texts, tokenizer, data.max_source_tokens).texts


def _configuration(overrides: list[str]) -> tuple[list[tuple[str, Any]], tuple[str, str | None], bool]:
    """The configuration of each task with its name in the run, (path, revision) of the tokenizer, and whether every
    row must have a target."""
    if path_value(overrides, "checkpoint") is not None:
        from llmtrain.checkpoint import SELECTOR
        from llmtrain.cli.commands.checkpoint_config import open_stored

        opened = open_stored(overrides, "eval")
        opened.config.data.selector = str(opened.folder / SELECTOR)
        return [(opened.task, opened.config)], (str(opened.folder), None), True
    config = load_config("train", overrides)
    return ([(member.name, member.config) for member in members_of(config)],
            (config.model.path, config.model.revision), needs_targets(config.objective))


def _print_head(console: Console, splits: Splits) -> None:
    from llmtrain.data.text.language import detect

    language = detect(example.source for name in SPLITS for example in getattr(splits, name))
    console.print(one_line(f"data: {splits.source}, content {splits.content_hash[:12]}, language {language}"),
                  markup=False)
    for note in splits.notes:
        console.print(one_line(f"data: {note}"), markup=False)


def _print_table(console: Console, splits: Splits, profiles: dict[str, Profile], data: Any) -> None:
    from rich.table import Table

    words = data.columns()
    source, target = words.source_word, words.target_word
    table = Table(title="as the model reads them; tokens: median, 90th percentile, longest")
    texts = bool(data.target_limit)  # else the targets are none
    of_targets = (f"{target} tokens", "cut"), ("copied", "of what is read")
    for heading in ("", "rows", f"{source} tokens", "cut", *(of_targets[0] if texts else ()), "sentences",
                    *(of_targets[1] if texts else ())):
        table.add_column(heading, justify="left" if not heading else "right")
    sampled = []
    for name, profile in profiles.items():
        rows, measured = len(getattr(splits, name)), len(profile.source_tokens)
        if not measured:
            table.add_row(name, "0")
            continue
        if measured < rows:
            sampled.append(f"{measured:,} of {name}")
        targets = [_spread(profile.target_tokens),
                   f"{(profile.target_tokens > data.max_target_tokens).mean():.1%}",
                   f"{profile.copied.mean():.1%}", f"{profile.copied_read.mean():.1%}",
                   ] if texts and len(profile.target_tokens) else [""] * (4 if texts else 0)
        table.add_row(name, f"{rows:,}", _spread(profile.source_tokens),
                      f"{(profile.source_tokens > data.max_source_tokens).mean():.1%}", *targets[:2],
                      f"{profile.sentences.mean():.1f}", *targets[2:])
    console.print(table)
    limits = (f", {data.target_limit}={data.max_target_tokens}; copied: share of the {target}'s tokens that stand in "
              f"its {source}") if texts else ""
    console.print(f"cut: longer than data.max_source_tokens={data.max_source_tokens}{limits}"
                  + (f"; measured on {', '.join(sampled)} rows (show.sample)" if sampled else ""), markup=False)


def _spread(values: NDArray[np.int64]) -> str:
    import numpy as np

    middle, high = np.percentile(values, [50, 90])
    return f"{middle:.0f} {high:.0f} {values.max()}"


def _print_histogram(console: Console, split: str, source: str, profile: Profile, limit: int) -> None:
    """Bars of source lengths up to the 99th percentile; those behind the limit in another colour."""
    import numpy as np

    values = profile.source_tokens
    top = max(BINS, int(np.percentile(values, 99)) + 1)
    width = max(1, -(-top // BINS))
    counts = np.bincount(np.minimum(values // width, BINS))
    console.print(f"\n{split}: {source} tokens", markup=False)
    for index, count in enumerate(counts):
        low = index * width
        name = f"{low:>6} -" + (f" {low + width - 1:>6}" if index < BINS else " longer")
        bar = "█" * round(BAR * count / counts.max()) or ("▏" if count else "")
        mark = "  <- data.max_source_tokens" if low <= limit < low + width or (index == BINS and limit >= low) else ""
        console.print(f"{name} {bar:<{BAR}} {count}{mark}", markup=False, style="red" if low > limit else None)


def _print_overlaps(console: Console, overlaps: list[Overlap], train_rows: int, targets: str) -> None:
    if overlaps:
        console.print()
    for one in overlaps:
        looked = "" if one.looked_at == train_rows else f", among {one.looked_at:,} of the training rows"
        console.print(f"{one.split} in train: {one.documents} of {one.rows} documents "
                      f"({one.documents / one.rows:.1%}), "
                      f"{one.near} with more than 80 % of their 8-grams there ({one.near / one.rows:.1%}{looked}), "
                      f"{one.targets} {targets} ({one.targets / one.rows:.1%})", markup=False)


def _print_row(console: Console, example: Example, read: RowAsRead, data: DataConfig) -> None:
    """Texts as they are and as they are read, tokens with ``‖`` where they are cut."""
    words, texts = data.columns(), bool(data.target_limit and example.target)
    console.print(f"\nrow {one_line(example.id)}", style="bold", markup=False)
    others = [key.rpartition(".")[2] for key in words.others]
    lines = [*((name, example.fields.get(name)) for name in others), (words.source_word, example.source),
             ("read as", read.document if read.document != example.source else None),
             ("l1 reads", read.l1_document), ("tokens", _cut_tokens(read.tokens, read.kept)),
             (words.target_word, example.target or None),
             ("learnt as", read.target if texts and read.target != example.target else None),
             ("tokens", _tokens(read.target_tokens, read.kept_target) if texts else None)]
    for label, text in lines:
        if isinstance(text, str):
            console.print(f"{label + ':':<11}{_short(text)}", markup=False)


def _short(text: str) -> str:
    shown = one_line(text.replace("\n", "⏎"))
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]} ... ({len(text):,} characters)"


def _cut_tokens(tokens: list[str], kept: list[int]) -> str:
    """A document's tokens; where the middle was cut out (head_tail), both ends around it."""
    gap = next((i for i, place in enumerate(kept) if place != i), None)
    if gap is None or len(kept) - gap <= FRAME:
        return _tokens(tokens, len(kept) if gap is None else gap, len(kept))
    middle = " ‖ ... ‖ ".join(" ".join(tokens[i] for i in part) for part in (kept[:gap][-10:], kept[gap:][:10]))
    return f"{' '.join(tokens[:10])} ... {middle} ... {' '.join(tokens[-10:])} ({len(kept)} of {len(tokens)} tokens)"


def _tokens(tokens: list[str], kept: int, counted: int | None = None) -> str:
    """The tokens around the cut, or all of a short text's; ``counted`` counts special tokens behind the cut too."""
    if kept >= len(tokens):
        return " ".join(tokens)
    begin = " ".join(tokens[:20]) + " ... " + " ".join(tokens[max(20, kept - 10):kept]) if kept > 30 else (
        " ".join(tokens[:kept]))
    return f"{begin} ‖ {' '.join(tokens[kept:kept + 10])} ... ({counted or kept} of {len(tokens)} tokens)"
