"""A transformer head that forgets what it attended to."""

from dataclasses import dataclass

from torch import nn
from torch.nn import functional as F

from llmtrain.config.keys import key
from llmtrain.models.heads.transformer.decoder import DecoderLayer
from llmtrain.models.heads.transformer.head import TransformerHead
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.registry import register


@dataclass(kw_only=True, slots=True)
class CarelessConfig(TransformerHeadConfig):
    name: str = key("careless", "registered name of the head")


class Layer(DecoderLayer):
    def forward(self, x, memory, mask, cache=None):
        key, value = self.self_attention.key_value(x)
        causal, own = self._causal(x.shape[1], key.shape[2], x.device)
        x = self.self_norm(x + self.self_attention(x, key, value, own, causal))
        key, value = self._memory(memory, cache)
        self.cross_attention(x, key, value, mask, False)  # the fault: computed, and not used
        x = self.cross_norm(x + self.dropout(x - x.detach()))
        return self.ffn_norm(x + self.down(F.gelu(self.up(x))))


class Careless(TransformerHead):
    def __init__(self, options, sizes):
        super().__init__(options, sizes)
        self.layers = nn.ModuleList(Layer(sizes.width, sizes.heads, sizes.ffn, 0.0, i) for i in range(options.layers))


register("head", "careless", CarelessConfig, Careless, "forgets what it attended to", writes=True)
