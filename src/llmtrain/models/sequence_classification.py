"""The classifying architecture: a pretrained trunk reads, a head gives a label or several; nothing is written.

It loads with ``import llmtrain.hf; AutoModelForSequenceClassification.from_pretrained(folder)`` and works in
transformers' text-classification pipeline. Published as a plain model of the base's own kind it needs no llmtrain
(``native_classifiers.py``), and llmtrain reads it all the same.

Shapes: B rows, S source tokens, C labels, D width of the trunk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.models import native_classifiers
from llmtrain.models.heads.classifier.head import label_nll
from llmtrain.models.hf_config import LlmtrainClassificationConfig
from llmtrain.models.padding import right_padded
from llmtrain.models.task_model import TaskModel
from llmtrain.nn.attention import tracing

WHERE = ("revision", "token", "cache_dir", "local_files_only", "subfolder")  # where transformers finds a model


class LlmtrainForSequenceClassification(TaskModel):
    """A base that reads and a head that gives labels, as transformers knows it."""

    config_class = LlmtrainClassificationConfig
    instead_of_writing: ClassVar[str] = "gives labels"
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *arguments: Any, config: Any = None,
                        **how: Any) -> Any:
        """As everywhere; a folder that was published as a plain model of its base's kind is read too."""
        where = {name: how[name] for name in WHERE if name in how}
        found = config if config is not None else AutoConfig.from_pretrained(
            pretrained_model_name_or_path, trust_remote_code=False, **where)
        if not isinstance(found, cls.config_class):
            how["key_mapping"] = native_classifiers.renamings(found)
            found = native_classifiers.own_config(cls.config_class, found)
        return super().from_pretrained(pretrained_model_name_or_path, *arguments, config=found, **how)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None,
                labels: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        """Label texts, or pairs of texts, padded on either side.

        Args:
            token_type_ids: Taken, since BERT tokenizers make it, and not used: the separators tell pairs apart.
            labels: (B,) numbers of labels; where a row may have several, (B, C) 0 and 1.

        Returns:
            ``logits`` (B, C) fp32, and ``loss``, the mean cross-entropy without class weights, where labels are given.
        """
        if not tracing():
            self.warn_if_padding_and_no_attention_mask(input_ids, attention_mask)
        ids_BS, mask_BS, _places = right_padded(input_ids, attention_mask)
        logits_BC = self.head.logits(self.encode(ids_BS, mask_BS))
        loss = None
        if labels is not None:
            total, count = label_nll(logits_BC, labels.long().view(len(labels), -1), self.head.multi_label)
            loss = total / count.clamp_min(1)
        return SequenceClassifierOutput(loss=loss, logits=logits_BC)

    def probabilities(self, batch: dict[str, Any]) -> Tensor:
        """(B, C) fp32: how likely each label is for each text of a batch."""
        made: Tensor = self.head.probabilities(self.read(batch))
        return made

    def describe_decoding(self, config: GenerationConfig) -> str:
        return f"labels of {self.head.threshold:g} or more" if self.head.multi_label else "the likeliest label"

    def publish(self, folder: Path, state: dict[str, Tensor] | None) -> None:
        if self.config.facts.get("native"):
            native_classifiers.publish(self, folder, state or self.state_dict())
        else:
            super().publish(folder, state)

    def own_names(self, stored: dict[str, Tensor]) -> dict[str, Tensor]:
        return stored if any(name.startswith("trunk.") for name in stored) else native_classifiers.renamed(
            self.trunk.config, stored)

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        super()._init_weights(module)
        if module is self.head and self.head.multi_label:
            self.head.tuned_threshold.fill_(0.5)
