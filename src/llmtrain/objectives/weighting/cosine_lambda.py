"""Lambda moves from ``objective.lam_start`` to its own value along half a cosine: slowly at both ends."""

from __future__ import annotations

import math

from llmtrain.objectives.weighting.linear_lambda import LinearLambda


class CosineLambda(LinearLambda):
    """Moves lambda along half a cosine."""

    name = "cosine"

    def gone(self, share: float) -> float:
        return 0.5 * (1 - math.cos(math.pi * share))
