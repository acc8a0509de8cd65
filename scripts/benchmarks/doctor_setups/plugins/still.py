"""A transformer head that is never trained."""

from dataclasses import dataclass

from llmtrain.config.keys import key
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class StillConfig(TransformerHeadConfig):
    name: str = key("still", "registered name of the head")


class Still(TransformerHead):
    def start_from(self, base):
        super().start_from(base)
        self.requires_grad_(False)  # meant: the base's parts alone


register("head", "still", StillConfig, Still, "is never trained", writes=True)
