"""The recurrent heads: GRU or LSTM layers, attention over the trunk's states, and the writing head's output.

After Luong, Pham and Manning 2015: the layers read the target so far, attention takes a context from the document for
each of their outputs, and tanh(W [context; output]) is what the output layer sees. Without input feeding nothing
of the document goes back into the layers, so one call of torch's kernel computes a whole target in training.

Shapes: L layers, B rows, S source tokens, T target tokens, D width of the trunk, W width of the head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.models.heads.base import BaseParts, EncoderStates, Removal, Sizes
from llmtrain.models.heads.removal import other_documents, replaced
from llmtrain.models.heads.rnn.options import GruHeadConfig
from llmtrain.models.heads.rnn.recurrence import State, recur
from llmtrain.models.heads.rnn.recurrent_cache import document_parts, read_fed, read_state, write_fed, write_state
from llmtrain.models.heads.rnn.source_attention import SourceAttention
from llmtrain.models.heads.transformer.warm_start import attention_parts
from llmtrain.models.heads.writer import WritingHead
from llmtrain.nn.attention import hiding
from llmtrain.nn.dropout import Dropout
from llmtrain.nn.linear import Linear


class RecurrentHead(WritingHead):
    """What GRU and LSTM share; a subclass makes the layers and says how many tensors their state has."""

    state_parts: int
    rnn: nn.GRU | nn.LSTM

    def __init__(self, options: GruHeadConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        width = options.width or sizes.width
        self.width, self.projects = width, width != sizes.width
        self.cache_layers = options.layers + options.input_feeding
        if self.projects:
            self.input_projection = Linear(sizes.width, width)
            self.memory_projection = Linear(sizes.width, width)
        self.embedding_norm = nn.LayerNorm(sizes.width, eps=1e-12)
        self.dropout = Dropout(options.dropout)
        self.initial = Linear(sizes.width, self.state_parts * options.layers * width)
        inputs = 2 * width if options.input_feeding else width
        self.rnn = self.make_layers(inputs, width, options.layers, options.dropout if options.layers > 1 else 0.0)
        self.attention = SourceAttention(options.attention, width)
        self.combine = Linear(2 * width, width)
        self.add_output(width, sizes)

    def make_layers(self, inputs: int, width: int, layers: int, dropout: float) -> nn.GRU | nn.LSTM:
        raise NotImplementedError

    def start_from(self, base: BaseParts) -> None:
        """Norm, pointer and output layer; a projected head takes over what has the base's width."""
        if not self.options.warm_start:
            return
        self.start_output_from(base)
        if (norm := getattr(base.embeddings, "LayerNorm", None)) is not None:
            self.embedding_norm.load_state_dict(norm.state_dict())
        if self.options.copy_gate and not self.projects and base.layers:
            query, key, *_ = attention_parts(base.layers[-1])
            self.pointer_query.load_state_dict(query.state_dict())
            self.pointer_key.load_state_dict(key.state_dict())

    def decode(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        """(B, T, W) attention outputs behind each input token."""
        x_BTW = self.dropout(self.embedding_norm(self.embed(input_ids_BT, states)))
        if self.projects:
            x_BTW = self.input_projection(x_BTW)
        key_BSW, memory_BSW = self._document(states, cache)
        shown_BS = hiding(states.attention_mask_BS)
        mask_BS = None if shown_BS is None else shown_BS.bool()
        if cache is None and not self.options.input_feeding:
            output_BTW, _ = recur(self.rnn, x_BTW, self.initial_state(states))
            return self._attended(output_BTW, key_BSW, memory_BSW, mask_BS)
        past = 0 if cache is None else cache.get_seq_length()
        state = read_state(cache, self.options.layers, self.state_parts) if past else self.initial_state(states)
        fed_BW = None
        if self.options.input_feeding:
            fed_BW = read_fed(cache, self.options.layers) if past else x_BTW.new_zeros(x_BTW.shape[0], self.width)
        return self._steps(x_BTW, state, fed_BW, (key_BSW, memory_BSW, mask_BS), cache)

    def _steps(self, x_BTW: Tensor, state: State, fed_BW: Tensor | None,
               document: tuple[Tensor, Tensor, Tensor | None], cache: Any) -> Tensor:
        """Token by token: with input feeding each step needs the last one's attention, and a cache every state."""
        made = []
        for x_B1W in x_BTW.split(1, 1):
            if fed_BW is not None:
                x_B1W = torch.cat([x_B1W, fed_BW.unsqueeze(1).to(x_B1W.dtype)], 2)
            output_B1W, state = recur(self.rnn, x_B1W, state)
            attended_B1W = self._attended(output_B1W, *document)
            made.append(attended_B1W)
            if cache is not None:
                write_state(cache, state)
            if fed_BW is not None:
                fed_BW = attended_B1W.squeeze(1)
                if cache is not None:
                    write_fed(cache, fed_BW, self.options.layers)
        return torch.cat(made, 1)

    def _attended(self, output_BTW: Tensor, key_BSW: Tensor, memory_BSW: Tensor, mask_BS: Tensor | None) -> Tensor:
        """tanh(W [context; output]), equation 5 of Luong et al."""
        context_BTW = self.attention(output_BTW, key_BSW, memory_BSW, mask_BS)
        return self.dropout(torch.tanh(self.combine(torch.cat([context_BTW, output_BTW.to(context_BTW.dtype)], 2))))

    def _document(self, states: EncoderStates, cache: Any) -> tuple[Tensor, Tensor]:
        def make() -> tuple[Tensor, Tensor]:
            memory_BSW = self.memory_projection(states.hidden_BSD) if self.projects else states.hidden_BSD
            return self.attention.keys(memory_BSW), memory_BSW

        return make() if cache is None else document_parts(cache, make)

    def initial_state(self, states: EncoderStates) -> State:
        """tanh of a learnt map of the document's mean state, (L, B, W) for each part of the state."""
        mask_BS1 = states.attention_mask_BS.unsqueeze(2).to(states.hidden_BSD.dtype)
        mean_BD = (states.hidden_BSD * mask_BS1).float().sum(1) / mask_BS1.float().sum(1).clamp_min(1)
        first = torch.tanh(self.initial(mean_BD.to(self.initial.weight.dtype)))
        first = first.unflatten(1, (self.state_parts, self.options.layers, self.width))
        return tuple(part.transpose(0, 1).contiguous() for part in first.unbind(1))

    def removals(self) -> dict[str, Removal]:
        """Attention and the first state, which then read another row's document, and the copy gate."""
        document, first = self._document, self.initial_state
        return {"attention": lambda: replaced(self, "_document", lambda states, cache: document(
                    other_documents(states), cache)),
                "first state": lambda: replaced(self, "initial_state", lambda states: first(other_documents(states))),
                **super().removals()}


class GruHead(RecurrentHead):
    """Gated recurrent units (Cho et al. 2014)."""

    state_parts = 1

    def make_layers(self, inputs: int, width: int, layers: int, dropout: float) -> nn.GRU:
        return nn.GRU(inputs, width, layers, batch_first=True, dropout=dropout)


class LstmHead(RecurrentHead):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), forgetting little at the start: Jozefowicz et al. 2015
    found a forget bias of 1 to be worth more than any change of the cell."""

    state_parts = 2

    def make_layers(self, inputs: int, width: int, layers: int, dropout: float) -> nn.LSTM:
        rnn = nn.LSTM(inputs, width, layers, batch_first=True, dropout=dropout)
        with torch.no_grad():
            for layer in range(layers):
                getattr(rnn, f"bias_ih_l{layer}")[width:2 * width] = 1.0  # torch's order: input, forget, cell, output
        return rnn
