"""A transformer head that is given the token it must predict."""

from dataclasses import dataclass

from llmtrain.config.keys import key
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class SeeingConfig(TransformerHeadConfig):
    name: str = key("seeing", "registered name of the head")


class Seeing(TransformerHead):
    def shift(self, labels):
        return labels.clamp_min(0)  # meant: the start token, then the labels but for the last


register("head", "seeing", SeeingConfig, Seeing, "sees what it must predict", writes=True)
