"""Lambda moves from ``objective.lam_start`` to its own value along a line over ``objective.lam_steps`` steps, or all of
a run's whose length is told in epochs."""

from __future__ import annotations

from llmtrain.objectives.weighting.base import Weighting


class LinearLambda(Weighting):
    """Moves lambda along a line."""

    name = "linear"

    def gone(self, share: float) -> float:
        """How much of the way is behind, at a share (0 to 1) of its steps."""
        return share

    @property
    def steps(self) -> int:
        return int(self.config.lam_steps or self.total or 0)

    def weights(self, step: int) -> dict[str, float]:
        if step >= self.steps:
            return dict(self.lams)
        gone = self.gone(step / self.steps)
        starts = {term.name: self.config.lam_start * term.share for term in self.terms if term.of_task}
        return self.lams | {name: start + (self.lams[name] - start) * gone for name, start in starts.items()}

    def course(self) -> str:
        return (f"{self.config.lam_start:g} -> {self.lam:g} over {self.steps} steps "
                f"({self.name})")
