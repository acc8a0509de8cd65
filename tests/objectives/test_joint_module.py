"""The terms: what each reaches, masks that no prefetch can shift, how lambda moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import pairs
from llmtrain.config.sections.model import ModelConfig
from llmtrain.config.sections.objective import objective_schema, terms_of
from llmtrain.data.batch import Context
from llmtrain.data.examples import Example
from llmtrain.data.features import Features, tokenize
from llmtrain.data.loader import StepLoader, one_task
from llmtrain.models.backbone.families import layers
from llmtrain.models.backbone.pretrained import load_tokenizer, open_base
from llmtrain.models.heads.transformer.options import TransformerHeadConfig
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
from llmtrain.objectives.base import Objective, Vocabulary
from llmtrain.objectives.build import continuation_of
from llmtrain.objectives.content_selection import ContentSelection
from llmtrain.objectives.joint_module import JointModule
from llmtrain.objectives.mlm import MaskedLm, MaskTokens
from llmtrain.objectives.options import MlmConfig, SelectConfig
from llmtrain.objectives.weighting.fixed import Fixed
from llmtrain.tasks.summarization.options import SummarizationData

VOCABULARY = Vocabulary(200, 4, frozenset(range(5)), torch.zeros(200, dtype=torch.bool))


@pytest.fixture(scope="module")
def features(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Features:
    examples = [Example(r["id"], r["document"], r["summary"], (r["summary"],)) for r in pairs(24)]
    config = SummarizationData(cache_dir=str(tmp_path_factory.mktemp("c")))
    return tokenize(examples, load_tokenizer(str(tiny_base)), config)


def joint(base: Path, name: str, **options: Any) -> JointModule:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(str(base))
    model = LlmtrainForSeq2SeqLM.from_base(open_base(ModelConfig(path=str(base), dropout=0.0)),
                                           TransformerHeadConfig(layers=1, dropout=0.0))
    vocabulary = Vocabulary(len(tokenizer), tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids),
                            torch.zeros(len(tokenizer), dtype=torch.bool))
    objectives: dict[str, Objective] = {}
    if name == "mlm":
        objectives["mlm"] = MaskedLm(model, MlmConfig(warm_steps=0, **options), vocabulary, base)
    elif name == "select":
        objectives["select"] = ContentSelection(model, SelectConfig(**options), vocabulary, base)
    config = objective_schema()(base=name)
    return JointModule(model, objectives, Fixed(config, terms_of(config), seed=0))


def test_what_continues_a_word_is_known_by_id_where_ids_have_gaps() -> None:
    class Gaps:
        all_special_tokens = ("[CLS]",)

        def get_vocab(self) -> dict[str, int]:
            return {"[CLS]": 0, "##ed": 7, "red": 3}

    assert continuation_of(Gaps()).tolist() == [False] * 7 + [True]


def first_batch(module: JointModule, features: Features) -> Any:
    transforms = [t for o in module.objectives.values() if (t := o.transform())]  # type: ignore[operator]
    loader = StepLoader(*one_task(features, batch_size=8, bucket=1, seed=3, pad_id=0, transforms=transforms),
                        accumulate=1, rank=0, world_size=1)
    return next(loader.iterate(0)).micro[0]


@pytest.mark.parametrize("term", ["mlm", "select", "summary"])
def test_each_term_alone_reaches_every_trunk_layer(term: str, tiny_base: Path, features: Features) -> None:
    module = joint(tiny_base, "select" if term == "summary" else term, **({"fraction": 1.0} if term == "mlm" else {}))
    module(first_batch(module, features), 5)[term].backward()
    for layer in layers(module.model.trunk):
        assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for n, p in layer.named_parameters()
                   if "key.bias" not in n)  # softmax does not see a key's bias


def test_a_fresh_masked_lm_head_warms_before_it_touches_the_trunk(tiny_base: Path, features: Features) -> None:
    module = joint(tiny_base, "mlm", fraction=1.0)
    module.objectives["mlm"].options.warm_steps = 10
    batch = first_batch(module, features)
    for step, reaches in ((9, False), (10, True)):
        module.zero_grad()
        module(batch, step)["mlm"].backward()
        moved = any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in module.model.trunk.parameters())
        assert moved is reaches
        assert module.objectives["mlm"].head.dense.weight.grad is not None


def test_a_pretrained_masked_lm_head_is_used(tiny_base_mlm: Path) -> None:
    from safetensors.torch import load_file

    module = joint(tiny_base_mlm, "mlm")
    stored = load_file(tiny_base_mlm / "model.safetensors")["cls.predictions.transform.dense.weight"]
    assert module.objectives["mlm"].pretrained
    assert torch.equal(module.objectives["mlm"].head.dense.weight, stored)


def masked(seed: int = 0, epoch: int = 0, rows: int = 400, **options: Any) -> Any:
    batch = {"example_id": torch.arange(rows), "input_ids": torch.full((rows, 20), 50), "dummy": False,
             "attention_mask": torch.ones(rows, 20, dtype=torch.long), "labels": torch.full((rows, 3), 50)}
    batch["input_ids"][:, 0] = 2
    MaskTokens(MlmConfig(**options), VOCABULARY)(batch, Context(epoch, seed))
    return batch


def test_masks_are_a_function_of_seed_epoch_and_row() -> None:
    one, again = masked(fraction=1.0), masked(fraction=1.0)
    assert torch.equal(one["mlm_input_ids"], again["mlm_input_ids"])
    assert not torch.equal(one["mlm_input_ids"], masked(fraction=1.0, epoch=1)["mlm_input_ids"])
    assert not torch.equal(one["mlm_input_ids"], masked(fraction=1.0, seed=1)["mlm_input_ids"])
    half = masked(fraction=1.0, rows=7)
    assert torch.equal(one["mlm_input_ids"][:7], half["mlm_input_ids"])


def test_masking_follows_bert() -> None:
    batch = masked(fraction=1.0)
    predicted = batch["mlm_labels"] != -100
    assert not predicted[:, 0].any()  # never a special token
    share = predicted[:, 1:].float().mean()
    assert 0.13 < float(share) < 0.17
    given = batch["mlm_input_ids"][predicted]
    assert 0.77 < float((given == 4).float().mean()) < 0.83
    assert 0.07 < float((given == 50).float().mean()) < 0.13
    assert torch.equal(batch["input_ids"], masked(fraction=1.0)["input_ids"])  # the summary reads the clean document
    assert 0.2 < len(masked(fraction=0.25)["mlm_labels"]) / 400 < 0.3
    assert (masked(shared_pass=True)["input_ids"] == 4).any()


def test_whole_words_are_masked_together() -> None:
    continuation = torch.zeros(200, dtype=torch.bool)
    continuation[60] = True
    batch = {"example_id": torch.arange(200), "input_ids": torch.tensor([[2, 50, 60, 60, 51, 60]] * 200),
             "attention_mask": torch.ones(200, 6, dtype=torch.long), "labels": torch.full((200, 3), 50),
             "dummy": False}
    MaskTokens(MlmConfig(fraction=1.0, whole_word=True),
               Vocabulary(200, 4, frozenset(range(5)), continuation))(batch, Context(0, 0))
    chosen = batch["mlm_labels"] != -100
    assert chosen.any()
    assert torch.equal(chosen[:, 1], chosen[:, 2])
    assert torch.equal(chosen[:, 2], chosen[:, 3])
    assert torch.equal(chosen[:, 4], chosen[:, 5])
    assert not torch.equal(chosen[:, 1], chosen[:, 4])
