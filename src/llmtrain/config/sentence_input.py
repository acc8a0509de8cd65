"""What a head or an objective asks of the data: documents whose sentences are told apart, and labels for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain import registry
from llmtrain.config.choices import LongMode
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import base_terms_of

CLS, MEAN, LAST = "cls", "mean", "last"
REPRESENTATIONS = (CLS, MEAN, LAST)  # of a sentence: a token set before it, the mean of its tokens, its last token


@dataclass(frozen=True, slots=True)
class SentenceInput:
    """Options that ask for sentences give one by their ``sentence_input()``.

    Attributes:
        marked: Set a begin token before and an end token behind every sentence (BertSum's input), which changes the
            token ids that every term reads.
        labels: Label at most so many sentences a document, by the greedy oracle; None: no labels.
    """

    marked: bool = False
    labels: int | None = None


def wanted_by(options: Any) -> SentenceInput | None:
    """What one part's options ask for; None when they need no sentences."""
    ask = getattr(options, "sentence_input", None)
    found: SentenceInput | None = None if ask is None else ask()
    return found


def sentence_input(config: TrainConfig) -> SentenceInput | None:
    """What the run's head and objectives ask for together; the head says how documents are read."""
    wanted = list(_wanted(config).values())
    return wanted[0] if wanted else None


def sentence_problems(config: TrainConfig) -> Iterator[str]:
    """One line for each thing that does not go with documents read sentence by sentence."""
    own = registry.get("head", config.head.name).requires.get("trains", ())
    for name in set(own) & set(base_terms_of(config.objective)):
        yield (f"the objective {name} beside head={config.head.name}, which is trained by that loss itself; use "
               "another objective, or objective=task_only")
        return
    wanted = _wanted(config)
    if wanted and config.data.preprocess:
        yield (f"{next(iter(wanted))} tells a document's own sentences apart and data.preprocess would change them; "
               "set data.preprocess=[]")
    if wanted and config.data.long is LongMode.head_tail:
        yield (f"{next(iter(wanted))} reads a document's sentences from the first on and data.long=head_tail cuts its "
               "middle out; use data.long=truncate, sliding or interpolate")
    if config.data.long is LongMode.sliding and getattr(config.head, "segments", False):
        yield ("head.segments=true gives the sentences of one piece their segments and data.long=sliding reads in "
               "windows; use data.long=interpolate, or head.segments=false")
    labels = {name: asked.labels for name, asked in wanted.items()}
    if len(set(labels.values())) > 1:
        (first, one), (second, other), *_ = labels.items()
        yield f"{first}.labels={one} and {second}.labels={other} label the same sentences; give both the same number"


def selector_problems(config: TrainConfig) -> Iterator[str]:
    """data.long=select_then_write and data.selector belong together, before a head that reads a text."""
    chosen = config.data.long is LongMode.select_then_write
    if chosen and config.data.selector is None:
        yield ("data.long=select_then_write needs data.selector, an extractive model; train one with head=extractive "
               "and name its run")
    elif config.data.selector is not None and not chosen:
        yield (f"data.selector is read by data.long=select_then_write and data.long is {config.data.long.value}; set "
               "that, or leave data.selector out")
    if chosen and wanted_by(config.head) is not None:
        yield (f"head={config.head.name} tells a document's own sentences apart and data.long=select_then_write leaves "
               "some out before it reads; use data.long=sliding, or a head that writes alone")


def scorer_problems(options: Any, path: str, representations: tuple[str, ...] = REPRESENTATIONS) -> Iterator[str]:
    """What is wrong with the options every sentence scorer has."""
    if options.sentence not in representations:
        yield f"{path}.sentence={options.sentence} is none of {', '.join(representations)}; choose one"


def _wanted(config: TrainConfig) -> dict[str, SentenceInput]:
    parts = {"head": config.head} | {f"objective.{name}": getattr(config.objective, name, None)
                                     for name in base_terms_of(config.objective)}
    return {name: asked for name, options in parts.items() if (asked := wanted_by(options)) is not None}
