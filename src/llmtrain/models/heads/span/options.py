"""Options of the span head (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtrain.config.choices import LongMode
from llmtrain.config.keys import key
from llmtrain.registry import register

NO_ANSWER = -1  # a label: the token that stands for no answer, which the model knows


@dataclass(kw_only=True, slots=True)
class SpanHeadConfig:
    """Options of the head that marks where an answer starts and ends."""

    name: str = key("span", "registered name of the head")
    hidden: int = key(0, "width of a layer before the two scores (0: they are read off the base's states)", "features",
                      min=0, max=1_000_000)
    dropout: float = key(0.1, "dropout on what the scores are read off", "probability", min=0, max=1)

    def problems_in(self, config: Any) -> Iterator[str]:
        """One line for each thing that does not go with the rest of the configuration."""
        data = config.data
        if data.long not in (LongMode.truncate, LongMode.interpolate):
            yield (f"data.long={data.long.value} changes what is read of a context and head=span reads all of it, in "
                   "windows; leave data.long out and set data.stride")


register("head", "span", SpanHeadConfig, "llmtrain.models.heads.span.head:SpanHead",
         "where an answer starts and ends (Devlin et al. 2019, section 4.2), or that there is none",
         architecture="span", windows=False)
