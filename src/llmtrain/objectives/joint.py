"""total = l1 + lambda * l2, each term divided by its own count over the whole optimizer step.

Under Adam a common factor changes nothing, so lambda is the ratio of the two losses on the shared trunk; parameters
that one term alone reaches (the head: l2, the masked-LM head: l1) do not feel it, clipping and fp16 underflow aside.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.objective import ObjectiveConfig

SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Weighting:
    """The weight of each term at a step: 1 for the base's term, lambda for the summary (1 when it is alone)."""

    config: ObjectiveConfig

    def lam(self, step: int) -> float:
        start, end, steps = self.config.lam_start, self.config.lam, self.config.lam_steps
        if start is None or steps <= 0 or step >= steps:
            return end
        return start + (end - start) * step / steps

    def weights(self, step: int) -> dict[str, float]:
        if self.config.base == "none":
            return {SUMMARY: 1.0}
        return {self.config.base: 1.0, SUMMARY: self.lam(step)}

    def describe(self) -> str:
        """The startup line: what lambda means in this run."""
        if self.config.base == "none":
            return "objective: summary cross-entropy alone (no base term, lambda unused)"
        course = f"{self.config.lam:g}"
        if self.config.lam_start is not None and self.config.lam_steps > 0:
            course = f"{self.config.lam_start:g} -> {self.config.lam:g} over {self.config.lam_steps} steps"
        return (f"objective: {self.config.base} + lambda * summary, lambda = {course}: under Adam the ratio of the two "
                "losses on the shared base; no effect on the head alone")
