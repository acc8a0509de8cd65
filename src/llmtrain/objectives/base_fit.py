"""Does a base suit the objectives that shall train it? Told before any weight is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmtrain import registry
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.families import FAMILIES


def fit_problems(objectives: Iterable[str], base: Base) -> Iterator[str]:
    """A line for each objective that does not suit the base.

    An objective may be registered with ``causal=True`` (a decoder alone) or ``causal=False`` (an encoder alone), and
    with ``mask_token=True``.
    """
    causal = base.family.causal
    for name in objectives:
        requires = registry.get("objective", name).requires
        if requires.get("causal", causal) is not causal:
            kinds = ", ".join(kind for kind, family in FAMILIES.items() if family.causal is not causal)
            reads = ("is a decoder, which sees no token to the right" if causal
                     else "is an encoder, which sees the very token that it should predict")
            yield (f"objective {name} does not suit the base at {base.path}: {base.config.model_type} {reads}; use "
                   f"another objective, or a base of kind {kinds}")
        elif requires.get("mask_token") and base.tokenizer.mask_token_id is None:
            yield (f"objective {name} needs a mask token and the tokenizer at {base.path} has none; use "
                   "objective.base=select")
