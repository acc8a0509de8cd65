"""total = l1 + lambda * l2, each term divided by its own count over the whole optimizer step.

Under Adam a common factor changes nothing, so lambda is the ratio of the two losses on the shared trunk; parameters
that one term alone reaches (the head: l2, the masked-LM head: l1) do not feel it, clipping and fp16 underflow aside.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.objective import SUMMARY, ObjectiveConfig, terms_of, trains_summary


@dataclass(frozen=True, slots=True)
class Weighting:
    """The weight of each term at a step: its own lam; the summary's may move there."""

    config: ObjectiveConfig

    def weights(self, step: int) -> dict[str, float]:
        weights = {term.name: term.lam for term in terms_of(self.config)}
        start, steps = self.config.lam_start, self.config.lam_steps
        if SUMMARY in weights and start is not None and step < steps:
            weights[SUMMARY] = start + (weights[SUMMARY] - start) * step / steps
        return weights

    def describe(self) -> str:
        """The startup line: what lambda means in this run."""
        terms = terms_of(self.config)
        if not trains_summary(self.config):
            return f"objective: {' + '.join(f'{t.lam:g} * {t.name}' for t in terms)} (the base alone, no summary term)"
        if len(terms) == 1:
            return "objective: summary cross-entropy alone (no base term, lambda unused)"
        *base, summary = terms
        course = f"{summary.lam:g}"
        if self.config.lam_start is not None and self.config.lam_steps > 0:
            course = f"{self.config.lam_start:g} -> {course} over {self.config.lam_steps} steps"
        first = " + ".join(term.name if term.lam == 1 else f"{term.lam:g} * {term.name}" for term in base)
        return (f"objective: {first} + lambda * summary, lambda = {course}: under Adam the ratio of the losses on the "
                "shared base; no effect on the head alone")
