"""Keys of the joint loss; the options of each registered part stand under its own name."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from functools import cache

from llmtrain import registry
from llmtrain.config.keys import key


@dataclass(kw_only=True, slots=True)
class ObjectiveConfig:
    """l1 (``base``) and its ratio to l2. Options of each base objective live under its own name."""

    base: str = key("select", "base model's own loss l1: none, or a registered objective")
    lam: float = key(0.5, "lambda: weight of l2 relative to l1", "ratio")
    lam_start: float | None = key(None, "lambda at step 0, moving linearly to lam; default: lam throughout", "ratio")
    lam_steps: int = key(0, "steps over which lambda moves from lam_start to lam", "steps")


def objective_schema() -> type:
    """ObjectiveConfig plus one field for the options of each registered objective (``objective.mlm.fraction``)."""
    return _objective_schema(tuple((p.name, p.options, p.summary) for p in registry.parts("objective")))


@cache  # one class for one set of parts, so that equal configurations compare equal
def _objective_schema(parts: tuple[tuple[str, type, str], ...]) -> type:
    fields = [(name, options, key(options, f"options of objective.base={name}: {summary}"))
              for name, options, summary in parts]
    return make_dataclass("ObjectiveSchema", fields, bases=(ObjectiveConfig,), kw_only=True)
