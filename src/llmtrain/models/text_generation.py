"""What models that write token by token share: decoding by transformers' ``generate``, and evidence afterwards.

Shapes: B rows, S source tokens, T target tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import GenerationMixin

from llmtrain.config.decode_checks import acting_settings
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.data.batch import pad
from llmtrain.models.heads.base import EncoderStates
from llmtrain.models.output import Choice, Output
from llmtrain.models.task_model import TaskModel, sentences_of


class WritingModel(TaskModel, GenerationMixin):
    """A model that writes token by token: it has ``generate``, and its head gives next-token log-probabilities."""

    def describe_decoding(self, config: GenerationConfig) -> str:
        beams = [f"beam {config.num_beams}"] if config.num_beams > 1 else []
        how = [*beams, "sampling"] if config.do_sample else beams or ["greedy"]
        several = config.num_return_sequences
        first = [f"the {'best' if beams else 'first'} of {several}"] if several > 1 else []
        return ", ".join([*how, *(f"{name} {value}" for name, value in acting_settings(config).items()), *first])

    def predict(self, batch: dict[str, Any], config: GenerationConfig, evidence: bool = False) -> list[Output]:
        rows = [_cut(row, self.config.eos_token_id) for row in self.write(batch, config)]
        several = config.num_return_sequences
        outputs = [self.explain(batch, rows[i::several]) if evidence else [Output(row) for row in rows[i::several]]
                  for i in range(several)]
        return [replace(first, others=tuple(others)) for first, *others in zip(*outputs, strict=True)]

    def write(self, batch: dict[str, Any], config: GenerationConfig) -> list[list[int]]:
        """The tokens of each output behind the start token, the end token and whatever follows it included; the
        ``num_return_sequences`` of a document follow each other."""
        sentences = {name: batch[name] for name in ("sentence_start", "sentence_end") if self.head.cites}
        sequences_BT = self.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                                     generation_config=as_transformers(config, self.config), **sentences)
        return [row[1:] for row in sequences_BT.tolist()]

    def explain(self, batch: dict[str, Any], rows: list[list[int]]) -> list[Output]:
        """Score and copy evidence of finished outputs, by one forced pass: generate() returns no outputs of ours."""
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
        outputs = [Output(row, score, evidence) for row, score, evidence in zip(rows, scores, copied, strict=True)]
        return self._trace(outputs, states, labels_BT) if self.head.cites else outputs

    def _trace(self, outputs: list[Output], states: EncoderStates, labels_BT: Tensor) -> list[Output]:
        """The outputs with the sentences that steered them, and how much of each token comes from which sentence."""
        sentences = states.sentences
        assert sentences is not None
        weights_BTS, found = self.head.attention_weights(states, labels_BT), self.head.copy_evidence(labels_BT, states)
        members_BSN = sentences.members_BNS(weights_BTS.shape[2]).transpose(1, 2).float()
        traced = (found[0].unsqueeze(2) * torch.matmul(weights_BTS, members_BSN)).tolist()
        scores_BN = self.head.sentence_scores(states)
        chances, chosen = torch.sigmoid(scores_BN).tolist(), self.head.chosen(scores_BN, states).tolist()
        return [replace(output, sentences=[Choice(i, chance) for i, (chance, taken) in
                                          enumerate(zip(chances[b], chosen[b], strict=True)) if taken],
                        traced=traced[b][:len(output.token_ids or [])])
                for b, output in enumerate(outputs)]


def _cut(row: list[int], end: int) -> list[int]:
    return row[:row.index(end)] if end in row else row


def as_transformers(config: GenerationConfig, model: Any) -> transformers.GenerationConfig:
    """The settings in full, so that neither a stored generation_config.json nor a default of transformers adds one.

    What does nothing beside the others is given its neutral value: transformers warns of any other.

    Args:
        model: The model's configuration, for its special tokens.
    """
    sampled, searched = config.do_sample, config.num_beams > 1
    return transformers.GenerationConfig(
        num_beams=config.num_beams, do_sample=sampled, num_return_sequences=config.num_return_sequences,
        temperature=config.temperature if sampled else 1.0, top_k=config.top_k if sampled else 50,
        top_p=config.top_p if sampled else 1.0,
        length_penalty=config.length_penalty if searched else 1.0,
        early_stopping=config.early_stopping if searched else False,
        max_new_tokens=config.max_new_tokens, min_new_tokens=config.min_new_tokens or None,
        no_repeat_ngram_size=config.no_repeat_ngram_size, repetition_penalty=config.repetition_penalty,
        typical_p=1.0, epsilon_cutoff=0.0, eta_cutoff=0.0, encoder_repetition_penalty=1.0,
        encoder_no_repeat_ngram_size=0, use_cache=True, remove_invalid_values=False, renormalize_logits=False,
        return_dict_in_generate=False, output_scores=False, **special_tokens(model))


def special_tokens(model: Any) -> dict[str, int | None]:
    """The special tokens that ``generate`` needs, from a model's configuration."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    return {name: getattr(model, name, None) for name in names}
