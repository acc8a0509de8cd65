"""Several heads on one trunk: each task's model is an ordinary one, and all of it is published as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

import llmtrain.hf  # noqa: F401  registers the model types
from llmtrain.config.plain import plain
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.heads.extractive.options import ExtractiveHeadConfig
from llmtrain.models.heads.prefix_lm.options import PrefixLmHeadConfig
from llmtrain.models.heads.several.options import SeveralHeadsConfig
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.prefix_lm import LlmtrainForPrefixLM
from llmtrain.models.publish import load_weights
from llmtrain.models.sentence_extraction import LlmtrainForExtraction
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
from llmtrain.models.several_heads import LlmtrainForSeveralTasks

HEADS: dict[str, Any] = {"writes": TransformerHeadConfig(layers=1), "chooses": ExtractiveHeadConfig(layers=1),
                         "behind": PrefixLmHeadConfig(prompt="red")}
KINDS = {"writes": LlmtrainForSeq2SeqLM, "chooses": LlmtrainForExtraction, "behind": LlmtrainForPrefixLM}


@pytest.fixture(scope="module")
def made(tiny_base: Path) -> LlmtrainForSeveralTasks:
    torch.manual_seed(0)
    options = SeveralHeadsConfig(heads={name: plain(head) for name, head in HEADS.items()})
    return LlmtrainForSeveralTasks.from_base(open_base(ModelConfig(path=str(tiny_base))), options).eval()


def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids_BS = torch.randint(5, 100, (2, 12), generator=generator)
    return {"input_ids": ids_BS, "attention_mask": torch.ones_like(ids_BS)}


@pytest.mark.parametrize("name", HEADS)
def test_each_tasks_model_is_an_ordinary_one_on_the_shared_trunk(name: str, made: LlmtrainForSeveralTasks,
                                                                 tiny_base: Path) -> None:
    own = made.of_task(name)
    assert type(own) is KINDS[name] and own.trunk is made.trunk and own is made.of_task(name)
    alone: Any = KINDS[name].from_base(open_base(ModelConfig(path=str(tiny_base))), HEADS[name]).eval()
    alone.head.load_state_dict(own.head.state_dict())
    assert alone.head.options == own.head.options
    if name == "chooses":
        places = {"sentence_start": torch.tensor([[1, 4], [1, 5]]), "sentence_end": torch.tensor([[4, 9], [5, 9]])}
        assert torch.equal(own(**inputs(), **places).logits, alone(**inputs(), **places).logits)
        return
    assert own.config.num_hidden_layers == alone.config.num_hidden_layers and own.head.start_id == alone.head.start_id
    both = [model.generate(**inputs(), max_new_tokens=6, num_beams=2) for model in (own, alone)]
    assert torch.equal(*both)


def test_the_weights_are_there_once_and_are_published_as_one(made: LlmtrainForSeveralTasks, tmp_path: Path) -> None:
    names = list(made.state_dict())
    assert len(names) == len(set(names)) and not any("of_task" in name for name in names)
    assert {name.split(".")[2] for name in names if name.startswith("head.")} == {
        "writes_head", "chooses_head", "behind_head"}
    made.save_pretrained(tmp_path)
    again: Any = AutoModel.from_pretrained(tmp_path).eval()
    assert type(again) is LlmtrainForSeveralTasks
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in made.state_dict().items())
    for name in ("writes", "behind"):
        assert torch.equal(again.of_task(name).generate(**inputs(), max_new_tokens=5),
                           made.of_task(name).generate(**inputs(), max_new_tokens=5))
    labels = torch.tensor([[7, 8, 3], [9, 3, -100]])
    assert torch.equal(again(task="writes", labels=labels, **inputs()).loss,
                       made.of_task("writes")(labels=labels, **inputs()).loss)


def test_training_mode_is_that_of_the_whole(made: LlmtrainForSeveralTasks) -> None:
    own = made.of_task("writes")
    made.train()
    assert own.training and own.head.training and made.trunk.training
    made.eval()
    assert not own.training and not own.head.training


def test_a_task_that_is_not_there_is_told(made: LlmtrainForSeveralTasks) -> None:
    with pytest.raises(ConfigError, match="no task 'reads'; choose from writes, chooses, behind"):
        made.of_task("reads")


def test_a_head_may_have_a_key_of_the_name_of_the_list(tiny_base: Path, tmp_path: Path) -> None:
    """``head.heads`` is of one head how many attention heads it has."""
    base = open_base(ModelConfig(path=str(tiny_base)))
    alone: Any = LlmtrainForSeq2SeqLM.from_base(base, TransformerHeadConfig(layers=1, heads=2))
    alone.save_pretrained(tmp_path)
    load_weights(alone, tmp_path)
