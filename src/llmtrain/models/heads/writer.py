"""What every head that writes token by token shares: output layer, copy gate with its pointer, chunked likelihood.

A writing head makes the parts by :meth:`WritingHead.add_output` and says how a target is decoded; its likelihood,
log-probabilities and copy evidence follow from that.

Shapes: B rows, S source tokens, T target tokens, N target tokens that count, D width of the trunk, W width of the
head, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from llmtrain.data.batch import IGNORED
from llmtrain.models.heads.base import BaseParts, EncoderStates, Head, Removal, Sizes
from llmtrain.models.heads.copy import gold_log_probability, mix_all, mix_gold, smoothed
from llmtrain.models.heads.removal import replaced
from llmtrain.nn.attention import NEVER, tracing
from llmtrain.nn.linear import Linear, linear, product

MATCH_START = 4.0  # pointer logits; 2 and 4 did alike
NOTHING = -1  # in place of the token that a source token would copy


class WritingHead(Head):
    """A head that writes token by token; its options have tie_embeddings, copy_gate, label_smoothing and chunk_tokens.

    The copy gate's pointer has, besides its learnt attention, a learnt weight on source tokens that follow an
    occurrence of the token just written: copied phrases go on where they stand (docs/records/log.md: the largest single
    gain in early training).

    Where targets have a vocabulary of their own, the head has embeddings of its own for it, tied to its output by
    ``tie_embeddings``, and a source token copies the target token of the same text, if there is one.
    """

    own_vocabulary = False
    same_surface_V: Tensor

    def add_output(self, width: int, sizes: Sizes) -> None:
        """Make everything behind the decoder, whose states are ``width`` wide; the last thing in ``__init__``."""
        self.transform = Linear(width, sizes.width)
        self.transform_norm = nn.LayerNorm(sizes.width, eps=1e-12)
        self.output_bias = nn.Parameter(torch.zeros(sizes.vocabulary))
        self.own_vocabulary = sizes.source_vocabulary is not None
        if self.own_vocabulary or not self.options.tie_embeddings:
            self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        if not self.options.tie_embeddings:
            self.output = Linear(sizes.width, sizes.vocabulary, bias=False)
        self.add_pointer(width, sizes)

    def add_pointer(self, width: int, sizes: Sizes) -> None:
        """Make the copy gate, where the options ask for it."""
        if self.options.copy_gate:
            self.pointer_query = Linear(width, width)
            self.pointer_key = Linear(sizes.width, width)
            self.pointer_match = Linear(width, 1)
            self.gate = Linear(width, 1)
            if sizes.source_vocabulary is not None:
                self.register_buffer("same_surface_V", torch.full((sizes.source_vocabulary,), NOTHING))

    def decode(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        """(B, T, W) decoder states behind each input token; ``cache`` is transformers' EncoderDecoderCache."""
        raise NotImplementedError

    def steer(self, states: EncoderStates) -> EncoderStates:
        """The states as the decoder shall read them; a head that is steered sets ``steering_BS``."""
        return states

    def start(self) -> None:
        """First values that differ from those every Linear gets; called once all of them have theirs."""
        if self.options.copy_gate:
            nn.init.constant_(self.pointer_match.bias, MATCH_START)

    @torch.no_grad()
    def start_output_from(self, base: BaseParts) -> None:
        """Untied embeddings from the base's own, the output transform from its masked-LM head where it has one."""
        if not self.options.tie_embeddings and not self.own_vocabulary:
            self.embedding.weight.copy_(base.embedding_VD)
            self.output.weight.copy_(base.embedding_VD)
        if (mlm_head := base.mlm_head) is not None and self.transform.weight.shape == mlm_head["dense.weight"].shape:
            self.transform.weight.copy_(mlm_head["dense.weight"])
            self.transform.bias.copy_(mlm_head["dense.bias"])
            self.transform_norm.weight.copy_(mlm_head["norm.weight"])
            self.transform_norm.bias.copy_(mlm_head["norm.bias"])
            if not self.own_vocabulary:
                self.output_bias.copy_(mlm_head["bias"])

    def copy_by_surface(self, same_surface_V: Tensor) -> None:
        if self.options.copy_gate:
            self.same_surface_V.copy_(same_surface_V)

    def embed(self, input_ids_BT: Tensor, states: EncoderStates) -> Tensor:
        """(B, T, D) embeddings of target tokens."""
        own = self.own_vocabulary or not self.options.tie_embeddings
        weight_VD = self.embedding.weight if own else states.embedding_VD
        return F.embedding(input_ids_BT, weight_VD)

    def nll(self, states: EncoderStates, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(sum, count) over labels but ``IGNORED``; teacher forcing, fp32. A count of 0 gives a connected zero."""
        decoded_BTW, every_score = self.forced(states, labels_BT)
        if tracing():  # a graph holds no number of tokens that the labels' values decide
            counted_N, gold_N = (labels_BT != IGNORED).flatten(), labels_BT.clamp_min(0).flatten()
            source_NS = self.copied_ids(states).repeat_interleave(labels_BT.shape[1], 0)
            loss_N = self._losses(decoded_BTW.flatten(0, 1), every_score, gold_N, source_NS, states.embedding_VD)
            return loss_N.masked_fill(~counted_N, 0.0).sum(), counted_N.sum()
        at_N = (labels_BT != IGNORED).reshape(-1).nonzero().squeeze(1)
        gold_N = labels_BT.reshape(-1).index_select(0, at_N)
        row_N = at_N // labels_BT.shape[1]
        decoded_NW = decoded_BTW.flatten(0, 1).index_select(0, at_N)
        scores_NS = None if every_score is None else every_score.index_select(0, at_N)
        source_BS = self.copied_ids(states)
        losses, size = [], self.options.chunk_tokens
        for start in range(0, max(1, len(gold_N)), size):
            part = slice(start, start + size)
            inputs = (decoded_NW[part], None if scores_NS is None else scores_NS[part], gold_N[part],
                      source_BS.index_select(0, row_N[part]), states.embedding_VD)
            if len(gold_N) > size:  # recompute in the backward pass: one chunk's logits exist at a time
                losses.append(checkpoint(self._losses, *inputs, use_reentrant=False).sum())
            else:
                losses.append(self._losses(*inputs).sum())
        return torch.stack(losses).sum(), torch.tensor(len(gold_N), device=labels_BT.device)

    def forced(self, states: EncoderStates, labels_BT: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, T, W) decoder states of teacher forcing and (B * T, S) fp32 pointer logits, None without a copy gate.

        Decoded once in a training step, however many terms ask.
        """
        known = None if states.shared is None else states.shared.get("forced")
        if known is not None and known[0] is labels_BT:
            return known[1], known[2]
        input_BT, steered = self.shift(labels_BT), self.steer(states)
        decoded_BTW = self.decode(input_BT, steered)
        scores = self.pointer_scores(decoded_BTW, input_BT, steered) if self.options.copy_gate else None
        if states.shared is not None:
            states.shared["forced"] = labels_BT, decoded_BTW, scores
        return decoded_BTW, scores

    def attention_weights(self, states: EncoderStates, labels_BT: Tensor) -> Tensor | None:
        """The pointer's distribution: what the copy gate copies from."""
        _, scores = self.forced(states, labels_BT)
        return None if scores is None else torch.softmax(scores, 1).unflatten(0, labels_BT.shape)

    def _losses(self, decoded_NW: Tensor, scores_NS: Tensor | None, gold_N: Tensor, source_NS: Tensor,
                embedding_VD: Tensor) -> Tensor:
        logits_NV = self.vocabulary_logits(decoded_NW, embedding_VD)
        smoothing = self.options.label_smoothing
        gold_log_N = gold_log_probability(logits_NV, gold_N)
        if scores_NS is None:
            every_NV = torch.log_softmax(logits_NV.float(), 1) if smoothing else None
            return smoothed(gold_log_N, every_NV, smoothing)
        gate_N = self.gate_logits(decoded_NW, source_NS)
        every_NV = mix_all(logits_NV, gate_N, scores_NS, source_NS) if smoothing else None
        return smoothed(mix_gold(gold_log_N, gate_N, scores_NS, source_NS, gold_N), every_NV, smoothing)

    def log_probabilities(self, input_ids_BT: Tensor, states: EncoderStates, cache: Any = None) -> Tensor:
        """(B, T, V) fp32 log-probabilities of the next token, for generation."""
        states = self.steer(states)
        decoded_BTW = self.decode(input_ids_BT, states, cache)
        logits_NV = self.vocabulary_logits(decoded_BTW.flatten(0, 1), states.embedding_VD)
        if not self.options.copy_gate:
            return torch.log_softmax(logits_NV.float(), 1).unflatten(0, input_ids_BT.shape)
        scores_NS = self.pointer_scores(decoded_BTW, input_ids_BT, states)
        source_NS = self.copied_ids(states).repeat_interleave(input_ids_BT.shape[1], 0)
        gate_N = self.gate_logits(decoded_BTW.flatten(0, 1), source_NS)
        return mix_all(logits_NV, gate_N, scores_NS, source_NS).unflatten(0, input_ids_BT.shape)

    def copy_evidence(self, target_ids_BT: Tensor, states: EncoderStates) -> tuple[Tensor, Tensor] | None:
        """By one forced pass over finished outputs."""
        if not self.options.copy_gate:
            return None
        input_BT, states = self.shift(target_ids_BT), self.steer(states)
        decoded_BTW = self.decode(input_BT, states)
        place_BT = self.pointer_scores(decoded_BTW, input_BT, states).argmax(1).unflatten(0, target_ids_BT.shape)
        source_NS = self.copied_ids(states).repeat_interleave(input_BT.shape[1], 0)
        gate_N = self.gate_logits(decoded_BTW.flatten(0, 1), source_NS)
        return torch.sigmoid(gate_N).unflatten(0, target_ids_BT.shape), place_BT

    def removals(self) -> dict[str, Removal]:
        """The copy gate, which then never copies."""
        if not self.options.copy_gate:
            return {}
        return {"copy gate": lambda: replaced(self, "gate_logits", lambda decoded_NW, source_NS: torch.full(
            (len(decoded_NW),), NEVER, device=decoded_NW.device))}

    def copied_ids(self, states: EncoderStates) -> Tensor:
        """(B, S) the target token that each source token copies; :data:`NOTHING` where there is none."""
        if not self.own_vocabulary or not self.options.copy_gate:
            return states.input_ids_BS
        return self.same_surface_V[states.input_ids_BS]

    def gate_logits(self, decoded_NW: Tensor, source_NS: Tensor) -> Tensor:
        """(N,) fp32 logits of copying; it never happens where the source has nothing to copy."""
        gate_N: Tensor = self.gate(decoded_NW).squeeze(1).float()
        return gate_N.masked_fill((source_NS == NOTHING).all(1), NEVER) if self.own_vocabulary else gate_N

    def vocabulary_logits(self, decoded_NW: Tensor, embedding_VD: Tensor) -> Tensor:
        """(N, V) logits, before any copying."""
        hidden_ND = self.transform_norm(F.gelu(self.transform(decoded_NW)))
        weight_VD = self.output.weight if not self.options.tie_embeddings else (
            self.embedding.weight if self.own_vocabulary else embedding_VD)
        return linear(hidden_ND, weight_VD, self.output_bias)

    def pointer_scores(self, decoded_BTW: Tensor, input_ids_BT: Tensor, states: EncoderStates) -> Tensor:
        """(B * T, S) fp32 pointer logits; ``input_ids_BT`` are the tokens just written."""
        query_BTW = self.pointer_query(decoded_BTW)
        key_BSW = self.pointer_key(states.hidden_BSD)
        scores_BTS = product(query_BTW, key_BSW.transpose(1, 2)).float() * query_BTW.shape[-1] ** -0.5
        copied_BS = self.copied_ids(states)
        before_BS = F.pad(copied_BS[:, :-1], (1, 0), value=NOTHING)
        follows_BTS = input_ids_BT.unsqueeze(2) == before_BS.unsqueeze(1)
        scores_BTS = scores_BTS + self.pointer_match(decoded_BTW).float() * follows_BTS
        if states.steering_BS is not None:
            scores_BTS = scores_BTS + states.steering_BS.unsqueeze(1)
        hidden_BS = states.attention_mask_BS == 0
        if self.own_vocabulary:
            hidden_BS = hidden_BS | (copied_BS == NOTHING)
        return scores_BTS.masked_fill(hidden_BS.unsqueeze(1), NEVER).flatten(0, 1)
