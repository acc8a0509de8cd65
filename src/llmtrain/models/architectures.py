"""Which class a head's model is: one topology each, since ``generate`` treats them in their own ways."""

from __future__ import annotations

from importlib import import_module

from llmtrain import registry
from llmtrain.models.task_model import SummaryModel

SEQ2SEQ = "seq2seq"
TOPOLOGIES = {SEQ2SEQ: "llmtrain.models.seq2seq:LlmtrainForSeq2SeqLM",
              "prefix": "llmtrain.models.prefix_lm:LlmtrainForPrefixLM",
              "extractive": "llmtrain.models.sentence_extraction:LlmtrainForExtraction"}


def topology_of(head: str) -> str:
    """The topology of a registered head; a head that names none reads and writes."""
    return str(registry.get("head", head).requires.get("topology", SEQ2SEQ))


def class_of(head: str) -> type[SummaryModel]:
    """The model class of a registered head."""
    module, _, name = TOPOLOGIES[topology_of(head)].partition(":")
    found: type[SummaryModel] = getattr(import_module(module), name)
    return found
