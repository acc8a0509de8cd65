"""A transformer head whose cross-attention sees zeros."""

from dataclasses import dataclass

from torch import nn

from llmtrain.config.keys import key
from llmtrain.models.heads.transformer.decoder import DecoderLayer
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class BlindConfig(TransformerHeadConfig):
    name: str = key("blind", "registered name of the head")


class Layer(DecoderLayer):
    def _memory(self, memory, cache):
        return super()._memory(memory.new_zeros(memory.shape), cache)


class Blind(TransformerHead):
    def __init__(self, options, sizes):
        super().__init__(options, sizes)
        self.layers = nn.ModuleList(Layer(sizes.width, sizes.heads, sizes.ffn, 0.0, i) for i in range(options.layers))


register("head", "blind", BlindConfig, Blind, "attends to zeros", writes=True)
