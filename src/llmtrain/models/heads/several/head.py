"""Heads of several tasks on one base, each of its own kind: held together, asked one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from llmtrain import registry
from llmtrain.models.heads.base import BaseParts, Head, Sizes
from llmtrain.models.heads.several.options import SeveralHeadsConfig
from llmtrain.models.target_vocabulary import vocabulary_in

SUFFIX = "_head"  # behind a task's name in a weight's: a ModuleDict has names of its own


class SeveralHeads(Head):
    """The heads of tasks that are learnt together, by the task's name; ``sizes.facts`` has their facts likewise."""

    def __init__(self, options: SeveralHeadsConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        self.heads = nn.ModuleDict({
            f"{name}{SUFFIX}": _made(given, _own_sizes(sizes, sizes.facts.get(name, {})))
            for name, given in options.heads.items()})

    def of(self, name: str) -> Any:
        """A task's head."""
        return self.heads[f"{name}{SUFFIX}"]

    def start_from(self, base: BaseParts) -> None:
        for head in self.heads.values():
            head.start_from(base)  # type: ignore[operator]


def _own_sizes(sizes: Sizes, facts: dict[str, Any]) -> Sizes:
    """A task's, whose targets may have a vocabulary of their own."""
    own = vocabulary_in(facts)
    return replace(sizes, facts=facts) if own is None else replace(
        sizes, facts=facts, vocabulary=own.size, start_id=own.bos, source_vocabulary=sizes.vocabulary)


def _made(given: dict[str, Any], sizes: Sizes) -> nn.Module:
    """A head from its options as a configuration stores them."""
    part = registry.get("head", given["name"])
    made: nn.Module = registry.resolve("head", part.name)(part.options(**given), sizes)
    return made
