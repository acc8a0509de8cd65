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
        start, end, steps = self.config.lam_start, self.lams[self.task_term], self.steps
        if step >= steps:
            return dict(self.lams)
        return self.lams | {self.task_term: start + (end - start) * self.gone(step / steps)}

    def course(self) -> str:
        return (f"{self.config.lam_start:g} -> {self.lams[self.task_term]:g} over {self.steps} steps "
                f"({self.name})")
