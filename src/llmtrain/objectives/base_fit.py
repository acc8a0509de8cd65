"""Does a base suit the objectives that shall train it? Told before any weight is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmtrain import registry
from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.families import FAMILIES, family_of


def check_fit(objectives: Iterable[str], base: Any, tokenizer: Any, path: str) -> None:
    """Compare what each objective requires with the base at ``path``.

    An objective may be registered with ``causal=True`` (a decoder alone) or ``causal=False`` (an encoder alone), and
    with ``mask_token=True``.

    Raises:
        ConfigError: One line for each objective that does not suit it.
    """
    causal, problems = family_of(base).causal, []
    for name in objectives:
        requires = registry.get("objective", name).requires
        if requires.get("causal", causal) is not causal:
            kinds = ", ".join(kind for kind, family in FAMILIES.items() if family.causal is not causal)
            reads = ("is a decoder, which sees no token to the right" if causal
                     else "is an encoder, which sees the very token that it should predict")
            problems.append(f"objective {name} does not suit the base at {path}: {base.model_type} {reads}; use "
                            f"another objective, or a base of kind {kinds}")
        elif requires.get("mask_token") and tokenizer.mask_token_id is None:
            problems.append(f"objective {name} needs a mask token and the tokenizer at {path} has none; use "
                            "objective.base=select")
    if problems:
        raise ConfigError(problems)
