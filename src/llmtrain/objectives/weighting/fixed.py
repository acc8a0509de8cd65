"""Every term's own lam, throughout."""

from llmtrain.objectives.weighting.base import Weighting


class Fixed(Weighting):
    """Keeps every term at its own lam."""

    name = "fixed"
