"""A text's states as one vector; padding on the right has no part in it.

Shapes: B rows, S source tokens, D width of the trunk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmtrain.models.heads.classifier.options import ATTENTION, FIRST, LAST
from llmtrain.nn.linear import Linear


class Pooling(nn.Module):
    """Pools in fp32: a sum over many tokens keeps its last digits.

    Args:
        how: mean, first, last or attention (a learnt score a token, as the last layer of Yang et al. 2016,
            "Hierarchical Attention Networks", without its hidden layer).
    """

    def __init__(self, how: str, width: int) -> None:
        super().__init__()
        self.how = how
        if how == ATTENTION:
            self.score = Linear(width, 1)

    def forward(self, hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """(B, D) fp32; zeros for a row without a token, but for its first token's state."""
        if self.how == FIRST:
            return hidden_BSD[:, 0].float()
        if self.how == LAST:
            last_B11 = (mask_BS.sum(1) - 1).clamp_min(0).view(-1, 1, 1)
            return hidden_BSD.gather(1, last_B11.expand(-1, 1, hidden_BSD.shape[2])).squeeze(1).float()
        if self.how == ATTENTION:
            scores_BS = self.score(hidden_BSD).squeeze(2).float()
            least = torch.finfo(torch.float32).min  # not -inf: a row without a token has something to divide by
            weights_BS = torch.softmax(scores_BS.masked_fill(mask_BS == 0, least), 1)
        else:
            weights_BS = mask_BS.float() / mask_BS.sum(1, keepdim=True).clamp_min(1)
        return (hidden_BSD.float() * weights_BS.unsqueeze(2)).sum(1)
