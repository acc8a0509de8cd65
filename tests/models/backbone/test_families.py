"""RoBERTa- and DistilBERT-style bases: the same promises as for BERT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers import make_tiny_base
from llmtrain.models.backbone.families import first_position, freeze, positions, pretrained_mlm_head
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.models.seq2seq import LlmtrainForSeq2SeqLM
from running import Runs, copies, take

FAMILIES = ["roberta", "distilbert", "xlm-roberta", "camembert"]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp(request.param), request.param, mlm=True)


@pytest.fixture
def runs(base: Path, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(base, tmp_path)
    yield made
    made.close()


def test_a_base_of_this_family_trains_masks_freezes_and_publishes(base: Path, runs: Runs, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    import llmtrain.hf  # noqa: F401

    run = runs("objective.base=mlm", "objective.mlm.fraction=0.6", "model.freeze=1")
    mlm, stored = run.model.module.objectives["mlm"], pretrained_mlm_head(base)
    assert mlm.pretrained and stored is not None
    assert torch.equal(mlm.head.norm.weight, stored["norm.weight"])
    assert torch.equal(run.model.task_model.head.output_bias, stored["bias"])
    before = copies(run)
    results = take(run, 2)
    assert all(result.losses["mlm"] > 0 and result.losses["summary"] > 0 for result in results)
    still = {id(p) for p in freeze(run.model.task_model.trunk, "1")}
    for name, parameter in run.model.module.named_parameters():
        moved = not torch.equal(before[name], parameter)
        assert moved is not (id(parameter) in still) or "key.bias" in name or "k_lin.bias" in name, name

    model, (batch,) = run.model.task_model.eval(), next(run.data.loader.iterate(0)).micro
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert not bool(mask.all())
    row = int(mask.sum(1).argmin())
    alone = ids[row:row + 1, :int(mask[row].sum())]
    together = model.encode(ids, mask).hidden_BSD[row:row + 1, :alone.shape[1]]
    assert torch.allclose(model.encode(alone).hidden_BSD, together, atol=1e-5)  # padding changes nothing
    made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5)
    written = model.generate(input_ids=alone, max_new_tokens=5)[0]
    assert torch.equal(written, made[row][:len(written)])
    model.save_pretrained(tmp_path / "published")
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "published").eval()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.equal(made, loaded.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5))


def test_documents_may_be_as_long_as_the_position_table(base: Path, runs: Runs) -> None:
    """RoBERTa's positions start behind its padding row, so that row is one that no document can use."""
    config = open_base(runs.config().model).config
    limit = positions(config)
    assert limit == (128 if config.model_type == "distilbert" else 127)
    run = runs(f"data.max_source_tokens={limit}")
    model: LlmtrainForSeq2SeqLM = run.model.task_model
    ids = torch.randint(5, 150, (1, limit), generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(model.encode(ids).hidden_BSD).all()
    with pytest.raises((IndexError, RuntimeError)):
        model.encode(torch.cat([ids, ids[:, :1]], 1))
    positions_PD = model.trunk.embeddings.position_embeddings.weight
    warm = model.head.positions.weight
    types = getattr(model.trunk.embeddings, "token_type_embeddings", None)
    shift = 0 if types is None else types.weight[0]
    assert torch.allclose(warm, positions_PD[first_position(config):] + shift)
