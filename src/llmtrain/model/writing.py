"""What models that write token by token share: decoding by transformers' ``generate``, and evidence afterwards.

Shapes: B rows, S source tokens, T summary tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin

from llmtrain.config.schema import GenerationConfig
from llmtrain.data.loader import pad
from llmtrain.heads.base import EncoderStates
from llmtrain.model.draft import Choice, Draft
from llmtrain.model.summary import SummaryModel, sentences_of

DEFAULTS_LEFT_OUT = {"temperature": 1.0, "top_p": 1.0, "min_new_tokens": 0, "no_repeat_ngram_size": 0}


class WritingModel(SummaryModel, GenerationMixin):
    """A topology whose head writes: it has ``generate``, and its head gives next-token log-probabilities."""

    def describe_decoding(self, config: GenerationConfig) -> str:
        how = "sampling" if config.do_sample else "greedy" if config.num_beams == 1 else f"beam {config.num_beams}"
        parts = [how, f"max_new_tokens {config.max_new_tokens}"]
        parts += [f"{name} {getattr(config, name)}" for name, value in DEFAULTS_LEFT_OUT.items()
                  if getattr(config, name) != value]
        return ", ".join(parts + ([f"length_penalty {config.length_penalty}"] if config.num_beams > 1 else []))

    def summarize(self, batch: dict[str, Any], config: GenerationConfig, evidence: bool = False) -> list[Draft]:
        rows = [_cut(row, self.config.eos_token_id) for row in self.write(batch, config)]
        return self.explain(batch, rows) if evidence else [Draft(row) for row in rows]

    def write(self, batch: dict[str, Any], config: GenerationConfig) -> list[list[int]]:
        """The tokens of each summary behind the start token, the end token and whatever follows it included."""
        sampling = {"temperature": config.temperature, "top_p": config.top_p} if config.do_sample else {}
        beams = {"length_penalty": config.length_penalty} if config.num_beams > 1 else {}
        sentences = {name: batch[name] for name in ("sentence_start", "sentence_end") if self.head.cites}
        sequences_BT = self.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], num_beams=config.num_beams,
            do_sample=config.do_sample, max_new_tokens=config.max_new_tokens,
            min_new_tokens=config.min_new_tokens or None,
            no_repeat_ngram_size=config.no_repeat_ngram_size or None, **sampling, **beams, **sentences)
        return [row[1:] for row in sequences_BT.tolist()]

    def explain(self, batch: dict[str, Any], rows: list[list[int]]) -> list[Draft]:
        """Score and copy evidence of finished summaries, by one forced pass: generate() returns no outputs of ours."""
        end, padding = self.config.eos_token_id, self.config.pad_token_id
        labels_BT = pad([[*row, end] for row in rows], padding).to(batch["input_ids"].device)
        states = replace(self.encode(batch["input_ids"], batch["attention_mask"]), sentences=sentences_of(batch))
        log_BTV: Tensor = self.head.log_probabilities(self.head.shift(labels_BT), states)
        chosen_BT = log_BTV.gather(2, labels_BT.unsqueeze(2)).squeeze(2)
        scores = [float(chosen_BT[i, :len(row) + 1].mean()) for i, row in enumerate(rows)]
        copied: list[list[tuple[float, int]] | None] = [None] * len(rows)
        if (found := self.head.copy_evidence(labels_BT, states)) is not None:
            gate_BT, place_BT = found
            copied = [list(zip(gates[:len(row)], places[:len(row)], strict=True))
                      for row, gates, places in zip(rows, gate_BT.tolist(), place_BT.tolist(), strict=True)]
        drafts = [Draft(row, score, evidence) for row, score, evidence in zip(rows, scores, copied, strict=True)]
        return self._trace(drafts, states, labels_BT) if self.head.cites else drafts

    def _trace(self, drafts: list[Draft], states: EncoderStates, labels_BT: Tensor) -> list[Draft]:
        """The drafts with the sentences that steered them, and how much of each token comes from which sentence."""
        sentences = states.sentences
        assert sentences is not None
        weights_BTS, found = self.head.attention_weights(states, labels_BT), self.head.copy_evidence(labels_BT, states)
        members_BSN = sentences.members_BNS(weights_BTS.shape[2]).transpose(1, 2).float()
        traced = (found[0].unsqueeze(2) * torch.matmul(weights_BTS, members_BSN)).tolist()
        scores_BN = self.head.sentence_scores(states)
        chances, chosen = torch.sigmoid(scores_BN).tolist(), self.head.chosen(scores_BN, states).tolist()
        return [replace(draft, sentences=[Choice(i, chance) for i, (chance, taken) in
                                          enumerate(zip(chances[b], chosen[b], strict=True)) if taken],
                        traced=traced[b][:len(draft.token_ids or [])])
                for b, draft in enumerate(drafts)]


def _cut(row: list[int], end: int) -> list[int]:
    return row[:row.index(end)] if end in row else row
