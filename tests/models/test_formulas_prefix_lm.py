"""The base that writes itself against transformers' own trunk, reading an unpadded row under a mask written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, DynamicCache, EncoderDecoderCache

from formulas import near, numbers
from helpers import make_tiny_base
from llmtrain.config.sections.model import ModelConfig
from llmtrain.core.errors import ConfigError
from llmtrain.models.backbone.pretrained import load_tokenizer, open_base
from llmtrain.models.heads.prefix_lm.options import PrefixLmHeadConfig
from llmtrain.models.prefix_lm import Behind, LlmtrainForPrefixLM, ReadOutput

CAUSAL = ("gpt2", "llama")
FAMILIES = ("bert", "roberta", "distilbert", *CAUSAL)
KEEPING = ("bert", "roberta", *CAUSAL)  # trunks that keep keys and values
LENGTHS = (7, 4, 6)
PROMPT = "a graph of it"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LlmtrainForPrefixLM]:
    """One of each family, with numbers that no two tokens share."""
    made = {}
    for family in FAMILIES:
        base = make_tiny_base(tmp_path_factory.mktemp(family), family)
        if family == "roberta":
            one_segment(base)
        model = build(base, prompt=PROMPT)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        made[family] = model.eval()
    return made


def one_segment(base: Path) -> None:
    """As RoBERTa is."""
    model = AutoModel.from_pretrained(base)
    embeddings = model.embeddings
    embeddings.token_type_embeddings = nn.Embedding.from_pretrained(embeddings.token_type_embeddings.weight[:1])
    model.config.type_vocab_size = 1
    model.save_pretrained(base)


def build(base: Path, **head: Any) -> LlmtrainForPrefixLM:
    torch.manual_seed(0)
    return LlmtrainForPrefixLM.from_base(open_base(ModelConfig(path=str(base))), PrefixLmHeadConfig(**head))


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids, mask = torch.randint(5, 100, (3, 8), generator=generator), torch.zeros(3, 8, dtype=torch.long)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
    labels = torch.randint(5, 100, (3, 5), generator=generator)
    labels[1, 3:] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def written_behind(model: LlmtrainForPrefixLM) -> Tensor:
    """The tokens that are read behind the prompt."""
    labels = batch()["labels"]
    return torch.cat([torch.full((3, 1), model.head.start_id), labels[:, :-1].clamp_min(0)], 1)


def written_out(model: LlmtrainForPrefixLM, family: str, row: int) -> tuple[Tensor, Tensor]:
    """States of a row's document and of what is written, by transformers' plain attention."""
    config = AutoConfig.for_model(**model.config.base)
    trunk = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32)
    left = trunk.load_state_dict(model.trunk.state_dict(), strict=False)
    assert not left.unexpected_keys and all("pooler" in name for name in left.missing_keys)
    read = batch()["input_ids"][row, :LENGTHS[row]].tolist()
    behind = [*model.config.prompt_ids, *written_behind(model)[row].tolist()]
    size, total = len(read), len(read) + len(behind)
    hidden = torch.zeros(1, 1, total, total)
    for i in range(total):
        for j in range(total):
            if j > i and (family in CAUSAL or not (i < size and j < size)):
                hidden[0, 0, i, j] = -torch.inf
    first = config.pad_token_id + 1 if family == "roberta" else 0
    more = {"token_type_ids": torch.tensor([[0] * size + [1] * len(behind)])} if family == "bert" else {}
    states = trunk.eval()(input_ids=torch.tensor([read + behind]), attention_mask=hidden,
                          position_ids=torch.arange(first, first + total).unsqueeze(0), **more).last_hidden_state[0]
    return states[:size], states[size + len(model.config.prompt_ids):]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_one_pass_over_padded_rows_is_an_unpadded_row_at_a_time(family: str,
                                                                models: dict[str, LlmtrainForPrefixLM]) -> None:
    model, rows = models[family], batch()
    assert len(model.config.prompt_ids) > 1
    states = model.read(rows)
    assert states.go_on is not None
    alone = model.encode(rows["input_ids"], rows["attention_mask"])
    assert alone.go_on is not None
    behind, again = states.go_on(rows["labels"], None), alone.go_on(written_behind(model), None)
    for row, length in enumerate(LENGTHS):
        document_states, written = written_out(model, family, row)
        near(states.hidden_BSD[row, :length], document_states, 2e-5)
        near(behind[row], written, 2e-5)
        near(again[row], written, 2e-5)


@pytest.mark.parametrize("family", KEEPING)
@pytest.mark.parametrize("steps", [(5,), (1, 1, 1, 1, 1), (2, 3), (1, 3, 1)])
@torch.no_grad()
def test_writing_behind_kept_keys_and_values_is_the_same(family: str, steps: tuple[int, ...],
                                                         models: dict[str, LlmtrainForPrefixLM]) -> None:
    model, rows = models[family], batch()
    source = model.encode_source(rows["input_ids"], rows["attention_mask"])
    assert source.keys_BLHSK is not None and source.keys_BLHSK.shape[:2] == (3, 2)
    states, cache = model.states_of(source, rows["attention_mask"]), EncoderDecoderCache(DynamicCache(), DynamicCache())
    assert states.go_on is not None and model.written(None) == model.written(cache) == 0
    parts, count = [], 0
    for part in written_behind(model).split(list(steps), 1):
        parts.append(states.go_on(part, cache))
        count += part.shape[1]
        assert model.written(cache) == count
    for row, length in enumerate(LENGTHS):
        document_states, written = written_out(model, family, row)
        near(states.hidden_BSD[row, :length], document_states, 2e-5)
        near(torch.cat(parts, 1)[row], written, 2e-5)
        near(states.go_on(written_behind(model), None)[row], written, 2e-5)  # without a cache: one pass


def test_a_trunk_without_keys_and_values_writes_by_one_pass(models: dict[str, LlmtrainForPrefixLM]) -> None:
    model, rows = models["distilbert"], batch()
    source = model.encode_source(rows["input_ids"], rows["attention_mask"])
    assert source.keys_BLHSK is None
    states = model.states_of(source, rows["attention_mask"])
    assert states.go_on is not None
    made = states.go_on(written_behind(model), EncoderDecoderCache(DynamicCache(), DynamicCache()))
    for row in range(3):
        near(made[row], written_out(model, "distilbert", row)[1], 2e-5)


@torch.no_grad()
def test_a_document_without_a_mask_is_read_to_its_end(models: dict[str, LlmtrainForPrefixLM]) -> None:
    model, ids = models["bert"], batch()["input_ids"]
    made, exact = model.encode_source(ids), model.encode_source(ids, torch.ones_like(ids))
    for one, other in ((made.keys_BLHSK, exact.keys_BLHSK), (made.last_hidden_state, exact.last_hidden_state)):
        assert one is not None and other is not None
        near(one, other)


@torch.no_grad()
def test_a_trunk_makes_no_cache_of_its_own(models: dict[str, LlmtrainForPrefixLM]) -> None:
    """It would keep the keys and values of every layer for the backward pass."""
    model, asked = models["gpt2"], []
    hook = model.trunk.register_forward_pre_hook(
        lambda _, __, given: asked.append((given["use_cache"], given["past_key_values"])), with_kwargs=True)
    model.read(batch())
    hook.remove()
    assert asked == [(False, None)]


def test_keys_and_values_behind_a_document_are_appended_to_its_own() -> None:
    read = ReadOutput(keys_BLHSK=numbers(2, 3, 2, 5, 4), values_BLHSK=numbers(2, 3, 2, 5, 4, seed=1))
    assert read.keys_BLHSK is not None and read.values_BLHSK is not None
    behind = Behind(read, DynamicCache())
    assert behind.get_seq_length() == 5
    first, second = ([numbers(2, 2, count, 4, seed=seed) for seed in seeds] for count, seeds in
                     ((3, (2, 3)), (1, (4, 5))))
    for layer in (0, 1):
        key, value = behind.update(*first, layer)
        assert torch.equal(key, torch.cat([read.keys_BLHSK[:, layer], first[0]], 2))
        assert torch.equal(value, torch.cat([read.values_BLHSK[:, layer], first[1]], 2))
    key, value = behind.update(*second, 0)
    assert torch.equal(key, torch.cat([read.keys_BLHSK[:, 0], first[0], second[0]], 2))
    assert torch.equal(value, torch.cat([read.values_BLHSK[:, 0], first[1], second[1]], 2))
    assert (behind.get_seq_length(), behind.get_seq_length(1)) == (9, 8)
    assert len(behind.layers) == 0  # it holds none itself


@torch.no_grad()
def test_what_is_written_begins_with_the_begin_token(models: dict[str, LlmtrainForPrefixLM]) -> None:
    """In the place of the prompt's last token, and only there."""
    model, rows = models["bert"], batch()
    begin, start = model.config.bos_token_id, model.head.start_id
    assert start == model.config.prompt_end != begin
    given = {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"], "max_new_tokens": 4,
             "do_sample": False, "num_beams": 1}
    made = model.generate(**given)
    assert made[:, 0].tolist() == [begin] * 3
    states = model.encode(rows["input_ids"], rows["attention_mask"])
    tokens = torch.full((3, 1), start)
    for _ in range(made.shape[1] - 1):
        tokens = torch.cat([tokens, model.head.log_probabilities(tokens, states)[:, -1].argmax(1, keepdim=True)], 1)
    end = model.config.eos_token_id
    for one, exact in zip(made.tolist(), tokens.tolist(), strict=True):
        size = exact.index(end) + 1 if end in exact else len(exact)
        assert one[1:size] == exact[1:size]
    assert torch.equal(model.generate(**given, return_dict_in_generate=True).sequences, made)
    other = model.generate(**given, decoder_start_token_id=7)
    assert other[:, 0].tolist() == [7] * 3
    model.config.bos_token_id = None
    try:
        assert model.generate(**given)[:, 0].tolist() == [start] * 3
    finally:
        model.config.bos_token_id = begin


def test_a_prompt_and_what_it_ends_with(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "bert")
    tokenizer = load_tokenizer(str(base))
    model = build(base)
    assert (model.config.prompt_ids, model.config.prompt_end) == ([], None)
    assert model.head.start_id == model.config.decoder_start_token_id == tokenizer.cls_token_id
    model = build(base, prompt="sort [SEP] list")  # a mark of the tokenizer's is read as such
    ids = [tokenizer.convert_tokens_to_ids(token) for token in ("sort", "[SEP]", "list")]
    assert (model.config.prompt_ids, model.config.prompt_end, model.head.start_id) == (ids[:2], ids[2], ids[2])
    assert model.config.head["prompt"] == "sort [SEP] list"
    decoder = make_tiny_base(tmp_path / "gpt2", "gpt2")
    for prompt, text in ((None, "\nTL;DR:"), ("red", "red")):
        model = build(decoder, prompt=prompt)
        ids = load_tokenizer(str(decoder))(text)["input_ids"]
        assert [*model.config.prompt_ids, model.config.prompt_end] == ids
    assert build(decoder, prompt="").config.prompt_end is None


def test_the_masked_lm_transform_is_used_where_there_is_one_or_as_asked(tmp_path: Path) -> None:
    with_one, without = make_tiny_base(tmp_path / "mlm", mlm=True), make_tiny_base(tmp_path / "plain")
    for base, asked, used in ((with_one, None, True), (with_one, True, True), (with_one, False, False),
                              (without, None, False), (without, False, False)):
        model = build(base, mlm_transform=asked)
        assert hasattr(model.head, "transform") is used is model.config.head["mlm_transform"]
    with pytest.raises(ConfigError, match="no masked-LM head"):
        build(without, mlm_transform=True)


def test_document_and_summary_share_the_bases_positions() -> None:
    assert LlmtrainForPrefixLM.source_limit(128, 20) == 108
